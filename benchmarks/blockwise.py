"""What a block costs beyond its own work: run_blocks and its ledger with a function that does nothing.

    python -m benchmarks.blockwise [--blocks 1000000] [--repeats 3]

Counts CPU seconds of this process per block for growing numbers of blocks, the median over repeats that take turns, the
memory that is added, the writes to disk, and the seconds to open the finished ledger. Beside it stands a mark that is
on disk before the next block begins, as ledgers were written before marks shared their writes. Wall time is given too,
and says less on a busy machine. Writes benchmarks/results/blockwise.json.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from asem_jax.volumes import ledger as ledger_module
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.ledger import Ledger
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "blockwise.json"
SIDE = 64  # voxels per block and axis


def identity(block: Box) -> Box:
    """Returns its argument: what stands in place of the network."""
    return block


def measure(num_blocks: int) -> dict[str, float]:
    """Runs `num_blocks` empty blocks through a ledger, and opens it again."""
    side = max(n for n in range(1, 101) if num_blocks % (n * n) == 0)
    blocks = tiles(Box.of_shape((SIDE * side, SIDE * side, SIDE * num_blocks // side**2)), (SIDE,) * 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        syncs, fsync = [0], os.fsync

        def counted(file: int) -> None:
            syncs[0] += 1
            fsync(file)

        os.fsync = counted
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        run_blocks(identity, blocks, label="nothing", ledger=Ledger(path, {}), num_threads=2)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        os.fsync = fsync
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        opening, opening_cpu = time.perf_counter(), time.process_time()
        assert len(Ledger(path, {}).finished) == len(blocks) == num_blocks
        opening, opening_cpu = time.perf_counter() - opening, time.process_time() - opening_cpu
        return {
            "cpu_us_per_block": 1e6 * cpu / num_blocks,
            "wall_us_per_block": 1e6 * wall / num_blocks,
            "writes_to_disk": syncs[0],
            "added_MiB": memory / 1024,
            "open_cpu_s": opening_cpu,
            "open_wall_s": opening,
            "file_MB": path.stat().st_size / 1e6,
        }


def single_marks(number: int) -> dict[str, float]:
    """Returns microseconds per mark where each waits for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl", {})
        wall, cpu = time.perf_counter(), time.process_time()
        for index in range(number):
            ledger.mark(index)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"cpu_us_per_mark": 1e6 * cpu / number, "wall_us_per_mark": 1e6 * wall / number}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each value over runs."""
    return {name: float(f"{statistics.median(run[name] for run in runs):.3g}") for name in runs[0]}


def main() -> None:
    """Measures, prints a table, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10**6, help="the largest number")
    parser.add_argument("--repeats", type=int, default=3, help="of all but the largest number, which runs once")
    options = parser.parse_args()
    numbers = [n for n in (options.blocks // 1000, options.blocks // 100, options.blocks // 10) if n >= 100]
    runs: dict[int, list[dict[str, float]]] = {number: [] for number in numbers}
    for _ in range(options.repeats):
        for number in numbers:
            runs[number].append(measure(number))
    runs[options.blocks] = [measure(options.blocks)]
    table: dict[str, Any] = {str(number): medians(found) for number, found in runs.items()}
    for number, row in table.items():
        print(f"{number:>9} blocks: " + ", ".join(f"{name} {value:g}" for name, value in row.items()))
    record = {
        **circumstances(),
        "commit_seconds": ledger_module.COMMIT_SECONDS,
        "blocks": table,
        "one_write_per_mark": medians([single_marks(1000) for _ in range(options.repeats)]),
    }
    print("one write per mark:", record["one_write_per_mark"])
    save(RECORD, record)


if __name__ == "__main__":
    main()
