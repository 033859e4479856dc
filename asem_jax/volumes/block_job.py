"""A job of several sweeps over the blocks of a volume, and the small arrays that its blocks leave for later sweeps.

Each sweep has a ledger in the job's folder, so a job that was killed goes on in the sweep and at the block where it
was. What a block leaves lies beside the ledgers, one .npz file per name; a file is there in whole or not at all.

The blocks of a sweep share nothing but files, so that workers in other processes may do them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.cluster import shared
from asem_jax.volumes.files import replaced
from asem_jax.volumes.geometry import Box, Int3, tiles
from asem_jax.volumes.ledger import Ledger


@dataclass(frozen=True)
class BlockJob:
    """How a volume is worked on, and where what survives a crash lies.

    Attributes:
      folder: for ledgers and kept arrays; of this job alone.
      block_shape: voxels in work at a time and thread, z y x; multiples of the chunks that are written.
      num_threads: blocks in work at a time.
      settings: everything that decides what the blocks hold, JSON values; a job with others is refused.
      workers: do the blocks of sweeps instead of threads of this process; they see the same folder.
    """

    folder: Path
    block_shape: Int3
    num_threads: int
    settings: Mapping[str, Any]
    workers: Workers | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the workers behind: a copy in one of them keeps and reads arrays, and begins no sweep."""
        return {**vars(self), "workers": None}

    def part(self, name: str, **settings: Any) -> "BlockJob":
        """Returns a job in a folder of its own below this one, with some settings more."""
        return replace(self, folder=self.folder / name, settings={**self.settings, **settings})

    def blocks(self, box: Box) -> list[tuple[int, Box]]:
        """Returns the blocks of `box`, z slowest, each with its index."""
        return list(enumerate(tiles(box, self.block_shape)))

    def sweep(self, function: Callable[[int, Box], object], box: Box, *, name: str, label: str) -> None:
        """Runs `function` on index and box of each block that this sweep has not finished yet.

        Args:
          function: does all of a block's work; what it wrote must have landed when it returns. For workers it is
            pickled once, with all it refers to: what it changes in memory is lost.
          box: what is covered, voxels.
          name: of the sweep; its ledger is `name`.jsonl in the job's folder.
          label: what is being done, for the progress display.
        """
        settings = {**self.settings, "block_shape": self.block_shape, "box": (box.start, box.stop)}
        ledger = Ledger(self.folder / f"{name}.jsonl", settings)
        with shared(partial(_call, function), self.folder, self.workers) as call:
            run_blocks(
                call,
                self.blocks(box),
                label=label,
                ledger=ledger,
                num_threads=self.num_threads,
                workers=self.workers,
            )

    def keep(self, name: str, **arrays: npt.NDArray[Any]) -> None:
        """Writes `arrays` under `name`; on disk in one step, so that a crash leaves no half of them."""

        def write(part: Path) -> None:
            with part.open("wb") as file:  # by its name NumPy would write another one
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

        replaced(self.folder / f"{name}.npz", write)

    def has(self, name: str) -> bool:
        """Says whether something was kept under `name`."""
        return (self.folder / f"{name}.npz").exists()

    def kept(self, name: str, *wanted: str) -> dict[str, npt.NDArray[Any]]:
        """Returns the arrays kept under `name`, or only those `wanted`."""
        with np.load(self.folder / f"{name}.npz") as arrays:
            return {key: arrays[key] for key in wanted or arrays.files}


def _call(function: Callable[[int, Box], object], block: tuple[int, Box]) -> object:
    return function(*block)
