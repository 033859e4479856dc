"""What whole cells hold besides tubes, painted in the order of what covers what.

Smooth distances are evaluated on the coarse grid and read between its nodes where a surface is near; where none
is, painters are skipped, which changes no bit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asem_jax.simulation.canvas import Canvas, cytosol_grain
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.grid import GRID_NM, Grid, Values
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.nucleus import envelope_wall, paint_nucleus, pore_diameter, pore_spread
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.organelles import Grey
from asem_jax.simulation.pits import paint_plasma, pits_near
from asem_jax.simulation.preparation import cytosol
from asem_jax.simulation.reticulum import RIBOSOME_NM, paint_ribosomes, reticulum
from asem_jax.simulation.surfaces import Surface, distances, patches_near
from asem_jax.simulation.texture import Axes
from asem_jax.simulation.tubes import Tube, tube_distance
from asem_jax.volumes.geometry import Box

# Organelles are told to the reticulum within this distance.
SEEN_NM = 60.0
# Beyond this distance from a surface nothing of it is painted.
_NEAR_NM = 320.0


@dataclass(frozen=True, eq=False)
class Interior:
    """Distances at the nodes around a block, nm, float32.

    Attributes:
      grid: the nodes.
      plasma: to the plasma membrane, negative in a cell.
      envelope: to the middle of the nuclear envelope, negative in a nucleus.
      clear: to the nearest tube, pit or pore, as far as it is near.
      reticulum: to the endoplasmic reticulum, negative in it.
    """

    grid: Grid
    plasma: Values
    envelope: Values
    clear: Values
    reticulum: Values

    def around(self, axes: Axes, edge_nm: float) -> "Interior":
        """Returns what is needed of it for a part of the block."""
        grid = Grid.around(axes, _margin(edge_nm))
        cut = grid.box.shift([-a for a in self.grid.box.start]).slices
        return Interior(grid, self.plasma[cut], self.envelope[cut], self.clear[cut], self.reticulum[cut])


def survey(cell: Cell, box: Box, tubes: Iterable[Tube]) -> Interior:
    """Returns the distances around a block, given the tubes near it."""
    axes = axes_of(box, cell.voxel_size_nm)
    # Two nodes for the slopes of slopes.
    grid = Grid.around(axes, 2 + _margin(sum(cell.voxel_size_nm) / 3))
    plasma, envelope = (distances(cell, surface, grid) for surface in (Surface.PLASMA, Surface.ENVELOPE))
    clear = _clear(cell, grid, tubes)
    return Interior(grid, plasma, envelope, clear, reticulum(cell, grid, plasma, envelope, clear))


def paint_inside(canvas: Canvas, view: Interior) -> None:
    """Paints cytosol, nucleus, envelope, reticulum and ribosomes."""
    cell, half = canvas.cell, canvas.whole.envelope_nm / 2
    grey = np.float32(cell.cytosol_grey) + cytosol_grain(cell, canvas.axes, canvas.grain)
    canvas.grey[...] = cytosol(cell.preparation, grey, canvas.grain, seed=cell.seed, axes=canvas.axes)
    if float(view.plasma.min()) > 0:
        return
    walls: Grey | None = None
    if float(view.envelope.min()) < _NEAR_NM:
        walls = paint_nucleus(canvas, view.grid.read(view.envelope, canvas.axes))
        _mark(canvas, walls, "nuclear_envelope")
    if float(view.reticulum.min()) < canvas.cell.membrane_nm + canvas.edge_nm:
        inside = view.grid.read(view.reticulum, canvas.axes)
        _mark(canvas, inside if walls is None else np.where(walls > 0, inside, np.float32(1)), "er")
        walls = inside if walls is None else np.minimum(walls, inside)
    if walls is not None:
        envelope_wall(canvas, walls)
    # Also where no wall is near: some ribosomes are free.
    if canvas.whole.ribosome_share:
        paint_ribosomes(
            canvas,
            view.grid,
            walls=np.minimum(view.reticulum, np.abs(view.envelope) - np.float32(half)),
            envelope=view.envelope,
            plasma=view.plasma,
            clear=view.clear,
        )


def paint_outside(canvas: Canvas, view: Interior) -> None:
    """Paints plasma membranes with their pits, and what is between the cells."""
    if float(view.plasma.max()) > -_NEAR_NM:
        paint_plasma(canvas, view.grid.read(view.plasma, canvas.axes))


def _margin(edge_nm: float) -> int:
    """Returns how many nodes around voxels are needed: ribosomes reach into them."""
    return 1 + int(np.ceil((RIBOSOME_NM + edge_nm) / GRID_NM))


def _mark(canvas: Canvas, distance: Grey, organelle: str) -> None:
    """Marks where `distance` is not above 0 and no other object is."""
    inside = (distance <= 0) & (canvas.objects == 0)
    for index, part in canvas.cubes():
        if inside[part].any():
            canvas.objects[part][inside[part]] = canvas.add(ObjectKey(organelle, index, 0))


def _clear(cell: Cell, grid: Grid, tubes: Iterable[Tube]) -> Values:
    """Returns the distance to the nearest of what the reticulum keeps off."""
    clear = np.full(grid.box.shape, np.float32(1e6))
    for tube in tubes:
        field = tube_distance(tube, grid.box, voxel_size_nm=grid.voxel_size_nm, margin_nm=SEEN_NM)
        part = field.slices(grid.box)
        np.minimum(clear[part], field.distance, out=clear[part])
    assert cell.whole is not None
    z, y, x = grid.axes
    low, high = (float(z[0]), float(y[0]), float(x[0])), (float(z[-1]), float(y[-1]), float(x[-1]))
    balls = [(pit.patch.centre_nm, pit.reach_nm) for pit in pits_near(cell, low, high, SEEN_NM)]
    spread = pore_spread(cell.whole)
    reach = cell.whole.pore_diameter_nm[1] + SEEN_NM
    for patch in patches_near(cell, spread, low, high, reach):
        balls.append((patch.centre_nm, pore_diameter(cell.whole, patch) / 2 + 15))
    for centre, radius in balls:
        _ball(clear, grid, centre, radius)
    return clear


def _ball(clear: Values, grid: Grid, centre: np.ndarray, radius: float) -> None:
    """Lowers `clear`, in place, to the distance to a ball."""
    cuts = [
        slice(*np.searchsorted(axis, (c - radius - SEEN_NM, c + radius + SEEN_NM)).tolist())
        for axis, c in zip(grid.axes, centre, strict=True)
    ]
    z, y, x = (
        (axis[cut] - c).astype(np.float32).reshape([-1 if n == other else 1 for other in range(3)])
        for n, (axis, cut, c) in enumerate(zip(grid.axes, cuts, centre, strict=True))
    )
    part = clear[cuts[0], cuts[1], cuts[2]]
    np.minimum(part, np.sqrt(z * z + y * y + x * x) - np.float32(radius), out=part)
