"""Augmentation: a cube symmetry is one, raw and labels turn alike, grey values stay in range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.training.augment import allowed_transpositions, augment_geometry, augment_intensity

CUBE = allowed_transpositions((4, 4, 4), (5.0, 5.0, 5.0))
ALL = (0, 1, 2)
turn = jax.jit(augment_geometry, static_argnames=("mirror_axes", "transpositions"))


def test_all_48_symmetries_of_the_cube_are_drawn() -> None:
    array = jnp.arange(27.0).reshape(3, 3, 3)
    seen = {
        np.asarray(turn((array,), jax.random.key(i), mirror_axes=ALL, transpositions=CUBE)[0]).tobytes()
        for i in range(600)
    }
    assert len(seen) == 48


def test_raw_and_labels_turn_alike() -> None:
    raw = jnp.arange(8.0**3).reshape(8, 8, 8)
    for i in range(20):
        arrays = (raw, raw[2:6, 2:6, 2:6])
        turned, labels = turn(arrays, jax.random.key(i), mirror_axes=ALL, transpositions=CUBE)
        np.testing.assert_array_equal(turned[2:6, 2:6, 2:6], labels)


def test_an_axis_that_may_not_be_mirrored_is_not() -> None:
    raw = jnp.arange(8.0).reshape(2, 2, 2)
    for i in range(20):
        turned = turn((raw,), jax.random.key(i), mirror_axes=(1,), transpositions=((0, 1, 2),))[0]
        assert float(turned[0, 0, 0]) in (0.0, 2.0)


def test_axes_of_another_length_or_voxel_size_keep_their_place() -> None:
    assert allowed_transpositions((4, 6, 6), (5.0, 5.0, 5.0)) == ((0, 1, 2), (0, 2, 1))
    assert allowed_transpositions((6, 6, 6), (8.0, 4.0, 4.0)) == ((0, 1, 2), (0, 2, 1))
    assert allowed_transpositions((6, 6, 6), (8.0, 6.0, 4.0)) == ((0, 1, 2),)
    assert len(CUBE) == 6


def test_intensity_keeps_the_order_and_the_range_of_grey_values() -> None:
    raw = jnp.linspace(-0.5, 0.5, 64).reshape(4, 4, 4)
    for i in range(20):
        changed = augment_intensity(raw, jax.random.key(i), scale=0.15, shift=0.15)
        assert bool((jnp.diff(changed.ravel()) > 0).all())
        contrast = float(changed.std() / raw.std())
        assert 0.85 <= contrast <= 1.15
        assert abs(float(changed.mean() - raw.mean())) <= 0.3 + 1e-6


def test_intensity_is_clipped() -> None:
    raw = jnp.full((2, 2, 2), 0.95).at[0].set(-0.95)
    found = [augment_intensity(raw, jax.random.key(i), scale=0.5, shift=0.5) for i in range(30)]
    assert max(float(f.max()) for f in found) == pytest.approx(1.0)
    assert min(float(f.min()) for f in found) == pytest.approx(-1.0)


def test_no_intensity_change_is_none() -> None:
    raw = jax.random.uniform(jax.random.key(0), (3, 3, 3), minval=-1.0)
    np.testing.assert_allclose(augment_intensity(raw, jax.random.key(1), scale=0.0, shift=0.0), raw, atol=1e-6)
