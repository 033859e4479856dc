"""Reading beyond the edge of a volume: grey values mirrored about the outermost voxel, which is not repeated.

Law (tested): equal to `numpy.pad(..., mode="reflect")` of the whole volume, which is never formed here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Int3, int3
from asem_jax.volumes.volume import Volume


def reflected_indices(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Returns, for positions `start` .. `stop` - 1 of an axis, the voxel that stands for each.

    Args:
      start: first position; may be negative.
      stop: one past the last position; may be beyond `size`.
      size: voxels of the axis, at least 1.

    Example:
      >>> reflected_indices(-2, 5, 4).tolist()
      [2, 1, 0, 1, 2, 3, 2]
    """
    period = max(1, 2 * (size - 1))
    folded = np.arange(start, stop) % period
    return np.where(folded < size, folded, period - folded)


def read_reflected(volume: Volume, box: Box) -> npt.NDArray[np.generic]:
    """Returns the voxels of `box`, z y x; what lies outside `volume` is reflected at its edge."""
    if volume.box.contains(box):
        return volume.read(box)
    return reflect_block(*read_inside(volume, box), box, volume.box)


def reflecting(read: Callable[[Box], npt.NDArray[Any]], shape: Int3) -> Callable[[Box], npt.NDArray[Any]]:
    """Returns a function that reads any box, what lies outside reflected at the edge.

    Args:
      read: reads a box inside a volume.
      shape: voxels of that volume, z y x.
    """
    whole = Box.of_shape(shape)

    def read_any(box: Box) -> npt.NDArray[Any]:
        inside = reflected_box(box, shape)
        return reflect_block(read(inside), inside, box, whole)

    return read_any


def read_inside(volume: Volume, box: Box) -> tuple[npt.NDArray[np.generic], Box]:
    """Reads what `read_reflected` needs from the volume: the voxels, and the box they fill."""
    needed = reflected_box(box, volume.shape)
    return volume.read(needed), needed


def reflected_box(box: Box, shape: Int3) -> Box:
    """Returns the voxels of a volume of `shape` that those of `box`, which may leave it, are reflected to.

    Example:
      >>> reflected_box(Box((-2, 0, 0), (1, 4, 6)), (5, 4, 4))
      Box(start=(0, 0, 0), stop=(3, 4, 4))
    """
    indices = [reflected_indices(a, b, n) for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    return Box(int3([i.min() for i in indices], "start"), int3([i.max() + 1 for i in indices], "stop"))


def reflect_block(block: npt.NDArray[np.generic], filled: Box, box: Box, whole: Box) -> npt.NDArray[np.generic]:
    """Returns the voxels of `box`, taken from a block that fills `filled`, reflected at the faces of `whole`.

    Args:
      block: z y x.
      filled: where `block` lies; it must hold every voxel that `box` reflects to.
      box: what is wanted; may leave `whole`.
      whole: the volume, beginning at (0, 0, 0).
    """
    for axis in range(3):
        wanted = reflected_indices(box.start[axis], box.stop[axis], whole.shape[axis]) - filled.start[axis]
        if not np.array_equal(wanted, np.arange(block.shape[axis])):
            block = block.take(wanted, axis=axis)
    return block
