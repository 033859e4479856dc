"""Sparse brush strokes on a few sections, inside objects and in the background.

A stroke is an arc that begins in the middle, at a random place of a lattice cell, and ends where the brush would
leave the object (or the background). Laws that hold (and are tested): a voxel is stroked whatever box it is asked
for with; a stroke never lies on another label than that of its middle.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.annotation import Effort, Mask, check_section_step, sections_of
from asem_jax.simulation.texture import Stream, generator
from asem_jax.volumes.geometry import Box, Float3, Int3

Plane = npt.NDArray[np.generic]

# Places that are tried in a lattice cell until the brush fits.
_TRIES = 8
# A stroke turns by up to this much over its length, radians.
_MOST_TURN = 1.5
_POSITIVE = ("foreground_pitch_nm", "background_pitch_nm", "length_nm", "radius_nm")


@dataclass(frozen=True)
class Strokes:
    """How strokes are drawn.

    Attributes:
      section_step: every how many sections one is annotated, from section 0 on.
      foreground_pitch_nm: edge of the squares that get one stroke inside an object each, where there is room.
      background_pitch_nm: the same for the background.
      length_nm: longest stroke.
      radius_nm: of the brush.
    """

    section_step: int
    foreground_pitch_nm: float
    background_pitch_nm: float
    length_nm: float
    radius_nm: float

    def __post_init__(self) -> None:
        check_section_step(self.section_step)
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} is no length; give nm above 0.")

    @property
    def reach_nm(self) -> float:
        """No part of a stroke is farther from its middle."""
        return self.length_nm / 2 + self.radius_nm

    def halo(self, voxel_size_nm: Float3) -> Int3:
        """Returns how many voxels around a box of the annotation its exact labels are needed, z y x."""
        pitch = max(self.foreground_pitch_nm, self.background_pitch_nm)
        reach = self.reach_nm + max(pitch, self.length_nm / 2) + self.radius_nm
        y, x = (math.ceil(reach / size) + 2 for size in voxel_size_nm[1:])
        return 0, y, x


class Stroke(NamedTuple):
    """One stroke.

    Attributes:
      section: voxels.
      label: id of the object that it lies in; 0 = background.
      middle_nm: where it began, y x.
      points_nm: the brush's way, `[n, 2]`, y x.
    """

    section: int
    label: int
    middle_nm: npt.NDArray[np.float64]
    points_nm: npt.NDArray[np.float64]

    @property
    def length_nm(self) -> float:
        """Length of the brush's way."""
        return float(np.sqrt(np.square(np.diff(self.points_nm, axis=0)).sum(1)).sum())


def stroked(
    strokes: Strokes, labels: Plane, box: Box, *, labels_box: Box, voxel_size_nm: Float3, seed: int
) -> tuple[Plane, Mask]:
    """Returns the labels of `box` under strokes, 0 elsewhere, and the mask of what is under strokes.

    Args:
      strokes: how they are drawn.
      labels: exact ids of objects over `labels_box`, 0 = background, z y x.
      box: voxels to make.
      labels_box: `box` grown by `strokes.halo(voxel_size_nm)`, or what of that lies inside the volume.
      voxel_size_nm: z y x.
      seed: of the annotator.

    Returns:
      Labels of the dtype of `labels`, and a mask, uint8 0 or 1: with label 0 it marks background.
    """
    mask = np.zeros(box.shape, np.uint8)
    exact = labels[box.shift([-a for a in labels_box.start]).slices]
    for stroke in strokes_near(strokes, labels, box, labels_box=labels_box, voxel_size_nm=voxel_size_nm, seed=seed):
        _paint(stroke, strokes.radius_nm, mask, exact, box=box, voxel_size_nm=voxel_size_nm)
    return exact * mask.astype(exact.dtype), mask


def strokes_near(
    strokes: Strokes, labels: Plane, box: Box, *, labels_box: Box, voxel_size_nm: Float3, seed: int
) -> Iterator[Stroke]:
    """Yields the strokes that may touch `box`; the arguments are those of `stroked`."""
    for section in sections_of(box, strokes.section_step):
        brush = _Brush(strokes, labels[section], labels_box, voxel_size_nm)
        for stream, pitch, foreground in (
            (Stream.FOREGROUND_STROKE, strokes.foreground_pitch_nm, True),
            (Stream.BACKGROUND_STROKE, strokes.background_pitch_nm, False),
        ):
            low = np.multiply(box.start[1:], voxel_size_nm[1:]) - strokes.reach_nm
            high = np.multiply(box.stop[1:], voxel_size_nm[1:]) + strokes.reach_nm
            first, last = (np.floor(end / pitch).astype(int).tolist() for end in (low, high))
            for y, x in product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
                rng = generator(seed, stream, (box.start[0] + section, y, x))
                stroke = brush.stroke(rng, np.array([y, x]) * pitch, pitch, foreground, box.start[0] + section)
                if stroke is not None and (stroke.middle_nm > low).all() and (stroke.middle_nm < high).all():
                    yield stroke


