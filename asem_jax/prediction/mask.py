"""Where a prediction is wanted: a mask of any voxel size, placed over raw through nanometres.

A voxel of the result is wanted where the mask says so (see `volumes.mask`). A block without a wanted voxel is not
predicted. Law (tested): a masked prediction is the unmasked one, 0 elsewhere.
"""

from itertools import groupby

from asem_jax.prediction.planner import Plan
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.mask import mask_box
from asem_jax.volumes.volume import Volume


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
        covered = mask_box(mask, plan.result_box(Box(row[0].start, row[-1].stop)), size, offset)
        if covered.num_voxels == 0:
            continue
        line = (mask.read(covered) != 0).any(axis=(0, 1))
        for box in row:
            part = mask_box(mask, plan.result_box(box), size, offset).shift([-a for a in covered.start])
            if part.num_voxels and line[part.slices[2]].any():
                found.append(box)
    return found
