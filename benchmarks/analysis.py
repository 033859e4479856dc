"""Times the measurement of objects and of contacts, and their memory, on volumes of growing size.

    python -m benchmarks.analysis [--blocks 2 4 8]

Each volume has 2 x 2 blocks of 128 x 128 x 128 voxels of 5 nm across y and x and some along z, full of balls; a
second one, one voxel aside, is what contacts are looked for with. Each is measured in a process of its own, with one
thread. Time is that of the processor. Peak memory is that of the process; `peak_MiB_before` is what Python, NumPy and
the open volumes need without any block. Two things that fill up to a bound, and would be taken for growth, are kept
small: the cache of what was read (32 MiB instead of 256), and the memory that glibc keeps for each thread (2 arenas).
Writes benchmarks/results/analysis.json.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time

import numpy as np

from asem_jax.measurement.contacts import measure_contacts
from asem_jax.measurement.morphometry import measure_objects
from asem_jax.volumes import store
from asem_jax.volumes.geometry import tiles
from asem_jax.volumes.volume import create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "analysis.json"
SIDE = 128


def make(folder: str, blocks: int) -> None:
    """Writes objects, the same one voxel aside, and grey values, `blocks` blocks along z and two along y and x."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.arange(SIDE),) * 3, indexing="ij")
    ball, number = np.zeros((SIDE,) * 3, np.uint32), 0
    for _ in range(60):
        centre, radius = rng.integers(0, SIDE, 3), rng.integers(10, 22)
        inside = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2
        if not ball[inside].any():
            number += 1
            ball[inside] = number
    raw = rng.integers(0, 256, ball.shape).astype(np.uint8)
    shape = (blocks * SIDE, 2 * SIDE, 2 * SIDE)
    sizes = {"shape": shape, "voxel_size_nm": (5.0, 5.0, 5.0), "chunk_shape": (64, 64, 64)}
    dtypes = {"objects": "uint32", "aside": "uint32", "raw": "uint8"}
    volumes = {name: create_volume(f"{folder}/a.zarr/{name}", dtype=dtype, **sizes) for name, dtype in dtypes.items()}
    for place, box in enumerate(tiles(volumes["raw"].box, (SIDE,) * 3)):
        ids = np.where(ball > 0, ball + np.uint32(place * number), 0).astype(np.uint32)
        for name, array in (("objects", ids), ("aside", np.roll(ids, 1, 2)), ("raw", raw)):
            volumes[name].write(box, array)


def measure(folder: str, what: str) -> dict[str, float]:
    """Returns speed and memory of measuring the volumes in `folder`: "objects" or "contacts"."""
    store.CACHE_BYTES = 32 * 2**20
    objects, aside, raw = (open_volume(f"{folder}/a.zarr/{name}") for name in ("objects", "aside", "raw"))
    settings = {"block_shape": (SIDE,) * 3, "num_threads": 1, "name": what}
    before, start = _peak(), time.process_time()
    if what == "objects":
        table = measure_objects(objects, raw=raw, **settings)
    else:
        table = measure_contacts(objects, aside, within_nm=20.0, **settings)
    seconds = time.process_time() - start
    voxels = objects.box.num_voxels
    return {
        "Mvoxel": round(voxels / 1e6, 1),
        "rows": len(next(iter(table.values()))),
        "Mvoxel_per_s": round(voxels / seconds / 1e6, 2),
        "peak_MiB_before": round(before, 1),
        "peak_MiB": round(_peak(), 1),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=(2, 4, 8), help="along z")
    words = parser.parse_args()
    os.environ["MALLOC_ARENA_MAX"] = "2"  # for the processes that are started
    found: dict[str, list[dict[str, float]]] = {"objects": [], "contacts": []}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for blocks in words.blocks:
            with tempfile.TemporaryDirectory() as folder:
                pool.apply(make, (folder, blocks))
                for what, rows in found.items():
                    rows.append(pool.apply(measure, (folder, what)))
                    print(what, rows[-1], flush=True)
    save(RECORD, {**circumstances(), "volumes": found})


if __name__ == "__main__":
    main()
