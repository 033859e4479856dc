"""How far a score would move on other parts of the same volume: bootstrap over the blocks of a region.

Voxels of one organelle are right or wrong together, so single voxels say too much; blocks larger than an organelle say
about what they should. A resample takes each block a number of times, drawn from a Poisson distribution with mean 1
(the Poisson bootstrap): the number depends on nothing but the seed, the region and the block. So a resample's counts
are summed while blocks are read, and:

* memory is that of the resamples' counts, however large the region is;
* the result does not depend on the blocks in which a volume is read, nor on their order;
* two predictions of one region are resampled alike, so their difference has an interval of its own.

What intervals do not say: how a model does on another cell, or what an annotator's choices are worth. For that there is
the spread over regions.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval; Chamandy et al., Estimating
Uncertainty for Massive Data Streams (2012), Poisson weights.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Int3, int3, tiles

MIN_CELLS = 10  # with fewer, a resample is often a few of the same blocks, and an interval a guess
LEVEL = 0.95  # of the intervals

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Resampling:
    """Into which cells a region is cut, and how they are drawn.

    Attributes:
      num_samples: resamples; 0 = no intervals.
      seed: of the draw.
      cell_shape: what is drawn at a time, voxels z y x, counted from the first voxel of a region.
    """

    num_samples: int
    seed: int
    cell_shape: Int3

    def __post_init__(self) -> None:
        if self.num_samples < 0 or self.seed < 0 or min(int3(self.cell_shape, "cell_shape")) < 1:
            raise ValueError(
                f"bootstrap_samples={self.num_samples}, bootstrap_seed={self.seed}, "
                f"bootstrap_cell_shape={self.cell_shape}: give 0 or more samples and seed, and sides >= 1."
            )

    def weights(self, region: str, cell: Int3) -> Numbers:
        """Returns how often each resample takes a cell: int64 [samples].

        Args:
          region: its name.
          cell: which one, from (0, 0, 0) at the first voxel of the region.
        """
        # The lowest word of the counter runs while numbers are drawn; the others say which cell this is.
        key = np.array([self.seed, zlib.crc32(region.encode())], np.uint64)
        stream = np.random.Philox(key=key, counter=np.array([0, *cell], np.uint64))
        return np.random.Generator(stream).poisson(1.0, self.num_samples)

    def cells(self, region: Box, block: Box) -> Iterator[tuple[Int3, Box]]:
        """Yields the cells that a block meets, with the part of the block in each.

        Args:
          region: whose cells are counted.
          block: inside the region, the same voxels.
        """
        place = block.shift([-a for a in region.start])
        first = [a // s for a, s in zip(place.start, self.cell_shape, strict=True)]
        last = [(b - 1) // s + 1 for b, s in zip(place.stop, self.cell_shape, strict=True)]
        for unit in tiles(Box(int3(first, "first"), int3(last, "last")), (1, 1, 1)):
            corner = [c * s + a for c, s, a in zip(unit.start, self.cell_shape, region.start, strict=True)]
            yield unit.start, Box.of_shape(self.cell_shape, corner).intersect(block)

    def num_cells(self, region: Box) -> int:
        """Returns how many cells a region has; the last of an axis may be cut."""
        sides = [-(-n // s) for n, s in zip(region.shape, self.cell_shape, strict=True)]
        return sides[0] * sides[1] * sides[2]


def interval(values: Sequence[float], num_cells: int) -> tuple[float, float] | None:
    """Returns the range of a score over resamples, without 2.5 % at either end.

    Args:
      values: the score of each resample; NaN, of resamples where it is 0/0, is left out.
      num_cells: of how many cells the resamples are drawn.

    Returns:
      Low and high end; None with fewer than `MIN_CELLS` cells, or if the score is unknown in more than half.

    Example:
      >>> interval([0.5] * 40, 12), interval([0.5] * 40, 3)
      ((0.5, 0.5), None)
    """
    known = [value for value in values if value == value]
    if num_cells < MIN_CELLS or 2 * len(known) <= len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Returns how a score differs between regions, as JSON.

    Args:
      values: one per region; NaN, where the score is 0/0, is left out.

    Returns:
      "regions" (how many are known), "mean", "sd" (sample standard deviation), "min" and "max"; None where too few are
      known.

    Example:
      >>> spread([0.5, 0.7, float("nan")])["regions"]
      2
    """
    known = np.array([value for value in values if value == value])
    if not known.size:
        return {"regions": 0, "mean": None, "sd": None, "min": None, "max": None}
    return {
        "regions": known.size,
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if known.size > 1 else None,
        "min": float(known.min()),
        "max": float(known.max()),
    }
