"""What a prediction costs as its volume grows: in blocks, with an identity for a network; in voxels, with a network.

    python -m benchmarks.scaling [--quick] [--parts stored blocks voxels] [--sizes 4] [--folder DIR]

**stored**: whole predictions (planner, reading ahead, device, writing behind, ledger, coarser levels) in blocks of 8
voxels per axis, each of which is two files. The compiled network is replaced by a program that returns raw as the
probability; voxels of the result are compared with raw.

**blocks**: the same without device and storage: raw is 0 everywhere, the identity is NumPy's, and what is written is
checked and dropped. What is left is what the predictor itself does for a block, and this goes to a million of them:
through the storage they would take more than an hour of two cores.

**voxels**: the smallest network that has a pooling over volumes of which each has 8 times as many voxels as the one
before, in blocks of 128 per axis.

Each prediction runs in a process of its own, which compiled before its clock begins. Memory is what the peak of the
process adds to what it held before. Raw and results lie beside the system's other temporary files, or in `--folder`.
Writes benchmarks/results/scaling.json, where parts that were not asked for stay as they are; `--quick`, small volumes,
checks the script and writes nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from asem_jax.devices import make_local_mesh
from asem_jax.models.architecture import Architecture, asem
from asem_jax.models.model import Model, ModelCard
from asem_jax.models.shapes import output_start, valid_input_shape
from asem_jax.prediction import predictor
from asem_jax.prediction.job import Job, make_job
from asem_jax.prediction.memory import memory_of
from asem_jax.prediction.planner import SharedPlan
from asem_jax.prediction.predictor import num_finished, sweep_volume
from asem_jax.prediction.program import organelle_bytes
from asem_jax.training.step import init_state
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.reflect import read_reflected
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, ROOT, circumstances, save

RECORD = RESULTS / "scaling.json"
VOXEL_SIZE_NM = (8.0, 8.0, 8.0)
SHAPES: dict[str, tuple[Int3, ...]] = {
    "stored": ((10, 10, 10), (10, 10, 100)),
    "blocks": ((10, 10, 10), (10, 10, 100), (10, 100, 100), (100, 100, 100)),
    "voxels": ((128, 128, 128), (256, 256, 256), (512, 512, 512)),
}
QUICK: dict[str, tuple[Int3, ...]] = {
    "stored": ((4, 5, 5),),
    "blocks": ((4, 5, 5), (10, 10, 10)),
    "voxels": ((48, 48, 48), (96, 96, 96)),
}
SIDE = 8  # voxels per axis of a block of the identity
NETWORK_SIDE = 128  # of a block of the network
COMPARED = 200  # boxes of the result that are compared with raw
PIECE = 64  # voxels per axis of a chunk of raw

Figures = dict[str, Any]


class Landed:
    """A write that is done."""

    def result(self) -> None:
        """Returns at once."""


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="check the script with small volumes")
    parser.add_argument("--parts", nargs="+", choices=tuple(SHAPES), default=tuple(SHAPES), help="what to measure")
    parser.add_argument("--sizes", type=int, default=4, help="so many sizes of each part, from the smallest")
    parser.add_argument("--folder", type=Path, help="where raw and results lie while it runs")
    parser.add_argument("--child", nargs=2, metavar=("PART", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        part, shape = options.child
        print(json.dumps(measure(part, json.loads(shape), options.folder)))
        return
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for part in options.parts:
        begin = {**circumstances(), "device": jax.devices()[0].device_kind}
        shapes = (QUICK if options.quick else SHAPES)[part][: options.sizes]
        found = [in_child(part, shape, options.folder) for shape in shapes]
        record[part] = {**begin, "load_at_the_end": os.getloadavg()[0], "predictions": found}
        if not options.quick:
            save(RECORD, record)


def in_child(part: str, shape: Int3, folder: Path | None) -> Figures:
    """Returns what a process of its own measures, after printing it."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        words = [sys.executable, "-m", "benchmarks.scaling", "--folder", name, "--child", part, json.dumps(shape)]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    print(part, figures, flush=True)
    return figures


