"""What a brick of a block is painted on: true grey values, and the object of each voxel.

Its arrays are filled in place, by one block's painters alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.organelles import Grey
from asem_jax.simulation.surfaces import Patch, site_lattice
from asem_jax.simulation.texture import Axes, Stream, smooth_field
from asem_jax.volumes.geometry import Box, Float3, Int3

GRAIN_NM, _COARSE_NM = 22.0, 60.0
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A brick being painted.

    Attributes:
      cell: its numbers.
      box: the voxels.
      axes: their places in nm.
      edge_nm: width of an edge, about one voxel.
      grain: fine texture, mean 0 and standard deviation 1.
      grey: true grey values, float32 z y x.
      objects: 0 = none, else 1 + a place in `keys`, int32 z y x.
      keys: the objects painted so far, in this brick and in others of its block, with what marks their voxels.
    """

    cell: Cell
    box: Box
    axes: Axes
    edge_nm: float
    grain: Grey
    grey: Grey
    objects: npt.NDArray[np.int32]
    keys: dict[ObjectKey, int]

    @classmethod
    def over(cls, cell: Cell, box: Box, keys: dict[ObjectKey, int]) -> "Canvas":
        """Returns a canvas over `box`, its grey values not yet set; what is painted on it is added to `keys`."""
        axes = axes_of(box, cell.voxel_size_nm)
        grain = smooth_field(cell.seed, Stream.FINE, (GRAIN_NM,) * 3, axes)
        edge_nm = sum(cell.voxel_size_nm) / 3
        grey, objects = np.empty(box.shape, np.float32), np.zeros(box.shape, np.int32)
        return cls(cell, box, axes, edge_nm, grain, grey, objects, keys)

    @property
    def whole(self) -> WholeCell:
        """The numbers of whole cells."""
        assert self.cell.whole is not None
        return self.cell.whole

    @property
    def low_nm(self) -> Float3:
        """First voxel centre, z y x."""
        z, y, x = self.axes
        return float(z[0]), float(y[0]), float(x[0])

    @property
    def high_nm(self) -> Float3:
        """Last voxel centre, z y x."""
        z, y, x = self.axes
        return float(z[-1]), float(y[-1]), float(x[-1])

    def add(self, key: ObjectKey) -> np.int32:
        """Returns what marks the voxels of an object in `objects`."""
        return np.int32(self.keys.setdefault(key, len(self.keys) + 1))

    def cubes(self) -> Iterator[tuple[Int3, Slices]]:
        """Yields the cubes of cells that hold voxels, and where these lie: no cell reaches out of its cube."""
        pitch = self.whole.pitch_nm
        for index in site_lattice(self.whole).cells(self.low_nm, self.high_nm):
            z, y, x = (
                slice(*np.searchsorted(axis, (i * pitch, (i + 1) * pitch)).tolist())
                for axis, i in zip(self.axes, index, strict=True)
            )
            yield index, (z, y, x)

    def around(self, patch: Patch, reach_nm: float) -> tuple[Slices, tuple[Grey, Grey, Grey]] | None:
        """Returns the voxels near a patch, and their coordinates along its normal, side and other; None = none.

        Args:
          patch: where.
          reach_nm: along each axis.
        """
        ranges = [
            np.searchsorted(axis, (c - reach_nm, c + reach_nm)).tolist()
            for axis, c in zip(self.axes, patch.centre_nm, strict=True)
        ]
        if any(a == b for a, b in ranges):
            return None
        (z, y, x) = (slice(a, b) for a, b in ranges)
        parts = [
            (axis[cut] - c).astype(np.float32).reshape([-1 if n == other else 1 for other in range(3)])
            for n, (axis, cut, c) in enumerate(zip(self.axes, (z, y, x), patch.centre_nm, strict=True))
        ]
        along = [
            parts[0] * np.float32(v[0]) + parts[1] * np.float32(v[1]) + parts[2] * np.float32(v[2])
            for v in (patch.normal, patch.side, patch.other)
        ]
        return (z, y, x), (along[0], along[1], along[2])


def cytosol_grain(cell: Cell, axes: Axes, grain: Grey) -> Grey:
    """Returns the grain of cytosol in grey values: fine, coarse, and dark spots where the fine one peaks."""
    total = smooth_field(cell.seed, Stream.COARSE, (_COARSE_NM,) * 3, axes)
    total *= np.float32(0.8)
    total += grain
    spots = grain - np.float32(1.3)
    np.maximum(spots, 0, out=spots)
    spots *= np.float32(2.5)
    total -= spots
    total *= np.float32(cell.texture_grey)
    return total


def blend(below: Grey, above: Grey | np.float32, share: Grey) -> Grey:
    """Returns the mixture; where `share` is 0 or 1 it is `below` or `above` to the last bit."""
    return below * (1 - share) + above * share
