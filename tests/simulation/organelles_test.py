"""Shapes stay within their promise; a mitochondrion shows two membranes, a look-alike one."""

import numpy as np
import pytest

from asem_jax.simulation import organelles
from asem_jax.simulation.populations import populations
from asem_jax.simulation.tubes import Tube, tube_field
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELL, mitochondria_only

FINE = mitochondria_only(voxel_size_nm=(2.0, 2.0, 2.0), matrix_grey=(140.0, 140.0), body_grey=(140.0, 140.0))


def test_coverage_and_band_are_shares_of_a_voxel():
    distance = np.array([-10, -2.5, 0, 2.5, 10], np.float32)
    np.testing.assert_array_equal(organelles.coverage(distance, 10.0), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_array_equal(organelles.band(distance, 0.0, 10.0, 10.0), [0, 0.75, 1, 0.75, 0])
    assert organelles.band(np.zeros(1, np.float32), 0.0, 5.0, 20.0) == 0.25


@pytest.mark.parametrize("kind", range(3))
def test_a_drawn_tube_stays_within_its_reach(kind):
    population = populations(CELL)[kind]
    for seed in range(60):
        tube = population.draw(np.random.default_rng(seed), np.array([5.0, -7.0, 9.0]), seed % 5 / 4, CELL)
        assert tube.centre == (5.0, -7.0, 9.0)
        grown = (population.reach_nm - population.least_reach_nm) * (seed % 5 / 4)
        assert tube.reach_nm <= population.least_reach_nm + grown + 1e-6
        assert tube.links.max() == len(tube.points_nm) - 1


def test_branched_share_decides_how_many_ends():
    for share, num_ends in ((0.0, 2), (1.0, 3)):
        cell = mitochondria_only(branched_share=share)
        tube = organelles.draw_mitochondrion(np.random.default_rng(3), np.zeros(3), 0.5, cell)
        neighbours = np.bincount(tube.links.ravel())
        assert (neighbours == 1).sum() == num_ends


def _profile(looks):
    """Returns the greys from the surface inwards, one per 2 nm, of a thick straight tube."""
    tube = Tube(
        np.array([[0.0, 0.0, -900.0], [0.0, 0.0, 900.0]]),
        np.full(2, 160.0),
        np.array([[0, 1]]),
        np.array([0.0, 1800.0]),
        np.array([1.0, 0.0, 0.0]),
        np.zeros(4),
    )
    field = tube_field(tube, Box((0, 0, 0), (1, 81, 1)), voxel_size_nm=FINE.voxel_size_nm, margin_nm=20.0)
    grey = looks(FINE, field, np.zeros(field.box.shape, np.float32), 2.0).ravel()
    return grey[::-1], field.distance.ravel()[::-1]


def test_a_mitochondrion_has_two_membranes_with_a_bright_gap():
    grey, distance = _profile(organelles.mitochondrion_grey)
    at = {depth: float(grey[np.argmin(np.abs(distance + depth))]) for depth in (10, 27, 43)}
    assert at[10] == pytest.approx(FINE.membrane_grey)
    assert at[43] == pytest.approx(FINE.membrane_grey)
    assert at[27] > 140


def test_a_look_alike_has_one_membrane():
    grey, distance = _profile(organelles.body_grey)
    assert float(grey[np.argmin(np.abs(distance + 10))]) == pytest.approx(FINE.membrane_grey)
    np.testing.assert_allclose(grey[distance < -22], 140.0)


def test_cristae_darken_the_inside_of_a_mitochondrion():
    rng = np.random.default_rng(0)
    tube = organelles.draw_mitochondrion(rng, np.zeros(3), 0.5, FINE)
    field = tube_field(tube, Box((-60, -60, -60), (60, 60, 60)), voxel_size_nm=(2.0,) * 3, margin_nm=5.0)
    grey = organelles.mitochondrion_grey(FINE, field, np.zeros(field.box.shape, np.float32), 2.0)
    matrix = grey[field.distance < -60]
    assert 0.05 < (matrix < 100).mean() < 0.5
    assert (np.abs(matrix - 140) < 1).mean() > 0.2
