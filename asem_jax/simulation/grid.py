"""A coarse grid on which smooth shapes are evaluated, whatever the voxels.

Its nodes lie at whole multiples of `GRID_NM`, so a shape is the same in every block and at every voxel size, and
costs a small part of what it would cost voxel by voxel.
Law that holds (and is tested): what is read between the nodes does not depend on the box of the grid.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.texture import Axes
from asem_jax.volumes.geometry import Box, Float3, int3

GRID_NM = 16.0
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Nodes around a block.

    Attributes:
      box: the nodes, as multiples of `GRID_NM`, z y x.
    """

    box: Box

    @classmethod
    def around(cls, axes: Axes, margin: int) -> "Grid":
        """Returns the nodes around places in nm, and `margin` more on each side."""
        start = int3([int(np.floor(axis[0] / GRID_NM)) - margin for axis in axes], "start")
        stop = int3([int(np.floor(axis[-1] / GRID_NM)) + 2 + margin for axis in axes], "stop")
        return cls(Box(start, stop))

    @property
    def voxel_size_nm(self) -> Float3:
        """Distance of the nodes, z y x."""
        return GRID_NM, GRID_NM, GRID_NM

    @property
    def axes(self) -> Axes:
        """Places of the nodes in nm."""
        z, y, x = (
            np.arange(a, b, dtype=np.float64) * GRID_NM for a, b in zip(self.box.start, self.box.stop, strict=True)
        )
        return z, y, x

    def read(self, values: Values, axes: Axes) -> Values:
        """Returns `values` at the points of a finer grid, by linear interpolation, `[len(z), len(y), len(x)]`.

        Args:
          values: at the nodes, float32 z y x.
          axes: places in nm, inside the grid.
        """
        for axis in (2, 1, 0):
            nodes, shares = _between(axes[axis], self.box.start[axis])
            shares = shares.reshape([-1 if axis == other else 1 for other in range(3)])
            below = values.take(nodes, axis)
            above = values.take(nodes + 1, axis)
            above -= below
            above *= shares
            above += below
            values = above
        return values

    def at(self, values: Values, places_nm: npt.NDArray[np.float64]) -> Values:
        """Returns `values` at scattered places inside the grid, [n].

        Args:
          values: at the nodes, float32 z y x.
          places_nm: z y x, [n, 3].
        """
        corners, weights = [], []
        for axis in range(3):
            nodes, shares = _between(places_nm[:, axis], self.box.start[axis])
            corners.append((nodes, nodes + 1))
            weights.append((1 - shares, shares))
        total = np.zeros(len(places_nm), np.float32)
        for z, y, x in np.ndindex(2, 2, 2):
            weight = weights[0][z] * weights[1][y] * weights[2][x]
            total += weight * values[corners[0][z], corners[1][y], corners[2][x]]
        return total


def slopes(values: Values) -> Values:
    """Returns the length of the gradient per nm at the nodes; at the outermost ones it is one-sided."""
    z, y, x = np.gradient(values, np.float32(GRID_NM))
    return np.sqrt(z * z + y * y + x * x)


def _between(places: npt.NDArray[np.float64], start: int) -> tuple[npt.NDArray[np.int64], Values]:
    """Returns the node below each place, counted from `start`, and how far on to the next the place is."""
    steps = places / GRID_NM
    below = np.floor(steps)
    return below.astype(np.int64) - start, (steps - below).astype(np.float32)
