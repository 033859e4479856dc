"""Times stage convert and takes its peak memory, for two sizes of volume.

    python -m benchmarks.conversion [--quick] [--rounds 3] [--arenas 2] [--cache 64]

Each conversion runs in a process of its own, which has made nothing before; the source is written by another. Peak
memory (ru_maxrss) minus that of a process that imported the same and converted a tiny volume is what the conversion
needs: it should be the same for both sizes. Voxels are uint8, smooth with noise, so they compress about as raw does.
Sizes and ways take turns for several rounds; what is said is the median over them. Files are read from the page cache.
The cache of decoded chunks is set to 64 MiB (256 MiB otherwise), less than the smaller volume, so that memory that
grows with the volume would show. glibc gives threads memory of their own (arenas) and gets it back in pieces; here it
has two for all (`--arenas`, 0 = as many as it likes).
Writes benchmarks/results/conversion.json; `--quick`, small volumes and one round, checks the script and writes nothing.
Memory also grows until the cache of decoded chunks is full (`store.CACHE_BYTES`); `--depths` and `--cache` show that:

    python -m benchmarks.conversion --depths 256 768 1536 3072 --cache 256 64

converts TIFF sections of 512 x 512 pixels, and writes benchmarks/results/conversion_cache.json.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mrcfile
import numpy as np
from ml_collections import ConfigDict

from asem_jax.stages import convert
from asem_jax.volumes import store
from asem_jax.volumes.exports import write_export
from asem_jax.volumes.geometry import tiles
from asem_jax.volumes.hdf5 import write_hdf5
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.tiff import write_sections
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "conversion.json"
SHAPES = ((256, 1024, 1024), (768, 1024, 1024))
QUICK = ((32, 128, 128), (64, 128, 128))
NUM_THREADS = 2
CHUNK = (64, 64, 64)

ZARR = "source.zarr/raw"
# What is read and what is written, in the folder of a volume; exports are those that are not written to target.zarr.
WAYS: dict[str, tuple[str, str]] = {
    "TIFF sections -> OME-Zarr": ("sections/", "target.zarr/raw"),
    "HDF5 -> OME-Zarr": ("source.h5/raw", "target.zarr/raw"),
    "N5 -> OME-Zarr": ("source.n5/raw", "target.zarr/raw"),
    "MRC -> OME-Zarr": ("source.mrc", "target.zarr/raw"),
    "precomputed -> OME-Zarr": ("source.precomputed/raw", "target.zarr/raw"),
    "OME-Zarr -> N5": (ZARR, "target.n5/raw"),
    "OME-Zarr -> HDF5": (ZARR, "target.h5/raw"),
    "OME-Zarr -> TIFF sections": (ZARR, "target/"),
    "OME-Zarr -> precomputed": (ZARR, "target.precomputed/raw"),
}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="check the script with small volumes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arenas", type=int, default=2, help="of malloc, for all threads")
    parser.add_argument("--depths", nargs="+", type=int, help="sections of 512 x 512 pixels; memory alone is recorded")
    parser.add_argument(
        "--cache", nargs="+", type=int, default=(64,), help="MiB of decoded chunks; several with --depths"
    )
    words = parser.parse_args()
    if words.depths:
        show_cache(words)
        return
    shapes = QUICK if words.quick else SHAPES
    with tempfile.TemporaryDirectory() as folder:
        for number, shape in enumerate(shapes):
            in_child(write_sources, Path(folder) / str(number), shape)
        in_child(write_sources, Path(folder) / "tiny", (8, 64, 64))
        os.environ["GLIBC_TUNABLES"] = f"glibc.malloc.arena_max={words.arenas}"  # 0 means no limit
        found = measure(shapes, Path(folder), 1 if words.quick else words.rounds, words.cache[0] * 2**20)
    record = {
        **circumstances("mrcfile", "h5py", "tifffile"),
        "ways": found,
        "malloc_arenas": words.arenas,
        "cache_MiB": words.cache[0],
        "chunk": CHUNK,
        "num_threads": NUM_THREADS,
    }
    if not words.quick:
        save(RECORD, record)


def show_cache(words: argparse.Namespace) -> None:
    """Converts TIFF stacks of several depths with caches of several sizes, and records the peaks."""
    way, rows = "TIFF sections -> OME-Zarr", []
    os.environ["GLIBC_TUNABLES"] = f"glibc.malloc.arena_max={words.arenas}"
    with tempfile.TemporaryDirectory() as folder:
        for depth in words.depths:
            source = Path(folder) / str(depth)
            in_child(write_sources, source, (depth, 512, 512))
            for cache in words.cache:
                once = in_child(run, source, way, cache * 2**20)
                rows.append({"depth": depth, "cache_MiB": cache, "MB": once["MB"], "peak_MiB": once["peak_MiB"]})
                print(rows[-1], flush=True)
            shutil.rmtree(source)
    record = {**circumstances("tifffile"), "way": way, "num_threads": NUM_THREADS, "rows": rows}
    save(RECORD.with_name("conversion_cache.json"), record)


def measure(shapes: tuple[tuple[int, int, int], ...], folder: Path, rounds: int, cache_bytes: int) -> dict[str, Any]:
    """Returns megabytes, seconds and memory of each way and shape; the medians, and all rounds."""
    found: dict[str, Any] = {way: {"x".join(map(str, shape)): [] for shape in shapes} for way in WAYS}
    for _ in range(rounds):
        for way, by_shape in found.items():
            tiny = in_child(run, folder / "tiny", way, cache_bytes)["peak_MiB"]
            for number, rounds_of_shape in enumerate(by_shape.values()):
                once = in_child(run, folder / str(number), way, cache_bytes)
                rounds_of_shape.append({**once, "above_tiny_MiB": round(once["peak_MiB"] - tiny, 1)})
                print(way, shapes[number], rounds_of_shape[-1], flush=True)
    return {way: {shape: of_rounds(all_of) for shape, all_of in by.items()} for way, by in found.items()}


def of_rounds(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Returns the median of each number, and all rounds."""
    return {**{name: round(median(once[name] for once in rounds), 1) for name in rounds[0]}, "rounds": rounds}


