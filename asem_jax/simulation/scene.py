"""A block of the simulated cell: everything in it painted, then imaged.

A block is painted brick by brick, each small enough to stay near the processor. Memory: some 30 float32 arrays of a
brick, and two of the block and its halo. Laws that hold (and are tested):

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

from asem_jax.simulation import interior, microscope, preparation, surfaces, tissue
from asem_jax.simulation.canvas import Canvas
from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.membranes import BEND_NM
from asem_jax.simulation.nucleus import pore_spread
from asem_jax.simulation.objects import Lattice, Numbering, ObjectKey, table_of
from asem_jax.simulation.organelles import Grey, coverage
from asem_jax.simulation.outlines import Outlines
from asem_jax.simulation.pits import caveola_spread, pit_spread
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.populations import populations
from asem_jax.simulation.texture import LARGEST
from asem_jax.volumes.geometry import Box, tiles

# A whole cell has one of these.
ONE_PER_CELL = ("nucleus", "nuclear_envelope", "er")

# A block is painted in bricks of no more than this along each axis.
_BRICK = 80

Objects = npt.NDArray[np.int32]


class _Painting(NamedTuple):
    """What is in a block before it is imaged: true grey values, objects and their keys, as in `Block`."""

    grey: Grey
    objects: Objects
    keys: tuple[ObjectKey, ...]


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
        return found | {tissue.RETICULUM.organelle: Lattice(float("inf"), 0.0, 1)}
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
    look, size, seed = cell.microscope, cell.voxel_size_nm, cell.seed
    painted = _paint(_painted(cell), look.painted_box(box, size))
    surroundings = _paint(_charging(cell), look.charging_box(box, size)).grey if look.charging else None
    raw = microscope.image(look, painted.grey, box, surroundings=surroundings, voxel_size_nm=size, seed=seed)
    objects = microscope.visible_labels(look, painted.objects, box, voxel_size_nm=size, seed=seed)
    return Block(raw, objects, painted.keys)


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


@lru_cache(maxsize=16)
def _charging(cell: Cell) -> Cell:
    """Returns `cell` with the voxels on which charge is found."""
    return _painted(replace(cell, voxel_size_nm=cell.microscope.charging_on(cell.voxel_size_nm).pixel_nm))


def _paint(cell: Cell, box: Box) -> _Painting:
    """Returns true grey values, and which object is where."""
    keys: dict[ObjectKey, int] = {}
    grey, objects = np.empty(box.shape, np.float32), np.empty(box.shape, np.int32)
    margin = (BEND_NM if cell.whole is None else interior.SEEN_NM) + _most_wobble_nm(cell)
    kinds = [list(tubes_near(cell, kind, box, margin)) for kind in range(len(populations(cell)))]
    view = None if cell.whole is None else interior.survey(cell, box, [tube for tubes in kinds for tube in tubes])
    for part in _parts(box, [_BRICK * step for step in cell.nodes.steps]):
        seen = tissue.survey(cell, part, kinds) if view is None else None
        tubes = tissue.shaken(cell, part, kinds) if seen is None else seen.outlines
        for brick in _parts(part, (_BRICK,) * 3):
            canvas = Canvas.over(cell, brick, keys)
            if seen is not None:
                tissue.paint(canvas, seen)
                _paint_tubes(canvas, tubes)
            elif view is not None:
                near = view.around(canvas.axes, canvas.edge_nm)
                interior.paint_inside(canvas, near)
                _paint_tubes(canvas, tubes)
                interior.paint_outside(canvas, near)
            here = brick.shift([-a for a in box.start]).slices
            grey[here] = preparation.faded(
                cell.preparation, canvas.grey, cell.cytosol_grey, seed=cell.seed, axes=canvas.axes
            )
            objects[here] = canvas.objects
    return _Painting(grey, objects, tuple(keys))


def _parts(box: Box, most: Sequence[int]) -> Sequence[Box]:
    """Returns the parts of a box, no larger than `most` and of about the same size."""
    return tiles(box, [-(-n // -(-n // side)) for n, side in zip(box.shape, most, strict=True)])


def _most_wobble_nm(cell: Cell) -> float:
    return LARGEST * (cell.wobble_nm + cell.preparation.ruffle_nm)


def _paint_tubes(canvas: Canvas, tubes: Outlines) -> None:
    """Paints tubes, in their order."""
    for population, field in tubes.over(canvas):
        part = field.slices(canvas.box)
        share = coverage(field.distance, canvas.edge_nm)
        grey = canvas.grey[part]
        change = population.looks(canvas.cell, field, canvas.grain[part], canvas.edge_nm)
        change -= grey
        change *= share
        grey += change
        canvas.objects[part][field.distance <= 0] = canvas.add(population.key(field.tube))
