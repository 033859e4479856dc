"""Holes of objects, filled in volumes larger than memory.

A hole is background that objects enclose: its voxels hang together through faces, and none of them lies in the
outermost layer of the volume. What the volume's end cuts open is not taken for a hole, whatever lies beyond. Laws
(tested):

* without a limit, equal to scipy.ndimage.binary_fill_holes of the whole volume, whatever the blocks;
* no voxel of an object is lost, and filling twice fills no more than filling once.
"""

import math

import numpy as np

from asem_jax.segmentation.components import find_components
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume


def fill_holes(mask: Volume, target: Volume, *, max_nm3: float, job: BlockJob) -> dict[str, int]:
    """Writes `mask` into `target` with its holes filled; returns how many they are, and their voxels.

    Memory: that of `find_components`.

    Args:
      mask: nonzero = object.
      target: uint8, of the same shape; 1 = object or hole.
      max_nm3: larger holes stay, nm^3; a lumen that is none of the organelle may be one.
      job: of this step.

    Returns:
      {"holes": filled ones, "voxels": of all of them}.

    Raises:
      ValueError: `max_nm3` is not positive.
    """
    if not max_nm3 > 0:
        raise ValueError(f"fill_holes_nm3={max_nm3} fills nothing; give the volume of the largest hole, or None.")
    background = find_components(
        lambda box: mask.read(box) == 0, mask.shape, connectivity=6, job=job, label=f"background of {mask.address}"
    )
    holes = ~background.at_border & (background.sizes * math.prod(mask.voxel_size_nm) <= max_nm3)

    def fill(index: int, box: Box) -> None:
        objects = mask.read(box) != 0
        target.write(box, (objects | background.paint(index, ~objects, holes)).astype(np.uint8))

    job.sweep(fill, mask.box, name="filled", label=f"fill holes of {mask.address}")
    return {"holes": int(holes.sum()), "voxels": int(background.sizes[holes].sum())}
