"""Invaginations of the plasma membrane: clathrin-coated pits at all stages, and caveolae.

A pit is an ellipsoid that has sunk into the cell by a share of its height that is its stage; the membrane runs around
both. Its depth, width and eccentricity follow from the ellipsoid and are those of the middle of the membrane.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.canvas import Canvas, blend
from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.organelles import Grey, band, coverage
from asem_jax.simulation.surfaces import Patch, Spread, Surface, between, patches, sites_near
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.volumes.geometry import Float3, Int3

# The centre of a coated pit lies between these depths, as shares of its half height; that of a caveola is fixed.
_SHALLOW, _DEEP, _CAVEOLA = -0.5, 0.85, 0.6
_NECK_NM = 12.0
_COAT_GRAIN_NM = 14.0
# The rounding of necks ends within this distance of a pit.
_ROOM_NM = 36.0


@dataclass(frozen=True, eq=False)
class Pit:
    """An invagination.

    Attributes:
      organelle: coated_pits or caveolae.
      patch: where it is; the long axis of its mouth is the patch's side.
      semi_axes_nm: of the ellipsoid along the normal, the side and the other.
      centre_nm: depth of its centre below the membrane; negative = above.
      coat_nm: thickness of the coat; 0 = none.
    """

    organelle: str
    patch: Patch
    semi_axes_nm: Float3
    centre_nm: float
    coat_nm: float

    @property
    def depth_nm(self) -> float:
        """From the membrane's plane to the bottom."""
        return self.semi_axes_nm[0] + self.centre_nm

    @property
    def width_nm(self) -> float:
        """The longest chord in a plane along the membrane."""
        lowest = max(0.0, -self.centre_nm / self.semi_axes_nm[0])
        return 2 * self.semi_axes_nm[1] * math.sqrt(1 - lowest**2)

    @property
    def eccentricity(self) -> float:
        """Of its section along the membrane, 0 = round."""
        return math.sqrt(1 - (self.semi_axes_nm[2] / self.semi_axes_nm[1]) ** 2)

    @property
    def reach_nm(self) -> float:
        """No part of it, with its coat, is farther from the patch."""
        return self.semi_axes_nm[0] + abs(self.centre_nm) + max(self.semi_axes_nm) + self.coat_nm


def pit_spread(whole: WholeCell) -> Spread:
    """Returns how coated pits are spread over the plasma membrane."""
    spacing = whole.pit_width_nm[1] + 2 * whole.coat_nm + 2 * _NECK_NM
    return Spread(Surface.PLASMA, Stream.PIT, whole.pits_per_um2, spacing)


def caveola_spread(whole: WholeCell) -> Spread:
    """Returns how caveolae are spread over the plasma membrane."""
    return Spread(Surface.PLASMA, Stream.CAVEOLA, whole.caveolae_per_um2, whole.caveola_width_nm[1] + 2 * _NECK_NM)


@lru_cache(maxsize=64)
def pits(cell: Cell, index: Int3) -> tuple[Pit, ...]:
    """Returns the invaginations of the cell in cube `index`; a caveola that would touch a coated pit is left out."""
    assert cell.whole is not None
    whole = cell.whole
    coated = [_coated(whole, patch) for patch in patches(cell, pit_spread(whole), index)]
    gap = (pit_spread(whole).spacing_nm + caveola_spread(whole).spacing_nm) / 2
    plain = [
        _caveola(whole, patch)
        for patch in patches(cell, caveola_spread(whole), index)
        if all(math.dist(patch.centre_nm, other.patch.centre_nm) > gap for other in coated)
    ]
    return (*coated, *plain)


def pits_near(cell: Cell, low_nm: Float3, high_nm: Float3, margin_nm: float) -> list[Pit]:
    """Returns the invaginations that may come within `margin_nm` of the box low..high."""
    return [
        pit
        for one in sites_near(cell, low_nm, high_nm)
        for pit in pits(cell, one.index)
        if all(
            low - pit.reach_nm - margin_nm <= c <= high + pit.reach_nm + margin_nm
            for low, c, high in zip(low_nm, pit.patch.centre_nm, high_nm, strict=True)
        )
    ]


