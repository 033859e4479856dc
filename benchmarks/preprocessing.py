"""Times preprocessing: CLAHE beside the original's scheme, and every step over volumes of growing size with its memory.

    python -m benchmarks.preprocessing [--rounds 3] [--sizes 256 1024 2048] [--output FILE]
    python -m benchmarks.preprocessing --markdown

The original reads 256 x 256 x 256 voxels, equalises them with the n-dimensional CLAHE of scikit-image and writes the
128 x 128 x 128 in their middle. Here that is done for one such block, in turn with our own sweep over a whole volume,
from disk to disk with one thread each; a ratio is the median of the ratios within a round, of wall clock and of the
processor's time. Needs scikit-image, which asem_jax does not.

Each step is then run over volumes of 256 x 512 voxels times each of `--sizes`, every time in a process of its own,
whose peak memory is what counts (Linux only). The cache that all volumes of a process share is set to 32 MiB there
(256 MiB otherwise): less than the smallest volume, so that memory that grows with the volume would show. Speed is that
of one thread, by the processor's time. Writes benchmarks/results/preprocessing.json; `--markdown` prints the tables of
docs/preprocessing.md from it.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.cell_mask import CellRule, write_cell_mask
from asem_jax.volumes import store
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.clahe import equalised
from asem_jax.volumes.geometry import Box, Int3, tiles
from asem_jax.volumes.matching import grey_counts
from asem_jax.volumes.pyramid import coarsened, write_pyramid
from asem_jax.volumes.resample import resample_volume
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save, table

RECORD = RESULTS / "preprocessing.json"
KERNEL = (128, 128, 128)
CLIP_LIMIT = 0.02
NM = (4.0, 4.0, 4.0)
CACHE_BYTES = 32 * 2**20
BLOCK = (128, 128, 128)
Figures = dict[str, Any]


# --- what is measured ---


def make_volume(address: str, shape: Int3) -> Volume:
    """Writes grey values with noise, and brightness that changes from block to block."""
    rng = np.random.default_rng(0)
    grain = np.clip(rng.normal(128, 25, (128, 128, 128)), 0, 255).astype(np.uint8)
    volume = create_volume(address, shape=shape, dtype=np.uint8, voxel_size_nm=NM, chunk_shape=BLOCK)
    for box in tiles(volume.box, BLOCK):
        volume.write(box, grain // 2 + np.uint8(rng.integers(100)))
    return volume


def resample(source: Volume, target: str, *, labels: bool = False, **words: Any) -> None:
    """Resamples in one thread."""
    settings = {"voxel_size_nm": NM, "chunk_shape": BLOCK} | words
    resample_volume(source, target, labels=labels, num_threads=1, **settings)


def equalise(source: Volume, target: str) -> None:
    """The sweep of stage `preprocess`, in one thread."""
    resample(source, target, finish=lambda read, n: equalised(read, n, kernel_shape=KERNEL, clip_limit=CLIP_LIMIT))


def equalise_as_the_original(source: Volume, target: str) -> None:
    """One block of the original's scheme: 256 voxels a side are read for 128 written."""
    from skimage.exposure import equalize_adapthist

    block = source.read(Box((0, 0, 0), (256, 256, 256)))
    found = equalize_adapthist(block, kernel_size=KERNEL, clip_limit=CLIP_LIMIT, nbins=256)
    middle = (255 * found[64:192, 64:192, 64:192]).astype(np.uint8)
    written = create_volume(target, shape=BLOCK, dtype=np.uint8, voxel_size_nm=NM, chunk_shape=BLOCK)
    written.write(written.box, middle)


def mask_cell(source: Volume, target: str) -> None:
    """Writes the mask of a cell, in one thread."""
    grid = coarsened(source, (8, 8, 8), labels=False)

    def make(name: str, dtype: npt.DTypeLike) -> Volume:
        place = {"voxel_size_nm": grid.voxel_size_nm, "offset_nm": grid.offset_nm, "chunk_shape": (16, 16, 16)}
        return create_volume(f"{target}/{name}", shape=grid.shape, dtype=dtype, **place)

    rule = CellRule(texture_nm=64.0, threshold=1.0, min_um3=None, max_hole_um3=None, margin_nm=0.0)
    write_cell_mask(source, make("mask", bool), make, rule=rule, job=BlockJob(Path(target, "job"), (64,) * 3, 1, {}))


STEPS: dict[str, Callable[[Volume, str], object]] = {
    "equalise": equalise,
    "resample 4 to 8 nm": lambda source, target: resample(source, target, voxel_size_nm=(8.0, 8.0, 8.0)),
    "resample 4 to 8 nm, labels": lambda source, target: resample(
        source, target, labels=True, voxel_size_nm=(8.0, 8.0, 8.0)
    ),
    "resample 4 to 2 nm along x": lambda source, target: resample(source, target, voxel_size_nm=(4.0, 4.0, 2.0)),
    "pyramid": lambda source, target: write_pyramid(source, labels=False, num_threads=1),
    "cell mask of 32 nm": mask_cell,
    "sample to match": lambda source, target: grey_counts(source, None),
}


