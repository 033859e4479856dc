"""What tissue holds besides tubes: cytosol, plasma membranes and endoplasmic reticulum.

Membranes are found at nodes, of which fine voxels have fewer than one each, and read in between: the same membranes
at every voxel size below 12 nm of which the nodes are the same. Labels of reticulum follow from what is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asem_jax.simulation import preparation
from asem_jax.simulation.canvas import Canvas, cytosol_grain
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.membranes import (
    clearance_needed,
    keep_off,
    level_steepness,
    process_level,
    process_tone,
    reticulum,
    reticulum_shape,
    sheet_distance,
)
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.organelles import Grey, band, coverage, mix
from asem_jax.simulation.outlines import Outlines, outlines, reach_nm
from asem_jax.simulation.populations import populations
from asem_jax.simulation.texture import Axes, Stream, smooth_field
from asem_jax.simulation.tubes import Tube
from asem_jax.volumes.geometry import Box

# The reticulum of a tissue is one object: where its parts meet is not known.
RETICULUM = ObjectKey("er", (0, 0, 0), 0)
_WOBBLE_NM = 110.0
# Slopes are differences between neighbours, and are taken twice.
_SLOPE_HALO = 2
_RIM = (slice(1, -1),) * 3
_INNER = (slice(_SLOPE_HALO, -_SLOPE_HALO),) * 3


@dataclass(frozen=True, eq=False)
class Membranes:
    """Membranes at the nodes around a part of a block; None = there are none of the kind.

    Attributes:
      box: the nodes.
      outlines: the tubes.
      level: a field whose whole numbers are plasma membranes.
      steep: its slope per nm.
      inside: distance to the endoplasmic reticulum, nm, negative in its lumen.
    """

    box: Box
    outlines: Outlines
    level: Grey | None
    steep: Grey | None
    inside: Grey | None

    def read(self, values: Grey | None, box: Box) -> Grey | None:
        """Returns one of them at voxels."""
        return None if values is None else self.outlines.nodes.read(values, self.box, box)


def survey(cell: Cell, box: Box, kinds: Sequence[Sequence[Tube]]) -> Membranes:
    """Returns the membranes around `box`, given the tubes near it, kind after kind."""
    around, cell_there = cell.nodes.around(box), cell.at_nodes
    outer = around.grow(_SLOPE_HALO)
    axes = axes_of(outer, cell_there.voxel_size_nm)
    shaken, ruffled = wobble(cell_there, axes)
    level = process_level(cell_there, axes, ruffled) if cell.process_nm else None
    shape = reticulum_shape(cell_there, axes, ruffled) if cell.er_nm else None
    steep = plasma = inside = None
    tubes = [tube for tubes in reversed(kinds) for tube in tubes]
    least = max(reach_nm(cell), 0.0 if shape is None else clearance_needed(shape))
    clear, near = keep_off(cell_there, outer, tubes, wobble=shaken, level=level, least_nm=least)
    if level is not None:
        level, steep = level[_RIM], level_steepness(cell_there, level)
        plasma = _plasma(cell_there, level, steep)
        level, steep = level[_RIM], steep[_RIM]
    if shape is not None:
        inside = reticulum(cell_there, shape[_RIM], clear[_RIM], plasma)
    kind_of = {id(tube): kind for kind, tubes in zip(populations(cell), kinds, strict=True) for tube in tubes}
    near = [one.where(one.distance, reach_nm(cell)) for one in near]
    seen = Outlines(cell.nodes, outer, shaken, [(kind_of[id(one.tube)], one) for one in near if one.box.num_voxels])
    return Membranes(around, seen, level, steep, inside)


def shaken(cell: Cell, box: Box, kinds: Sequence[Sequence[Tube]]) -> Outlines:
    """Returns the tubes of a part of a block where there are no membranes, given those near it, kind after kind."""
    axes = axes_of(cell.nodes.around(box), cell.at_nodes.voxel_size_nm)
    return outlines(cell, box, kinds, wobble(cell.at_nodes, axes)[0])


def wobble(cell: Cell, axes: Axes) -> tuple[Grey, Grey | None]:
    """Returns how far surfaces lie from where they would be, nm, in all and by ruffles alone (None = nowhere)."""
    field = smooth_field(cell.seed, Stream.WOBBLE, (_WOBBLE_NM,) * 3, axes)
    field *= np.float32(cell.wobble_nm)
    ruffled = preparation.ruffles(cell.preparation, cell.seed, axes)
    if ruffled is not None:
        field += ruffled
    return field, ruffled


def paint(canvas: Canvas, membranes: Membranes) -> None:
    """Paints everything that is no tube."""
    cell, edge = canvas.cell, canvas.edge_nm
    level, steep, inside = (
        membranes.read(one, canvas.box) for one in (membranes.level, membranes.steep, membranes.inside)
    )
    grey = cytosol_grain(cell, canvas.axes, canvas.grain)
    grey += np.float32(cell.cytosol_grey)
    if level is not None:
        grey += process_tone(cell, level)
    grey = preparation.cytosol(cell.preparation, grey, canvas.grain, seed=cell.seed, axes=canvas.axes)
    if inside is not None and float(inside.min()) < cell.membrane_nm + edge:
        lumen = canvas.grain * np.float32(0.7 * cell.texture_grey)
        lumen += np.float32(cell.cytosol_grey - 5)
        mix(grey, lumen, coverage(inside, edge))
        mix(grey, cell.membrane_grey + 10, band(inside, -cell.membrane_nm / 2, 0.9 * cell.membrane_nm, edge))
        canvas.objects[inside <= 0] = canvas.add(RETICULUM)
    if level is not None and steep is not None:
        _divide(cell, grey, _plasma(cell, level, steep), edge)
    canvas.grey[...] = grey


def _plasma(cell: Cell, level: Grey, steep: Grey) -> Grey:
    """Returns the distance to the space between processes, or to the sheet where they touch, nm."""
    plasma = sheet_distance(level, steep)
    plasma -= np.float32(cell.preparation.extracellular_nm / 2)
    return plasma


def _divide(cell: Cell, grey: Grey, plasma: Grey, edge_nm: float) -> None:
    """Paints plasma membranes, in place: one dark sheet where they touch, else two and the space between."""
    if not cell.preparation.extracellular_nm:
        mix(grey, cell.membrane_grey, band(plasma, 0.0, 1.3 * cell.membrane_nm, edge_nm))
        return
    mix(grey, cell.preparation.extracellular_grey, coverage(plasma, edge_nm))
    mix(grey, cell.membrane_grey, band(plasma, cell.membrane_nm / 2, cell.membrane_nm, edge_nm))
