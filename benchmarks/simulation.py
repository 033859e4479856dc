"""Times the simulator on one core, and its memory for two volumes, one eight times the other.

    python -m benchmarks.simulation [--configs configs/simulate_cf.py ...] [--voxel 5] [--block 128]

Each volume is made block by block in a process of its own, and nothing is kept. Time is that of the processor, so a
busy machine matters less; it still matters, as memory is shared. What a first block costs more than others (where
organelles are is worked out around it, and remembered) is counted. Volumes of whole cells begin at the middle of the
first cell, so that they hold nucleus, cytoplasm and more. Writes benchmarks/results/simulation.json.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import resource
import runpy
import time
from pathlib import Path

import numpy as np

from asem_jax.simulation import Cell, Microscope, Preparation, WholeCell, simulate_block
from asem_jax.volumes.geometry import Box, tiles

RESULTS = Path(__file__).parent / "results" / "simulation.json"
CONFIGS = ("configs/simulate_cf.py", "configs/simulate_hpf.py", "configs/simulate_cell.py")
# Blocks per axis of the two volumes.
SMALL, LARGE = 1, 2


def cell_of(path: str, voxel_nm: float) -> Cell:
    """Returns the cell that a config describes, at a voxel size."""
    config = runpy.run_path(path)["get_config"]()
    config = config if "cell" in config else config.simulate
    return Cell(
        seed=config.seed,
        voxel_size_nm=(voxel_nm,) * 3,
        microscope=Microscope(**config.microscope),
        preparation=Preparation(**config.preparation),
        whole=None if config.whole_cell is None else WholeCell(**config.whole_cell),
        **config.cell,
    )


def measure(path: str, voxel_nm: float, block: int, blocks: int) -> dict[str, float]:
    """Returns speed and peak memory of a cube of `blocks` blocks per axis."""
    cell = cell_of(path, voxel_nm)
    centre = 0.0 if cell.whole is None else cell.whole.pitch_nm / 2
    box = Box.of_shape((block * blocks,) * 3, (int(centre / voxel_nm),) * 3)
    start = time.process_time()
    for tile in tiles(box, (block,) * 3):
        simulate_block(cell, tile)
    seconds = time.process_time() - start
    return {
        "voxels": box.num_voxels,
        "Mvoxel_per_s": round(box.num_voxels / seconds / 1e6, 2),
        "peak_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--voxel", type=float, default=5.0)
    parser.add_argument("--block", type=int, default=128)
    words = parser.parse_args()
    volumes = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for path in words.configs:
            tried = [(path, words.voxel, words.block, blocks) for blocks in (SMALL, LARGE)]
            volumes[path] = [pool.apply(measure, one) for one in tried]
            print(path, *volumes[path])
    record = {
        "voxel_nm": words.voxel,
        "block": words.block,
        "volumes": volumes,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "numpy": np.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
