"""Annotations as people make them, from labels that are exact: outlines, and the time that they take.

An annotation is two arrays: labels (the id of each object as the annotator saw it, 0 = background), and a mask that
is 1 where it says anything, so that a training region can take both. `strokes.py` makes the sparse kind. Laws that
hold (and are tested):

* a voxel of an annotation is the same whatever box it is asked for with;
* `Outlines` without error on every section are the exact labels;
* the effort of parts adds up to that of the whole, objects excepted: one is counted on each section, not in each part.
"""

import math
from dataclasses import dataclass, fields
from itertools import product
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import Stream, generator, smooth_field
from asem_jax.volumes.geometry import Box, Float3, Int3, int3

Scalar = TypeVar("Scalar", bound=np.generic)
Mask = npt.NDArray[np.uint8]

# Offsets beyond this many standard deviations are cut off, so that a block knows how far to look.
_MOST_DEVIATIONS = 3.0
# A line counted along the faces of voxels is longer than the line itself, by this on average over its directions.
_STAIRCASE = 4 / math.pi


@dataclass(frozen=True)
class Outlines:
    """How objects are outlined, section by section.

    Attributes:
      section_step: every how many sections one is annotated, from section 0 on; 1 = all.
      missed_share: of the objects, which are left out everywhere, 0..1.
      offset_nm: standard deviation of an outline from the true one, in the section; 0 = exact.
      offset_pitch_nm: distance over which that deviation changes, along an outline and from section to section.
    """

    section_step: int
    missed_share: float
    offset_nm: float
    offset_pitch_nm: float

    def __post_init__(self) -> None:
        check_section_step(self.section_step)
        if not 0 <= self.missed_share <= 1:
            raise ValueError(f"missed_share={self.missed_share} is no share; give 0 (none) to 1 (all).")
        if self.offset_nm < 0:
            raise ValueError(f"offset_nm={self.offset_nm} is negative; give 0 (exact) or more.")
        if self.offset_nm and self.offset_pitch_nm <= 0:
            raise ValueError(f"offset_pitch_nm={self.offset_pitch_nm} is no length; give nm above 0.")

    def halo(self, voxel_size_nm: Float3) -> Int3:
        """Returns how many voxels around a box of the annotation its exact labels are needed, z y x."""
        if not self.offset_nm:
            return 0, 0, 0
        reach = _MOST_DEVIATIONS * self.offset_nm
        y, x = (math.ceil(reach / size) + 1 for size in voxel_size_nm[1:])
        return 0, y, x


@dataclass(frozen=True)
class Effort:
    """What was drawn.

    Attributes:
      sections: looked at.
      objects: outlined or stroked, counted again on each section.
      outline_um: length of their outlines.
      strokes: drawn, in objects and in the background.
      stroke_um: their length.
    """

    sections: int = 0
    objects: int = 0
    outline_um: float = 0.0
    strokes: int = 0
    stroke_um: float = 0.0

    def __add__(self, other: "Effort") -> "Effort":
        """Returns the effort of both."""
        names = [field.name for field in fields(self)]
        return Effort(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True)
class Pace:
    """How fast an annotator is, in seconds.

    Attributes:
      section_s: to go to a section and look it over.
      object_s: to decide on an object there and take up its label.
      outline_s_per_um: to outline it, per micrometre of outline.
      stroke_s: to place a stroke.
      stroke_s_per_um: to draw it, per micrometre.
    """

    section_s: float
    object_s: float
    outline_s_per_um: float
    stroke_s: float
    stroke_s_per_um: float

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)} is negative; give seconds, 0 or more.")

    def seconds(self, effort: Effort) -> float:
        """Returns how long `effort` takes.

        Example:
          >>> Pace(5, 2, 4, 1, 1).seconds(Effort(sections=2, objects=3, outline_um=1.5))
          22.0
        """
        return (
            self.section_s * effort.sections
            + self.object_s * effort.objects
            + self.outline_s_per_um * effort.outline_um
            + self.stroke_s * effort.strokes
            + self.stroke_s_per_um * effort.stroke_um
        )


def outlined(
    outlines: Outlines, labels: npt.NDArray[Scalar], box: Box, *, labels_box: Box, voxel_size_nm: Float3, seed: int
) -> tuple[npt.NDArray[Scalar], Mask]:
    """Returns the labels of `box` as outlined by hand, and the mask of annotated sections.

    Args:
      outlines: how they are drawn.
      labels: exact ids of objects over `labels_box`, 0 = background, z y x. One id is one object, missed as a whole.
      box: voxels to make.
      labels_box: `box` grown by `outlines.halo(voxel_size_nm)`, or what of that lies inside the volume.
      voxel_size_nm: z y x.
      seed: of the annotator.

    Returns:
      Labels of the dtype of `labels` (0 where not annotated), and a mask, uint8 0 or 1.
    """
    inner = box.shift([-a for a in labels_box.start]).slices
    kept = np.where(np.isin(labels, _missed(outlines, labels, seed)), labels.dtype.type(0), labels)
    mask = np.zeros(box.shape, np.uint8)
    mask[sections_of(box, outlines.section_step)] = 1
    drawn = kept[inner].copy()
    if outlines.offset_nm:
        axes = axes_of(labels_box, voxel_size_nm)
        offset = smooth_field(seed, Stream.OUTLINE, (outlines.offset_pitch_nm,) * 3, axes)
        offset = np.clip(offset, -_MOST_DEVIATIONS, _MOST_DEVIATIONS) * np.float32(outlines.offset_nm)
        for section in sections_of(box, outlines.section_step):
            moved = _moved(kept[section], offset[section], voxel_size_nm[1:], outlines.halo(voxel_size_nm)[1:])
            drawn[section] = moved[inner[1:]]
    drawn[mask == 0] = 0
    return drawn, mask


