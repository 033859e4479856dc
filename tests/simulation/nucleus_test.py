"""Nuclear pores measure what they are said to, and their diameters are not normal."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from asem_jax.simulation.nucleus import pore_diameter, pore_spread
from asem_jax.simulation.surfaces import patches
from tests.simulation.cells import WHOLE
from tests.simulation.whole_cells import FINE, view

PORES = patches(FINE, pore_spread(WHOLE), (0, 0, 0))


@pytest.mark.parametrize("number", [0, 5])
def test_a_pore_measures_its_diameter_within_half_a_voxel(number):
    patch, diameter = PORES[number], pore_diameter(WHOLE, PORES[number])
    block, places = view(patch.centre_nm, 80.0)
    mine = block.labels("nuclear_pores") > 0
    height = places @ patch.normal
    middle = mine & (np.abs(height) < 8)
    # The area of the hole: its voxels, over the thickness of the layer that they are counted in.
    area = middle.sum() * 64.0 / 16.0
    assert abs(2 * np.sqrt(area / np.pi) - diameter) < 2.0
    assert not (mine & (block.labels("nuclear_envelope") > 0)).any()
    np.testing.assert_allclose(places[mine].mean(0), 0, atol=2)


def test_the_envelope_has_two_membranes_and_its_width():
    patch = PORES[2]
    beside = patch.centre_nm + patch.side * (pore_diameter(WHOLE, patch) / 2 + 60)
    block, _ = view(beside, 60.0)
    envelope = block.labels("nuclear_envelope") > 0
    assert envelope.any() and block.raw[envelope].min() < 90 and block.raw[envelope].max() > 150
    assert (block.labels("nucleus") > 0).any()


def test_diameters_have_two_humps_in_their_range():
    shares = np.random.default_rng(0).random((4000, 2))
    found = np.array([pore_diameter(WHOLE, SimpleNamespace(traits=pair)) for pair in shares])
    low, high = WHOLE.pore_diameter_nm
    assert low <= found.min() and found.max() <= high
    narrow = found < low + 0.3 * (high - low)
    assert abs(narrow.mean() - WHOLE.narrow_pore_share) < 0.03
    assert not ((found > low + 0.301 * (high - low)) & (found < low + 0.399 * (high - low))).any()
    wide = found[~narrow]
    assert np.median(wide) < (wide.min() + wide.max()) / 2
    none = replace(WHOLE, narrow_pore_share=0.0)
    assert pore_diameter(none, SimpleNamespace(traits=(0.0, 1.0))) == high
