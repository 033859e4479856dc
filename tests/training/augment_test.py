"""Augmentation: a cube symmetry is one, raw and labels turn alike, grey values stay in range."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.training.augment import (
    Augmentation,
    allowed_transpositions,
    augment_crop,
    augment_gamma,
    augment_geometry,
    augment_intensity,
)
from asem_jax.training.defects import Defects
from asem_jax.training.elastic import Elastic, margin
from tests.phantoms import balls

CUBE = allowed_transpositions((4, 4, 4), (5.0, 5.0, 5.0))
AS_IT_IS = ((0, 1, 2),)
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


def test_gamma_brightens_as_often_as_it_darkens() -> None:
    grey = jnp.full((1, 1, 1), 0.0)  # the middle: 0.5 of the range
    found = np.array([float(augment_gamma(grey, jax.random.key(i), limits=(0.5, 2.0))[0, 0, 0]) for i in range(300)])
    powers = np.log((found + 1) / 2) / np.log(0.5)
    assert 0.5 <= powers.min() < 0.52 and 1.95 < powers.max() <= 2.0 + 1e-5
    assert (powers > 1).mean() == pytest.approx(0.5, abs=0.08)
    # Evenly spread: powers above 1, and the reciprocals of those below.
    assert powers[powers > 1].mean() == pytest.approx(1.5, abs=0.06)
    assert (1 / powers[powers < 1]).mean() == pytest.approx(1.5, abs=0.06)


def test_gamma_keeps_black_and_white() -> None:
    ends = jnp.array([-1.0, 1.0]).reshape(1, 1, 2)
    np.testing.assert_array_equal(augment_gamma(ends, jax.random.key(0), limits=(0.5, 2.0)), ends)
    with pytest.raises(ValueError, match=r"gamma=\(1\.5, 2\.0\) is not two numbers above 0 with 1 between them"):
        Augmentation((), AS_IT_IS, 0.0, 0.0, gamma=(1.5, 2.0))


def test_channels_stay_last() -> None:
    labels = jnp.arange(8.0**3).reshape(8, 8, 8)
    for i in range(10):
        a, b = turn((labels, jnp.stack([labels, -labels], -1)), jax.random.key(i), mirror_axes=ALL, transpositions=CUBE)
        np.testing.assert_array_equal(b, jnp.stack([a, -a], -1))


def test_what_is_off_leaves_the_rest_as_it_was() -> None:
    raw = jnp.asarray(balls((12, 12, 12))[0])
    plain = Augmentation(ALL, CUBE, 0.1, 0.1)
    noisy = replace(plain, noise_std=0.01, defects=Defects(0.2, 0.0, 1.0, 0.0, 0.0))
    change = jax.jit(augment_crop, static_argnums=0)
    for i in range(3):
        grey, (labels,) = change(plain, raw, (raw,), jax.random.key(i))
        other, (again,) = change(noisy, raw, (raw,), jax.random.key(i))
        np.testing.assert_array_equal(labels, again)
        kept = np.abs(np.asarray(other)).min(axis=(1, 2)) < 1
        assert 0 < kept.sum() < 12
        np.testing.assert_allclose(other[kept], grey[kept], atol=0.12)
        turned = augment_geometry((raw,), jax.random.split(jax.random.key(i))[0], mirror_axes=ALL, transpositions=CUBE)
        np.testing.assert_array_equal(labels, turned[0])


def test_a_deformed_crop_comes_without_its_margins() -> None:
    elastic = Elastic(1.0, (8.0, 8.0, 8.0), (1.0, 1.0, 1.0), 90.0, 0.1, 0.0, 1)
    sides = margin(elastic, (12, 12, 12), CUBE), margin(elastic, (4, 4, 4), CUBE)
    chosen = Augmentation(
        ALL, CUBE, 0.1, 0.1, elastic=elastic, margin=sides[0], label_margin=sides[1], gamma=(0.5, 2.0)
    )
    raw = jnp.asarray(balls((12 + 2 * sides[0][0],) * 3)[0])
    known = jnp.ones(((4 + 2 * sides[1][0],) * 3 + (2,)), bool)
    grey, (found,) = jax.jit(augment_crop, static_argnums=0)(chosen, raw, (known,), jax.random.key(0))
    assert grey.shape == (12, 12, 12) and grey.dtype == jnp.float32
    assert found.shape == (4, 4, 4, 2) and bool(found.all())
    assert float(jnp.abs(grey).max()) <= 1.0
