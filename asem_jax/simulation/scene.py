"""A block of the simulated cell: everything in it painted, then imaged.

Memory: about 30 float32 arrays of the block and its halo. Laws that hold (and are tested):

* a block is the same alone and as part of any larger one;
* the labels are where the tubes are: a voxel is mitochondrion if its centre is not outside one;
* a voxel belongs to one object at most.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import microscope
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.membranes import BEND_NM, processes, reticulum
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.objects import Lattice, Numbering, ObjectKey, table_of
from asem_jax.simulation.organelles import Grey, band, coverage
from asem_jax.simulation.placement import populations, tubes_near
from asem_jax.simulation.texture import LARGEST, Stream, smooth_field
from asem_jax.simulation.tubes import Tube, TubeDistance, tube_distance, tube_field
from asem_jax.volumes.geometry import Box

_GRAIN_NM, _COARSE_NM, _WOBBLE_NM = 22.0, 60.0, 110.0
# Slopes are differences between neighbours, and are taken twice.
_SLOPE_HALO = 2
# The reticulum of a tissue is one object: where its parts meet is not known.
_RETICULUM = ObjectKey("er", (0, 0, 0), 0)

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
    return {population.organelle: population.lattice for population in populations(cell)} | {
        _RETICULUM.organelle: Lattice(float("inf"), 0.0, 1)
    }


def simulate_block(cell: Cell, box: Box) -> Block:
    """Returns the voxels of `box`, the same whichever box they are asked for with.

    Args:
      cell: the tissue and the microscope.
      box: voxels, z y x, not empty; anywhere, also at negative positions. The centre of voxel 0 is at 0 nm.
    """
    halo = cell.microscope.halo(cell.voxel_size_nm)
    seen = box.grow(halo)
    grey, objects, keys = _paint(cell, seen.grow(_SLOPE_HALO))
    inner = seen.shift([_SLOPE_HALO - a for a in seen.start]).slices
    raw = microscope.image(cell.microscope, grey[inner], box, voxel_size_nm=cell.voxel_size_nm, seed=cell.seed)
    inner = box.shift([_SLOPE_HALO + h - a for a, h in zip(box.start, halo, strict=True)]).slices
    return Block(raw, objects[inner], keys)


def _paint(cell: Cell, box: Box) -> tuple[Grey, Objects, tuple[ObjectKey, ...]]:
    """Returns true grey values, and which object is where."""
    axes = axes_of(box, cell.voxel_size_nm)
    edge_nm = sum(cell.voxel_size_nm) / 3
    grain = smooth_field(cell.seed, Stream.FINE, (_GRAIN_NM,) * 3, axes)
    wobble = smooth_field(cell.seed, Stream.WOBBLE, (_WOBBLE_NM,) * 3, axes) * np.float32(cell.wobble_nm)
    kinds = [list(tubes_near(cell, kind, box, BEND_NM)) for kind in range(len(populations(cell)))]
    distances = _distances(cell, box, kinds, wobble) if cell.process_nm or cell.er_nm else []
    grey, inside = _surroundings(cell, box, grain, distances, edge_nm)
    objects = np.zeros(box.shape, np.int32)
    keys = [_RETICULUM]
    if inside is not None:
        objects[inside <= 0] = 1
    # What takes precedence in `populations` is painted last.
    for population, tubes in zip(reversed(populations(cell)), reversed(kinds), strict=True):
        for tube in tubes:
            margin = LARGEST * cell.wobble_nm + edge_nm
            field = tube_field(tube, box, voxel_size_nm=cell.voxel_size_nm, margin_nm=margin)
            if field.box.num_voxels == 0:
                continue
            keys.append(population.key(tube))
            part = field.slices(box)
            np.add(field.distance, wobble[part], out=field.distance)
            share = coverage(field.distance, edge_nm)
            grey[part] += (population.looks(cell, field, grain[part], edge_nm) - grey[part]) * share
            objects[part][field.distance <= 0] = len(keys)
    return grey, objects, tuple(keys)


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
    grey = np.float32(cell.cytosol_grey) + _cytosol(cell, axes, grain)
    plasma = inside = None
    if cell.process_nm:
        plasma, tone = processes(cell, box, axes, tubes)
        grey += tone
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
        grey += (np.float32(cell.membrane_grey) - grey) * band(plasma, 0.0, 1.3 * cell.membrane_nm, edge_nm)
    return grey, inside


def _cytosol(cell: Cell, axes: microscope.Axes, grain: Grey) -> Grey:
    """Returns the grain of cytosol: fine, coarse, and dark spots where the fine one peaks."""
    coarse = smooth_field(cell.seed, Stream.COARSE, (_COARSE_NM,) * 3, axes)
    spots = np.maximum(grain - np.float32(1.3), 0)
    return (grain + coarse * np.float32(0.8) - spots * np.float32(2.5)) * np.float32(cell.texture_grey)
