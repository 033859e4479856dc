"""Numbers that belong to a place: laws, and the moments that amplitudes elsewhere rely on."""

import numpy as np
import pytest

from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import Stream, generator, random_words, smooth_field, smooth_value, voxel_noise
from asem_jax.volumes.geometry import Box, tiles

BOX = Box((-20, 3, -5), (13, 40, 61))
AROUND = Box((-33, -4, -40), (30, 50, 70))


def _inside(box: Box, outer: Box) -> tuple[slice, slice, slice]:
    return box.shift([-a for a in outer.start]).slices


@pytest.mark.parametrize("draw", [random_words, voxel_noise])
def test_a_number_belongs_to_its_address(draw):
    whole = draw(7, Stream.FINE, AROUND)
    np.testing.assert_array_equal(draw(7, Stream.FINE, BOX), whole[_inside(BOX, AROUND)])


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (-130.7, 911.3, 40.0)])
def test_a_value_at_a_place_is_that_of_the_field(place):
    axes = axes_of(Box((-1, -2, -3), (3, 30, 70)), (7.0, 7.0, 7.0))
    z, y, x = (np.sort(np.append(axis, c)) for axis, c in zip(axes, place, strict=True))
    here = tuple(int(np.searchsorted(axis, c)) for axis, c in zip((z, y, x), place, strict=True))
    field = smooth_field(3, Stream.PROCESS, (23.0,) * 3, (z, y, x))
    assert smooth_value(3, Stream.PROCESS, 23.0, place) == field[here]


def test_seeds_streams_lattice_cells_and_ranks_differ():
    generators = [
        generator(1, Stream.BODY, (0, 0, 0)),
        generator(2, Stream.BODY, (0, 0, 0)),
        generator(1, Stream.VESICLE, (0, 0, 0)),
        generator(1, Stream.BODY, (0, 0, -1)),
        generator(1, Stream.BODY, (0, 0, 0), 1),
    ]
    numbers = np.concatenate([rng.random(50) for rng in generators])
    assert len(np.unique(numbers)) == 250


def test_philox_bits_are_what_they_were():
    # These bits decide every volume that was ever simulated; NumPy promises to keep them.
    words = random_words(1, Stream.FINE, Box((0, 0, 0), (1, 1, 2)))
    expected = np.random.Philox(key=np.array([1, 9], np.uint64), counter=np.zeros(4, np.uint64)).random_raw(2)
    np.testing.assert_array_equal(words.ravel(), expected)


def test_a_field_is_the_same_on_any_grid():
    pitch = (31.0, 47.0, 90.0)
    whole = smooth_field(3, Stream.COARSE, pitch, axes_of(AROUND, (10.0, 5.0, 5.0)))
    for tile in tiles(BOX, (8, 37, 17)):
        part = smooth_field(3, Stream.COARSE, pitch, axes_of(tile, (10.0, 5.0, 5.0)))
        np.testing.assert_array_equal(part, whole[_inside(tile, AROUND)])


def test_a_field_on_a_finer_grid_goes_through_the_coarse_one():
    coarse = smooth_field(3, Stream.COARSE, (60.0,) * 3, axes_of(Box.of_shape((6, 6, 6)), (10.0,) * 3))
    fine = smooth_field(3, Stream.COARSE, (60.0,) * 3, axes_of(Box.of_shape((12, 12, 12)), (5.0,) * 3))
    np.testing.assert_array_equal(fine[::2, ::2, ::2], coarse)


def test_fields_and_noise_have_mean_0_and_deviation_1():
    field = smooth_field(5, Stream.FINE, (20.0,) * 3, axes_of(Box.of_shape((64, 64, 64)), (10.0,) * 3))
    noise = voxel_noise(5, Stream.SHOT_NOISE, Box.of_shape((64, 64, 64)))
    for values, tolerance in ((field, 0.03), (noise, 0.01)):
        assert abs(values.mean()) < tolerance
        assert abs(values.std() - 1) < tolerance


def test_neighbouring_noise_is_independent():
    noise = voxel_noise(5, Stream.SHOT_NOISE, Box.of_shape((40, 64, 64)))
    for axis in range(3):
        a, b = np.moveaxis(noise, axis, 0)[:-1], np.moveaxis(noise, axis, 0)[1:]
        assert abs(float((a * b).mean())) < 0.01


def test_a_field_is_smooth_between_and_at_its_nodes():
    # At 1/50 of the pitch neither the field nor its slope may jump.
    line = (np.zeros(1), np.zeros(1), np.arange(0.0, 1000.0, 2.0))
    field = smooth_field(5, Stream.FINE, (100.0,) * 3, line).ravel()
    assert np.ptp(field) > 0.5
    assert np.abs(np.diff(field)).max() < 0.2
    assert np.abs(np.diff(field, n=2)).max() < 0.01
