"""Surface area from crossings: how often straight lines of voxels enter or leave an object.

Lines run in the 13 directions between voxels that share a face, an edge or a corner. By Crofton's formula the area is
twice the mean, over all directions, of the crossings per area of a plane across the lines; each of the 13 stands for
the directions that are nearest to it. Crossings are whole numbers that add up over blocks.

Bias: none in the mean over all orientations, so that round objects come out right to 1 % from a radius of 5 voxels up.
A flat surface is off by what 13 directions leave: with cubic voxels from -7.3 % (along the grid) to +2.3 %, with
voxels twice as high as wide from -12.6 % to +9.4 %.

Source: C. Lang, J. Ohser, R. Hilfer, "On the analysis of spatial binary images", Journal of Microscopy 203 (2001).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import SphericalVoronoi

from asem_jax.volumes.geometry import Box, Float3, Int3

STEPS: tuple[Int3, ...] = tuple((z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) > (0, 0, 0))
"""From a voxel to its neighbours in the 13 directions, z y x."""


@lru_cache(maxsize=16)
def area_per_crossing(voxel_size_nm: Float3) -> npt.NDArray[np.float64]:
    """Returns how much surface a crossing in each of `STEPS` stands for, nm^2, [13].

    Example:
      >>> area_per_crossing((4.0, 4.0, 4.0)).round(2).tolist()[:2]
      [2.93, 1.67]
    """
    steps_nm = np.array(STEPS) * np.array(voxel_size_nm)
    lengths = np.sqrt(np.square(steps_nm).sum(1))
    ways = steps_nm / lengths[:, None]
    shares = SphericalVoronoi(np.concatenate([ways, -ways])).calculate_areas()[: len(ways)]
    return 2 * shares / shares.sum() * np.prod(voxel_size_nm) / lengths


def neighbours(
    ids: npt.NDArray[Any], inner: Box, step: Int3
) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """Returns the voxels of `inner` whose neighbour is known, and those neighbours, as slices of `ids`.

    Args:
      ids: a block with what is read around it, [z, y, x].
      inner: the block, voxels of `ids`.
      step: to the neighbour, z y x.
    """
    back: Int3 = (-step[0], -step[1], -step[2])
    own = inner.intersect(Box.of_shape(ids.shape).shift(back))
    return own.slices, own.shift(step).slices


def crossed(ids: npt.NDArray[Any], inner: Box) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yields, per direction, its place in `STEPS` and the two ids of each pair of neighbours that differ.

    The first voxel of a pair lies in `inner`; what is beyond `ids` is no neighbour, so that the border of a volume is
    no surface.
    """
    for number, step in enumerate(STEPS):
        own, other = neighbours(ids, inner, step)
        differ = ids[own] != ids[other]
        yield number, ids[own][differ], ids[other][differ]
