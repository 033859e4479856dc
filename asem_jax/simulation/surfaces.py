"""The surfaces of whole cells, plasma membrane and nuclear envelope, and places spread over them.

A surface is a sphere, displaced along its radius by smooth fields; one cell lies in each cube of a lattice.
Laws that hold (and are tested): a patch lies on its surface; patches of one surface keep their distance.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import SWING, Cell, Range, WholeCell
from asem_jax.simulation.grid import Grid, Values, slopes
from asem_jax.simulation.objects import Lattice
from asem_jax.simulation.texture import Axes, Stream, generator, smooth_field, smooth_values
from asem_jax.volumes.geometry import Float3, Int3

Places = npt.NDArray[np.float64]

_BUMPS_NM, _FINE_BUMPS_NM = 900.0, 160.0
# Distances from outside end here, before bumps, so that a cell farther away does not matter.
_FAR_NM = 300.0
_MOST_REMEMBERED = 64


class Surface(Enum):
    """One of the two surfaces of a cell: its random streams, and its roughness as a share of the cell's."""

    PLASMA = (Stream.PLASMA, Stream.PLASMA_FINE, 1.0)
    ENVELOPE = (Stream.ENVELOPE, Stream.ENVELOPE_FINE, 0.5)


@dataclass(frozen=True, eq=False)
class Site:
    """Where a cell is.

    Attributes:
      index: its cube of the lattice.
      centres_nm: of the cell and of its nucleus, float64 [3] each.
      radii_nm: of both.
      nucleolus_nm: centre of the nucleolus.
    """

    index: Int3
    centres_nm: dict[Surface, Places]
    radii_nm: dict[Surface, float]
    nucleolus_nm: Places


@dataclass(frozen=True, eq=False)
class Patch:
    """A place on a surface.

    Attributes:
      index: cube of its cell.
      rank: its number there.
      centre_nm: on the surface, float64 [3].
      normal: outward unit vector.
      side: unit vector in the surface.
      other: unit vector in the surface, across `side`.
      traits: uniform numbers in [0, 1), float64 [4].
    """

    index: Int3
    rank: int
    centre_nm: Places
    normal: Places
    side: Places
    other: Places
    traits: Places


@dataclass(frozen=True)
class Spread:
    """How patches are spread over a surface.

    Attributes:
      surface: which.
      stream: their random numbers.
      per_um2: tried per square micrometre.
      spacing_nm: least distance between two.
    """

    surface: Surface
    stream: Stream
    per_um2: float
    spacing_nm: float


def site_lattice(whole: WholeCell) -> Lattice:
    """Returns the cubes that cells lie in."""
    return Lattice(whole.pitch_nm, 0.0, 1)


def patch_lattice(whole: WholeCell, spread: Spread) -> Lattice:
    """Returns the cubes of cells, with as many ranks as patches may be tried on one surface."""
    radius = (whole.radius_nm if spread.surface is Surface.PLASMA else whole.nucleus_radius_nm)[1]
    return Lattice(whole.pitch_nm, 0.0, int(_expected(spread, radius)) + 1)


@lru_cache(maxsize=_MOST_REMEMBERED)
def site(cell: Cell, index: Int3) -> Site:
    """Returns the cell in cube `index`; `cell` has whole cells."""
    whole = _whole(cell)
    shares = generator(cell.seed, Stream.CELL, index).random(12)
    radius, nucleus = between(whole.radius_nm, shares[0]), between(whole.nucleus_radius_nm, shares[1])
    swing = SWING * whole.roughness_nm
    room = whole.pitch_nm / 2 - radius - swing
    centre = (np.array(index) + 0.5) * whole.pitch_nm + (2 * shares[2:5] - 1) * room
    free = (radius - 1.5 * swing - nucleus - whole.envelope_nm) / 3
    middle = centre + (2 * shares[5:8] - 1) * max(free, 0.0)
    nucleolus = middle + (2 * shares[8:11] - 1) * nucleus * 0.3
    return Site(
        index,
        {Surface.PLASMA: centre, Surface.ENVELOPE: middle},
        {Surface.PLASMA: radius, Surface.ENVELOPE: nucleus},
        nucleolus,
    )


def sites_near(cell: Cell, low_nm: Float3, high_nm: Float3) -> list[Site]:
    """Returns the cells whose cubes meet the box low..high."""
    return [site(cell, index) for index in site_lattice(_whole(cell)).cells(low_nm, high_nm)]


def distances(cell: Cell, surface: Surface, grid: Grid) -> Values:
    """Returns the signed distance to a surface at the nodes of a grid, nm, negative inside; good near the surface."""
    axes = grid.axes
    nearest = np.full(grid.box.shape, np.float32(_FAR_NM))
    low, high = (_corner(axes, end, sign * _FAR_NM) for end, sign in ((0, -1), (-1, 1)))
    for one in sites_near(cell, low, high):
        z, y, x = (
            (axis - c).astype(np.float32).reshape([-1 if n == other else 1 for other in range(3)])
            for n, (axis, c) in enumerate(zip(axes, one.centres_nm[surface], strict=True))
        )
        np.minimum(nearest, np.sqrt(z * z + y * y + x * x) - np.float32(one.radii_nm[surface]), out=nearest)
    coarse, fine, share = surface.value
    rough = _whole(cell).roughness_nm * share
    nearest += smooth_field(cell.seed, coarse, (_BUMPS_NM,) * 3, axes) * np.float32(rough)
    nearest += smooth_field(cell.seed, fine, (_FINE_BUMPS_NM,) * 3, axes) * np.float32(rough / 6)
    signed = nearest / np.maximum(slopes(nearest), np.float32(0.5))
    return signed.astype(np.float32, copy=False)


