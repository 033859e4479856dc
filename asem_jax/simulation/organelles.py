"""Organelles made of tubes: how each is shaped, and how it looks inside.

A new closed organelle is a `draw_...` (shape, from a random generator) and a `..._grey` (looks, from the
distance to its surface), a line in `populations` and one in `scene`.
"""

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import GAP_MEMBRANES, INNER_MEMBRANES, Cell, Range
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import LARGEST, Stream, smooth_field
from asem_jax.simulation.tubes import Tube, TubeDistance, tube_field
from asem_jax.volumes.geometry import Box

Grey = npt.NDArray[np.float32]

# Radii vary by this share along a tube, so that a placed tube can be larger than the configured radius.
RADIUS_SWELL = 0.15
_SWELL_NM = 900.0
MICROTUBULE_NM = 25.0
_MICROTUBULE_STEP_NM = 45.0


def coverage(distance: Grey, edge_nm: float) -> Grey:
    """Returns which share of a voxel lies inside a surface, 0..1, so that edges show no steps.

    Args:
      distance: signed, nm, negative inside.
      edge_nm: width of the transition, about one voxel.
    """
    return _ramp(distance * np.float32(-1 / edge_nm), 1.0)


def band(distance: Grey, middle_nm: float, thickness_nm: float, edge_nm: float) -> Grey:
    """Returns which share of a voxel lies in a layer around the surface `distance == middle_nm`, 0..1."""
    away = distance - np.float32(middle_nm)
    np.abs(away, out=away)
    away -= np.float32(thickness_nm / 2)
    away *= np.float32(-1 / edge_nm)
    return _ramp(away, min(1.0, thickness_nm / edge_nm))


def _ramp(share: Grey, most: float) -> Grey:
    """Returns half a voxel more than `share`, within 0..`most`; changes `share`."""
    share += np.float32(0.5)
    return np.clip(share, 0, np.float32(most), out=share)


def mix(below: Grey, above: Grey | float, share: Grey) -> None:
    """Turns `below`, in place, into a mixture with a `share` of 0..1 of `above`."""
    change = (np.float32(above) if isinstance(above, float | int) else above) - below
    change *= share
    below += change


