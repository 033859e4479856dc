"""Giving one volume the grey values of another: a lookup table from two samples.

Two specimens differ in staining, microscope and contrast. If their tissue is alike, a voxel that is darker than 30 of
100 in the one stands for the same as a voxel that is darker than 30 of 100 in the other; the table says so for each
grey value. Laws that hold (and are tested):

* brighter never becomes darker;
* a volume matched to itself, or to itself brightened or stretched, becomes what it is matched to;
* voxels of 0 and 255 do not count and stay what they are: they are margins and saturation.

Where one volume holds much more resin than the other, give masks: otherwise resin is matched with tissue.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.grey_values import FEWEST_VOXELS, sample_blocks
from asem_jax.volumes.volume import Volume

BLOCKS_PER_AXIS = 8
"""Of the sample, each of up to 32 x 32 x 32 voxels: enough that single organelles do not show."""

INVERTED: npt.NDArray[np.uint8] = np.arange(255, -1, -1, dtype=np.uint8)
"""The table that turns the polarity round."""

Table = npt.NDArray[np.uint8]


def grey_counts(raw: Volume, mask: Volume | None) -> npt.NDArray[np.int64]:
    """Returns how often each grey value occurs in a sample of a volume, `[256]`; 0 for the values 0 and 255.

    Args:
      raw: uint8; up to 512 blocks of it are read, one at a time.
      mask: where it counts, on a grid of its own; None = everywhere.

    Raises:
      ValueError: fewer than `FEWEST_VOXELS` voxels count.
    """
    counts = np.zeros(256, np.int64)
    for values in _sample(raw, mask):
        counts += np.bincount(values, minlength=256)
    counts[[0, 255]] = 0
    if counts.sum() < FEWEST_VOXELS:
        raise ValueError(
            f"of a sample of {raw.address} only {counts.sum()} voxels are neither 0 nor 255"
            f"{'' if mask is None else f' and lie in {mask.address}'}, too few to match grey values; "
            "give a volume with tissue, and a mask that covers it."
        )
    return counts


def matching_table(counts: npt.NDArray[np.int64], reference: npt.NDArray[np.int64]) -> Table:
    """Returns the grey value of the reference that stands for each grey value, `[256]`, never falling.

    Args:
      counts: of the volume to be changed, `[256]`, some of 1 to 254 above 0.
      reference: of the volume that it shall look like, the same.

    Example:
      >>> counts = np.bincount([50, 60, 60, 70], minlength=256)
      >>> matching_table(counts, np.roll(counts, 30))[[50, 60, 70]].tolist()
      [80, 90, 100]
    """
    occurring = np.flatnonzero(reference)
    matched = np.interp(_ranks(counts), _ranks(reference)[occurring], occurring)
    matched[0], matched[255] = 0, 255
    return np.rint(matched).astype(np.uint8)


def read_mask(mask: Volume, raw: Volume, box: Box) -> npt.NDArray[np.bool_]:
    """Returns the mask at the voxels of a box of another grid: that of the nearest voxel, False outside the mask.

    Args:
      mask: non-zero = True.
      raw: whose voxels are asked for.
      box: of `raw`.
    """
    nearest, inside = [], []
    for axis in range(3):
        places = np.arange(box.start[axis], box.stop[axis]) * raw.voxel_size_nm[axis] + raw.offset_nm[axis]
        index = np.rint((places - mask.offset_nm[axis]) / mask.voxel_size_nm[axis]).astype(np.intp)
        nearest.append(np.clip(index, 0, mask.shape[axis] - 1))
        inside.append(index == nearest[-1])
    needed = Box(tuple(int(i.min()) for i in nearest), tuple(int(i.max()) + 1 for i in nearest))  # type: ignore[arg-type]
    block = mask.read(needed) != 0
    chosen = block[np.ix_(*(i - a for i, a in zip(nearest, needed.start, strict=True)))]
    z, y, x = inside
    covered: npt.NDArray[np.bool_] = chosen & z[:, None, None] & y[:, None] & x
    return covered


def _sample(raw: Volume, mask: Volume | None) -> Iterable[npt.NDArray[np.uint8]]:
    for box in sample_blocks(raw.box, BLOCKS_PER_AXIS):
        block = raw.read(box)
        yield block.ravel() if mask is None else block[read_mask(mask, raw, box)]


def _ranks(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns the share of voxels darker than each grey value, those of the value itself counted half."""
    return (np.cumsum(counts) - counts / 2) / counts.sum()
