"""Tubes: branched chains of round cones, with distance, length and sideways coordinates known everywhere.

All closed organelles of the simulated cell are tubes; a vesicle is a tube of one short link.
Law that holds (and is tested): the tube is where `distance <= 0`, and a straight one is a capsule.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.microscope import axes_of
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3

_FAR = np.float32(1e6)


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
      index: the lattice cell that `placement` found it in.
      rank: its number there.
    """

    points_nm: npt.NDArray[np.float64]
    radii_nm: npt.NDArray[np.float64]
    links: npt.NDArray[np.int64]
    lengths_nm: npt.NDArray[np.float64]
    side: npt.NDArray[np.float64]
    traits: npt.NDArray[np.float64]
    index: Int3 = (0, 0, 0)
    rank: int = 0

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

    @cached_property
    def length_nm(self) -> float:
        """Length of all links, nm."""
        return float(self._link_lengths.sum())

    @cached_property
    def radius_nm(self) -> float:
        """Mean radius along the links, nm."""
        lengths = np.maximum(self._link_lengths, 1e-9)
        return float((self.radii_nm[self.links].mean(1) * lengths).sum() / lengths.sum())

    @cached_property
    def centroid_nm(self) -> Float3:
        """Centre of the volume, z y x, taking the links for cylinders that do not overlap."""
        weights = self.radii_nm[self.links].mean(1) ** 2 * np.maximum(self._link_lengths, 1e-9)
        middles = self.points_nm[self.links].mean(1)
        return float3((middles * weights[:, None]).sum(0) / weights.sum(), "centroid")

    @property
    def _link_lengths(self) -> npt.NDArray[np.float64]:
        return np.sqrt(np.square(np.diff(self.points_nm[self.links], axis=1)).sum((1, 2)))

    def box(self, voxel_size_nm: Float3, margin_nm: float) -> Box:
        """Returns the voxels that hold all points up to `margin_nm` away from the tube."""
        return _around(self.points_nm, self.radii_nm, voxel_size_nm, margin_nm)


@dataclass(frozen=True, eq=False)
class TubeDistance:
    """How far the voxels of a box are from a tube.

    Attributes:
      tube: what is seen.
      box: the voxels.
      distance: nm, to the surface, negative inside, float32 z y x; larger than the margin asked for = not looked at.
    """

    tube: Tube
    box: Box
    distance: npt.NDArray[np.float32]

    def slices(self, box: Box) -> tuple[slice, slice, slice]:
        """Returns where `self.box` lies in an array over `box`."""
        return self.box.shift([-a for a in box.start]).slices


@dataclass(frozen=True, eq=False)
class TubeField(TubeDistance):
    """A tube as seen from the voxels of a box.

    Attributes:
      along: coordinate along the tube, nm, float32 z y x.
      aside: coordinate along the tube's `side`, nm, float32 z y x.
    """

    along: npt.NDArray[np.float32]
    aside: npt.NDArray[np.float32]


def tube_field(tube: Tube, box: Box, *, voxel_size_nm: Float3, margin_nm: float) -> TubeField:
    """Returns the tube as seen from those voxels of `box` that are near it.

    Args:
      tube: what to look at.
      box: voxels of interest.
      voxel_size_nm: z y x.
      margin_nm: how far from the surface distances are needed.
    """
    inner = tube.box(voxel_size_nm, margin_nm).intersect(box)
    distance = np.full(inner.shape, _FAR)
    along, aside = np.zeros(inner.shape, np.float32), np.zeros(inner.shape, np.float32)
    for link, near, cut in _links_near(tube, inner, voxel_size_nm, margin_nm):
        gone, share, apart = _link_parts(tube, link, near, voxel_size_nm)
        closer = apart < distance[cut]
        from_start, to_stop = tube.lengths_nm[link]
        np.copyto(distance[cut], apart, where=closer)
        np.copyto(along[cut], np.float32(from_start) + share * np.float32(to_stop - from_start), where=closer)
        np.copyto(aside[cut], _dot(gone, tube.side), where=closer)
    return TubeField(tube, inner, distance, along, aside)


def tube_distance(tube: Tube, box: Box, *, voxel_size_nm: Float3, margin_nm: float) -> TubeDistance:
    """Returns the distance alone, in half the time; the arguments are those of `tube_field`."""
    inner = tube.box(voxel_size_nm, margin_nm).intersect(box)
    distance = np.full(inner.shape, _FAR)
    for link, near, cut in _links_near(tube, inner, voxel_size_nm, margin_nm):
        np.minimum(distance[cut], _link_parts(tube, link, near, voxel_size_nm)[2], out=distance[cut])
    return TubeDistance(tube, inner, distance)


def meets(tube: Tube, low_nm: npt.NDArray[np.float64], high_nm: npt.NDArray[np.float64], margin_nm: float) -> bool:
    """Says whether the tube, grown by `margin_nm`, has a point in the box low..high, by its geometry.

    Along a link, the distance between its middle line and the box less the radius is convex, so a search
    that narrows down the place of the smallest value finds it.
    """
    if (tube.low_nm > high_nm + margin_nm).any() or (tube.high_nm < low_nm - margin_nm).any():
        return False
    if ((tube.points_nm[0] >= low_nm) & (tube.points_nm[0] <= high_nm)).all():
        return True
    start, stop = tube.points_nm[tube.links[:, 0]], tube.points_nm[tube.links[:, 1]]
    first, last = tube.radii_nm[tube.links[:, 0]], tube.radii_nm[tube.links[:, 1]]

    def outside(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        place = start + share[:, None] * (stop - start)
        off = np.maximum(np.maximum(low_nm - place, place - high_nm), 0)
        return np.sqrt(np.square(off).sum(1)) - (first + share * (last - first))

    left, right = np.zeros(len(start)), np.ones(len(start))
    for _ in range(40):
        third = (right - left) / 3
        is_left = outside(left + third) < outside(right - third)
        left, right = np.where(is_left, left, left + third), np.where(is_left, right - third, right)
    return bool((outside((left + right) / 2) <= margin_nm).any())


def overlap(a: Tube, b: Tube, gap_nm: float) -> bool:
    """Says whether a ball of one tube comes closer than `gap_nm` to a ball of the other."""
    if math.dist(a.centre, b.centre) >= a.reach_nm + b.reach_nm + gap_nm:
        return False
    apart = np.square(a.points_nm[:, None] - b.points_nm[None]).sum(-1)
    return bool((apart < np.square(a.radii_nm[:, None] + b.radii_nm[None] + gap_nm)).any())


def _links_near(
    tube: Tube, inner: Box, voxel_size_nm: Float3, margin_nm: float
) -> Iterator[tuple[npt.NDArray[np.int64], Box, tuple[slice, slice, slice]]]:
    """Yields the links that come near `inner`, with the voxels near them as a box and as an index."""
    for link in tube.links:
        near = _around(tube.points_nm[link], tube.radii_nm[link], voxel_size_nm, margin_nm).intersect(inner)
        if near.num_voxels:
            yield link, near, near.shift([-a for a in inner.start]).slices


def _link_parts(
    tube: Tube, link: npt.NDArray[np.int64], box: Box, voxel_size_nm: Float3
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns the way from the middle line z y x, the share of the link passed, and the distance to one round cone."""
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
    apart = gone[0] * gone[0]
    apart += gone[1] * gone[1]
    apart += gone[2] * gone[2]
    np.sqrt(apart, out=apart)
    first, last = tube.radii_nm[link]
    apart -= np.float32(first) + share * np.float32(last - first)
    return gone, share, apart


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
