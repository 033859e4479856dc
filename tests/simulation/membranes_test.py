"""Open membranes: they keep off the tubes, and slopes are slopes."""

import numpy as np

from asem_jax.simulation import membranes
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.tubes import tube_distance
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELL

BOX = Box.of_shape((40, 64, 64))
AXES = axes_of(BOX, CELL.voxel_size_nm)
INNER = (slice(1, -1),) * 3
STILL = np.zeros(BOX.shape, np.float32)
TUBES = [tube for kind in range(3) for tube in tubes_near(CELL, kind, BOX, membranes.BEND_NM)]


def _plasma(tubes, least_nm=membranes.BEND_NM):
    """Returns the distance to plasma membranes bent around tubes, the tone, and the distance to the tubes."""
    level = membranes.process_level(CELL, AXES, None)
    clear, _ = membranes.keep_off(CELL, BOX, tubes, wobble=STILL, level=level, least_nm=least_nm)
    distance = membranes.sheet_distance(level[INNER], membranes.level_steepness(CELL, level))
    return distance, membranes.process_tone(CELL, level[INNER]), clear


def test_steepness_of_a_ramp_is_per_nm():
    z = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    ramp = np.broadcast_to(z, (5, 4, 4)) * np.float32(3)
    steep = membranes.steepness(ramp, (6.0, 1.0, 1.0))
    assert steep.shape == (3, 2, 2)
    np.testing.assert_allclose(steep, 0.5)


def test_plasma_membranes_run_around_tubes():
    bent, _, clear = _plasma(TUBES)
    straight, _, _ = _plasma([])
    inside = clear[INNER] < -10
    assert ((straight < 10) & inside).mean() > 0.001
    assert ((bent < 10) & inside).sum() < 0.02 * ((straight < 10) & inside).sum()
    assert (bent < 10).mean() > 0.01


def test_tubes_that_are_not_asked_for_would_have_changed_nothing():
    everything, something = _plasma(TUBES, 1e3), _plasma(TUBES, 0.0)
    for all_of_it, part in zip(everything[:2], something[:2], strict=True):
        np.testing.assert_array_equal(part, all_of_it)
    assert (something[2] > everything[2]).mean() > 0.01


def test_distances_to_each_tube_are_handed_on():
    clear, found = membranes.keep_off(CELL, BOX, TUBES, wobble=STILL + 3, level=None, least_nm=60.0)
    places = [TUBES.index(one.tube) for one in found]
    assert places == sorted(places)
    nearest = np.full(BOX.shape, 1e6, np.float32)
    for one in found:
        near = tube_distance(one.tube, one.box, voxel_size_nm=CELL.voxel_size_nm, margin_nm=60.0)
        close = near.distance < 57
        np.testing.assert_array_equal(one.distance[close], near.distance[close] + np.float32(3))
        part = one.slices(BOX)
        np.minimum(nearest[part], one.distance, out=nearest[part])
    np.testing.assert_array_equal(nearest, clear)


def test_tones_are_in_their_range_and_change_only_at_membranes():
    distance, tone, _ = _plasma(TUBES)
    assert tone.min() >= -40 and tone.max() <= 10
    changes = np.diff(tone, axis=2) != 0
    assert changes.any()
    assert np.minimum(distance[..., 1:], distance[..., :-1])[changes].max() < 15


def test_the_reticulum_keeps_off_tubes_and_plasma_membranes():
    plasma, _, clear = _plasma(TUBES)
    shape, clear = membranes.reticulum_shape(CELL, AXES, None)[INNER], clear[INNER]
    free = membranes.reticulum(CELL, shape, np.full_like(clear, 1e6), None) < 0
    kept = membranes.reticulum(CELL, shape, clear, plasma) < 0
    assert 0.01 < kept.mean() < free.mean() < 0.4
    assert clear[INNER][kept].min() >= 25
    assert plasma[INNER][kept].min() >= 35


def test_beyond_the_needed_clearance_tubes_do_not_matter():
    shape = membranes.reticulum_shape(CELL, AXES, None)
    needed = membranes.clearance_needed(shape)
    near, none = (membranes.reticulum(CELL, shape, np.full_like(shape, d), None) for d in (needed, 1e6))
    np.testing.assert_array_equal(near, none)
