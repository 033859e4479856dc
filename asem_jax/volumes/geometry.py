"""Boxes of voxels, the tiles that cover them, and the way between voxels and nanometres.

A `Box` is a half-open range of voxels in z, y, x. Laws that hold (and are tested):

* the tiles of a box cover each of its voxels exactly once;
* `box.grow(n).grow(-n) == box`;
* a position survives the way to nanometres and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Self, overload

Int3 = tuple[int, int, int]
Float3 = tuple[float, float, float]


@dataclass(frozen=True, order=True)
class Box:
    """A half-open range of voxels.

    Attributes:
      start: first voxel, z y x; may be negative (outside a volume).
      stop: one past the last voxel, z y x; not below `start`.

    Example:
      >>> box = Box((0, 0, 4), (2, 3, 8))
      >>> box.shape
      (2, 3, 4)
      >>> box.grow(1).start
      (-1, -1, 3)
    """

    start: Int3
    stop: Int3

    def __post_init__(self) -> None:
        start, stop = int3(self.start, "Box.start"), int3(self.stop, "Box.stop")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "stop", stop)
        if stop[0] < start[0] or stop[1] < start[1] or stop[2] < start[2]:
            raise ValueError(
                f"Box(start={self.start}, stop={self.stop}) ends before it starts; "
                "give start <= stop on every axis (z y x)."
            )

    @classmethod
    def of_shape(cls, shape: Sequence[int], start: Sequence[int] = (0, 0, 0)) -> Self:
        """Returns the box of `shape` voxels (z y x) whose first voxel is `start`."""
        begin = int3(start, "start")
        extent = int3(shape, "shape")
        return cls(begin, int3([a + n for a, n in zip(begin, extent, strict=True)], "stop"))

    @property
    def shape(self) -> Int3:
        """Extent in voxels, z y x."""
        (a, b, c), (z, y, x) = self.start, self.stop
        return z - a, y - b, x - c

    @property
    def num_voxels(self) -> int:
        """Number of voxels in the box."""
        z, y, x = self.shape
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of an array whose first voxel is (0, 0, 0)."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def shift(self, by: Sequence[int]) -> Self:
        """Returns the box moved by `by` voxels, z y x."""
        step = int3(by, "by")
        return type(self)(
            int3([a + d for a, d in zip(self.start, step, strict=True)], "start"),
            int3([b + d for b, d in zip(self.stop, step, strict=True)], "stop"),
        )

    def grow(self, by: int | Sequence[int]) -> Self:
        """Returns the box with `by` voxels more on both sides of each axis (fewer if negative)."""
        margin = int3((by, by, by) if isinstance(by, int) else by, "by")
        return type(self)(
            int3([a - m for a, m in zip(self.start, margin, strict=True)], "start"),
            int3([b + m for b, m in zip(self.stop, margin, strict=True)], "stop"),
        )

    def intersect(self, other: "Box") -> Self:
        """Returns what both boxes contain; an empty box where they do not meet."""
        start = int3([max(a, b) for a, b in zip(self.start, other.start, strict=True)], "start")
        stop = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        return type(self)(start, int3([max(a, b) for a, b in zip(start, stop, strict=True)], "stop"))

    def contains(self, other: "Box") -> bool:
        """Says whether every voxel of `other` lies in this box."""
        return other.num_voxels == 0 or self.intersect(other) == other


def int3(values: Sequence[int], name: str) -> Int3:
    """Returns three integers, z y x, as a tuple.

    Args:
      values: three whole numbers.
      name: what they are called where the user wrote them, for the message.

    Raises:
      ValueError: they are not three whole numbers.

    Example:
      >>> int3([4, 5, 6], "shape")
      (4, 5, 6)
    """
    values = tuple(values)
    if len(values) == 3:
        z, y, x = values
        if type(z) is type(y) is type(x) is int:  # mostly, and millions of times
            return z, y, x
        if int(z) == z and int(y) == y and int(x) == x:
            return int(z), int(y), int(x)
    raise ValueError(f"{name}={values} is not three whole numbers; give z, y, x in voxels.")


def float3(values: Sequence[float], name: str) -> Float3:
    """Returns three floats, z y x, as a tuple; `name` is used in the message.

    Raises:
      ValueError: they are not three numbers.

    Example:
      >>> float3([4, 4, 8], "voxel_size_nm")
      (4.0, 4.0, 8.0)
    """
    values = tuple(values)
    if len(values) != 3:
        raise ValueError(f"{name}={values} is not three numbers; give z, y, x.")
    return float(values[0]), float(values[1]), float(values[2])


@dataclass(frozen=True)
class Tiles(Sequence[Box]):
    """The boxes of `tiles`, each made when it is asked for: a million of them take no memory."""

    box: Box
    tile_shape: Int3

    @cached_property
    def grid_shape(self) -> Int3:
        """Number of tiles, z y x."""
        return int3([-(-n // s) for n, s in zip(self.box.shape, self.tile_shape, strict=True)], "grid_shape")

    def __len__(self) -> int:
        """Number of tiles in all."""
        return prod(self.grid_shape)

    @overload
    def __getitem__(self, index: int) -> Box: ...
    @overload
    def __getitem__(self, index: slice) -> list[Box]: ...
    def __getitem__(self, index: int | slice) -> Box | list[Box]:
        """Returns the tile of a number, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row, x = divmod(range(len(self))[index], self.grid_shape[2])
        begins = zip((*divmod(row, self.grid_shape[1]), x), self.tile_shape, self.box.start, strict=True)
        z, y, x = (place * side + first for place, side, first in begins)
        ends = zip((z, y, x), self.tile_shape, self.box.stop, strict=True)
        z_stop, y_stop, x_stop = (min(begin + side, last) for begin, side, last in ends)
        return Box((z, y, x), (z_stop, y_stop, x_stop))


