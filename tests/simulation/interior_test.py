"""Whole cells: blocks fit, at any voxel size, and no voxel belongs to two."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation import simulate_block
from asem_jax.simulation.nucleus import pore_spread
from asem_jax.simulation.objects import Numbering
from asem_jax.simulation.pits import pits
from asem_jax.simulation.scene import lattices
from asem_jax.simulation.surfaces import patches
from asem_jax.simulation.truth import truths
from asem_jax.volumes.geometry import tiles
from tests.simulation.cells import CELLS, WHOLE
from tests.simulation.whole_cells import box_around

PLACES = {
    "pore": patches(CELLS, pore_spread(WHOLE), (0, 0, 0))[0].centre_nm,
    "pit": pits(CELLS, (0, 0, 0))[0].patch.centre_nm,
}


@pytest.mark.parametrize("voxel_size_nm", [(8.0, 8.0, 8.0), (30.0, 10.0, 8.0)])
@pytest.mark.parametrize("place", PLACES)
def test_a_block_does_not_depend_on_its_tiling(place, voxel_size_nm):
    cell = replace(CELLS, voxel_size_nm=voxel_size_nm)
    box = box_around(PLACES[place], 130.0, cell)
    numbering = Numbering(lattices(cell), box, voxel_size_nm)
    whole = simulate_block(cell, box)
    present = {whole.keys[i - 1].organelle for i in np.unique(whole.objects) if i}
    assert present >= {"pore": {"nuclear_pores", "nuclear_envelope", "nucleus"}, "pit": {"coated_pits"}}[place]
    for tile in tiles(box, tuple(-(-n // 2) for n in box.shape)):
        cut = tile.shift([-a for a in box.start]).slices
        part = simulate_block(cell, tile)
        np.testing.assert_array_equal(part.raw, whole.raw[cut])
        for name in present:
            np.testing.assert_array_equal(part.instances(name, numbering), whole.instances(name, numbering)[cut])
    listed = {(truth.organelle, truth.number) for truth in truths(cell, box)}
    found = {(name, int(n)) for name in present for n in np.unique(whole.instances(name, numbering)) if n}
    assert found <= listed


@pytest.mark.parametrize("place", PLACES)
def test_objects_stay_in_place_when_the_voxel_size_changes(place):
    box = box_around(PLACES[place], 120.0)
    start = tuple(a // 2 * 2 for a in box.start)
    fine = simulate_block(replace(CELLS, voxel_size_nm=(4.0,) * 3), box.of_shape((48, 48, 48), start))
    half = tuple(a // 2 for a in start)
    coarse = simulate_block(replace(CELLS, voxel_size_nm=(8.0,) * 3), box.of_shape((24, 24, 24), half))
    for name in ("nuclear_pores", "coated_pits", "nuclear_envelope", "er", "nucleus"):
        np.testing.assert_array_equal(fine.labels(name)[::2, ::2, ::2], coarse.labels(name))