def draw_mitochondrion(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns a curved tube, branched in a share of the cases; `size`, 0..1, decides its length."""
    radius = _between(cell.mitochondrion_radius_nm, rng.random())
    length = _between(cell.mitochondrion_length_nm, size)
    steps = max(2, int(np.ceil(length / 2 / (0.7 * radius))))
    direction = directions(rng, 1)[0]
    paths = [_walk(rng, centre_nm, sign * direction, steps, length / 2) for sign in (1, -1)]
    if rng.random() < cell.branched_share:
        paths.append(_walk(rng, centre_nm, across(rng, direction), steps, length / 2))
    points = np.concatenate([centre_nm[None], *paths])
    starts = np.arange(1, len(points))
    links = np.stack([np.where((starts - 1) % steps == 0, 0, starts - 1), starts], 1)
    away = (starts - 1) % steps + 1
    along = np.concatenate([[0.0], np.where(starts <= steps, 1, -1) * away * length / 2 / steps])
    # A wave along the tube; independent radii would look like beads on a string.
    radii = radius * (1 + RADIUS_SWELL * np.sin(2 * np.pi * (rng.random() + along / _SWELL_NM)))
    return Tube(points, radii, links, along, across(rng, direction), rng.random(4))


def draw_body(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns a round or sausage-shaped body; `size`, 0..1, decides its radius."""
    radius = _between(cell.body_radius_nm, size)
    direction = directions(rng, 1)[0]
    half = direction * radius * max(0.02, 1.6 * rng.random() - 0.6)
    points = np.stack([centre_nm, centre_nm + half, centre_nm - half])
    radii = radius * (1 + RADIUS_SWELL * rng.uniform(-1, 1, 3))
    along = np.array([0.0, 1.0, -1.0]) * float(np.sqrt(half @ half))
    return Tube(points, radii, np.array([[0, 1], [0, 2]]), along, across(rng, direction), rng.random(4))


def draw_vesicle(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns a small ball; `size`, 0..1, decides its radius."""
    radius = _between(cell.vesicle_radius_nm, size)
    points = np.stack([centre_nm, centre_nm])
    side = np.array([1.0, 0.0, 0.0])
    return Tube(points, np.full(2, radius), np.array([[0, 1]]), np.zeros(2), side, rng.random(4))


def draw_droplet(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns a lipid droplet, a ball; `size`, 0..1, decides its radius."""
    radius = 0.0 if cell.whole is None else _between(cell.whole.droplet_radius_nm, size)
    points = np.stack([centre_nm, centre_nm])
    return Tube(points, np.full(2, radius), np.array([[0, 1]]), np.zeros(2), np.array([1.0, 0.0, 0.0]), rng.random(4))


def draw_microtubule(rng: np.random.Generator, centre_nm: npt.NDArray[np.float64], size: float, cell: Cell) -> Tube:
    """Returns a long thin tube, slightly bent; `size`, 0..1, decides its length."""
    length = 0.0 if cell.whole is None else _between(cell.whole.microtubule_length_nm, size)
    steps = max(2, int(np.ceil(length / 2 / _MICROTUBULE_STEP_NM)))
    direction, bend = directions(rng, 1)[0], 0.25 * rng.random()
    aside = across(rng, direction)
    share = np.arange(-steps, steps + 1)[:, None] / steps
    # A parabola, whose chord is a little shorter than the tube.
    points = centre_nm + (share * direction + bend * share**2 * aside) * length / 2 / (1 + bend)
    order = np.concatenate([[steps], np.arange(steps + 1, 2 * steps + 1), np.arange(steps)[::-1]])
    ends = np.arange(1, 2 * steps + 1)
    links = np.stack([np.where((ends == 1) | (ends == steps + 1), 0, ends - 1), ends], 1)
    along = (share[:, 0] * length / 2)[order]
    return Tube(points[order], np.full(len(order), MICROTUBULE_NM / 2), links, along, aside, rng.random(4))


def droplet_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a lipid droplet: even, with no membrane, a little darker at its rim.

    The arguments are those of `mitochondrion_grey`.
    """
    inside = 0.0 if cell.whole is None else _between(cell.whole.droplet_grey, field.tube.traits[0])
    grey = np.float32(inside) + grain * np.float32(0.3 * cell.texture_grey)
    return _mix(grey, inside - 15, coverage(np.abs(field.distance) - np.float32(edge_nm), edge_nm))


def microtubule_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a microtubule: a dark wall around a light middle, as far as voxels show it.

    The arguments are those of `mitochondrion_grey`.
    """
    grey = np.full(field.box.shape, np.float32(cell.cytosol_grey)) + grain * np.float32(0.3 * cell.texture_grey)
    wall = MICROTUBULE_NM / 4
    return _mix(grey, cell.membrane_grey + 15, band(field.distance, -wall / 2, wall, edge_nm))


def tube_surface(cell: Cell, field: TubeDistance) -> Grey:
    """Returns the distance to the surface of what fills its tube, nm; `cell` is not asked."""
    return field.distance


def mitochondrion_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a mitochondrion over `field.box`; outside of it they mean nothing.

    Args:
      cell: its numbers.
      field: the mitochondrion as seen from the voxels.
      grain: texture of mean 0 and standard deviation 1 over the same voxels.
      edge_nm: width of an edge, about one voxel.
    """
    thick = cell.membrane_nm
    inner = -thick * (1 + GAP_MEMBRANES + INNER_MEMBRANES / 2)
    matrix = _between(cell.matrix_grey, field.tube.traits[0] ** 0.7)
    grey = np.float32(matrix) + grain * np.float32(cell.texture_grey)
    # No crista reaches farther out than the middle of the inner membrane.
    deep = field.where(field.distance, inner + edge_nm)
    if deep.box.num_voxels:
        part = deep.slices(field.box)
        grey[part] = _cristae(cell, deep, grey[part], edge_nm, wall_nm=inner)
    gap = coverage(-field.distance + np.float32(inner), edge_nm)
    lumen = max(matrix + 15, 0.5 * (matrix + cell.cytosol_grey) + 10)
    grey = _mix(grey, lumen, gap)
    grey = _mix(grey, cell.membrane_grey, band(field.distance, inner, INNER_MEMBRANES * thick, edge_nm))
    return _mix(grey, cell.membrane_grey, band(field.distance, -thick / 2, thick, edge_nm))


def body_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a look-alike: one membrane, inside greys that mitochondria have too.

    The arguments are those of `mitochondrion_grey`.
    """
    inside = _between(cell.body_grey, field.tube.traits[0] ** 1.8)
    roughness = cell.texture_grey * (1 + field.tube.traits[2])
    grey = np.float32(inside) + grain * np.float32(roughness)
    if field.tube.traits[1] > 0.5:
        axes = axes_of(field.box, cell.voxel_size_nm)
        pitch = 45.0 + 60.0 * float(field.tube.traits[3])
        fold = smooth_field(cell.seed, Stream.INCLUSION, (pitch, pitch, pitch), axes)
        # A slope of 2 / pitch is typical of such a field, so the layer is about one membrane thick.
        layer = band(np.abs(fold) * np.float32(pitch / 2), 0.0, cell.membrane_nm, edge_nm)
        deep = coverage(field.distance + np.float32(3 * cell.membrane_nm), edge_nm)
        grey = _mix(grey, cell.membrane_grey, layer * deep * np.float32(0.8))
    return _mix(grey, cell.membrane_grey, band(field.distance, -cell.membrane_nm / 2, cell.membrane_nm, edge_nm))


def vesicle_grey(cell: Cell, field: TubeDistance, grain: Grey, edge_nm: float) -> Grey:
    """Returns the grey values of a small vesicle: dark rim, inside from empty to dense.

    The arguments are those of `mitochondrion_grey`.
    """
    inside = _between((cell.body_grey[0], cell.cytosol_grey + 10), field.tube.traits[0])
    grey = np.float32(inside) + grain * np.float32(cell.texture_grey)
    return _mix(grey, cell.membrane_grey, band(field.distance, -cell.membrane_nm / 2, cell.membrane_nm, edge_nm))


def _cristae(cell: Cell, field: TubeDistance, grey: Grey, edge_nm: float, *, wall_nm: float) -> Grey:
    """Returns `grey` with lamellae: pairs of membranes around a bright lumen, bent, and with ends."""
    around = cell.nodes.around(field.box)
    spacing = _between(cell.cristae_spacing_nm, field.tube.traits[1])
    lamellae = _lamellae(cell, field.tube, around, wall_nm + edge_nm)
    place, present = (cell.nodes.read(values, around, field.box) for values in lamellae)
    off_middle = place - np.rint(place)
    np.abs(off_middle, out=off_middle)
    off_middle *= np.float32(spacing)
    present = present * coverage(field.distance - np.float32(wall_nm), edge_nm)
    thin = 0.7 * cell.membrane_nm
    lumen = np.float32(0.4 * cell.membrane_nm)
    grey = _mix(grey, cell.membrane_grey + 8, present * band(off_middle, float(lumen) + thin / 2, thin, edge_nm))
    return _mix(
        grey,
        0.5 * (cell.cytosol_grey + cell.membrane_grey) + 20,
        present * coverage(off_middle - lumen, edge_nm),
    )


def _lamellae(cell: Cell, tube: Tube, around: Box, outermost_nm: float) -> tuple[Grey, Grey]:
    """Returns a field whose whole numbers are the middles of lamellae, and where there are any, 0..1, at nodes.

    They are needed beside voxels that lie up to `outermost_nm` outside of the surface, negative = within.
    """
    apart = cell.at_nodes.voxel_size_nm
    axes = axes_of(around, apart)
    # No surface is farther from its tube than the first; nodes beside a voxel are no farther from it than the last.
    margin = LARGEST * (cell.wobble_nm + cell.preparation.ruffle_nm) + outermost_nm + 2 * max(apart)
    along = tube_field(tube, around, voxel_size_nm=apart, margin_nm=margin)
    spacing = _between(cell.cristae_spacing_nm, tube.traits[1])
    tilt = 0.5 * np.pi * float(tube.traits[2])
    bend = smooth_field(cell.seed, Stream.CRISTA_BEND, (140.0, 140.0, 140.0), axes)
    place = np.float32(np.cos(tilt)) * along.along + np.float32(np.sin(tilt)) * along.aside
    place = (place + bend * np.float32(0.35 * spacing)) * np.float32(1 / spacing)
    gate = smooth_field(cell.seed, Stream.CRISTA_GATE, (110.0, 110.0, 110.0), axes)
    return place, np.clip(gate * np.float32(1.5) + np.float32(1.6), 0, 1)


def _mix(below: Grey, above: float, share: Grey) -> Grey:
    change = np.float32(above) - below
    change *= share
    change += below
    return change


def _between(bounds: Range, share: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)


def directions(rng: np.random.Generator, number: int) -> npt.NDArray[np.float64]:
    """Returns unit vectors in all directions, [number, 3]."""
    shares = rng.random((number, 2))
    height, angle = 2 * shares[:, 0] - 1, 2 * np.pi * shares[:, 1]
    flat = np.sqrt(1 - height**2)
    ways = np.empty((number, 3))
    ways[:, 0], ways[:, 1], ways[:, 2] = height, flat * np.cos(angle), flat * np.sin(angle)
    return ways


def across(rng: np.random.Generator, direction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns a random unit vector at a right angle to `direction`."""
    other = directions(rng, 1)[0]
    other = other - (other @ direction) * direction
    return other / max(float(np.sqrt(other @ other)), 1e-9)


def _walk(
    rng: np.random.Generator,
    start: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
    steps: int,
    length: float,
) -> npt.NDArray[np.float64]:
    """Returns the points of a path of `length` nm that turns to one side, and a little at random."""
    turn = across(rng, direction) * 1.2 * rng.random()
    turns = turn * np.arange(1, steps + 1)[:, None] / steps + 0.12 * directions(rng, steps)
    ways = direction + turns
    ways /= np.sqrt(np.square(ways).sum(1, keepdims=True))
    return start + ways.cumsum(0) * (length / steps)
