"""How grey values are distributed: five percentiles of a sample of a volume.

They tell, cheaply and before any work, whether a volume looks like what a model was trained on. Blocks are taken
evenly over a box, so the result is the same on every call. Voxels of 0 and 255 are left out: they are mostly the
margins that aligned stacks are filled up with, and saturation. Law (tested): inverting a volume mirrors its
percentiles.

What they cannot tell: in dense tissue dark and bright voxels are about as many, and after histogram equalisation
nearly always, so an inverted volume may have the same percentiles. A look at a section is surer.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Int3, int3
from asem_jax.volumes.volume import Volume

PERCENTS = (1, 25, 50, 75, 99)
BLOCKS_PER_AXIS = 3
BLOCK_SHAPE = (32, 32, 32)
FEWEST_VOXELS = 1000  # of a sample that says something

EQUALISED = "equalised"
"""The attribute of a volume that says whether it was equalised (CLAHE); without it that is not known."""

Percentiles = tuple[float, float, float, float, float]


def percentiles(blocks: Iterable[npt.NDArray[np.uint8]]) -> Percentiles | None:
    """Returns the grey values that 1, 25, 50, 75 and 99 percent of the voxels do not exceed.

    Args:
      blocks: uint8, any shapes; voxels of 0 and 255 do not count.

    Returns:
      Five grey values, rising; None where fewer than `FEWEST_VOXELS` voxels count.

    Example:
      >>> percentiles([np.full((10, 10, 10), 90, np.uint8), np.full((10, 10, 30), 150, np.uint8)])
      (90.0, 120.0, 150.0, 150.0, 150.0)
    """
    counts = np.zeros(256, np.int64)
    for block in blocks:
        counts += np.bincount(block.ravel(), minlength=256)
    counts[[0, 255]] = 0
    total = int(counts.sum())
    if total < FEWEST_VOXELS:
        return None
    ranks = np.cumsum(counts)
    wanted = [total * percent / 100 for percent in PERCENTS]
    # The middle of both answers where a percentage falls between two grey values, so that inversion mirrors it.
    sides = [np.searchsorted(ranks, wanted, side) for side in ("left", "right")]
    a, b, c, d, e = ((sides[0] + sides[1]) / 2).tolist()
    return a, b, c, d, e


def sample_percentiles(raw: Volume, box: Box) -> Percentiles | None:
    """Returns the percentiles of blocks that lie evenly in a box, see `percentiles`.

    Args:
      raw: uint8 grey values.
      box: voxels of `raw`; at most 27 blocks of 32 x 32 x 32 voxels of it are read.
    """
    return percentiles(raw.read(block) for block in sample_blocks(box))


def sample_blocks(box: Box, per_axis: int = BLOCKS_PER_AXIS) -> list[Box]:
    """Returns blocks of at most 32 voxels a side, evenly spaced in `box` from its first to its last voxel.

    Args:
      box: where they lie.
      per_axis: most blocks along each axis, at least 2.

    Example:
      >>> [block.start for block in sample_blocks(Box((0, 0, 0), (20, 20, 132)))]
      [(0, 0, 0), (0, 0, 50), (0, 0, 100)]
    """
    shape = int3([min(n, m) for n, m in zip(box.shape, BLOCK_SHAPE, strict=True)], "shape")
    rooms = zip(box.start, box.shape, shape, strict=True)
    starts = [sorted({a + (n - m) * k // (per_axis - 1) for k in range(per_axis)}) for a, n, m in rooms]
    return [Box.of_shape(shape, start) for start in _all(starts)]


def _all(starts: list[list[int]]) -> list[Int3]:
    return [int3(start, "start") for start in product(*starts)]


def all_equalised(volumes: Iterable[Volume]) -> bool | None:
    """Returns what the attributes of volumes say of equalisation, if they agree; None = not known."""
    said = {volume.attributes.get(EQUALISED) for volume in volumes}
    return said.pop() if len(said) == 1 else None


def inverted(values: Percentiles) -> Percentiles:
    """Returns the percentiles of the inverted volume.

    Example:
      >>> inverted((10.0, 100.0, 150.0, 170.0, 200.0))
      (55.0, 85.0, 105.0, 155.0, 245.0)
    """
    a, b, c, d, e = (255 - value for value in values)
    return e, d, c, b, a
