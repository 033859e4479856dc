"""A block of the simulated cell: everything in it painted, then imaged.

Memory: about 30 float32 arrays of the block and its halo. Laws that hold (and are tested):

* a block is the same alone and as part of any larger one;
* the labels are where the tubes are: a voxel is mitochondrion if its centre is not outside one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import microscope, organelles, preparation
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.membranes import BEND_NM, processes, reticulum
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.organelles import Grey, band, coverage
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.simulation.tubes import TubeField, tube_field
from asem_jax.volumes.geometry import Box

# In `placement.populations` and here: what is nearer to the front takes precedence, and is painted last.
_LOOKS = (organelles.mitochondrion_grey, organelles.body_grey, organelles.vesicle_grey)
_MITOCHONDRION = 0
_GRAIN_NM, _COARSE_NM, _WOBBLE_NM = 22.0, 60.0, 110.0
# Slopes are differences between neighbours, and are taken twice.
_SLOPE_HALO = 2


class Block(NamedTuple):
    """A simulated block.

    Attributes:
      raw: uint8 z y x.
      labels: organelle -> uint8 z y x, 0 or 1.
    """

    raw: npt.NDArray[np.uint8]
    labels: dict[str, npt.NDArray[np.uint8]]


def simulate_block(cell: Cell, box: Box) -> Block:
    """Returns the voxels of `box`, the same whichever box they are asked for with.

    Args:
      cell: the tissue and the microscope.
      box: voxels, z y x, not empty; anywhere, also at negative positions. The centre of voxel 0 is at 0 nm.
    """
    painted_nm = cell.microscope.painted_voxel_nm(cell.voxel_size_nm)
    tissue = replace(cell, voxel_size_nm=preparation.tissue_voxel_nm(cell.preparation, painted_nm))
    painted = cell.microscope.painted_box(box, cell.voxel_size_nm)
    grey, mitochondria = _paint(tissue, painted.grow(_SLOPE_HALO))
    inner = (slice(_SLOPE_HALO, -_SLOPE_HALO),) * 3
    look, size, seed = cell.microscope, cell.voxel_size_nm, cell.seed
    raw = microscope.image(look, grey[inner], box, voxel_size_nm=size, seed=seed)
    labels = microscope.visible_labels(look, mitochondria[inner], box, voxel_size_nm=size, seed=seed)
    return Block(raw, {"mito": labels.astype(np.uint8)})


def _paint(cell: Cell, box: Box) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """Returns true grey values and where mitochondria are."""
    axes = axes_of(box, cell.voxel_size_nm)
    edge_nm = sum(cell.voxel_size_nm) / 3
    grain = smooth_field(cell.seed, Stream.FINE, (_GRAIN_NM,) * 3, axes)
    wobble = smooth_field(cell.seed, Stream.WOBBLE, (_WOBBLE_NM,) * 3, axes) * np.float32(cell.wobble_nm)
    ruffles = preparation.ruffles(cell.preparation, cell.seed, axes)
    wobble = wobble if ruffles is None else wobble + ruffles
    kinds = [_fields(cell, kind, box, wobble) for kind in range(len(_LOOKS))]
    grey = _surroundings(cell, box, grain, [field for kind in reversed(kinds) for field in kind], edge_nm)
    for looks, fields in zip(reversed(_LOOKS), reversed(kinds), strict=True):
        for field in fields:
            part = field.slices(box)
            share = coverage(field.distance, edge_nm)
            grey[part] += (looks(cell, field, grain[part], edge_nm) - grey[part]) * share
    grey = preparation.faded(cell.preparation, grey, cell.cytosol_grey, seed=cell.seed, axes=axes)
    mitochondria = np.zeros(box.shape, bool)
    for field in kinds[_MITOCHONDRION]:
        mitochondria[field.slices(box)] |= field.distance <= 0
    return grey, mitochondria


def _fields(cell: Cell, kind: int, box: Box, wobble: Grey) -> list[TubeField]:
    """Returns the tubes of one kind as seen from the box, their surfaces displaced by `wobble`."""
    fields = [
        tube_field(tube, box, voxel_size_nm=cell.voxel_size_nm, margin_nm=BEND_NM)
        for tube in tubes_near(cell, kind, box, BEND_NM)
    ]
    for field in fields:
        np.add(field.distance, wobble[field.slices(box)], out=field.distance)
    return fields


def _surroundings(cell: Cell, box: Box, grain: Grey, tubes: Sequence[TubeField], edge_nm: float) -> Grey:
    """Returns the grey values of everything that is no tube: cytosol, reticulum, plasma membranes."""
    axes = axes_of(box, cell.voxel_size_nm)
    grey = np.float32(cell.cytosol_grey) + _cytosol(cell, axes, grain)
    plasma = None
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
    return grey


def _divide(cell: Cell, grey: Grey, plasma: Grey, edge_nm: float) -> None:
    """Paints plasma membranes, in place: one dark sheet where they touch, else two and the space between."""
    if not cell.preparation.extracellular_nm:
        grey += (np.float32(cell.membrane_grey) - grey) * band(plasma, 0.0, 1.3 * cell.membrane_nm, edge_nm)
        return
    grey += (np.float32(cell.preparation.extracellular_grey) - grey) * coverage(plasma, edge_nm)
    thick = cell.membrane_nm
    grey += (np.float32(cell.membrane_grey) - grey) * band(plasma, thick / 2, thick, edge_nm)


def _cytosol(cell: Cell, axes: microscope.Axes, grain: Grey) -> Grey:
    """Returns the grain of cytosol: fine, coarse, and dark spots where the fine one peaks."""
    coarse = smooth_field(cell.seed, Stream.COARSE, (_COARSE_NM,) * 3, axes)
    spots = np.maximum(grain - np.float32(1.3), 0)
    return (grain + coarse * np.float32(0.8) - spots * np.float32(2.5)) * np.float32(cell.texture_grey)