def level(cell: Cell, surface: Surface, one: Site, places_nm: Places) -> Places:
    """Returns how far places are outside of a surface of one cell along the radius, nm, [n]; 0 on it."""
    coarse, fine, share = surface.value
    rough = _whole(cell).roughness_nm * share
    away = places_nm - one.centres_nm[surface]
    found = np.sqrt(np.square(away).sum(1)) - one.radii_nm[surface]
    found += rough * smooth_values(cell.seed, coarse, _BUMPS_NM, places_nm)
    return found + rough / 6 * smooth_values(cell.seed, fine, _FINE_BUMPS_NM, places_nm)


@lru_cache(maxsize=_MOST_REMEMBERED)
def patches(cell: Cell, spread: Spread, index: Int3) -> tuple[Patch, ...]:
    """Returns the patches on the surface of the cell in cube `index`, each where the earlier ones leave room."""
    one = site(cell, index)
    rng = generator(cell.seed, spread.stream, index)
    number = int(_expected(spread, one.radii_nm[spread.surface]) + rng.random())
    if number == 0:
        return ()
    shares = rng.random((number, 7))
    height, angle = 2 * shares[:, 0] - 1, 2 * np.pi * shares[:, 1]
    flat = np.sqrt(1 - height**2)
    ways = np.stack([height, flat * np.cos(angle), flat * np.sin(angle)], 1)
    places = _on_surface(cell, spread.surface, one, ways)
    kept = _apart(places, spread.spacing_nm)
    normals = _normals(cell, spread.surface, one, places[kept])
    return tuple(
        Patch(index, rank, places[rank], normal, *_frame(normal, shares[rank, 2]), shares[rank, 3:])
        for rank, normal in zip(kept, normals, strict=True)
    )


def patches_near(cell: Cell, spread: Spread, low_nm: Float3, high_nm: Float3, reach_nm: float) -> Iterator[Patch]:
    """Yields the patches with their centre within `reach_nm` of the box low..high."""
    if spread.per_um2 == 0:
        return
    low, high = np.array(low_nm) - reach_nm, np.array(high_nm) + reach_nm
    for one in sites_near(cell, _triple(low), _triple(high)):
        centres = _centres(cell, spread, one.index)
        near = ((centres >= low) & (centres <= high)).all(1)
        for place in np.flatnonzero(near).tolist():
            yield patches(cell, spread, one.index)[place]


def between(bounds: Range, share: float) -> float:
    """Returns the number at `share` of the way from the lower to the upper bound."""
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)


@lru_cache(maxsize=_MOST_REMEMBERED)
def _centres(cell: Cell, spread: Spread, index: Int3) -> Places:
    return np.array([patch.centre_nm for patch in patches(cell, spread, index)]).reshape(-1, 3)


def _on_surface(cell: Cell, surface: Surface, one: Site, ways: Places) -> Places:
    """Returns where rays from the centre meet the surface; the fields' slopes are below 1, so the steps shrink."""
    centre, away = one.centres_nm[surface], np.full(len(ways), one.radii_nm[surface])
    for _ in range(9):
        away -= level(cell, surface, one, centre + ways * away[:, None])
    return centre + ways * away[:, None]


def _normals(cell: Cell, surface: Surface, one: Site, places: Places) -> Places:
    """Returns outward unit vectors, from differences over 12 nm."""
    steps = 6.0 * np.eye(3)
    slope = [level(cell, surface, one, places + step) - level(cell, surface, one, places - step) for step in steps]
    normal = np.stack(slope, 1)
    return normal / np.sqrt(np.square(normal).sum(1, keepdims=True))


def _apart(places: Places, spacing: float) -> list[int]:
    """Returns those that no kept earlier one is closer to than `spacing`, in order."""
    kept: list[int] = []
    for rank, place in enumerate(places):
        if not kept or np.square(places[kept] - place).sum(1).min() >= spacing**2:
            kept.append(rank)
    return kept


def _frame(normal: Places, share: float) -> tuple[Places, Places]:
    """Returns two unit vectors across `normal` and each other, turned by `share` of a full turn."""
    first = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    first /= math.sqrt(float(first @ first))
    second = np.cross(normal, first)
    turn = 2 * math.pi * share
    side = math.cos(turn) * first + math.sin(turn) * second
    return side, np.cross(normal, side)


def _expected(spread: Spread, radius: float) -> float:
    return spread.per_um2 * 4 * math.pi * radius**2 * 1e-6


def _whole(cell: Cell) -> WholeCell:
    assert cell.whole is not None
    return cell.whole


def _corner(axes: Axes, end: int, margin: float) -> Float3:
    z, y, x = axes
    return float(z[end]) + margin, float(y[end]) + margin, float(x[end]) + margin


def _triple(values: Places) -> Float3:
    return float(values[0]), float(values[1]), float(values[2])
