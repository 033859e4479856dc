"""Planes through a region, four pictures each: raw, the labels on it, the segmentation on it, and the errors.

The colours are those of Okabe and Ito, which people with any common colour blindness tell apart. They mean
the same everywhere: what is there is yellow, what was found is blue; so voxels missed are yellow, voxels
found rightly blue, and voxels found wrongly red. Lengths in a picture are nanometres, so unequal voxel
sides show as they are.

Source: Okabe & Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from asem_jax.measurement.scoring import Region, voxel_shift
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.geometry import Box, Float3, int3
from asem_jax.volumes.volume import Volume

THERE, FOUND, WRONG = "#f0e442", "#56b4e9", "#d55e00"
# What one looks along, and what runs down and across the picture.
PLANE_NAMES = ("xy", "xz", "yz")
Extent = tuple[float, float, float, float]
_AXES = ("z", "y", "x")
_WIDTH_IN = 11.6
_TALLEST_IN = 6.0


@dataclass(frozen=True)
class Plane:
    """One section through a region.

    Attributes:
      axis: 0, 1, 2: the section is across z, y or x.
      box: its voxels, one thick, in those of the labels.
      pixel_nm: height and width of a voxel in the section.
      raw: [row, column] grey values.
      labels: bool [row, column], True = there.
      segmentation: bool [row, column], True = found.
      used: bool [row, column], True = scored, that is, outside the exclusion zone and in the mask.
    """

    axis: int
    box: Box
    pixel_nm: tuple[float, float]
    raw: npt.NDArray[Any]
    labels: npt.NDArray[np.bool_]
    segmentation: npt.NDArray[np.bool_]
    used: npt.NDArray[np.bool_]

    @property
    def name(self) -> str:
        """Which section it is, in words."""
        return f"{PLANE_NAMES[self.axis]} plane, {_AXES[self.axis]} = {self.box.start[self.axis]}"


def middle_window(box: Box, largest: Sequence[int]) -> Box:
    """Returns the middle of `box`, at most `largest` voxels (z y x).

    Example:
      >>> middle_window(Box((0, 0, 0), (10, 4, 10)), (4, 8, 4))
      Box(start=(3, 0, 3), stop=(7, 4, 7))
    """
    shape = [min(a, b) for a, b in zip(box.shape, largest, strict=True)]
    start = [a + (n - m) // 2 for a, n, m in zip(box.start, box.shape, shape, strict=True)]
    return Box.of_shape(shape, start)


def even_sections(box: Box, axis: int, number: int) -> list[Box]:
    """Returns sections one voxel thick across `axis`, evenly spaced, none at the ends.

    Example:
      >>> [b.start[0] for b in even_sections(Box((0, 0, 0), (9, 2, 2)), 0, 2)]
      [3, 6]
    """
    length = box.shape[axis]
    places = sorted({box.start[axis] + (i + 1) * length // (number + 1) for i in range(number)})
    return [section(box, axis, place) for place in places]


def section(box: Box, axis: int, place: int) -> Box:
    """Returns the part of `box` at voxel `place` of `axis`, one voxel thick."""
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = place, place + 1
    return Box(int3(start, "start"), int3(stop, "stop"))


def read_plane(
    raw: Volume,
    segmentation: Volume,
    region: Region,
    box: Box,
    *,
    exclude_inwards: int,
    exclude_outwards: int,
) -> Plane:
    """Returns one section with all that is drawn of it.

    Args:
      raw: grey values, found through nanometres.
      segmentation: nonzero = found; likewise.
      region: whose labels are shown.
      box: voxels of the region's labels, one thick in one axis.
      exclude_inwards: thickness of the exclusion zone inside objects, voxels.
      exclude_outwards: its thickness outside.

    Raises:
      ValueError: `box` is not one voxel thick, or the volumes do not fit, see `voxel_shift`.
    """
    if 1 not in box.shape:
        raise ValueError(f"box of shape {box.shape} is no plane; give one that is 1 voxel thick in one axis.")
    axis = box.shape.index(1)
    labels = region.labels
    halo = max(exclude_inwards, exclude_outwards)
    read_box = box.grow(halo).intersect(labels.box)
    around = labels.read(read_box)
    inside = box.shift([-a for a in read_box.start]).slices
    zone = exclusion_zone(around, inwards=exclude_inwards, outwards=exclude_outwards)[inside]
    found = segmentation.read(box.shift(voxel_shift(segmentation, labels, box)))
    grey = raw.read(box.shift(voxel_shift(raw, labels, box)))
    used = ~zone
    if region.mask is not None:
        used &= region.mask.read(box.shift(voxel_shift(region.mask, labels, box))) != 0
    flat = [a.squeeze(axis) for a in (grey, around[inside] != 0, found != 0, used)]
    return Plane(axis, box, _pixel_nm(labels.voxel_size_nm, axis), *flat)


def _pixel_nm(voxel_size_nm: Float3, axis: int) -> tuple[float, float]:
    height, width = (side for i, side in enumerate(voxel_size_nm) if i != axis)
    return height, width


def draw_plane(plane: Plane) -> bytes:
    """Returns the four pictures of a plane side by side, with a scale bar, as a PNG file."""
    height_nm, width_nm = (n * s for n, s in zip(plane.raw.shape, plane.pixel_nm, strict=True))
    gap, head = 0.012, 0.26
    picture_in = _WIDTH_IN * (1 - 3 * gap) / 4
    tall_in = min(picture_in * height_nm / width_nm, _TALLEST_IN)
    with matplotlib.rc_context({"font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=(_WIDTH_IN, tall_in + head), facecolor="none")
        share = tall_in / (tall_in + head)
        pictures = zip(("raw", "labels", "segmentation", "errors"), _pictures(plane), strict=True)
        for number, (name, draw) in enumerate(pictures):
            place = (number * (1 - 3 * gap) / 4 + number * gap, 0, (1 - 3 * gap) / 4, share)
            axes = figure.add_axes(place)
            axes.set_axis_off()
            axes.set_title(name, fontsize=10, pad=4, color="#333333")
            draw(axes, (0, width_nm, height_nm, 0))
            if number == 0:
                draw_scale_bar(axes, width_nm, height_nm)
        return _png(figure)


def _pictures(plane: Plane) -> list[Any]:
    """Returns four functions that draw into axes of a given extent (nm)."""
    low, high = np.percentile(plane.raw, (0.5, 99.5))
    grey = np.clip((plane.raw - low) / max(high - low, 1), 0, 1)

    def raw(axes: Axes, extent: Extent) -> None:
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")

    def outlined(mask: npt.NDArray[np.bool_], colour: str) -> Any:
        def draw(axes: Axes, extent: Extent) -> None:
            raw(axes, extent)
            _draw_outline(axes, mask, colour, plane.pixel_nm)

        return draw

    def errors(axes: Axes, extent: Extent) -> None:
        axes.imshow(error_map(plane, grey), extent=extent, interpolation="nearest")

    return [raw, outlined(plane.labels, THERE), outlined(plane.segmentation, FOUND), errors]


def _draw_outline(axes: Axes, mask: npt.NDArray[np.bool_], colour: str, pixel_nm: tuple[float, float]) -> None:
    """Draws the border of `mask` as a line; an object cut by the picture stays open there."""
    if min(mask.shape) < 2 or mask.all() or not mask.any():
        return
    y, x = ((np.arange(n) + 0.5) * s for n, s in zip(mask.shape, pixel_nm, strict=True))
    axes.contour(x, y, mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.3)


def error_map(plane: Plane, grey: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Returns the plane in colours of right and wrong over darkened raw.

    Args:
      plane: what is shown.
      grey: [row, column], 0 to 1.

    Returns:
      float64 [row, column, rgb], 0 to 1; what lies in the exclusion zone is coloured faintly.
    """
    picture = np.repeat(0.75 * grey[..., None], 3, axis=-1)
    found, there = plane.segmentation, plane.labels
    for mask, colour, strength in (
        (found & there, FOUND, 0.35),
        (found & ~there, WRONG, 0.9),
        (there & ~found, THERE, 0.9),
    ):
        alpha = np.where(plane.used, strength, 0.35 * strength)[..., None]
        picture = np.where(mask[..., None], (1 - alpha) * picture + alpha * np.array(to_rgb(colour)), picture)
    return picture


def scale_bar_nm(width_nm: float) -> float:
    """Returns a round length of about a quarter of a picture's width.

    Example:
      >>> scale_bar_nm(1000.0), scale_bar_nm(3300.0)
      (200.0, 500.0)
    """
    power = 10 ** np.floor(np.log10(0.3 * width_nm))
    return float(max(factor * power for factor in (1, 2, 5) if factor * power <= 0.3 * width_nm))


def draw_scale_bar(axes: Axes, width_nm: float, height_nm: float) -> None:
    """Draws a white bar with its length in the lower right corner, on a dark ground.

    Args:
      axes: whose coordinates are nm.
      width_nm: of the picture.
      height_nm: of the picture.
    """
    length = scale_bar_nm(width_nm)
    text = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    edge = 0.03 * width_nm
    thick = 0.018 * width_nm
    left, bottom = width_nm - edge - length, height_nm - edge
    axes.add_patch(
        Rectangle((left, bottom - thick), length, thick, facecolor="white", edgecolor="black", linewidth=0.6)
    )
    axes.text(
        left + length / 2,
        bottom - 2.4 * thick,
        text,
        color="white",
        fontsize=9,
        ha="center",
        va="bottom",
        bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5},
    )


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()