def measure(part: str, shape: Int3, folder: Path) -> Figures:
    """Predicts one volume; see the module.

    Args:
      part: one of `SHAPES`.
      shape: z y x, voxels; of "stored" and "blocks" blocks.
      folder: for raw and results.
    """
    job = {"stored": stored_job, "blocks": empty_job, "voxels": network_job}[part](shape, folder)
    if part != "blocks":
        warm(job)
    figures = timed(job)
    if part == "stored":
        figures["compared_voxels"] = compare(job.raw, open_volume(f"{job.address}/probability"))
    if part == "voxels":
        figures["stated_MiB"] = memory_of(job.ensembles, job.plan, job.raw, make_local_mesh()).host / 2**20
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}


def network_job(shape: Int3, folder: Path) -> Job:
    """Returns a prediction by a network."""
    raw, model = write_raw(folder, shape), make_model(asem(2, 2, 2, ((2, 2, 2),)))
    return make_job(model, raw, f"{folder}/cell.zarr/p", write_shape=(NETWORK_SIDE,) * 3)


def stored_job(shape: Int3, folder: Path) -> Job:
    """Returns a prediction by an identity, of so many blocks."""
    predictor.compile_sweep = compile_identity  # type: ignore[assignment]
    raw = write_raw(folder, in_voxels(shape))
    return make_job(make_model(least()), raw, f"{folder}/cell.zarr/p", write_shape=(SIDE,) * 3)


def empty_job(shape: Int3, folder: Path) -> Job:
    """Returns a prediction by an identity, of so many blocks, without device and storage."""
    predictor.compile_sweep = lambda models, plan, finish, mesh: partial(identity, np, kept(models, plan))
    predictor.jax = SimpleNamespace(device_put=lambda value, where: value)  # type: ignore[attr-defined]
    predictor.complete_results = lambda *words: None
    Volume.read = lambda volume, box: np.zeros(box.shape, np.uint8)  # type: ignore[method-assign]
    Volume.write_async = write_nothing  # type: ignore[assignment, method-assign]
    raw = create_volume(folder / "cell.zarr/raw", shape=in_voxels(shape), dtype="uint8", voxel_size_nm=VOXEL_SIZE_NM)
    return make_job(make_model(least()), raw, f"{folder}/cell.zarr/p", write_shape=(SIDE,) * 3)


def in_voxels(blocks: Int3) -> Int3:
    """Returns voxels z y x of so many blocks."""
    return int3([SIDE * number for number in blocks], "shape")


def write_nothing(volume: Volume, box: Box, array: npt.NDArray[Any]) -> Landed:
    """Stands for `Volume.write_async`: what cannot be written is still refused."""
    volume._check_inside(box, "write")
    assert array.shape == box.shape and array.dtype == volume.dtype
    return Landed()


def timed(job: Job) -> Figures:
    """Does a job and returns what it cost."""
    levels: dict[str, float] = {}  # of the coarser levels
    complete = predictor.complete_results

    def complete_timed(*words: Any) -> None:
        begin, processor = time.perf_counter(), time.process_time()
        complete(*words)
        levels.update(seconds=time.perf_counter() - begin, cpu_s=time.process_time() - processor)

    predictor.complete_results = complete_timed
    num_blocks, num_voxels = len(job.write_boxes), job.plan.box.num_voxels
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before, begin, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    sweep_volume(job)
    seconds, cpu = time.perf_counter() - begin - levels["seconds"], time.process_time() - processor - levels["cpu_s"]
    peak = memory("VmHWM")
    opening = time.perf_counter()
    assert num_finished(job) == num_blocks
    opening = time.perf_counter() - opening
    return {
        "shape": list(job.plan.box.shape),
        "voxels": num_voxels,
        "blocks": num_blocks,
        "seconds": seconds,
        "cpu_s": cpu,
        "us_per_block": 1e6 * seconds / num_blocks,
        "cpu_us_per_block": 1e6 * cpu / num_blocks,
        "Mvoxel_per_s": num_voxels / 1e6 / (seconds + levels["seconds"]),
        "levels_s": levels["seconds"],
        "levels_cpu_s": levels["cpu_s"],
        "added_MiB": (peak - before) / 2**20,
        "peak_MiB": peak / 2**20,
        "ledger_MB": Path(job.address, "ledger.jsonl").stat().st_size / 1e6,
        "reopening_s": opening,
    }