# --- how ---


@contextmanager
def scratch() -> Iterator[str]:
    """Gives a folder that is gone afterwards."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def seconds(function: Callable[[], object]) -> dict[str, float]:
    """Returns how long a call takes, by the clock and by the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}


def race(rounds: int) -> Figures:
    """Returns the speed of both schemes, in turns."""
    shape = (256, 256, 512)
    found: list[Figures] = []
    with scratch() as folder:
        source = make_volume(f"{folder}/cell.zarr/raw", shape)
        for turn in range(rounds):
            targets = [f"{folder}/cell.zarr/{name}_{turn}" for name in ("ours", "theirs")]
            ours = seconds(lambda target=targets[0]: equalise(source, target))
            theirs = seconds(lambda target=targets[1]: equalise_as_the_original(source, target))
            rate = {name: source.box.num_voxels / 1e6 / took for name, took in ours.items()}
            original = {name: 128**3 / 1e6 / took for name, took in theirs.items()}
            found.append({"asem_jax": rate, "original": original})
            print(f"round {turn}: {found[-1]} Mvoxel/s", flush=True)
    clocks = ("wall_s", "processor_s")
    return {
        "shape": shape,
        "Mvoxel_per_s": {
            name: {clock: median(turn[name][clock] for turn in found) for clock in clocks}
            for name in ("asem_jax", "original")
        },
        "times_faster": {clock: median(t["asem_jax"][clock] / t["original"][clock] for t in found) for clock in clocks},
        "rounds": found,
    }


def run_step(step: str, address: str, folder: str) -> Figures:
    """Returns speed and peak memory of one step over one volume, in a process that does nothing else."""
    store.CACHE_BYTES = CACHE_BYTES
    source = open_volume(address)
    before = peak_mib()
    with scratch() as inside:
        took = seconds(lambda: STEPS[step](source, f"{inside}/cell.zarr/out"))
    return {
        "Mvoxel": source.box.num_voxels / 1e6,
        **took,
        "Mvoxel_per_s": source.box.num_voxels / 1e6 / took["processor_s"],
        "peak_MiB": peak_mib(),
        "before_MiB": before,
    }


def peak_mib() -> float:
    """Returns the most memory that this process had so far; what getrusage says begins with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def growing(sizes: Sequence[int]) -> dict[str, list[Figures]]:
    """Returns each step's figures over volumes of growing size."""
    found: dict[str, list[Figures]] = {step: [] for step in STEPS}
    with scratch() as folder, multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in sizes:
            address = f"{folder}/{size}.zarr/raw"
            make_volume(address, (256, 512, size))
            for step, figures in found.items():
                figures.append(pool.apply(run_step, (step, address, folder)))
                print(f"{step}: {figures[-1]}", flush=True)
    return found


# --- showing ---


def markdown(record: Figures) -> str:
    """Returns the tables of docs/preprocessing.md."""
    race = record["clahe"]
    rows = [
        [name, *(f"{race['Mvoxel_per_s'][key][clock]:.2f}" for clock in ("wall_s", "processor_s"))]
        for key, name in (("original", "the original's scheme"), ("asem_jax", "stage preprocess"))
    ]
    times = ["times faster", *(f"{race['times_faster'][clock]:.0f}" for clock in ("wall_s", "processor_s"))]
    sizes = [f"{figures['Mvoxel']:.0f} Mvoxel" for figures in record["steps"]["equalise"]]
    steps = [
        [step, *(f"{one['Mvoxel_per_s']:.0f} / {one['peak_MiB']:.0f}" for one in figures)]
        for step, figures in record["steps"].items()
    ]
    return "\n".join(
        [
            *table(["CLAHE, one thread, Mvoxel written per second", "wall clock", "processor"], [*rows, times]),
            "",
            *table(["Mvoxel of the source per second / peak MiB", *sizes], steps),
        ]
    )


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=(256, 1024, 2048))
    parser.add_argument("--output", type=Path, default=RECORD)
    parser.add_argument("--markdown", action="store_true")
    words = parser.parse_args()
    if words.markdown:
        print(markdown(json.loads(RECORD.read_text())))
        return
    record = {
        **circumstances("scikit-image"),
        "cache_MiB": CACHE_BYTES / 2**20,
        "clahe": race(words.rounds),
        "steps": growing(words.sizes),
    }
    save(words.output, record)
    print(markdown(record))


if __name__ == "__main__":
    main()
