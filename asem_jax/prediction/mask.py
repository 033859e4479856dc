"""Where a prediction is wanted: a mask of any voxel size, placed over raw through nanometres.

A voxel of the result is wanted where the mask's voxel that holds its centre is not 0; beyond the mask nothing is. A
block without a wanted voxel is not predicted. Law (tested): a masked prediction is the unmasked one, 0 elsewhere.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from asem_jax.prediction.planner import Plan
from asem_jax.volumes.geometry import Box, Float3, int3
from asem_jax.volumes.volume import Volume

_NEARLY = 1e-6  # of a voxel: centres that lie on a border between two by rounding alone belong to the latter


def wanted_blocks(mask: Volume, plan: Plan, raw: Volume) -> list[Box]:
    """Returns the write boxes of a sweep that hold a wanted voxel, in the plan's order.

    Reads the mask in rows of blocks, so memory grows with the mask's extent in x alone.

    Args:
      mask: nonzero = wanted.
      plan: the sweep; of several, the one with the smallest voxels.
      raw: what the plan counts voxels of.
    """
    size, offset = plan.result_place(raw.voxel_size_nm, raw.offset_nm)
    found: list[Box] = []
    for _, blocks in groupby(plan.write_boxes, key=lambda box: (box.start[:2], box.stop[:2])):
        row = list(blocks)
        covered = _mask_box(mask, plan.result_box(Box(row[0].start, row[-1].stop)), size, offset)
        if covered.num_voxels == 0:
            continue
        line = (mask.read(covered) != 0).any(axis=(0, 1))
        for box in row:
            part = _mask_box(mask, plan.result_box(box), size, offset).shift([-a for a in covered.start])
            if part.num_voxels and line[part.slices[2]].any():
                found.append(box)
    return found


def read_mask(mask: Volume, box: Box, voxel_size_nm: Float3, offset_nm: Float3) -> npt.NDArray[np.bool_]:
    """Returns which voxels of a result are wanted, bool `[z, y, x]`.

    Args:
      mask: nonzero = wanted.
      box: voxels of the result.
      voxel_size_nm: of the result.
      offset_nm: centre of the result's first voxel.
    """
    wanted = np.zeros(box.shape, bool)
    covered = _mask_box(mask, box, voxel_size_nm, offset_nm)
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


def _mask_box(mask: Volume, box: Box, voxel_size_nm: Float3, offset_nm: Float3) -> Box:
    """Returns the voxels of the mask that hold centres of `box`, voxels of the result."""
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
    """Returns which voxel of the mask holds the centre of each voxel of the result, along one axis."""
    centres = offset_nm[axis] + voxels * voxel_size_nm[axis] - mask.offset_nm[axis]
    return np.floor(centres / mask.voxel_size_nm[axis] + 0.5 + _NEARLY).astype(np.int64)
