"""All stages as a user runs them, in processes of their own: what they leave, killed anywhere, made by two.

The config is quickstart's, shrunk. Every run has the relative --workdir run in a folder of its own, so that
two runs can be compared byte by byte.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from ome_zarr_models import open_ome_zarr

import asem_jax as asem
from asem_jax import experiment
from asem_jax.interruption import REQUEUE

pytestmark = pytest.mark.slow

SECONDS = 300  # that one command may take on a machine that does other things too
TIMED = ("time", "steps_per_s", "mvoxel_per_s", "waiting_share")
COMMAND = [sys.executable, "-m", "asem_jax.main", "--config", "config.json", "--workdir", "run"]
NUM_STEPS = 6
VOLUMES = (
    *("raw", "labels/mito", "predictions/mito/probability", "predictions/mito/segmentation"),
    "predictions/mito/thresholded/segmentation",
)


def small_config() -> dict[str, Any]:
    """Returns quickstart for 48 x 64 x 64 voxels and six steps."""
    config = experiment.load(str(Path(__file__).parent.parent / "configs/quickstart.py"), {})
    content = json.loads(config.to_json())
    held_out = {"start": (0, 40, 0), "stop": (48, 64, 64)}
    changes = {
        "simulate": {"shape": (48, 64, 64), "block_shape": (16, 32, 32), "chunk_shape": (16, 32, 32)},
        "train": {
            "regions": {"cell": {"start": None, "stop": (48, 40, 64)}},
            "validation_regions": {"strip": held_out},
            "network": {"num_maps": 4, "pool_factors": ((2, 2, 2),)},
            **{"input_shape": (32, 32, 32), "batch_size": 2, "num_train_steps": NUM_STEPS},
            **{"log_every": 1, "checkpoint_every": 2, "validate_every": 4},
        },
        "predict": {"write_shape": (16, 16, 16)},
        "postprocess": {
            "threshold": 0.5,
            "threshold_regions": {"trained_on": held_out},
            "chunk_shape": (32, 32, 32),
        },
        "evaluate": {"regions": {"held_out": held_out}, "baseline_sigmas": (0.0, 2.0)},
        "report": {"regions": {"held_out": held_out}, "block_shape": (24, 24, 32)},
    }
    return merged(content, changes)


def merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings with some replaced; each must be there already."""
    assert changes.keys() <= content.keys()
    new = {key: merged(content[key], value) if isinstance(value, Mapping) else value for key, value in changes.items()}
    return {**content, **new}


def start(folder: Path, config: Mapping[str, Any], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts the command in `folder`; what it says goes to `folder`/log."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    words = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", **environment}
    index = words.get("ASEM_JAX_PROCESS_ID", "0")
    with (folder / f"log{index}").open("a") as log:
        return subprocess.Popen(
            COMMAND, cwd=folder, env={**os.environ, **words}, stdout=log, stderr=subprocess.STDOUT, text=True
        )


def finish(folder: Path, process: subprocess.Popen[str]) -> str:
    """Waits for success; returns all that the first process said in `folder` so far."""
    try:
        code = process.wait(SECONDS)
    finally:
        process.kill()
    said = "\n".join(path.read_text() for path in sorted(folder.glob("log*")))
    assert code == 0, said[-3000:]
    return said


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Returns the hash of every file below `folder` that fits, by its relative path."""
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def records(workdir: Path) -> list[dict[str, Any]]:
    """Returns metrics.jsonl without times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED} for line in lines]


