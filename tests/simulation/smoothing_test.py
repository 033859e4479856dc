"""Smoothing: SciPy's numbers, and no voxel depends on the box."""

import numpy as np
from scipy import ndimage

from asem_jax.simulation.smoothing import gaussian, smoothed

VALUES = np.random.default_rng(0).random((20, 24, 28)).astype(np.float32)
KERNELS = [gaussian(1.2, 4), [1.0], gaussian(0.5, 2)]


def test_weights_add_up_to_one():
    weights = gaussian(1.6, 5)
    assert len(weights) == 6 and abs(weights[0] + 2 * sum(weights[1:]) - 1) < 1e-12
    assert gaussian(0.0, 0) == [1.0]


def test_it_is_the_gaussian_of_scipy_without_the_border():
    expected = ndimage.gaussian_filter(VALUES.astype(float), (1.2, 0.0, 0.5), radius=(4, 0, 2))
    np.testing.assert_allclose(smoothed(VALUES, KERNELS), expected[4:-4, :, 2:-2], atol=1e-6)


def test_a_voxel_does_not_depend_on_the_box():
    whole = smoothed(VALUES, KERNELS)
    np.testing.assert_array_equal(smoothed(VALUES[3:17, 5:, 2:25], KERNELS), whole[3:9, 5:, 2:21])
