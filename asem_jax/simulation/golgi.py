"""Golgi stacks: bent piles of flat cisternae with swollen, ragged rims.

A stack is placed as a star of thick links, so that it keeps its room; its shape and looks follow from the height over
its middle plane, which is bent like a bowl, and the distance from its axis.
"""

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import Cell
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.organelles import Grey, across, band, coverage, directions
from asem_jax.simulation.surfaces import between
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.simulation.tubes import Tube, TubeDistance

SPACING_MEMBRANES = 2.6
_SPOKES = 6
_BOWL_NM = 700.0
_FENESTRA_NM = 100.0


def half_height_nm(cell: Cell) -> float:
    """Returns half of the height of the highest stack, its bowl included."""
    assert cell.whole is not None
    radius = cell.whole.golgi_radius_nm[1]
    return cell.whole.golgi_cisternae[1] * SPACING_MEMBRANES * cell.membrane_nm / 2 + radius**2 / (4 * _BOWL_NM)


def draw_golgi(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns the room of a stack, as a star; `size`, 0..1, decides its lateral radius; `side` is its axis."""
    assert cell.whole is not None
    radius = between(cell.whole.golgi_radius_nm, size)
    thick = half_height_nm(cell)
    axis = directions(rng, 1)[0]
    first = across(rng, axis)
    second = np.cross(axis, first)
    turns = 2 * np.pi * np.arange(_SPOKES) / _SPOKES
    spokes = np.cos(turns)[:, None] * first + np.sin(turns)[:, None] * second
    points = np.concatenate([centre_nm[None], centre_nm + spokes * max(radius - thick / 2, 1.0)])
    links = np.stack([np.zeros(_SPOKES, int), np.arange(1, _SPOKES + 1)], 1)
    return Tube(points, np.full(_SPOKES + 1, thick), links, np.zeros(_SPOKES + 1), axis, rng.random(4))


def golgi_radius_nm(cell: Cell, tube: Tube) -> float:
    """Returns the lateral radius of a stack."""
    spoke = tube.points_nm[1] - tube.points_nm[0]
    return float(np.sqrt(spoke @ spoke)) + half_height_nm(cell) / 2


def num_cisternae(cell: Cell, tube: Tube) -> int:
    """Returns how many cisternae a stack has."""
    assert cell.whole is not None
    low, high = cell.whole.golgi_cisternae
    return int(low + min(int(tube.traits[0] * (high - low + 1)), high - low))


def golgi_distance(cell: Cell, field: TubeDistance) -> Grey:
    """Returns about the distance to the surface of the whole stack, nm, negative between and in its cisternae."""
    height, off = _bowl(cell, field)
    spacing = SPACING_MEMBRANES * cell.membrane_nm
    flat = np.abs(height) - np.float32(num_cisternae(cell, field.tube) * spacing / 2)
    return np.maximum(flat, off - np.float32(golgi_radius_nm(cell, field.tube)))


def golgi_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a stack: cisternae with a light lumen, cytosol without ribosomes between them.

    The arguments are those of `mitochondrion_grey`.
    """
    height, off = _bowl(cell, field)
    spacing, number = SPACING_MEMBRANES * cell.membrane_nm, num_cisternae(cell, field.tube)
    level = height * np.float32(1 / spacing) + np.float32((number - 1) / 2)
    nearest = np.clip(np.rint(level), 0, number - 1)
    above = np.abs(level - nearest) * np.float32(spacing)
    holes = smooth_field(cell.seed, Stream.CISTERNA, (_FENESTRA_NM,) * 3, axes_of(field.box, cell.voxel_size_nm))
    radius = golgi_radius_nm(cell, field.tube)
    swollen = 1 + 0.35 * np.clip((off - np.float32(0.75 * radius)) * np.float32(4 / radius), 0, 1)
    inside = above - swollen * np.float32(0.85 * cell.membrane_nm)
    rim = off - np.float32(0.95 * radius) + holes * np.float32(0.06 * radius)
    inside = np.maximum(np.maximum(inside, rim), (np.float32(-1.5) - holes) * np.float32(_FENESTRA_NM / 2))
    grey = np.float32(cell.cytosol_grey - 6) + grain * np.float32(0.8 * cell.texture_grey)
    lumen = np.float32(cell.cytosol_grey) + grain * np.float32(0.4 * cell.texture_grey)
    grey = grey + (lumen - grey) * coverage(inside, edge_nm)
    wall = band(inside, -0.35 * cell.membrane_nm, 0.7 * cell.membrane_nm, edge_nm)
    grey = grey + (np.float32(cell.membrane_grey) - grey) * wall
    return grey.astype(np.float32, copy=False)


def _bowl(cell: Cell, field: TubeDistance) -> tuple[Grey, Grey]:
    """Returns height over the bent middle plane, and distance from the axis, nm."""
    axes = axes_of(field.box, cell.voxel_size_nm)
    z, y, x = (
        (axis - c).astype(np.float32).reshape([-1 if n == other else 1 for other in range(3)])
        for n, (axis, c) in enumerate(zip(axes, field.tube.centre, strict=True))
    )
    a, b, c = (np.float32(v) for v in field.tube.side)
    height = z * a + y * b + x * c
    off = np.sqrt(np.maximum(z * z + y * y + x * x - height * height, 0))
    # The bowl's middle is as far below the middle plane as its rim is above.
    bend = off * off * np.float32(1 / (2 * _BOWL_NM))
    deepest = golgi_radius_nm(cell, field.tube) ** 2 / (4 * _BOWL_NM)
    return height - bend + np.float32(deepest), off