def in_child(function: Callable[..., Any], *words: Any) -> Any:
    """Returns what `function` returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, words)


def write_sources(folder: Path, shape: tuple[int, int, int]) -> None:
    """Writes the same volume in each format that is read."""
    volume = create_volume(
        folder / "source.zarr/raw", shape=shape, dtype=np.uint8, voxel_size_nm=(8.0, 4.0, 4.0), chunk_shape=CHUNK
    )
    rng = np.random.default_rng(0)
    y, x = np.indices(shape[1:])
    noise = rng.normal(0, 6, (min(CHUNK[0], shape[0]), *shape[1:])).astype(np.float32)  # the same in each slab
    for slab in tiles(volume.box, (CHUNK[0], *shape[1:])):
        z = np.arange(slab.start[0], slab.stop[0])[:, None, None]
        smooth = 128 + 60 * np.sin(z / 9) * np.sin(y / 11) * np.sin(x / 13)
        volume.write(slab, np.clip(smooth + noise, 0, 255).astype(np.uint8))
    write_sections(volume, folder / "sections")
    write_hdf5(volume, folder / "source.h5/raw")
    with mrcfile.new_mmap(folder / "source.mrc", shape, mrc_mode=6) as file:  # 6 = uint16
        file.voxel_size = (40.0, 40.0, 80.0)  # Angstrom, x y z
        for slab in tiles(volume.box, (CHUNK[0], *shape[1:])):
            file.data[slab.slices] = volume.read(slab)
    for name in ("source.n5", "source.precomputed"):
        ledger = Ledger(folder / f"{name}.jsonl", {})
        write_export(volume, f"{folder}/{name}/raw", labels=False, ledger=ledger, num_threads=NUM_THREADS)


def run(folder: Path, way: str, cache_bytes: int) -> dict[str, float]:
    """Converts in one way; returns seconds, megabytes per second and the peak memory of this process."""
    store.CACHE_BYTES = cache_bytes
    workdir = folder / "run"
    start = time.perf_counter()
    convert.run(config(way, folder), workdir)
    seconds = time.perf_counter() - start
    volume: Volume = open_volume(folder / "source.zarr/raw")
    for path in (*folder.glob("target*"), workdir):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "MB": round(volume.box.num_voxels / 1e6, 1),
        "seconds": round(seconds, 2),
        "MB_per_s": round(volume.box.num_voxels / 1e6 / seconds, 1),
        "peak_MiB": round(peak, 1),
    }


def config(way: str, folder: Path) -> ConfigDict:
    """Returns the settings of stage convert for one way."""
    source, target = (f"{folder}/{name}" for name in WAYS[way])
    entry = {
        "source": source,
        "target": target,
        "part": None,
        "labels": False,
        "annotation": None,
        "voxel_size_nm": (8.0, 4.0, 4.0),
        "offset_nm": (0.0, 0.0, 0.0),
        "percentiles": None,
        # MRC has no uint8 without a sign that all programs agree on.
        "window": (0.0, 255.0) if source.endswith(".mrc") else None,
        "invert": False,
        "polarity": None,
        "allow_gaps": False,
        "chunk_shape": CHUNK,
        "shard_shape": None,
        "zarr_format": 2,
    }
    out = {"source": source, "target": target, "labels": False}
    volumes, exports = ({"in": entry}, {}) if way.endswith("OME-Zarr") else ({}, {"out": out})
    speed = {"num_threads": NUM_THREADS, "retries": 0, "cluster": None}
    return ConfigDict({"volumes": volumes, "exports": exports, **speed})


if __name__ == "__main__":
    main()
