"""Masks on a grid of their own: of any voxel size, placed over another volume through nanometres.

Law (tested): a voxel is True where the mask's voxel that holds its centre is not 0; beyond the mask none is.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Float3, int3
from asem_jax.volumes.volume import Volume

_NEARLY = 1e-6  # of a voxel: centres that lie on a border between two by rounding alone belong to the latter


def read_mask(mask: Volume, box: Box, voxel_size_nm: Float3, offset_nm: Float3) -> npt.NDArray[np.bool_]:
    """Returns the mask at the voxels of another grid, bool `[z, y, x]`.

    Args:
      mask: nonzero = True.
      box: voxels of that grid.
      voxel_size_nm: of that grid.
      offset_nm: centre of that grid's first voxel.
    """
    wanted = np.zeros(box.shape, bool)
    covered = mask_box(mask, box, voxel_size_nm, offset_nm)
    if covered.num_voxels == 0:
        return wanted
    there, inside = mask.read(covered) != 0, []
    for axis in range(3):
        voxels = _mask_voxels(mask, np.arange(box.start[axis], box.stop[axis]), axis, voxel_size_nm, offset_nm)
        known = (voxels >= covered.start[axis]) & (voxels < covered.stop[axis])
        there = there.take(voxels[known] - covered.start[axis], axis=axis)
        inside.append(np.flatnonzero(known))
    wanted[np.ix_(*inside)] = there
    return wanted


def mask_box(mask: Volume, box: Box, voxel_size_nm: Float3, offset_nm: Float3) -> Box:
    """Returns the voxels of the mask that hold centres of `box`, voxels of another grid, see `read_mask`."""
    ends: Sequence[list[int]] = ([], [])
    for axis in range(3):
        outermost = np.array([box.start[axis], box.stop[axis] - 1])
        first, last = _mask_voxels(mask, outermost, axis, voxel_size_nm, offset_nm)
        ends[0].append(int(first))
        ends[1].append(int(last) + 1)
    return Box(int3(ends[0], "start"), int3(ends[1], "stop")).intersect(mask.box)


def _mask_voxels(
    mask: Volume, voxels: npt.NDArray[np.integer], axis: int, voxel_size_nm: Float3, offset_nm: Float3
) -> npt.NDArray[np.integer]:
    """Returns which voxel of the mask holds the centre of each voxel of the other grid, along one axis."""
    centres = offset_nm[axis] + voxels * voxel_size_nm[axis] - mask.offset_nm[axis]
    return np.floor(centres / mask.voxel_size_nm[axis] + 0.5 + _NEARLY).astype(np.int64)