def recorded_since(begun: float, workdir: Path) -> bool:
    """Says whether metrics.jsonl has a record made after that time."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return any(line.get("time", 0) > begun for line in lines)


def trained_state(workdir: Path) -> Any:
    """Returns step, parameters and optimiser state of the last checkpoint, as NumPy arrays."""
    with ocp.PyTreeCheckpointer() as reader:
        folder = workdir.resolve() / f"checkpoints/{NUM_STEPS}/state"
        saved = reader.metadata(folder).item_metadata.tree
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        return reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=arguments))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; its run folder is `run`."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder, start(folder, small_config(), {}))
    return folder


def test_a_run_leaves_what_the_documents_say(whole: Path) -> None:
    there = {path.name for path in (whole / "run").iterdir()}
    files = {"config.json", "metrics.jsonl", "checkpoints", "scores.json", "postprocess.json", "report.html"}
    assert files | {"cell.zarr"} <= there
    assert any(name.startswith("events.out.") for name in there)
    lines = records(whole / "run")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, NUM_STEPS + 1))
    assert [line["step"] for line in lines if "validation" in line] == [4, 6]
    scores = json.loads((whole / "run/scores.json").read_text())
    counts = scores["regions"]["held_out"]["all"]["counts"]
    assert sum(counts.values()) == 48 * 24 * 64
    assert counts["true_positive"] + counts["false_negative"] > 0
    assert scores["total"]["outside_exclusion_zone"]["f1"] is not None
    page = (whole / "run/report.html").read_text()
    assert page.count("<img") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("name", VOLUMES)
def test_every_volume_is_valid_and_knows_its_place(whole: Path, name: str) -> None:
    folder = whole / "run/cell.zarr" / name
    found = open_ome_zarr(folder)
    axes = found.ome_attributes.multiscales[0].axes
    assert [(axis.name, axis.unit) for axis in axes] == [(a, "nanometer") for a in "zyx"]
    volume = asem.open_volume(folder)
    assert (volume.shape, volume.voxel_size_nm) == ((48, 64, 64), (10.0, 10.0, 10.0))
    assert len(found.ome_attributes.multiscales[0].datasets) >= 2


def test_the_same_command_again_changes_nothing(whole: Path) -> None:
    before = contents(whole, "run/**/*")
    arrays = [path for path in whole.glob("run/cell.zarr/**/0/*/*/*") if path.is_file()]
    written = {path: path.stat().st_mtime_ns for path in [*arrays, *whole.glob("run/checkpoints/*/*")]}
    said = finish(whole, start(whole, small_config(), {}))
    assert contents(whole, "run/**/*") == before
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert f"trained already: {NUM_STEPS} of {NUM_STEPS} steps" in said


def test_killed_anywhere_it_ends_as_if_it_had_not_been(whole: Path, tmp_path: Path) -> None:
    rng, run = np.random.default_rng(7), tmp_path / "run"

    def has_lines(file: str, low: int, high: int) -> Callable[[], bool]:
        least = int(rng.integers(low, high))
        return lambda: (run / file).exists() and (run / file).read_bytes().count(b"\n") >= least

    def saves_step_4() -> bool:
        return any((run / "checkpoints").glob("4*"))

    blocks = "cell.zarr/predictions/mito/ledger.jsonl"
    moments = [
        has_lines("ledgers/simulate-cell.jsonl", 2, 8),
        has_lines("metrics.jsonl", 1, 2),
        saves_step_4,  # its folder has another name until all of it is written
        has_lines("metrics.jsonl", 5, 7),
        has_lines(blocks, 2, 8),
        has_lines(blocks, 12, 24),
    ]
    for number, moment in enumerate(moments):
        assert killed(start(tmp_path, small_config(), {}), moment), f"moment {number} never came"
        assert not (run / "scores.json").exists(), f"moment {number} came too late"
    finish(tmp_path, start(tmp_path, small_config(), {}))

    assert records(run) == records(whole / "run")
    jax.tree.map(np.testing.assert_array_equal, trained_state(run), trained_state(whole / "run"))
    pattern = "run/cell.zarr/**/[.0-9a-z]*"
    ended, expected = contents(tmp_path, pattern), contents(whole, pattern)
    assert len(expected) > 100
    assert {k: v for k, v in ended.items() if "ledger" not in k} == {
        k: v for k, v in expected.items() if "ledger" not in k
    }
    for name in ("scores.json", "postprocess.json"):
        assert (run / name).read_bytes() == (whole / "run" / name).read_bytes()


def killed(process: subprocess.Popen[str], moment: Callable[[], bool]) -> bool:
    """Kills a process as soon as `moment` has come; says whether that was before it ended."""
    deadline = time.monotonic() + SECONDS
    try:
        while process.poll() is None and not moment() and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        process.kill()
    return process.wait() == -signal.SIGKILL and moment()


def test_two_processes_train_as_one_does(whole: Path, tmp_path: Path) -> None:
    config = small_config()
    for key in ("regions", "validation_regions"):
        for region in config["train"][key].values():
            region["raw"] = f"{whole}/run/cell.zarr/raw"
            region["labels"] = {"mito": f"{whole}/run/cell.zarr/labels/mito"}
    config = {"stages": ["train"], "train": {**config["train"], "batch_size": 8}}
    one, two = tmp_path / "one", tmp_path / "two"
    finish(one, start(one, config, {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}))
    # Stopped after a checkpoint and begun again, so that both restore too.
    with two_processes(two, config) as processes:
        assert killed(processes[0], (two / "run/checkpoints/2").exists)
    # Asked to stop; one of them is enough.
    begun = time.time()
    with two_processes(two, config) as processes:
        # Both listen once a step is made: it takes both, and the first run may have left records of later ones.
        while not recorded_since(begun, two / "run") and all(process.poll() is None for process in processes):
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGUSR1)
        assert [process.wait(SECONDS) for process in processes] == [REQUEUE, REQUEUE]
    with two_processes(two, config) as processes:
        for process in processes:
            finish(two, process)

    for mine, expected in zip(records(two / "run"), records(one / "run"), strict=True):
        assert mine.keys() == expected.keys()
        if "loss" in expected:
            assert mine["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        else:
            assert mine["f1"] == pytest.approx(expected["f1"], abs=1e-3)
    states = [trained_state(folder / "run")["params"] for folder in (one, two)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


@contextmanager
def two_processes(folder: Path, config: Mapping[str, Any]) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts two processes of one job, each with half of eight devices; neither outlives the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"ASEM_JAX_COORDINATOR": address, "ASEM_JAX_NUM_PROCESSES": "2"}
    halves = {**job, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    processes = [start(folder, config, {**halves, "ASEM_JAX_PROCESS_ID": str(i)}) for i in range(2)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_notebook_of_the_readme(whole: Path, tmp_path: Path) -> None:
    container = whole / "run/cell.zarr"
    raw = asem.open_volume(f"{container}/raw")
    assert (raw.shape, raw.dtype, raw.offset_nm) == ((48, 64, 64), np.uint8, (0.0, 0.0, 0.0))
    model = asem.load_model(whole / "run")
    logits = model(np.zeros((1, 32, 32, 32, 1), np.float32))
    assert (logits.ndim, logits.shape[-1], logits.dtype) == (5, 2, np.float32)

    block = raw.read(asem.Box((0, 0, 0), (20, 24, 30)))
    probability = asem.predict(model, block)
    assert (probability.shape, probability.dtype) == ((20, 24, 30, 2), np.float32)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)

    asem.predict_volume(model, raw, f"{tmp_path}/cell.zarr/predictions/mito")
    segmentation = asem.open_volume(f"{tmp_path}/cell.zarr/predictions/mito/segmentation")
    stage = asem.open_volume(f"{container}/predictions/mito/segmentation")
    assert np.mean(segmentation.read(raw.box) != stage.read(raw.box)) < 1e-3
    labels = asem.open_volume(f"{container}/labels/mito")
    scores = asem.evaluate_volumes(segmentation, labels, exclude_inwards=4, exclude_outwards=4)
    found, truth = segmentation.read(raw.box) != 0, labels.read(raw.box) != 0
    everywhere = asem.evaluate_volumes(segmentation, labels, exclude_inwards=0, exclude_outwards=0)
    assert everywhere.counts.true_positive == np.count_nonzero(found & truth)
    assert scores.counts.num_voxels < everywhere.counts.num_voxels == truth.size
