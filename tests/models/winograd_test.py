"""The transforms and the blocks of the CPU's convolution; its values are tested in convolution_test."""

import numpy as np
import pytest

from asem_jax.models.winograd import INPUT, KERNEL, OUTPUT, _banded, _blocks


def test_the_transforms_compute_four_outputs_of_a_three_tap_filter() -> None:
    rng = np.random.default_rng(0)
    x, taps = rng.normal(size=6), rng.normal(size=3)
    np.testing.assert_allclose(OUTPUT @ ((KERNEL @ taps) * (INPUT @ x)), np.correlate(x, taps), rtol=1e-5)


def test_a_banded_transform_treats_each_group_four_slices_further() -> None:
    x = np.random.default_rng(0).normal(size=14)
    mixed = (_banded(INPUT, 3) @ x).reshape(6, 3)
    for group in range(3):
        np.testing.assert_allclose(mixed[:, group], INPUT @ x[4 * group : 4 * group + 6], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 7, 20, 60), (1, 138, 45, 138), (3, 18, 18, 18)])
@pytest.mark.parametrize("channels", [3, 64, 512])
def test_blocks_less_what_is_done_cover_each_voxel_once(shape: tuple[int, ...], channels: int) -> None:
    blocks = _blocks(shape, channels)
    covered = np.zeros(shape[:3], int)
    for b, z, y, _, _, z_done, y_done in blocks.places:
        assert z >= 0 and y >= 0
        assert z + 4 * blocks.groups <= shape[1] and y + blocks.rows <= shape[2]
        covered[b, z + z_done : z + 4 * blocks.groups, y + y_done : y + blocks.rows] += 1
    np.testing.assert_array_equal(covered, 1)
