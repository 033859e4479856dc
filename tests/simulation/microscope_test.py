"""The microscope: each effect alone, on grey that is even or holds one thing."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation.microscope import axes_of, image, section_shifts_nm, visible_labels
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import MICROSCOPE, PERFECT

BOX = Box((0, 4, -8), (24, 36, 24))
VOXEL = (10.0, 10.0, 10.0)


def _image(grey=128.0, **numbers):
    microscope = replace(PERFECT, **numbers)
    true, around = (
        np.full(of(BOX, VOXEL).shape, grey, np.float32) for of in (microscope.painted_box, microscope.charging_box)
    )
    return image(microscope, true, BOX, surroundings=around, voxel_size_nm=VOXEL, seed=3).astype(float)


def _tissue(box, voxel_size_nm):
    """Smooth grey values that depend on the place alone."""
    return 128 + 40 * smooth_field(1, Stream.COARSE, (60.0, 60.0, 60.0), axes_of(box, voxel_size_nm))


def _image_of_tissue(microscope, box, voxel_size_nm=VOXEL):
    painted = microscope.painted_box(box, voxel_size_nm)
    grey = _tissue(painted, microscope.painted_voxel_nm(voxel_size_nm))
    around = None
    if microscope.charging:
        pixel_nm = microscope.painted_voxel_nm(microscope.charging_on(voxel_size_nm).pixel_nm)
        around = _tissue(microscope.charging_box(box, voxel_size_nm), pixel_nm)
    return image(microscope, grey, box, surroundings=around, voxel_size_nm=voxel_size_nm, seed=3)


ALL = replace(MICROSCOPE, depth_samples=3, charging=0.6, shift_nm=25.0, window_grey=(40.0, 220.0))


def test_a_perfect_microscope_rounds_and_clips():
    for grey, expected in ((128.4, 128), (-5.0, 0), (300.0, 255)):
        assert (_image(grey) == expected).all()


def test_shot_noise_grows_with_the_root_of_the_signal():
    for grey, deviation in ((128.0, 8.0), (32.0, 4.0)):
        seen = _image(grey, shot_noise_grey=8.0)
        assert abs(seen.mean() - grey) < 0.2
        assert abs(seen.std() - deviation) < 0.2


def test_drift_is_the_same_across_a_section():
    seen = _image(drift_grey=10.0, drift_nm=30.0)
    assert (seen == seen[:, :1, :1]).all()
    assert seen[:, 0, 0].std() > 3


def test_contrast_drifts_about_the_middle_grey():
    assert (_image(128.0, drift_contrast=0.2, drift_nm=30.0) == 128).all()
    assert _image(28.0, drift_contrast=0.2, drift_nm=30.0)[:, 0, 0].std() > 5


def test_curtains_run_along_y():
    seen = _image(curtain_grey=10.0)
    assert np.abs(np.diff(seen, axis=1)).max() <= 1
    assert seen[0, 0].std() > 3


def test_blur_spreads_a_plane_by_its_deviation():
    microscope = replace(PERFECT, blur_nm=20.0)
    outer = BOX.grow(microscope.halo(VOXEL))
    true = np.full(outer.shape, 10, np.float32)
    true[:, :, outer.shape[2] // 2] += 1000
    seen = image(microscope, true, BOX, surroundings=None, voxel_size_nm=VOXEL, seed=3).astype(float)[5, 5] - 10
    place = np.arange(len(seen))
    centre = (seen * place).sum() / seen.sum()
    assert abs(np.sqrt((seen * (place - centre) ** 2).sum() / seen.sum()) - 2.0) < 0.1


def test_the_halo_is_three_deviations():
    assert replace(PERFECT, blur_nm=8.0).halo((10.0, 5.0, 4.0)) == (3, 5, 6)


def test_voxel_0_is_at_0_nm():
    z, _, x = axes_of(BOX, (10.0, 5.0, 2.5))
    assert z[0] == 0.0 and x[0] == -20.0 and x[1] == -17.5


def test_effects_that_are_off_change_no_bit():
    off = replace(MICROSCOPE, charging_nm=80.0, streak_nm=50.0, charging_greys=(1.0, 2.0))
    np.testing.assert_array_equal(_image_of_tissue(off, BOX), _image_of_tissue(MICROSCOPE, BOX))
    even = replace(MICROSCOPE, charging=1.0, charging_greys=(-1e3, 1e3))
    np.testing.assert_array_equal(_image_of_tissue(even, BOX), _image_of_tissue(MICROSCOPE, BOX))


@pytest.mark.parametrize("voxel_size_nm", [(10.0, 10.0, 10.0), (36.0, 8.0, 12.0)])
def test_a_voxel_does_not_depend_on_the_box(voxel_size_nm):
    whole = _image_of_tissue(ALL, BOX, voxel_size_nm)
    assert (whole != _image_of_tissue(MICROSCOPE, BOX, voxel_size_nm)).mean() > 0.5
    for tile in tiles(BOX, (7, 32, 13)):
        part = whole[tile.shift([-a for a in BOX.start]).slices]
        np.testing.assert_array_equal(_image_of_tissue(ALL, tile, voxel_size_nm), part)


def test_a_thick_section_shows_the_mean_of_its_planes():
    microscope = replace(PERFECT, depth_samples=3)
    box = Box((2, 0, 0), (4, 1, 1))
    assert microscope.painted_voxel_nm((30.0, 8.0, 8.0)) == (10.0, 8.0, 8.0)
    # Section 2 lies at 60 nm and is painted at 50, 60 and 70 nm.
    assert microscope.painted_box(box, (30.0, 8.0, 8.0)) == Box((5, 0, 0), (11, 1, 1))
    grey = np.array([30, 60, 120, 10, 20, 60], np.float32)[:, None, None]
    seen = image(microscope, grey, box, surroundings=None, voxel_size_nm=(30.0, 8.0, 8.0), seed=3)
    assert seen.ravel().tolist() == [70, 30]
    planes = visible_labels(microscope, np.arange(6)[:, None, None], box, voxel_size_nm=(30.0, 8.0, 8.0), seed=3)
    assert planes.ravel().tolist() == [1, 4]


def test_depth_is_blurred_in_nm():
    assert replace(PERFECT, blur_nm=8.0, depth_samples=3).halo((30.0, 5.0, 4.0)) == (3, 5, 6)


def _charged(grey, **numbers):
    """One row through a place of 3 by 3 voxels with another grey value, minus even grey, in a bare microscope."""
    microscope = replace(PERFECT, **({"charging": 1.0, "charging_greys": (90.0, 160.0)} | numbers))
    assert microscope.charging_on(VOXEL).pixel_nm == VOXEL
    painted, charging = microscope.painted_box(BOX, VOXEL), microscope.charging_box(BOX, VOXEL)
    true, around = (_with_a_place(box, grey) for box in (painted, charging))
    seen = image(microscope, true, BOX, surroundings=around, voxel_size_nm=VOXEL, seed=3)
    return seen.astype(int)[5, 16] - 128


def _with_a_place(box, grey):
    true = np.full(box.shape, 128, np.float32)
    y, x = 20 - box.start[1], 4 - box.start[2]
    true[:, y - 1 : y + 2, x - 1 : x + 2] = grey
    return true


def test_an_empty_place_is_brighter_and_drags_a_dark_streak():
    row = _charged(190.0, charging_nm=0.0, streak_nm=30.0)
    # Charge 30 on voxels 11 to 13; the streak over the next three takes 5/9, 3/9 and 1/9 of each.
    streak = np.zeros(32)
    for start in (11, 12, 13):
        streak[start + 1 : start + 4] -= np.array([5, 3, 1]) / 9 * 30
    streak[11:14] += 62 + 30
    np.testing.assert_array_equal(row, np.rint(streak + 128) - 128)


def test_a_dense_place_is_darker_and_drags_a_bright_streak():
    row = _charged(60.0, charging_nm=0.0, streak_nm=30.0)
    # Behind the place: 5/9, 3/9 and 1/9 of 30 from three voxels, then from two, then from one.
    assert row[11] == -68 - 30 and row[14:18].tolist() == [30, 13, 3, 0]
    assert (row[:11] == 0).all()


def test_a_halo_surrounds_a_charged_place():
    row = _charged(190.0, charging_nm=10.0, streak_nm=0.0, charging_greys=(90.0, 130.0))
    assert row[10] == row[14] > 0 and row[8] == 0


def test_greys_between_do_not_charge():
    for grey in (90.0, 128.0, 160.0):
        assert (_image(grey, charging=1.0, charging_greys=(90.0, 160.0)) == grey).all()


SHIFTED = replace(PERFECT, shift_nm=40.0)


def test_shifts_are_bounded_mostly_small_and_belong_to_the_section():
    shifts = section_shifts_nm(SHIFTED, -2000, 2000, seed=3)
    assert shifts.shape == (4000, 2)
    assert 38 < np.abs(shifts).max() <= 40
    np.testing.assert_allclose(shifts.std(0), 40 / np.sqrt(7), rtol=0.05)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.05
    np.testing.assert_array_equal(section_shifts_nm(SHIFTED, 10, 12, seed=3), shifts[2010:2012])
    assert (section_shifts_nm(SHIFTED, 10, 12, seed=4) != shifts[2010:2012]).all()


def test_a_section_is_moved_by_its_shift():
    seen = _image_of_tissue(SHIFTED, BOX).astype(float)
    shifts = section_shifts_nm(SHIFTED, BOX.start[0], BOX.stop[0], seed=3)
    z, y, x = axes_of(BOX, VOXEL)
    for section, (down, right) in enumerate(shifts):
        axes = (z[section : section + 1], y - down, x - right)
        expected = 128 + 40 * smooth_field(1, Stream.COARSE, (60.0, 60.0, 60.0), axes)[0]
        assert np.abs(seen[section] - np.clip(expected, 0, 255)).max() < 2


def test_labels_move_with_their_section_by_whole_voxels():
    painted = SHIFTED.painted_box(BOX, VOXEL)
    places = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(painted.start, painted.stop, strict=True)]), -1)
    places = np.moveaxis(places, 1, 0)  # meshgrid gives y first
    shifts = section_shifts_nm(SHIFTED, BOX.start[0], BOX.stop[0], seed=3)
    for axis in (1, 2):
        seen = visible_labels(SHIFTED, places[..., axis], BOX, voxel_size_nm=VOXEL, seed=3)
        here = np.arange(BOX.start[axis], BOX.stop[axis])
        expected = here - shifts[:, axis - 1, None] / 10
        assert seen.shape == BOX.shape
        assert np.abs((seen[:, :, 5] if axis == 1 else seen[:, 5]) - expected).max() <= 0.5


def test_the_window_becomes_black_and_white():
    for grey, expected in ((40.0, 0), (140.0, 128), (239.0, 254), (240.0, 255), (250.0, 255), (20.0, 0)):
        assert (_image(grey, window_grey=(40.0, 240.0)) == expected).all()


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"shift_nm=-1.0 is negative; give 0 \(none\) or more"):
        replace(PERFECT, shift_nm=-1.0)
    with pytest.raises(ValueError, match=r"depth_samples=2 has no middle plane; give an odd number"):
        replace(PERFECT, depth_samples=2)
    with pytest.raises(ValueError, match=r"window_grey=\(9, 9\) is no range; give two grey values"):
        replace(PERFECT, window_grey=(9, 9))