def tiles(box: Box, tile_shape: Sequence[int]) -> Tiles:
    """Returns boxes of at most `tile_shape` voxels that cover `box` exactly once, x fastest.

    Args:
      box: what to cover.
      tile_shape: voxels, z y x, positive; the last tile of an axis is cut at the box.

    Raises:
      ValueError: a side of `tile_shape` is not positive.

    Example:
      >>> [t.shape[2] for t in tiles(Box((0, 0, 0), (1, 1, 5)), (1, 1, 2))]
      [2, 2, 1]
      >>> tiles(Box.of_shape((9, 1, 1)), (1, 1, 1))[-1].start
      (8, 0, 0)
    """
    sides = int3(tile_shape, "tile_shape")
    if min(sides) < 1:
        raise ValueError(f"tile_shape={sides} has an empty side; give at least 1 voxel per axis.")
    return Tiles(box, sides)


def nm_from_voxels(position: Sequence[float], voxel_size_nm: Float3, offset_nm: Float3) -> Float3:
    """Returns where a voxel's centre lies, in nm, z y x.

    Args:
      position: index of the voxel, z y x; fractions allowed.
      voxel_size_nm: step between voxel centres.
      offset_nm: centre of voxel (0, 0, 0).

    Example:
      >>> nm_from_voxels((1, 2, 3), (4.0, 4.0, 4.0), (100.0, 0.0, 0.0))
      (104.0, 8.0, 12.0)
    """
    triples = zip(position, voxel_size_nm, offset_nm, strict=True)
    return float3([p * s + o for p, s, o in triples], "position")


def voxels_from_nm(position_nm: Sequence[float], voxel_size_nm: Float3, offset_nm: Float3) -> Float3:
    """Returns the (fractional) voxel index of a place given in nm, z y x; see `nm_from_voxels`.

    Example:
      >>> voxels_from_nm((104.0, 8.0, 12.0), (4.0, 4.0, 4.0), (100.0, 0.0, 0.0))
      (1.0, 2.0, 3.0)
    """
    triples = zip(position_nm, voxel_size_nm, offset_nm, strict=True)
    return float3([(p - o) / s for p, s, o in triples], "position_nm")
