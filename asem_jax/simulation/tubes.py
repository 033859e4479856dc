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
from scipy.spatial.distance import cdist

from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import Axes, Slices
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3

# Stands for a distance that was not looked at.
FAR_NM = np.float32(1e6)
_ALL = (slice(None),) * 3
# Shapes of what lies along z, y and x.
_ALONG = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


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
    def is_ball(self) -> bool:
        """Whether all its balls are one."""
        return bool((self.points_nm == self.points_nm[0]).all() and (self.radii_nm == self.radii_nm[0]).all())

    @cached_property
    def extents_nm(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper corner of a box around each link, float64 [m, 3] each."""
        points, radii = self.points_nm[self.links], self.radii_nm[self.links].max(1, keepdims=True)
        return points.min(1) - radii, points.max(1) + radii

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

    def slices(self, box: Box, voxel_size_nm: Float3, margin_nm: float) -> Slices:
        """Returns where in an array over `box` all points up to `margin_nm` away from the tube are."""
        low, high = self._corners
        z, y, x = (
            slice(
                max(math.floor((a - margin_nm) / size) - start, 0),
                max(min(math.ceil((b + margin_nm) / size) + 1, stop) - start, 0),
            )
            for a, b, size, start, stop in zip(low, high, voxel_size_nm, box.start, box.stop, strict=True)
        )
        return z, y, x

    @cached_property
    def _corners(self) -> tuple[list[float], list[float]]:
        return self.low_nm.tolist(), self.high_nm.tolist()


@dataclass(frozen=True, eq=False)
class TubeDistance:
    """How far the voxels of a box are from a tube.

    Attributes:
      tube: what is seen.
      box: the voxels.
      distance: nm, to the surface, negative inside, float32 z y x; beyond the margin asked for it
        may be larger than it is.
    """

    tube: Tube
    box: Box
    distance: npt.NDArray[np.float32]

    def slices(self, box: Box) -> tuple[slice, slice, slice]:
        """Returns where `self.box` lies in an array over `box`."""
        z, y, x = (slice(a - o, b - o) for a, b, o in zip(self.box.start, self.box.stop, box.start, strict=True))
        return z, y, x

    def where(self, distance: npt.NDArray[np.float32], below_nm: float) -> "TubeDistance":
        """Returns the tube with another `distance`, over the voxels around those that are nearer than `below_nm`."""
        near = distance < np.float32(below_nm)
        above = np.asarray(near.any(0))
        z, y, x = _span(near.any((1, 2))), _span(above.any(1)), _span(above.any(0))
        starts = [a + cut.start for a, cut in zip(self.box.start, (z, y, x), strict=True)]
        box = Box.of_shape([cut.stop - cut.start for cut in (z, y, x)], starts)
        return TubeDistance(self.tube, box, distance[z, y, x])


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
    inner, links = _links_near(tube, box, voxel_size_nm, margin_nm)
    distance = np.full(inner.shape, FAR_NM)
    along, aside = np.zeros(inner.shape, np.float32), np.zeros(inner.shape, np.float32)
    axes = axes_of(inner, voxel_size_nm)
    for link, cut in links:
        way, share, apart = _link_parts(tube, link, axes, cut)
        closer = apart < distance[cut]
        from_start, to_stop = tube.lengths_nm[link]
        np.copyto(distance[cut], apart, where=closer)
        np.copyto(along[cut], np.float32(from_start) + share * np.float32(to_stop - from_start), where=closer)
        gone = (tube.points_nm[link[1]] - tube.points_nm[link[0]]) @ tube.side
        np.copyto(aside[cut], _dot(way, tube.side) - share * np.float32(gone), where=closer)
    return TubeField(tube, inner, distance, along, aside)


def tube_distance(tube: Tube, box: Box, *, voxel_size_nm: Float3, margin_nm: float) -> TubeDistance:
    """Returns the distance alone, in half the time; the arguments are those of `tube_field`."""
    near = tube.slices(box, voxel_size_nm, margin_nm)
    if any(cut.start >= cut.stop for cut in near):
        return TubeDistance(tube, Box(box.start, box.start), np.empty((0, 0, 0), np.float32))
    if tube.is_ball:
        return _ball_distance(tube, _part(box, near), voxel_size_nm)
    inner, links = _links_near(tube, box, voxel_size_nm, margin_nm)
    distance = np.full(inner.shape, FAR_NM)
    axes = axes_of(inner, voxel_size_nm)
    for link, cut in links:
        np.minimum(distance[cut], _link_parts(tube, link, axes, cut)[2], out=distance[cut])
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


def overlaps(one: Tube, other: Tube, gap_nm: float) -> bool:
    """Says whether a ball of `other` comes closer than `gap_nm` to a ball of `one`."""
    apart = cdist(one.points_nm, other.points_nm, "sqeuclidean")
    return bool((apart < np.square(one.radii_nm[:, None] + other.radii_nm + gap_nm)).any())


def _links_near(
    tube: Tube, box: Box, voxel_size_nm: Float3, margin_nm: float
) -> tuple[Box, list[tuple[npt.NDArray[np.int64], Slices]]]:
    """Returns the voxels of `box` near a tube, and each link that comes near with its part of them."""
    first, last = tube.extents_nm
    low = np.maximum(np.floor((first - margin_nm) / voxel_size_nm).astype(int), box.start)
    high = np.minimum(np.ceil((last + margin_nm) / voxel_size_nm).astype(int) + 1, box.stop)
    near = (low < high).all(1)
    if not near.any():
        return Box(box.start, box.start), []
    links, low, high = tube.links[near], low[near], high[near]
    inner = Box(int3(low.min(0).tolist(), "low"), int3(high.max(0).tolist(), "high"))
    ends = zip((low - inner.start).tolist(), (high - inner.start).tolist(), strict=True)
    cuts = [(slice(z, w), slice(y, v), slice(x, u)) for (z, y, x), (w, v, u) in ends]
    return inner, list(zip(links, cuts, strict=True))


def _link_parts(
    tube: Tube, link: npt.NDArray[np.int64], axes: Axes, cut: Slices
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns the way from the link's start z y x, the share of the link passed, and the distance to one round cone."""
    start, stop = tube.points_nm[link]
    vector, (first, last) = stop - start, tube.radii_nm[link]
    squared = max(float(vector @ vector), 1e-6)
    z, y, x = _from(start, axes, cut)
    passed = _dot((z, y, x), vector / squared)
    share = np.clip(passed, 0, 1)
    # The square of the distance from the middle line: |p|^2 + |v|^2 s (s - 2 p.v / |v|^2).
    passed *= np.float32(-2)
    passed += share
    passed *= share
    passed *= np.float32(squared)
    passed += z * z + y * y
    passed += x * x
    np.maximum(passed, 0, out=passed)
    apart = np.sqrt(passed, out=passed)
    apart -= share * np.float32(last - first)
    apart -= np.float32(first)
    return [z, y, x], share, apart


def _ball_distance(tube: Tube, box: Box, voxel_size_nm: Float3) -> TubeDistance:
    """Returns the distance to a tube that is a ball, at all voxels of `box`."""
    z, y, x = _from(tube.points_nm[0], axes_of(box, voxel_size_nm), _ALL)
    apart = (z * z + y * y) + x * x
    np.sqrt(apart, out=apart)
    apart -= np.float32(tube.radii_nm[0])
    return TubeDistance(tube, box, apart)


def _part(box: Box, cuts: Slices) -> Box:
    """Returns the voxels of `box` that `cuts` are of an array over it."""
    (z, y, x), (a, b, c) = cuts, box.start
    return Box((z.start + a, y.start + b, x.start + c), (z.stop + a, y.stop + b, x.stop + c))


def _from(origin: npt.NDArray[np.float64], axes: Axes, cut: Slices) -> list[npt.NDArray[np.float32]]:
    """Returns how far voxels are from a place along z, y and x, nm, to be broadcast."""
    return [
        (axis[near] - start).astype(np.float32).reshape(shape)
        for shape, axis, near, start in zip(_ALONG, axes, cut, origin.tolist(), strict=True)
    ]


def _dot(parts: Sequence[npt.NDArray[np.float32]], vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Returns the product with a vector; spelled out, as a library's sum may depend on the block's shape."""
    z, y, x = (part * np.float32(v) for part, v in zip(parts, vector, strict=True))
    total = z + y
    return np.add(total, x, out=total) if total.shape == np.broadcast_shapes(total.shape, x.shape) else total + x


def _span(near: npt.ArrayLike) -> slice:
    """Returns from the first to the last that is near."""
    places = np.flatnonzero(near)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
