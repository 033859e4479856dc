"""Grey values: which range of them carries the picture, and that range as uint8.

Laws that hold (and are tested): grey values never wrap (what lies outside the range becomes 0 or 255),
brighter never becomes darker, and the range of a volume read in pieces is that of the whole.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

NUM_BINS = 65536
"""Of the histogram: one per value for 8 and 16 bits, fine steps between minimum and maximum otherwise."""

Block = npt.NDArray[Any]


def grey_range(blocks: Callable[[], Iterable[Block]], percentiles: Sequence[float]) -> tuple[float, float]:
    """Returns the grey values at two percentiles of everything that the blocks hold.

    One pass over the blocks for integers of 8 or 16 bits, exact; two for others, exact to a 65535th of their
    range. Values that are not finite are left out.

    Args:
      blocks: called for each pass; returns the pieces of the volume, arrays of one dtype and any shape.
      percentiles: lower and upper, 0 <= lower < upper <= 100.

    Raises:
      ValueError: the percentiles are out of order, or the volume is constant or has no finite value.

    Example:
      >>> grey_range(lambda: [np.arange(101, dtype=np.uint16)], (1, 90))
      (1.0, 90.0)
    """
    lower, upper = percentiles
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles={tuple(percentiles)} are not 0 <= lower < upper <= 100; e.g. (0.5, 99.5).")
    first, step = _bins(blocks)
    counts = np.zeros(NUM_BINS, np.int64)
    for block in blocks():
        values = block[np.isfinite(block)] if np.issubdtype(block.dtype, np.floating) else block.ravel()
        index = np.rint((values.astype(np.float64) - first) / step).astype(np.int64)
        counts += np.bincount(index, minlength=NUM_BINS)
    ranks = np.cumsum(counts)
    low, high = (first + step * _bin_at(ranks, percentile) for percentile in (lower, upper))
    if high <= low:
        raise ValueError(
            f"the percentiles {tuple(percentiles)} of the volume are both {low:g}, so it has no contrast; "
            "check the source, or give percentiles further apart."
        )
    return float(low), float(high)


def to_uint8(array: Block, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Returns grey values scaled so that `low` becomes 0 and `high` 255, clipped outside, rounded.

    Args:
      array: any shape, any real dtype; what is not a number becomes 0.
      low: grey value that becomes 0.
      high: grey value that becomes 255, above `low`.

    Raises:
      ValueError: `high` is not above `low`.

    Example:
      >>> to_uint8(np.array([0, 100, 200, 65535], np.uint16), 100, 300).tolist()
      [0, 0, 128, 255]
    """
    if not high > low:
        raise ValueError(f"low={low:g}, high={high:g}: give a range with high above low.")
    scaled = array.astype(np.float32)
    scaled -= np.float32(low)
    scaled *= np.float32(255 / (high - low))
    np.clip(scaled, 0, 255, out=scaled)
    if np.issubdtype(array.dtype, np.floating):
        np.nan_to_num(scaled, copy=False)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _bins(blocks: Callable[[], Iterable[Block]]) -> tuple[float, float]:
    """Returns the value of the first bin and the step between bins."""
    low, high = np.inf, -np.inf
    for block in blocks():
        if block.dtype.kind in "iu" and block.dtype.itemsize <= 2:
            return float(np.iinfo(block.dtype).min), 1.0
        values = block[np.isfinite(block)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not low <= high:
        raise ValueError(f"the volume has no finite grey value (lowest {low}, highest {high}); check the source.")
    return low, (high - low) / (NUM_BINS - 1) or 1.0


def _bin_at(ranks: npt.NDArray[np.int64], percentile: float) -> int:
    """Returns the first bin up to which `percentile` percent of all values lie; 0 is the lowest of all."""
    wanted = max(1, int(np.ceil(percentile / 100 * ranks[-1])))
    return int(np.searchsorted(ranks, wanted))
