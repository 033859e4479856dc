"""Membranes of tissue: the same at fine voxels as at those of the nodes, and in every part of a block."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation import simulate_block, tissue
from asem_jax.simulation.placement import tubes_near
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, PERFECT

FINE = replace(CELL, voxel_size_nm=(5.0, 5.0, 5.0), microscope=PERFECT)
BOX = Box((-7, 3, 0), (24, 41, 40))


def _survey(cell, box):
    return tissue.survey(cell, box, [list(tubes_near(cell, kind, box, 250.0)) for kind in range(3)])


@pytest.mark.parametrize("cell", [CELL, FINE])
def test_membranes_do_not_depend_on_the_part(cell):
    whole = _survey(cell, BOX)
    for part in tiles(BOX, (16, 19, 40)):
        seen, cut = _survey(cell, part), part.shift([-a for a in BOX.start]).slices
        for name in ("level", "steep", "inside"):
            of_part, of_whole = (one.read(getattr(one, name), box) for one, box in ((seen, part), (whole, BOX)))
            np.testing.assert_array_equal(of_part, of_whole[cut])


def test_labels_of_reticulum_do_not_change_with_finer_voxels():
    coarse = simulate_block(replace(FINE, voxel_size_nm=(10.0, 10.0, 10.0)), Box.of_shape((32, 48, 48))).labels("er")
    fine = simulate_block(FINE, Box.of_shape((64, 96, 96))).labels("er")
    assert coarse.mean() > 0.005
    np.testing.assert_array_equal(fine[::2, ::2, ::2], coarse)


def test_voxels_of_10_nm_are_nodes():
    assert CELL.nodes.steps == (1, 1, 1)
    assert CELL.at_nodes == CELL
    flat = replace(CELL, voxel_size_nm=(30.0, 4.0, 6.0))
    assert flat.nodes.steps == (1, 3, 2)
    assert flat.at_nodes.voxel_size_nm == (30.0, 12.0, 12.0)


def test_without_membranes_there_are_none():
    seen = _survey(replace(CELL, process_nm=0.0, er_nm=0.0), BOX)
    assert seen.level is seen.steep is seen.inside is None
    assert seen.outlines.tubes
