"""Which axis of a stored array is which: z, y and x in the order of this library, one channel, one point in time.

An order is written as letters, "tzyxc". Laws that hold (and are tested): an array that is stored in any order of its
axes, with or without further axes, is read as the same array z y x; what is not asked for is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Int3, int3

ORDER = "zyx"
CHANNEL = "c"


@dataclass(frozen=True)
class AxisOrder:
    """Where z, y and x are among the axes of an array.

    Attributes:
      positions: of z, y, x among the stored axes.
      picks: axis -> index, of all others.
      shape: voxels, z y x.
    """

    positions: Int3
    picks: dict[int, int]
    shape: Int3

    def index(self, box: Box) -> tuple[slice | int, ...]:
        """Returns what to index the stored array with for the voxels of `box` (z y x)."""
        along = dict(zip(self.positions, box.slices, strict=True))
        return tuple(along[i] if i in along else self.picks[i] for i in range(3 + len(self.picks)))

    @property
    def permutation(self) -> Int3:
        """Axes of what was read, in the order z y x, once the picked ones are gone."""
        kept = sorted(self.positions)
        return int3([kept.index(position) for position in self.positions], "axes")

    def of_zyx(self, values: Sequence[float]) -> list[float]:
        """Returns those of `values`, one per stored axis, that belong to z, y and x."""
        return [values[position] for position in self.positions]

    def arrange(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns what was read with `index` as an array [z, y, x]."""
        return np.ascontiguousarray(array.transpose(self.permutation))


def find_axes(axes: str, shape: Sequence[int], channel: int | None, address: str) -> AxisOrder:
    """Returns where z, y and x are, and which index of each other axis is read.

    Args:
      axes: one letter per axis of the array, as stored; empty = z y x, and of more axes those of size 1 are left out.
      shape: of the array.
      channel: index along the axis "c"; None where that has size 1.
      address: for messages.

    Raises:
      ValueError: z, y, x are not all there, another axis than the channel has several elements, or the channel is not
        among those that are there.

    Example:
      >>> order = find_axes("xyzc", (9, 8, 7, 2), 1, "a.h5/raw")
      >>> order.shape, order.index(Box((0, 0, 0), (7, 8, 1)))
      ((7, 8, 9), (slice(0, 1, None), slice(0, 8, None), slice(0, 7, None), 1))
    """
    axes = axes.lower() or _unnamed(shape, address)
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not set(ORDER) <= set(axes):
        raise ValueError(
            f"{address} is an array of shape {tuple(shape)} with the axes {axes!r}; a volume has three axes z, y "
            'and x, and one letter stands for each axis, e.g. "zyx" or "tzyxc": give axes, or save a 3D image.'
        )
    picks = {}
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if axis not in ORDER:
            picks[i] = _pick(axis, size, channel, f"{address} (axes {axes}, shape {tuple(shape)})")
    positions = int3([axes.index(axis) for axis in ORDER], "axes")
    return AxisOrder(positions, picks, int3([shape[i] for i in positions], "shape"))


def _unnamed(shape: Sequence[int], address: str) -> str:
    """Returns the order of axes that nobody named: z y x, after those of size 1."""
    if len(shape) == 3:
        return ORDER
    more = [i for i, size in enumerate(shape) if size > 1]
    if len(more) != 3 or len(shape) > 6:
        raise ValueError(
            f"{address} is an array of shape {tuple(shape)} that does not name its axes; a volume has three axes "
            'z, y, x: give axes, one letter each, e.g. "tzyxc", or save one channel and one time point.'
        )
    spare = iter("tcs")
    return "".join(ORDER[more.index(i)] if i in more else next(spare) for i in range(len(shape)))


def _pick(axis: str, size: int, channel: int | None, what: str) -> int:
    """Returns the index that is read of an axis that is not z, y or x."""
    if axis == CHANNEL and channel is not None:
        if not 0 <= channel < size:
            raise ValueError(f"{what} has no channel {channel}; give one of 0 to {size - 1}.")
        return channel
    if size != 1:
        wanted = "give the channel to read" if axis == CHANNEL else "save one of them as its own image"
        raise ValueError(f"{what} has {size} elements along {axis}, a volume is one of them; {wanted}.")
    return 0
