"""Supervoxels: small pieces of a volume that follow its edges.

A region is cut into lattice cells. Each has one seed, its voxel of least gradient, and each voxel joins the seed that
is nearest, where a step is the longer the more the grey value, or its gradient, changes on it. Changes of the gradient
make membranes supervoxels of their own, apart from flat parts; on real mitochondria that follows the border better than
changes of grey, which are better where a body without a membrane ends (docs/annotation.md). A way of more than
`Lattice.reach` voxels along an axis is not tried, so a block needs no look farther. Laws that hold (and are tested):

* the supervoxel of a voxel is the same whatever block it is computed with, bit for bit;
* each voxel has one supervoxel, and each lattice cell gives one: ids are the numbers of the cells, x fastest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.volumes.geometry import Box, Float3, Int3, int3, tiles

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

# Gaussians end at so many standard deviations.
_DEVIATIONS = 3.0
# Lengths of ways are whole numbers of this share of the finest voxel side: sums of them do not depend on their order.
_UNIT = 16
_ID_BITS = 32
_FAR = np.int64(2**62)


@dataclass(frozen=True)
class Lattice:
    """The cells that a region is cut into, from its first voxel on.

    Attributes:
      shape: of the region, voxels z y x.
      pitch: sides of a cell, voxels z y x; the last of an axis are cut at the region.
    """

    shape: Int3
    pitch: Int3

    @property
    def cells(self) -> Int3:
        """Number of cells along each axis."""
        return int3([-(-n // p) for n, p in zip(self.shape, self.pitch, strict=True)], "cells")

    @property
    def count(self) -> int:
        """Number of cells, and of supervoxels."""
        return math.prod(self.cells)

    @property
    def reach(self) -> int:
        """No part of a supervoxel is farther from its seed, voxels along each axis."""
        return 2 * max(self.pitch) + 2

    def around(self, box: Box) -> Box:
        """Returns what of the region has a say in the supervoxels of `box`: whole cells within reach."""
        grown = box.grow(self.reach)
        start = [a // p * p for a, p in zip(grown.start, self.pitch, strict=True)]
        stop = [-(-b // p) * p for b, p in zip(grown.stop, self.pitch, strict=True)]
        return Box(int3(start, "start"), int3(stop, "stop")).intersect(Box.of_shape(self.shape))


def lattice_pitch(pitch_nm: float, voxel_size_nm: Float3) -> Int3:
    """Returns the sides of a lattice cell, voxels z y x, at least 1.

    Args:
      pitch_nm: wanted side, above 0.
      voxel_size_nm: z y x.

    Raises:
      ValueError: `pitch_nm` is not positive.

    Example:
      >>> lattice_pitch(50.0, (20.0, 10.0, 10.0))
      (3, 5, 5)
    """
    if pitch_nm <= 0:
        raise ValueError(f"pitch_nm={pitch_nm} is no distance; give nm above 0, about the thickness of what is sought.")
    return int3([max(1, int(pitch_nm / size + 0.5)) for size in voxel_size_nm], "pitch")


def halo(sigmas_nm: Sequence[float], voxel_size_nm: Float3) -> Int3:
    """Returns how many voxels around a block are needed to smooth it and to take differences, z y x.

    Args:
      sigmas_nm: of the smoothing, above 0.
      voxel_size_nm: z y x.

    Raises:
      ValueError: there is no sigma, or one is not positive.
    """
    if not sigmas_nm or min(sigmas_nm) <= 0:
        raise ValueError(f"sigmas_nm={tuple(sigmas_nm)} smooth nothing; give one or more lengths above 0, in nm.")
    return int3([int(_DEVIATIONS * max(sigmas_nm) / size + 0.5) + 1 for size in voxel_size_nm], "halo")


def smoothed(raw: npt.NDArray[np.uint8], sigma_nm: float, voxel_size_nm: Float3) -> Floats:
    """Returns the grey values after a Gaussian, float32 [z, y, x]; mirrored at the end of the array."""
    sigma = [sigma_nm / size for size in voxel_size_nm]
    smooth: Floats = ndimage.gaussian_filter(raw.astype(np.float32), sigma, truncate=_DEVIATIONS)
    return smooth


def slope(smooth: Floats, voxel_size_nm: Float3) -> Floats:
    """Returns the length of the gradient, [z, y, x], grey values per finest voxel side, from central differences."""
    squares = np.zeros_like(smooth)
    for axis, size in enumerate(voxel_size_nm):
        step = ndimage.correlate1d(smooth, [-0.5, 0, 0.5], axis) * np.float32(min(voxel_size_nm) / size)
        squares += np.square(step)
    return np.sqrt(squares)


def grow_supervoxels(
    smooth: Floats,
    gradient: Floats,
    box: Box,
    *,
    lattice: Lattice,
    grey_step: float | None,
    gradient_step: float | None,
    voxel_size_nm: Float3,
) -> Ids:
    """Returns the supervoxels of what `lattice.around` gave, exact in the box that it was given.

    A step from voxel to voxel is as long as their distance times 1 + (difference of grey / grey_step)**2 +
    (difference of gradient / gradient_step)**2. Of two seeds that are equally near the one with the smaller id counts.

    Args:
      smooth: grey values of `box`, float32 [z, y, x]; see `smoothed`.
      gradient: in the same shape, grey values per finest voxel side; see `slope`.
      box: made of whole cells, counted from the region's first voxel.
      lattice: of the region.
      grey_step: difference between neighbours that makes a step twice as long, above 0; None = grey does not count.
      gradient_step: the same of the gradient.
      voxel_size_nm: z y x.

    Returns:
      uint32, the shape of `gradient`.

    Raises:
      ValueError: a step is not positive.
    """
    weighed = [(smooth, grey_step, "grey_step"), (gradient, gradient_step, "gradient_step")]
    for _, step, name in weighed:
        if step is not None and step <= 0:
            raise ValueError(f"{name}={step} is no difference; give grey values above 0, e.g. 0.6, or None.")
    # The way's length above, the seed's id below: the smaller of two such numbers is the nearer seed.
    nearest = np.full(gradient.shape, _FAR)
    for cell in tiles(box, lattice.pitch):
        part = gradient[cell.shift([-a for a in box.start]).slices]
        place = np.add(np.unravel_index(part.argmin(), part.shape), cell.start)
        number = np.ravel_multi_index([a // p for a, p in zip(cell.start, lattice.pitch, strict=True)], lattice.cells)
        nearest[tuple(place - box.start)] = number
    steps = [_step_lengths([pair[:2] for pair in weighed], axis, voxel_size_nm) for axis in range(3)]
    for _ in range(lattice.reach):
        for axis, length in enumerate(steps):
            here = np.moveaxis(nearest, axis, 0)
            np.minimum(here[1:], here[:-1] + length, out=here[1:])
            np.minimum(here[:-1], here[1:] + length, out=here[:-1])
    return (nearest & (2**_ID_BITS - 1)).astype(np.uint32)


def _step_lengths(
    weighed: Sequence[tuple[Floats, float | None]], axis: int, voxel_size_nm: Float3
) -> npt.NDArray[np.int64]:
    """Returns the length of the steps along an axis, that axis first, above the bits of the id."""
    longer = np.ones_like(np.moveaxis(weighed[0][0], axis, 0)[1:])
    for values, step in weighed:
        if step is not None:
            longer += np.square(np.diff(np.moveaxis(values, axis, 0), axis=0) / np.float32(step))
    side = np.float32(_UNIT * voxel_size_nm[axis] / min(voxel_size_nm))
    # Together with the longest way that is tried this stays within 63 bits.
    length = np.minimum(np.rint(side * longer), np.float32(2**20))
    return length.astype(np.int64) << _ID_BITS