@lru_cache(maxsize=64)
def pit_balls(cell: Cell, index: Int3) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns centres [n, 3] and radii [n], nm, of balls around the invaginations of a cell."""
    found = pits(cell, index)
    return np.array([pit.patch.centre_nm for pit in found]).reshape(-1, 3), np.array([pit.reach_nm for pit in found])


def paint_plasma(canvas: Canvas, surface: Grey) -> None:
    """Paints extracellular space, plasma membrane and pits, over everything that is in the cell.

    Args:
      canvas: holds the inside.
      surface: signed distance to the plasma membrane without its pits, negative in the cell, nm, over the canvas.
    """
    cell, edge = canvas.cell, canvas.edge_nm
    depth = -surface
    found = []
    for pit in pits_near(cell, canvas.low_nm, canvas.high_nm, _ROOM_NM):
        near = canvas.around(pit.patch, pit.reach_nm + _ROOM_NM)
        if near is None:
            continue
        part, (height, side, other) = near
        away = ellipsoid(-height - np.float32(pit.centre_nm), side, other, pit.semi_axes_nm)
        found.append((pit, part, away, surface[part] < 0))
        depth[part] = _joined(depth[part], away)
    for pit, part, away, _ in found:
        if pit.coat_nm:
            _coat(canvas, pit, part, away, surface[part])
    around = np.float32(canvas.whole.extracellular_grey) + canvas.grain * np.float32(0.4 * cell.texture_grey)
    canvas.grey[...] = blend(canvas.grey, around, coverage(depth, edge))
    grey = canvas.grey
    grey += (np.float32(cell.membrane_grey) - grey) * band(depth, 0.0, 1.2 * cell.membrane_nm, edge)
    canvas.objects[depth <= 0] = 0
    for pit, part, away, inside in found:
        mine = (away <= 0) & inside
        if mine.any():
            key = ObjectKey(pit.organelle, pit.patch.index, pit.patch.rank)
            canvas.objects[part][mine] = canvas.add(key)


def ellipsoid(a: Grey, b: Grey, c: Grey, semi_axes_nm: Float3) -> Grey:
    """Returns about the distance to an ellipsoid at the origin, nm, negative inside; exact where it is 0."""
    first = [v * np.float32(1 / r) for v, r in zip((a, b, c), semi_axes_nm, strict=True)]
    second = [v * np.float32(1 / r) for v, r in zip(first, semi_axes_nm, strict=True)]
    off = np.sqrt(first[0] * first[0] + first[1] * first[1] + first[2] * first[2])
    slope = np.sqrt(second[0] * second[0] + second[1] * second[1] + second[2] * second[2])
    return off * (off - 1) / np.maximum(slope, np.float32(1e-6))


def _coated(whole: WholeCell, patch: Patch) -> Pit:
    long = between(whole.pit_width_nm, patch.traits[0]) / 2
    eccentricity = between(whole.pit_eccentricity, patch.traits[1])
    short = long * math.sqrt(1 - eccentricity**2)
    half = (long + short) / 2
    sunk = half * between((_SHALLOW, _DEEP), patch.traits[2])
    return Pit("coated_pits", patch, (half, long, short), sunk, whole.coat_nm)


def _caveola(whole: WholeCell, patch: Patch) -> Pit:
    radius = between(whole.caveola_width_nm, patch.traits[0]) / 2
    return Pit("caveolae", patch, (radius, radius, radius), _CAVEOLA * radius, 0.0)


def _joined(a: Grey, b: Grey) -> Grey:
    """Returns the smaller of two distances, rounded where they are alike, as the neck of a pit is."""
    share = np.clip((b - a) * np.float32(0.5 / _NECK_NM) + np.float32(0.5), 0, 1)
    return b + (a - b) * share - share * (1 - share) * np.float32(_NECK_NM)


def _coat(canvas: Canvas, pit: Pit, part: tuple[slice, slice, slice], away: Grey, surface: Grey) -> None:
    """Paints the coat: a dark granular layer on the side of the cytosol."""
    z, y, x = (axis[cut] for axis, cut in zip(canvas.axes, part, strict=True))
    grain = smooth_field(canvas.cell.seed, Stream.COAT, (_COAT_GRAIN_NM,) * 3, (z, y, x))
    thick = canvas.cell.membrane_nm
    layer = band(away, 0.5 * thick + pit.coat_nm / 2, pit.coat_nm, canvas.edge_nm) * coverage(surface, canvas.edge_nm)
    layer *= np.clip(np.float32(0.65) + grain * np.float32(0.25), 0, 1)
    canvas.grey[part] += (np.float32(canvas.cell.membrane_grey - 5) - canvas.grey[part]) * layer
