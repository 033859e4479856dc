"""Surfaces of whole cells: patches lie on them, apart, and distances agree with levels."""

from itertools import combinations

import numpy as np
import pytest

from asem_jax.simulation.grid import Grid
from asem_jax.simulation.nucleus import pore_spread
from asem_jax.simulation.pits import pit_spread
from asem_jax.simulation.surfaces import (
    Surface,
    between,
    distances,
    level,
    patch_lattice,
    patches,
    patches_near,
    site,
    site_lattice,
    sites_near,
)
from tests.simulation.cells import CELLS, WHOLE

HOME = site(CELLS, (0, 0, 0))


@pytest.mark.parametrize("spread", [pore_spread(WHOLE), pit_spread(WHOLE)], ids=("pores", "pits"))
def test_patches_lie_on_their_surface_and_apart(spread):
    found = patches(CELLS, spread, (0, 0, 0))
    centres = np.array([patch.centre_nm for patch in found])
    assert len(found) > 10 and max(patch.rank for patch in found) < patch_lattice(WHOLE, spread).ranks
    assert np.abs(level(CELLS, spread.surface, HOME, centres)).max() < 0.5
    assert all(np.linalg.norm(a - b) >= spread.spacing_nm for a, b in combinations(centres, 2))
    for patch in found:
        frame = np.stack([patch.normal, patch.side, patch.other])
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)
        assert patch.normal @ (patch.centre_nm - HOME.centres_nm[spread.surface]) > 0


def test_distances_are_0_on_the_surface_and_true_beside_it():
    patch = patches(CELLS, pit_spread(WHOLE), (0, 0, 0))[3]
    axes = tuple(np.arange(c - 40, c + 40, 8.0) for c in patch.centre_nm)
    grid = Grid.around(axes, 2)
    found = distances(CELLS, Surface.PLASMA, grid)
    for off in (-30.0, 0.0, 30.0):
        assert abs(grid.at(found, (patch.centre_nm + off * patch.normal)[None])[0] - off) < 2.5


def test_each_cell_lies_in_its_cube_with_its_nucleus_inside():
    for index in ((0, 0, 0), (-1, 2, 0)):
        one = site(CELLS, index)
        low = np.array(index) * WHOLE.pitch_nm
        assert (one.centres_nm[Surface.PLASMA] - one.radii_nm[Surface.PLASMA] >= low).all()
        off = np.linalg.norm(one.centres_nm[Surface.PLASMA] - one.centres_nm[Surface.ENVELOPE])
        assert off + one.radii_nm[Surface.ENVELOPE] < one.radii_nm[Surface.PLASMA]
    assert [one.index for one in sites_near(CELLS, (0.0, 0.0, 0.0), (1.0, 1.0, 2700.0))] == [(0, 0, 0), (0, 0, 1)]
    assert site_lattice(WHOLE).ranks == 1


def test_patches_near_a_box_are_those_within_reach():
    spread = pore_spread(WHOLE)
    chosen = patches(CELLS, spread, (0, 0, 0))[0]
    low = tuple((chosen.centre_nm - (90, 1, 1)).tolist())
    high = tuple((chosen.centre_nm - (60, -1, -1)).tolist())
    assert chosen in list(patches_near(CELLS, spread, low, high, 61.0))
    assert chosen not in list(patches_near(CELLS, spread, low, high, 59.0))


def test_between_is_linear():
    assert between((2.0, 6.0), 0.25) == 3.0
