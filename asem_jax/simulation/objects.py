"""Which object a voxel belongs to: keys that are the same everywhere, and numbers that are small in a volume.

A key names the lattice cell that an object was drawn in and its rank there; a voxel belongs to one object at
most, so organelles never share one. The number of an object in a volume counts the lattice cells that the volume can
hold objects of, so it is known without looking at any other object. Laws that hold (and are tested):

* a number is above 0, belongs to one object of its organelle, and does not depend on how the volume is cut into blocks;
* it is below 2**32, and the ranks times the lattice cells are an upper bound.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from asem_jax.volumes.geometry import Box, Float3, Int3

_MOST = 2**32 - 1


class ObjectKey(NamedTuple):
    """The name of an object, the same in every block and volume.

    Attributes:
      organelle: what it is.
      place: the lattice cell that it was drawn in, z y x.
      rank: its number there.
    """

    organelle: str
    place: Int3
    rank: int


@dataclass(frozen=True)
class Lattice:
    """The cubes that the objects of one kind are drawn in.

    Attributes:
      pitch_nm: edge of a cube; infinite = one for all.
      reach_nm: no object is farther from the cube of its centre.
      ranks: at most this many objects per cube.
    """

    pitch_nm: float
    reach_nm: float
    ranks: int

    def bounds(self, low_nm: Float3, high_nm: Float3) -> tuple[Int3, Int3]:
        """Returns first and last lattice cell, z y x, that may hold the centre of an object in the box low..high."""
        first = tuple(math.floor((low - self.reach_nm) / self.pitch_nm) for low in low_nm)
        last = tuple(math.floor((high + self.reach_nm) / self.pitch_nm) for high in high_nm)
        return (first[0], first[1], first[2]), (last[0], last[1], last[2])

    def cells(self, low_nm: Float3, high_nm: Float3) -> Iterator[Int3]:
        """Yields those lattice cells, x fastest."""
        z, y, x = (range(a, b + 1) for a, b in zip(*self.bounds(low_nm, high_nm), strict=True))
        return product(z, y, x)


class Numbering:
    """The numbers of the objects of a volume."""

    def __init__(self, lattices: Mapping[str, Lattice], box: Box, voxel_size_nm: Float3) -> None:
        """Takes the lattice of each organelle, and the volume as voxels.

        Raises:
          ValueError: the volume can hold more objects than 32 bits can number.
        """
        self._lattices = lattices
        low, high = extent_nm(box, voxel_size_nm)
        self._bounds = {name: lattice.bounds(low, high) for name, lattice in lattices.items()}
        for name, (first, last) in self._bounds.items():
            most = lattices[name].ranks * math.prod(b - a + 1 for a, b in zip(first, last, strict=True))
            if most > _MOST:
                raise ValueError(
                    f"box={box} may hold {most} objects of {name!r}, more than 32 bits number; make it smaller."
                )

    def number(self, key: ObjectKey) -> int:
        """Returns the number of an object, 1 or more.

        Raises:
          ValueError: no object in that place can touch the volume.
        """
        first, last = self._bounds[key.organelle]
        if any(not a <= i <= b for a, i, b in zip(first, key.place, last, strict=True)):
            raise ValueError(f"{key} lies outside of the volume; number only what touches it.")
        z, y, x = (i - a for a, i in zip(first, key.place, strict=True))
        _, rows, columns = (b - a + 1 for a, b in zip(first, last, strict=True))
        return 1 + key.rank + self._lattices[key.organelle].ranks * ((z * rows + y) * columns + x)


def extent_nm(box: Box, voxel_size_nm: Float3) -> tuple[Float3, Float3]:
    """Returns lower and upper corner of the voxels of `box`, nm, z y x; the centre of voxel 0 is at 0 nm.

    Example:
      >>> extent_nm(Box((0, 0, 1), (1, 2, 2)), (10.0, 4.0, 4.0))
      ((-5.0, -2.0, 2.0), (5.0, 6.0, 6.0))
    """
    low = [(a - 0.5) * size for a, size in zip(box.start, voxel_size_nm, strict=True)]
    high = [(b - 0.5) * size for b, size in zip(box.stop, voxel_size_nm, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def table_of(values: Mapping[int, int], length: int, dtype: str) -> np.ndarray:
    """Returns `values` as an array of `length`, 0 where there is none: an index of it translates a whole block."""
    table = np.zeros(length, dtype)
    for place, value in values.items():
        table[place] = value
    return table
