"""Times the simulator on one core over a slab of many blocks, and its memory for the slab and for its first block.

    python -m benchmarks.simulation [--configs configs/simulate_cf.py ...] [--voxel 5] [--block 256] [--blocks 2 3 3]

Each slab is made block by block in a process of its own, and nothing is kept. Time is that of the processor, so a
busy machine matters less; it still matters, as memory and, often, cores are shared. So the slabs take turns for several
rounds, and what is said of each is the median over them; all rounds are in the record. The first block costs more than
others (where organelles are is worked out around it, and remembered): its time stands beside the speed over the whole
slab, in which it is counted, and the speed over the other blocks. Slabs of whole cells begin at the middle of the first
cell, so that they hold nucleus, cytoplasm and more. Writes benchmarks/results/simulation.json.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from asem_jax.simulation import simulate_block
from asem_jax.volumes.geometry import Box, tiles
from benchmarks.records import RESULTS, circumstances, save
from benchmarks.simulation_baselines import cell_of, settings_of

RECORD = RESULTS / "simulation.json"
CONFIGS = ("configs/simulate_cf.py", "configs/simulate_hpf.py", "configs/simulate_cell.py")


def measure(path: str, voxel_nm: float, block: int, blocks: tuple[int, int, int]) -> dict[str, float | list[float]]:
    """Returns speed and peak memory of a slab of `blocks` blocks along each axis, and of its first block."""
    settings = settings_of(Path(path).stem)
    cell = cell_of(settings, settings["seed"], voxel_nm)
    centre = 0.0 if cell.whole is None else cell.whole.pitch_nm / 2
    box = Box.of_shape([block * n for n in blocks], (int(centre / voxel_nm),) * 3)
    seconds, peaks = [], []
    for tile in tiles(box, (block,) * 3):
        start = time.process_time()
        simulate_block(cell, tile)
        seconds.append(time.process_time() - start)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    others = (len(seconds) - 1) * block**3 / max(sum(seconds[1:]), 1e-9)
    return {
        "voxels": box.num_voxels,
        "Mvoxel_per_s": round(box.num_voxels / sum(seconds) / 1e6, 2),
        "Mvoxel_per_s_without_first_block": round(others / 1e6, 2),
        "first_block_s": round(seconds[0], 2),
        "later_block_s": [round(min(seconds[1:], default=0.0), 2), round(max(seconds[1:], default=0.0), 2)],
        "peak_MiB_first_block": round(peaks[0], 1),
        "peak_MiB": round(peaks[-1], 1),
    }


def of_rounds(rounds: Sequence[dict[str, float | list[float]]]) -> dict[str, Any]:
    """Returns the medians of the numbers that `measure` gave for one slab, and all of them."""
    numbers = [name for name, value in rounds[0].items() if not isinstance(value, list)]
    return {**{name: round(median(found[name] for found in rounds), 2) for name in numbers}, "rounds": list(rounds)}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--voxel", type=float, default=5.0)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--blocks", type=int, nargs=3, default=(2, 3, 3), help="along z, y and x")
    parser.add_argument("--rounds", type=int, default=3)
    words = parser.parse_args()
    found: dict[str, list[dict[str, float | list[float]]]] = {path: [] for path in words.configs}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(words.rounds):
            for path, rounds in found.items():
                rounds.append(pool.apply(measure, (path, words.voxel, words.block, tuple(words.blocks))))
                print(path, rounds[-1], flush=True)
    record = {
        **circumstances(),
        "voxel_nm": words.voxel,
        "block": words.block,
        "blocks": list(words.blocks),
        "slabs": {path: of_rounds(rounds) for path, rounds in found.items()},
    }
    save(RECORD, record)


if __name__ == "__main__":
    main()