def sections_of(box: Box, section_step: int) -> list[int]:
    """Returns which sections of `box` are annotated, counted from its first one.

    Example:
      >>> sections_of(Box((3, 0, 0), (13, 1, 1)), 5)
      [2, 7]
    """
    return list(range(-box.start[0] % section_step, box.shape[0], section_step))


def check_section_step(section_step: int) -> None:
    """Raises ValueError unless `section_step` is 1 or more."""
    if section_step < 1:
        raise ValueError(f"section_step={section_step} annotates nothing; give 1 (all sections) or more.")


def outline_um(labels: npt.NDArray[np.generic], box: Box, *, labels_box: Box, voxel_size_nm: Float3) -> float:
    """Returns the length of the outlines in the sections of `box`, micrometres.

    Faces between voxels of two ids, on the outlines of both, and not those at the end of the volume; shortened
    because a line of voxels is a staircase.

    Args:
      labels: ids over `labels_box`, z y x.
      box: voxels that are counted.
      labels_box: `box` with one voxel more before it along y and x, where the volume has one.
      voxel_size_nm: z y x.
    """
    before = [a - b for a, b in zip(box.start, labels_box.start, strict=True)]
    along_y = _faces(labels[:, :, before[2] :], 1) * voxel_size_nm[2]
    along_x = _faces(labels[:, before[1] :], 2) * voxel_size_nm[1]
    return (along_y + along_x) / _STAIRCASE / 1000


def objects_on_sections(labels: npt.NDArray[np.generic], first_section: int) -> set[tuple[int, int]]:
    """Returns (section, id) of what is labelled, so that the parts of an object in several blocks count once."""
    return {
        (first_section + section, int(one))
        for section, plane in enumerate(labels)
        for one in np.unique(plane).tolist()
        if one
    }


def _missed(outlines: Outlines, labels: npt.NDArray[np.generic], seed: int) -> list[int]:
    """Returns the ids among `labels` that the annotator overlooks."""
    if not outlines.missed_share:
        return []
    ids = [one for one in np.unique(labels).tolist() if one]
    drawn = (generator(seed, Stream.MISSED, (one, 0, 0)).random() for one in ids)
    return [one for one, share in zip(ids, drawn, strict=True) if share < outlines.missed_share]


def _moved(
    plane: npt.NDArray[np.generic],
    offset: npt.NDArray[np.float32],
    pixel_nm: tuple[float, ...],
    radius: tuple[int, ...],
) -> npt.NDArray[np.generic]:
    """Returns a section whose outlines lie `offset` nm farther out, or in; objects do not invade each other."""
    moved = plane.copy()
    inside = plane != 0
    half = sum(pixel_nm) / 4
    rim = inside & _differs(plane)
    if rim.any():
        deep = ndimage.distance_transform_edt(~rim, pixel_nm) + half
        moved[inside & (deep <= -offset)] = 0
    if inside.any():
        away = ndimage.distance_transform_edt(~inside, pixel_nm) - half
        grown = ~inside & (away < offset)
        moved[grown] = _nearest(plane, np.argwhere(grown), pixel_nm, radius)
    return moved


def _differs(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Returns where one of the four neighbours in the section has another id."""
    differs = np.zeros(plane.shape, bool)
    for axis in (0, 1):
        ends = [np.moveaxis(differs, axis, 0)[1:], np.moveaxis(differs, axis, 0)[:-1]]
        change = np.diff(np.moveaxis(plane, axis, 0).astype(np.int64), axis=0) != 0
        for end in ends:
            end |= change
    return differs


def _nearest(
    plane: npt.NDArray[np.generic],
    places: npt.NDArray[np.int64],
    pixel_nm: tuple[float, ...],
    radius: tuple[int, ...],
) -> npt.NDArray[np.generic]:
    """Returns the id nearest to each place; of several equally near, the one with the smaller y, then x.

    A distance transform knows the nearest voxel, too, but leaves open which of several.
    """
    found = np.zeros(len(places), plane.dtype)
    offsets = product(*(range(-r, r + 1) for r in radius))
    for y, x in sorted(offsets, key=lambda o: (math.hypot(o[0] * pixel_nm[0], o[1] * pixel_nm[1]), o)):
        at = places + np.array([y, x])
        there = ((at >= 0) & (at < plane.shape)).all(1) & (found == 0)
        found[there] = plane[tuple(at[there].T)]
        if found.all():
            break
    return found


def _faces(labels: npt.NDArray[np.generic], axis: int) -> int:
    """Returns how many faces across `axis` lie on an outline; those between two objects count for both."""
    low, high = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
    differ = low != high
    return int((differ & (low != 0)).sum() + (differ & (high != 0)).sum())


def read_box(box: Box, halo: Int3, within: Box) -> Box:
    """Returns `box` grown by `halo`, as far as the volume reaches."""
    return box.grow(int3(halo, "halo")).intersect(within)
