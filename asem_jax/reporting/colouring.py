"""Planes of raw with objects or labels on them, a colour per number.

The three planes through the middle stand side by side at one scale. A number has one colour everywhere; two of many
objects may look alike. Labels that say what their numbers mean (attribute `labels`) get a key.
"""

import colorsys
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asem_jax.measurement.scoring import voxel_shift
from asem_jax.reporting import page
from asem_jax.reporting.overlays import PLANE_NAMES, draw_scale_bar, middle_window, section
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.volume import Volume

_WIDTH_IN, _TALLEST_IN, _GAP_IN, _HEAD_IN = 11.6, 6.0, 0.12, 0.26
_TURN = 0.618034  # of the circle of hues from one number to the next: those of neighbours in number are far apart
_STRENGTH = 0.55
_DOWN_ACROSS = ((1, 2), (0, 2), (0, 1))  # axes that run down and across the plane across z, y, x

Picture = npt.NDArray[np.float64]


def colouring_section(raw: Volume, shown: Mapping[str, Volume], picture_shape: Int3) -> list[str]:
    """Returns pictures of each volume of objects or labels on raw; nothing without any.

    Args:
      raw: grey values, on the grid of the others.
      shown: by name, whole numbers, 0 = nothing.
      picture_shape: largest picture, voxels z y x: of a larger volume its middle is shown.

    Raises:
      ValueError: a volume does not lie within raw, or on another grid.
    """
    parts = []
    for name, volume in shown.items():
        window = middle_window(volume.box, picture_shape)
        middle = [(a + b) // 2 for a, b in zip(window.start, window.stop, strict=True)]
        where = ", ".join(str(v) for v in middle)
        parts += [page.heading(name, 3), page.paragraph(f"Planes through voxel {where} (z, y, x) of {volume.address}.")]
        names = volume.attributes.get("labels")
        if isinstance(names, Mapping):
            parts.append(page.colour_key([(_as_hex(colour_of(i)), str(label)) for label, i in names.items()]))
        png = draw_middle(raw, volume, window)
        parts.append(page.picture(png, alt=f"three planes of raw with {name} in colours", caption=f"{name} on raw"))
    return [page.heading("Objects on raw"), *parts] if parts else []


def draw_middle(raw: Volume, volume: Volume, window: Box) -> bytes:
    """Returns the planes across z, y and x through the middle of a window, side by side, as a PNG file.

    Args:
      raw: grey values.
      volume: whole numbers, 0 = nothing.
      window: what is shown, voxels of `volume`.
    """
    sides_nm = [n * s for n, s in zip(window.shape, volume.voxel_size_nm, strict=True)]
    widths, heights = ([sides_nm[axes[end]] for axes in _DOWN_ACROSS] for end in (1, 0))
    inch_nm = max(sum(widths) / (_WIDTH_IN - 2 * _GAP_IN), max(heights) / _TALLEST_IN)
    tall = max(heights) / inch_nm + _HEAD_IN
    with matplotlib.rc_context({"font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=(_WIDTH_IN, tall), facecolor="none")
        left = 0.0
        for axis, (width, height) in enumerate(zip(widths, heights, strict=True)):
            high = height / inch_nm / tall
            place = (left / _WIDTH_IN, 1 - _HEAD_IN / tall - high, width / inch_nm / _WIDTH_IN, high)
            _draw(figure.add_axes(place), raw, volume, section(window, axis, sum(_ends(window, axis)) // 2))
            left += width / inch_nm + _GAP_IN
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
        return file.getvalue()


def _ends(box: Box, axis: int) -> tuple[int, int]:
    return box.start[axis], box.stop[axis]


def _draw(axes: Axes, raw: Volume, volume: Volume, box: Box) -> None:
    """Draws one plane, `box` being one voxel thick."""
    axis = box.shape.index(1)
    grey = raw.read(box.shift(voxel_shift(raw, volume, box))).squeeze(axis)
    picture = coloured(grey, volume.read(box).squeeze(axis))
    down, across = _DOWN_ACROSS[axis]
    height_nm, width_nm = (box.shape[i] * volume.voxel_size_nm[i] for i in (down, across))
    axes.set_axis_off()
    axes.set_title(f"{PLANE_NAMES[axis]}, {'zyx'[axis]} = {box.start[axis]}", fontsize=10, pad=4, color="#333333")
    axes.imshow(picture, extent=(0, width_nm, height_nm, 0), interpolation="nearest")
    if axis == 0:
        draw_scale_bar(axes, width_nm, height_nm)


def coloured(grey: npt.NDArray[Any], numbers: npt.NDArray[np.integer]) -> Picture:
    """Returns grey values with a colour per number over them.

    Args:
      grey: [row, column].
      numbers: [row, column], 0 = no colour.

    Returns:
      float64 [row, column, rgb], 0 to 1.
    """
    low, high = np.percentile(grey, (0.5, 99.5))
    picture = np.repeat(np.clip((grey.astype(float) - low) / max(high - low, 1), 0, 1)[..., None], 3, axis=-1)
    found, where = np.unique(numbers, return_inverse=True)
    colours = np.array([colour_of(int(number)) for number in found])[where.reshape(numbers.shape)]
    return np.where((numbers != 0)[..., None], (1 - _STRENGTH) * picture + _STRENGTH * colours, picture)


def colour_of(number: int) -> tuple[float, float, float]:
    """Returns red, green and blue, 0 to 1, of a number.

    Example:
      >>> colour_of(1) == colour_of(2)
      False
    """
    return colorsys.hsv_to_rgb(number * _TURN % 1, 0.85, 1.0)


def _as_hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