def warm(job: Job) -> None:
    """Compiles the program of a job, and runs it once."""
    first = job.write_boxes[:1]
    read = partial(read_reflected, job.raw)
    for _ in predictor.predict_together(job.ensembles, read, job.plan, first, organelle_bytes):
        pass


def compile_identity(models: Any, plan: SharedPlan, finish: Any, mesh: Any) -> Any:
    """Stands for `program.compile_sweep`."""
    return compiled_identity(kept(models, plan))


@cache
def compiled_identity(where: Box) -> Any:
    """Returns `identity` as a program."""
    return jax.jit(partial(identity, jnp, where))


def identity(numpy: Any, where: Box, members: Any, blocks: Any) -> tuple[Any, ...]:
    """Returns what is stored of a voxel, its grey value, and the likeliest channel, 1 from 128: the program of a sweep.

    Args:
      numpy: NumPy or JAX's.
      where: the voxels of the block in what is read for it.
      members: parameters of networks.
      blocks: `[devices, z, y, x]`.
    """
    grey = blocks[:, *where.slices]
    return (numpy.stack([grey, (grey >= 128).astype(numpy.uint8)], axis=-1),)


def kept(models: Any, plan: SharedPlan) -> Box:
    """Returns where the voxels of a block lie in what is read for it."""
    return plan.plans[0].kept.shift(plan.cuts[0].start).shift(output_start(models[0].card.architecture))


def least() -> Architecture:
    """Returns the least network there is, with a context of one voxel: raw is read beyond blocks and edges."""
    plain = asem(2, 1, 1, ((1, 1, 1),))
    return replace(plain, kernel_sizes=((1, 1, 1), (1, 1, 1)))


def make_model(architecture: Architecture) -> Model:
    """Returns a network with random parameters, amplified so that its probabilities differ from voxel to voxel."""
    card = ModelCard(("mito",), VOXEL_SIZE_NM, architecture, "float32", "membranes dark")
    params = init_state(card.network(), optax.identity(), valid_input_shape((1, 1, 1), architecture), 0).params
    return Model(jax.tree.map(lambda leaf: 2.4 * leaf, params), card)


def write_raw(folder: Path, shape: Int3) -> Volume:
    """Writes noise on slopes, another one in every chunk."""
    raw = create_volume(folder / "cell.zarr/raw", shape=shape, dtype="uint8", voxel_size_nm=VOXEL_SIZE_NM)
    slopes = np.add.outer(np.add.outer(np.arange(PIECE), np.arange(PIECE)), np.arange(PIECE)) // 2 + 60
    for number, box in enumerate(tiles(raw.box, (PIECE,) * 3)):
        grey = slopes + np.random.default_rng(number).integers(0, 60, slopes.shape)
        raw.write(box, grey[tuple(slice(n) for n in box.shape)].astype(np.uint8))
    return raw


def compare(raw: Volume, result: Volume) -> int:
    """Returns how many voxels of the result were compared with raw, in boxes all over.

    Raises:
      ValueError: some differ.
    """
    rng, voxels = np.random.default_rng(0), 0
    for _ in range(COMPARED):
        start = [int(rng.integers(0, max(1, n - 2 * SIDE))) for n in raw.shape]
        box = Box.of_shape((2 * SIDE,) * 3, start).intersect(raw.box)
        if not np.array_equal(raw.read(box), result.read(box)):
            raise ValueError(
                f"{result.address} differs from raw in {box}; the identity returns raw: look for the cause."
            )
        voxels += box.num_voxels
    return voxels


def memory(name: str) -> int:
    """Returns bytes of this process, as Linux tells them: "VmRSS", or its peak, "VmHWM"."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


if __name__ == "__main__":
    main()
