"""The memory that is stated is what a run takes, and blocks are chosen by it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from asem_jax.models.architecture import asem
from asem_jax.prediction import memory
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.memory import MALLOC_BYTES, device_bytes, fit_plan, host_bytes, host_bytes_of, memory_at_hand
from asem_jax.prediction.planner import plan_shared
from asem_jax.prediction.program import compile_sweep, organelle_bytes
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume
from tests.phantoms import small_model

MESH = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("data",))
MODELS = (Ensemble((small_model(architecture=asem(2, 2, 2, ((2, 2, 2),))),)),)
BOX = Box.of_shape((64, 80, 400))

MEASURED = """
import json, re, sys
from pathlib import Path
import numpy as np
from asem_jax.devices import make_local_mesh
from asem_jax.prediction.job import make_job
from asem_jax.prediction.memory import memory_of
from asem_jax.prediction.predictor import sweep_volume
from asem_jax.volumes.clahe import Equalisation
from tests.phantoms import small_model, write_volume

def now(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def run(name, shape, write_shape, how=None):
    raw = write_volume(f"{sys.argv[1]}/{name}.zarr/raw", np.zeros(shape, np.uint8), chunk_shape=(64, 64, 64))
    job = make_job(small_model(), raw, f"{sys.argv[1]}/{name}.zarr/p", write_shape=write_shape, equalisation=how)
    stated = memory_of(job.ensembles, job.plan, raw, make_local_mesh(), how).host
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = now("VmRSS")
    sweep_volume(job)
    return stated, now("VmHWM") - before

SIZES = {"small": (96, 96, 192), "large": (192, 192, 384)}
run("warm", (48, 48, 48), (32, 32, 32))
sizes = [run(name, shape, (96, 96, 192)) for name, shape in SIZES.items()]
print(json.dumps([*sizes, run("equalised", SIZES["small"], (96, 96, 192), Equalisation((64, 64, 64), 0.02))]))
"""


def measure(folder: Path, tunables: str) -> list[tuple[int, int]]:
    """Returns what is stated and what was taken by a small, a large and an equalised run, in bytes."""
    environment = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": tunables}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(stated, taken) for stated, taken in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
def test_what_is_stated_is_what_a_run_adds_and_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    for stated, taken in measure(tmp_path / "kept", ""):
        assert taken <= stated
    # Each buffer is a mapping of its own, so nothing that was freed stays; a timing decides how many wait at a time.
    mapped = measure(tmp_path / "mapped", "glibc.malloc.mmap_threshold=65536")
    (small, taken), (large, more), (equalised, least) = [(stated - MALLOC_BYTES, taken) for stated, taken in mapped]
    # What the runs before it left to the process, it need not take again.
    assert least <= equalised and small < equalised <= 1.15 * small
    for stated, measured in ((small, taken), (large, more)):
        assert measured <= stated <= 1.5 * measured
    # Decoded chunks, of which a limited number is kept, and blocks read ahead, of which the small volume has one.
    assert large - small <= 3 * 192 * 192 * 384 + 4 * 2 * 96 * 96 * 192 * 2


def test_memory_of_a_process_does_not_grow_with_a_large_volume(tmp_path: Path) -> None:
    def stated(side: int) -> int:
        shape = (side, side, side)
        raw = create_volume(tmp_path / f"{side}.zarr/raw", shape=shape, dtype=np.uint8, voxel_size_nm=(10, 10, 10))
        plan = plan_shared(raw.box, [MODELS[0].card.architecture], (512, 512, 512))
        return host_bytes_of(MODELS, plan, raw, 1)

    assert stated(1024) == stated(2048)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_memory_of_a_device_is_what_the_compiler_states_and_what_waits(side: int) -> None:
    plan = plan_shared(Box.of_shape((64, 64, 64)), [MODELS[0].card.architecture], (side,) * 3)
    sizes = compile_sweep(MODELS, plan, organelle_bytes, MESH).memory_analysis()
    stated = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    assert stated <= device_bytes(MODELS, plan, MESH) <= 1.3 * stated


def test_blocks_are_the_largest_that_fit_and_few_programs_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = memory.device_bytes

    def counting(*arguments: object) -> int:
        asked.append(arguments[1])
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "device_bytes", counting)
    whole = original(MODELS, plan_shared(BOX, [MODELS[0].card.architecture], BOX.shape), MESH)
    for share in (1.5, 0.6):
        asked.clear()
        plan = fit_plan(MODELS, BOX, MESH, share * whole)
        assert original(MODELS, plan, MESH) <= share * whole
        assert len(plan.write_boxes) in ((1,) if share > 1 else (2, 3))
        assert len(asked) <= 4


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_wrong_estimate_is_corrected(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    architectures = [MODELS[0].card.architecture]
    costs = lambda models, plan, mesh: int(factor * memory.activation_bytes(plan, architectures))  # noqa: E731
    monkeypatch.setattr(memory, "device_bytes", costs)
    whole = plan_shared(BOX, architectures, BOX.shape)
    limit = 0.5 * factor * memory.activation_bytes(whole, architectures)
    plan = fit_plan(MODELS, BOX, MESH, limit)
    assert 0.3 * limit < costs(MODELS, plan, MESH) <= limit


def test_memory_at_hand_is_bounded_by_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < memory_at_hand() <= memory.MOST_BYTES_OF_A_CPU
    monkeypatch.setattr(memory, "host_bytes", lambda: 16e6)
    assert memory_at_hand() == pytest.approx(8e6 / jax.local_device_count())
    assert host_bytes() > 1e8
    with pytest.raises(ValueError, match="holds no tile"):
        fit_plan(MODELS, BOX, MESH, 1e4)
