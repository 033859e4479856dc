"""Tubes: branched chains of round cones, with distance, length and sideways coordinates known everywhere.

All closed organelles of the simulated cell are tubes; a vesicle is a tube of one short link.
Law that holds (and is tested): the tube is where `distance <= 0`, and a straight one is a capsule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.microscope import axes_of
from asem_jax.volumes.geometry import Box, Float3, float3, int3


@dataclass(frozen=True, eq=False)
class Tube:
    """A chain of balls, swept along its links.

    Attributes:
      points_nm: centres of the balls, float64 [n, 3], z y x.
      radii_nm: their radii, float64 [n].
      links: index pairs that are joined, int [m, 2].
      lengths_nm: distance of each ball from the start, along the tube, float64 [n].
      side: unit vector z y x, across the first link; the sideways coordinate is measured along it.
      traits: uniform numbers in [0, 1) that the organelle's looks are made of, float64 [4].
    """

    points_nm: npt.NDArray[np.float64]
    radii_nm: npt.NDArray[np.float64]
    links: npt.NDArray[np.int64]
    lengths_nm: npt.NDArray[np.float64]
    side: npt.NDArray[np.float64]
    traits: npt.NDArray[np.float64]

    @cached_property
    def centre(self) -> Float3:
        """The first ball's centre, nm, z y x."""
        return float3(self.points_nm[0], "centre")

    @cached_property
    def reach_nm(self) -> float:
        """No part of the tube is farther from `centre`."""
        return float((np.linalg.norm(self.points_nm - self.points_nm[0], axis=1) + self.radii_nm).max())

    @cached_property
    def low_nm(self) -> npt.NDArray[np.float64]:
        """Lower corner of the box around the tube, float64 [3]."""
        return (self.points_nm - self.radii_nm[:, None]).min(0)

    @cached_property
    def high_nm(self) -> npt.NDArray[np.float64]:
        """Upper corner of the box around the tube, float64 [3]."""
        return (self.points_nm + self.radii_nm[:, None]).max(0)

    def box(self, voxel_size_nm: Float3, margin_nm: float) -> Box:
        """Returns the voxels that hold all points up to `margin_nm` away from the tube."""
        return _around(self.points_nm, self.radii_nm, voxel_size_nm, margin_nm)


@dataclass(frozen=True, eq=False)
class TubeField:
    """A tube as seen from the voxels of a box; all arrays float32 z y x, in nm.

    Attributes:
      tube: what is seen.
      box: the voxels.
      distance: to the surface, negative inside; larger than the margin asked for = not looked at.
      along: coordinate along the tube.
      aside: coordinate along the tube's `side`.
    """

    tube: Tube
    box: Box
    distance: npt.NDArray[np.float32]
    along: npt.NDArray[np.float32]
    aside: npt.NDArray[np.float32]

    def slices(self, box: Box) -> tuple[slice, slice, slice]:
        """Returns where `self.box` lies in an array over `box`."""
        return self.box.shift([-a for a in box.start]).slices


def tube_field(tube: Tube, box: Box, *, voxel_size_nm: Float3, margin_nm: float) -> TubeField:
    """Returns the tube as seen from those voxels of `box` that are near it.

    Args:
      tube: what to look at.
      box: voxels of interest.
      voxel_size_nm: z y x.
      margin_nm: how far from the surface distances are needed.
    """
    inner = tube.box(voxel_size_nm, margin_nm).intersect(box)
    far = np.float32(1e6)
    distance = np.full(inner.shape, far)
    along, aside = np.zeros(inner.shape, np.float32), np.zeros(inner.shape, np.float32)
    for link in tube.links:
        near = _around(tube.points_nm[link], tube.radii_nm[link], voxel_size_nm, margin_nm).intersect(inner)
        if near.num_voxels == 0:
            continue
        found = _link_field(tube, link, near, voxel_size_nm)
        cut = near.shift([-a for a in inner.start]).slices
        closer = found[0] < distance[cut]
        for whole, part in zip((distance, along, aside), found, strict=True):
            np.copyto(whole[cut], part, where=closer)
    return TubeField(tube, inner, distance, along, aside)


def overlap(a: Tube, b: Tube, gap_nm: float) -> bool:
    """Says whether a ball of one tube comes closer than `gap_nm` to a ball of the other."""
    if math.dist(a.centre, b.centre) >= a.reach_nm + b.reach_nm + gap_nm:
        return False
    apart = np.square(a.points_nm[:, None] - b.points_nm[None]).sum(-1)
    return bool((apart < np.square(a.radii_nm[:, None] + b.radii_nm[None] + gap_nm)).any())


def _link_field(
    tube: Tube, link: npt.NDArray[np.int64], box: Box, voxel_size_nm: Float3
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns distance to one round cone, coordinate along and aside of it."""
    start, stop = tube.points_nm[link]
    vector = stop - start
    squared = max(float(vector @ vector), 1e-6)
    parts = [
        (axis - origin).astype(np.float32).reshape([-1 if i == n else 1 for i in range(3)])
        for n, (axis, origin) in enumerate(zip(axes_of(box, voxel_size_nm), start, strict=True))
    ]
    share = _dot(parts, vector / squared)
    np.clip(share, 0, 1, out=share)
    gone = [part - share * np.float32(v) for part, v in zip(parts, vector, strict=True)]
    aside = _dot(gone, tube.side)
    apart = np.sqrt(gone[0] * gone[0] + gone[1] * gone[1] + gone[2] * gone[2])
    first, last = tube.radii_nm[link]
    from_start, to_stop = tube.lengths_nm[link]
    distance = apart - (np.float32(first) + share * np.float32(last - first))
    return distance, np.float32(from_start) + share * np.float32(to_stop - from_start), aside


def _dot(parts: Sequence[npt.NDArray[np.float32]], vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Returns the product with a vector; spelled out, as a library's sum may depend on the block's shape."""
    z, y, x = (part * np.float32(v) for part, v in zip(parts, vector, strict=True))
    return z + y + x


def _around(
    points: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], voxel_size_nm: Float3, margin_nm: float
) -> Box:
    reach = radii[:, None] + margin_nm
    low = np.floor((points - reach).min(0) / voxel_size_nm)
    high = np.ceil((points + reach).max(0) / voxel_size_nm) + 1
    return Box(int3(low, "low"), int3(high, "high"))
