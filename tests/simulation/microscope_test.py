"""The microscope: each effect alone, on even grey."""

from dataclasses import replace

import numpy as np

from asem_jax.simulation.microscope import axes_of, image
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import PERFECT

BOX = Box((0, 4, -8), (24, 36, 24))
VOXEL = (10.0, 10.0, 10.0)


def _image(grey=128.0, **numbers):
    microscope = replace(PERFECT, **numbers)
    true = np.full(BOX.grow(microscope.halo(VOXEL)).shape, grey, np.float32)
    return image(microscope, true, BOX, voxel_size_nm=VOXEL, seed=3).astype(float)


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
    seen = image(microscope, true, BOX, voxel_size_nm=VOXEL, seed=3).astype(float)[5, 5] - 10
    place = np.arange(len(seen))
    centre = (seen * place).sum() / seen.sum()
    assert abs(np.sqrt((seen * (place - centre) ** 2).sum() / seen.sum()) - 2.0) < 0.1


def test_the_halo_is_three_deviations():
    assert replace(PERFECT, blur_nm=8.0).halo((10.0, 5.0, 4.0)) == (3, 5, 6)


def test_voxel_0_is_at_0_nm():
    z, _, x = axes_of(BOX, (10.0, 5.0, 2.5))
    assert z[0] == 0.0 and x[0] == -20.0 and x[1] == -17.5
