"""Targets by counting."""

import numpy as np

from asem_jax.training.targets import class_target


def test_each_organelle_has_its_channel_and_a_contested_voxel_teaches_neither() -> None:
    er = np.array([[[0, 200, 0, 9]]], np.uint8)
    mito = np.array([[[0, 0, 70000, 1]]], np.uint32)
    target, mask = class_target([er, mito])
    np.testing.assert_array_equal(target, [[[0, 1, 2, 0]]])
    np.testing.assert_array_equal(mask, [[[True, True, True, False]]])
    assert target.dtype == np.uint8
