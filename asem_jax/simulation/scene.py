"""A block of the simulated cell: everything in it painted, then imaged.

Memory: some 30 float32 arrays of the block and its halo. Laws that hold (and are tested):

* a block is the same alone and as part of any larger one;
* the labels are where the tubes are: a voxel is mitochondrion if its centre is not outside one;
* a voxel belongs to one object at most.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import interior, microscope, preparation, surfaces
from asem_jax.simulation.canvas import Canvas, cytosol_grain
from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.membranes import BEND_NM, processes, reticulum
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.nucleus import pore_spread
from asem_jax.simulation.objects import Lattice, Numbering, ObjectKey, table_of
from asem_jax.simulation.organelles import Grey, band, coverage
from asem_jax.simulation.pits import caveola_spread, pit_spread
from asem_jax.simulation.placement import populations, tubes_near
from asem_jax.simulation.texture import LARGEST, Stream, smooth_field
from asem_jax.simulation.tubes import Tube, TubeDistance, tube_distance, tube_field
from asem_jax.volumes.geometry import Box

_WOBBLE_NM = 110.0
# Slopes are differences between neighbours, and are taken twice.
_SLOPE_HALO = 2
# The reticulum of a tissue is one object: where its parts meet is not known.
_RETICULUM = ObjectKey("er", (0, 0, 0), 0)
# A whole cell has one of these.
ONE_PER_CELL = ("nucleus", "nuclear_envelope", "er")

Objects = npt.NDArray[np.int32]


class Block(NamedTuple):
    """A simulated block.

    Attributes:
      raw: uint8 z y x.
      objects: 0 = none, else 1 + a place in `keys`, int32 z y x.
      keys: the objects that may be in the block.
    """

    raw: npt.NDArray[np.uint8]
    objects: Objects
    keys: tuple[ObjectKey, ...]

    def labels(self, organelle: str) -> npt.NDArray[np.uint8]:
        """Returns where an organelle is, uint8 z y x, 0 or 1."""
        mine = {place: 1 for place, key in enumerate(self.keys, 1) if key.organelle == organelle}
        labels: npt.NDArray[np.uint8] = table_of(mine, len(self.keys) + 1, "uint8")[self.objects]
        return labels

    def instances(self, organelle: str, numbering: Numbering) -> npt.NDArray[np.uint32]:
        """Returns the number of the object in each voxel, uint32 z y x, 0 = not this organelle."""
        present = np.flatnonzero(np.bincount(self.objects.ravel(), minlength=len(self.keys) + 1)).tolist()
        keys = {place: self.keys[place - 1] for place in present if place}
        mine = {place: numbering.number(key) for place, key in keys.items() if key.organelle == organelle}
        numbers: npt.NDArray[np.uint32] = table_of(mine, len(self.keys) + 1, "uint32")[self.objects]
        return numbers


def lattices(cell: Cell) -> dict[str, Lattice]:
    """Returns where the objects of each organelle of `cell` are drawn: what a `Numbering` needs."""
    found = {population.organelle: population.lattice for population in populations(cell)}
    if cell.whole is None:
        return found | {_RETICULUM.organelle: Lattice(float("inf"), 0.0, 1)}
    cubes, spreads = surfaces.site_lattice(cell.whole), patch_spreads(cell.whole)
    found |= dict.fromkeys(ONE_PER_CELL, cubes)
    return found | {name: surfaces.patch_lattice(cell.whole, spread) for name, spread in spreads.items()}


def patch_spreads(whole: WholeCell) -> dict[str, surfaces.Spread]:
    """Returns how the organelles that lie on surfaces are spread."""
    return {
        "nuclear_pores": pore_spread(whole),
        "coated_pits": pit_spread(whole),
        "caveolae": caveola_spread(whole),
    }


def simulate_block(cell: Cell, box: Box) -> Block:
    """Returns the voxels of `box`, the same whichever box they are asked for with.

    Args:
      cell: the tissue and the microscope.
      box: voxels, z y x, not empty; anywhere, also at negative positions. The centre of voxel 0 is at 0 nm.
    """
    slope = _SLOPE_HALO if cell.whole is None else 0
    painted = cell.microscope.painted_box(box, cell.voxel_size_nm)
    canvas = _paint(_painted(cell), painted.grow(slope))
    inner = tuple(slice(slope, n + slope) for n in painted.shape)
    look, size, seed = cell.microscope, cell.voxel_size_nm, cell.seed
    raw = microscope.image(look, canvas.grey[inner], box, voxel_size_nm=size, seed=seed)
    objects = microscope.visible_labels(look, canvas.objects[inner], box, voxel_size_nm=size, seed=seed)
    return Block(raw, objects, tuple(canvas.keys))


@lru_cache(maxsize=16)
def living(cell: Cell) -> Cell:
    """Returns `cell` with its voxels as large as they were before the tissue shrank."""
    return replace(cell, voxel_size_nm=preparation.tissue_voxel_nm(cell.preparation, cell.voxel_size_nm))


def numbering(cell: Cell, box: Box) -> Numbering:
    """Returns the numbers of all objects that may be seen in `box`, also by misaligned sections."""
    shift = [0, *(int(np.ceil(cell.microscope.shift_nm / size)) for size in cell.voxel_size_nm[1:])]
    return Numbering(lattices(cell), box.grow(shift), living(cell).voxel_size_nm)


@lru_cache(maxsize=16)
def _painted(cell: Cell) -> Cell:
    """Returns `cell` with the voxels that are painted: thinner where sections are thick, and living."""
    return living(replace(cell, voxel_size_nm=cell.microscope.painted_voxel_nm(cell.voxel_size_nm)))


def _paint(cell: Cell, box: Box) -> Canvas:
    """Returns true grey values, and which object is where."""
    canvas = Canvas.over(cell, box)
    wobble = smooth_field(cell.seed, Stream.WOBBLE, (_WOBBLE_NM,) * 3, canvas.axes) * np.float32(cell.wobble_nm)
    ruffles = preparation.ruffles(cell.preparation, cell.seed, canvas.axes)
    wobble = wobble if ruffles is None else wobble + ruffles
    kinds = [list(tubes_near(cell, kind, box, BEND_NM)) for kind in range(len(populations(cell)))]
    if cell.whole is None:
        _paint_tissue(canvas, kinds, wobble)
        _paint_tubes(canvas, kinds, wobble)
    else:
        view = interior.survey(canvas, [tube for tubes in kinds for tube in tubes])
        interior.paint_inside(canvas, view)
        _paint_tubes(canvas, kinds, wobble)
        interior.paint_outside(canvas, view)
    faded = preparation.faded(cell.preparation, canvas.grey, cell.cytosol_grey, seed=cell.seed, axes=canvas.axes)
    return replace(canvas, grey=faded)


def _paint_tissue(canvas: Canvas, kinds: Sequence[Sequence[Tube]], wobble: Grey) -> None:
    """Paints the surroundings of tubes in tissue."""
    cell = canvas.cell
    distances = _distances(cell, canvas.box, kinds, wobble) if cell.process_nm or cell.er_nm else []
    grey, inside = _surroundings(cell, canvas.box, canvas.grain, distances, canvas.edge_nm)
    canvas.grey[...] = grey
    if inside is not None:
        canvas.objects[inside <= 0] = canvas.add(_RETICULUM)


def _paint_tubes(canvas: Canvas, kinds: Sequence[Sequence[Tube]], wobble: Grey) -> None:
    """Paints tubes; what takes precedence in `populations` is painted last."""
    cell, edge = canvas.cell, canvas.edge_nm
    for population, tubes in zip(reversed(populations(cell)), reversed(kinds), strict=True):
        for tube in tubes:
            margin = LARGEST * (cell.wobble_nm + cell.preparation.ruffle_nm) + edge
            field = tube_field(tube, canvas.box, voxel_size_nm=cell.voxel_size_nm, margin_nm=margin)
            if field.box.num_voxels == 0:
                continue
            part = field.slices(canvas.box)
            field = replace(field, distance=population.surface(cell, field) + wobble[part])
            share = coverage(field.distance, edge)
            grey = canvas.grey[part]
            grey += (population.looks(cell, field, canvas.grain[part], edge) - grey) * share
            canvas.objects[part][field.distance <= 0] = canvas.add(population.key(tube))


def _distances(cell: Cell, box: Box, kinds: Sequence[Sequence[Tube]], wobble: Grey) -> list[TubeDistance]:
    """Returns how far the box is from each tube, last kind first, with surfaces displaced by `wobble`."""
    found = [
        tube_distance(tube, box, voxel_size_nm=cell.voxel_size_nm, margin_nm=BEND_NM)
        for tubes in reversed(kinds)
        for tube in tubes
    ]
    for tube in found:
        np.add(tube.distance, wobble[tube.slices(box)], out=tube.distance)
    return found


def _surroundings(
    cell: Cell, box: Box, grain: Grey, tubes: Sequence[TubeDistance], edge_nm: float
) -> tuple[Grey, Grey | None]:
    """Returns the grey values of everything that is no tube, and the distance to the reticulum, if there is one."""
    axes = axes_of(box, cell.voxel_size_nm)
    grey = np.float32(cell.cytosol_grey) + cytosol_grain(cell, axes, grain)
    plasma = inside = None
    if cell.process_nm:
        plasma, tone = processes(cell, box, axes, tubes)
        plasma -= np.float32(cell.preparation.extracellular_nm / 2)
        grey += tone
    grey = preparation.cytosol(cell.preparation, grey, grain, seed=cell.seed, axes=axes)
    if cell.er_nm:
        clear = np.full(box.shape, np.float32(1e6))
        for tube in tubes:
            part = tube.slices(box)
            np.minimum(clear[part], tube.distance, out=clear[part])
        inside = reticulum(cell, axes, clear, plasma)
        lumen = np.float32(cell.cytosol_grey - 5) + grain * np.float32(0.7 * cell.texture_grey)
        grey += (lumen - grey) * coverage(inside, edge_nm)
        wall = band(inside, -cell.membrane_nm / 2, 0.9 * cell.membrane_nm, edge_nm)
        grey += (np.float32(cell.membrane_grey + 10) - grey) * wall
    if plasma is not None:
        _divide(cell, grey, plasma, edge_nm)
    return grey, inside


def _divide(cell: Cell, grey: Grey, plasma: Grey, edge_nm: float) -> None:
    """Paints plasma membranes, in place: one dark sheet where they touch, else two and the space between."""
    if not cell.preparation.extracellular_nm:
        grey += (np.float32(cell.membrane_grey) - grey) * band(plasma, 0.0, 1.3 * cell.membrane_nm, edge_nm)
        return
    grey += (np.float32(cell.preparation.extracellular_grey) - grey) * coverage(plasma, edge_nm)
    thick = cell.membrane_nm
    grey += (np.float32(cell.membrane_grey) - grey) * band(plasma, thick / 2, thick, edge_nm)