def stroke_effort(
    strokes: Strokes, labels: Plane, box: Box, *, labels_box: Box, voxel_size_nm: Float3, seed: int
) -> tuple[Effort, set[tuple[int, int]]]:
    """Returns strokes and their length, of those with their middle in `box`, and (section, id) of stroked objects.

    The arguments are those of `stroked`.
    """
    effort, objects = Effort(), set()
    for stroke in strokes_near(strokes, labels, box, labels_box=labels_box, voxel_size_nm=voxel_size_nm, seed=seed):
        voxel = np.floor(stroke.middle_nm / voxel_size_nm[1:] + 0.5)
        if (voxel >= box.start[1:]).all() and (voxel < box.stop[1:]).all():
            effort += Effort(strokes=1, stroke_um=stroke.length_nm / 1000)
            objects |= {(stroke.section, stroke.label)} if stroke.label else set()
    return effort, objects


@dataclass(frozen=True)
class _Brush:
    """A brush on one section of exact labels."""

    strokes: Strokes
    labels: Plane
    labels_box: Box
    voxel_size_nm: Float3

    def stroke(
        self, rng: np.random.Generator, corner_nm: npt.NDArray[np.float64], pitch: float, foreground: bool, section: int
    ) -> Stroke | None:
        """Returns the stroke of the lattice cell at `corner_nm`; None where the brush fits nowhere."""
        places = corner_nm + rng.random((_TRIES, 2)) * pitch
        direction, turn = 2 * np.pi * rng.random(), _MOST_TURN * (2 * rng.random() - 1)
        for place in places:
            label = self._label_under(place[None])[0]
            if label >= 0 and (label > 0) == foreground:
                arms = [self._arm(place, label, direction + side * np.pi, side, turn) for side in (1, 0)]
                points = np.concatenate([arms[0][::-1], place[None], arms[1]])
                return Stroke(section, int(label), place, points)
        return None

    def _arm(
        self, place: npt.NDArray[np.float64], label: int, direction: float, side: int, turn: float
    ) -> npt.NDArray[np.float64]:
        """Returns the brush's way from `place` to where it would leave `label`, [n, 2] nm."""
        step = min(self.voxel_size_nm[1:]) / 2
        away = np.arange(1, int(self.strokes.length_nm / 2 / step) + 1) * step
        # Both arms of a stroke lie on one arc, so they turn to opposite sides as seen from its middle.
        angle = direction + (1 - 2 * side) * turn * away / self.strokes.length_nm
        points = place + np.cumsum(step * np.stack([np.sin(angle), np.cos(angle)], 1), 0)
        leaves = self._label_under(points) != label
        return points[: int(leaves.argmax()) if leaves.any() else len(points)]

    def _label_under(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Returns the label under the brush at each point; -1 where there are several, or the volume ends."""
        radius = self.strokes.radius_nm
        rim = np.array([(0, 0), (radius, 0), (-radius, 0), (0, radius), (0, -radius)])
        voxels = (
            np.floor((points[:, None] + rim) / self.voxel_size_nm[1:] + 0.5).astype(int) - self.labels_box.start[1:]
        )
        inside = ((voxels >= 0) & (voxels < self.labels.shape)).all((1, 2))
        safe = np.where(inside[:, None, None], voxels, 0)
        under = self.labels[safe[..., 0], safe[..., 1]].astype(np.int64)
        same = (under == under[:, :1]).all(1) & inside
        return np.where(same, under[:, 0], -1)


def _paint(stroke: Stroke, radius_nm: float, mask: Mask, exact: Plane, *, box: Box, voxel_size_nm: Float3) -> None:
    """Marks in `mask` the voxels of `box` under the brush, where they have the stroke's label."""
    size, start, shape = np.array(voxel_size_nm[1:]), np.array(box.start[1:]), np.array(box.shape[1:])
    low = np.ceil((stroke.points_nm.min(0) - radius_nm) / size).astype(int) - start
    high = np.floor((stroke.points_nm.max(0) + radius_nm) / size).astype(int) + 1 - start
    rows, columns = (slice(a, b) for a, b in zip(low.clip(0, shape), high.clip(0, shape), strict=True))
    y, x = (
        (np.arange(part.start, part.stop) + first) * nm
        for part, first, nm in zip((rows, columns), start, size, strict=True)
    )
    squares = (np.square(centres[:, None] - way) for centres, way in zip((y, x), stroke.points_nm.T, strict=True))
    along_y, along_x = squares
    under = ((along_y[:, None] + along_x[None]) <= radius_nm**2).any(-1)
    section = stroke.section - box.start[0]
    mask[section, rows, columns] |= under & (exact[section, rows, columns] == stroke.label)
