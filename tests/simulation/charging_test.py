"""Charge on pixels wider than voxels: what it needs, and that a voxel does not depend on the box."""

import numpy as np

from asem_jax.simulation.charging import Charging
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.volumes.geometry import Box, tiles

CHARGING = Charging.on((100.0, 150.0), 30.0, 200.0, (40.0, 5.0, 8.0))
BOX = Box((-3, -7, 5), (4, 20, 33))


def _change(box):
    pixels = CHARGING.pixels(box)
    signal = 128 + 40 * smooth_field(1, Stream.COARSE, (60.0,) * 3, axes_of(pixels, CHARGING.pixel_nm))
    return CHARGING.read(CHARGING.change(signal), box, box)


def test_pixels_are_as_wide_as_charge_is_smooth():
    assert CHARGING.nodes.steps == (1, 4, 2) and CHARGING.pixel_nm == (40.0, 20.0, 16.0)
    assert Charging.on((100.0, 150.0), 0.0, 0.0, (5.0,) * 3).nodes.steps == (1, 1, 1)


def test_streaks_need_pixels_on_the_side_that_they_come_from():
    # Pixels -2 to 5 and 2 to 16 lie around the voxels; 60 nm are 3 and 4 pixels, 200 nm are 13.
    assert CHARGING.pixels(BOX) == Box((-3, -5, 2 - 4 - 13), (4, 9, 21))


def test_a_voxel_does_not_depend_on_the_box():
    whole = _change(BOX)
    assert whole.shape == BOX.shape and np.abs(whole).max() > 5
    for tile in tiles(BOX, (4, 10, 9)):
        np.testing.assert_array_equal(_change(tile), whole[tile.shift([-a for a in BOX.start]).slices])


def test_between_pixels_the_change_is_in_between():
    charge = np.zeros((8, 9, 18), np.float32)
    charge[3, 4, 5] = 8
    seen = CHARGING.read(charge, BOX, Box((0, 0, 5), (1, 16, 33)))[0]
    # Pixel (0, 2, 7) is voxel (0, 8, 14).
    assert seen[8, 9] == 8 and seen[8, 10] == seen[8, 8] == 4 and seen[10, 9] == seen[6, 9] == 4 and seen[12].max() == 0
