"""Defects of sections and noise: how often, how bad, and that the rest of raw stays as it is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.training.defects import Defects, add_noise, darken_sections, fade_sections, lose_sections, spoil_sections

RAW = jax.random.uniform(jax.random.key(9), (2000, 4, 4), minval=-0.5, maxval=0.5)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: lose_sections(RAW, KEY, probability=p),
        lambda p: fade_sections(RAW, KEY, probability=p, least_contrast=0.1),
        lambda p: darken_sections(RAW, KEY, probability=p, shift=0.3),
        lambda p: spoil_sections(RAW, KEY, Defects(p, 0.0, 0.1, 0.0, 0.3)),
        lambda p: spoil_sections(RAW, KEY, Defects(0.0, p, 0.1, 0.0, 0.3)),
        lambda p: spoil_sections(RAW, KEY, Defects(0.0, 0.0, 0.1, p, 0.3)),
    ],
    ids=["missing", "faint", "dark", "only missing", "only faint", "only dark"],
)
def test_each_section_is_spoiled_as_often_as_said(spoil: Callable[[float], jax.Array]) -> None:
    np.testing.assert_array_equal(spoil(0.0), RAW)
    changed = np.asarray(spoil(0.1) != RAW)
    touched = changed.any(axis=(1, 2))
    assert touched.mean() == pytest.approx(0.1, abs=0.02)
    assert changed[touched].mean() > 0.99
    np.testing.assert_array_equal(spoil(0.1), spoil(0.1))


def test_missing_sections_are_black_or_white_alike_often() -> None:
    lost = np.asarray(lose_sections(RAW, KEY, probability=1.0))
    assert set(np.unique(lost)) == {-1.0, 1.0}
    assert (lost.min(axis=(1, 2)) == lost.max(axis=(1, 2))).all()
    assert lost.mean() == pytest.approx(0.0, abs=0.1)


def test_faint_sections_keep_their_mean_and_lose_contrast() -> None:
    faint = fade_sections(RAW, KEY, probability=1.0, least_contrast=0.1)
    np.testing.assert_allclose(faint.mean(axis=(1, 2)), RAW.mean(axis=(1, 2)), atol=1e-6)
    left = np.asarray(faint.std(axis=(1, 2)) / RAW.std(axis=(1, 2)))
    assert 0.1 <= left.min() < 0.15 and 0.95 < left.max() <= 1.0 + 1e-5


def test_dark_sections_are_shifted_and_never_blacker_than_black() -> None:
    shifts = np.asarray(RAW - darken_sections(RAW, KEY, probability=1.0, shift=0.2)).mean(axis=(1, 2))
    assert 0.0 <= shifts.min() < 0.02 and 0.38 < shifts.max() <= 0.4
    assert float(darken_sections(RAW, KEY, probability=1.0, shift=1.0).min()) == -1.0


def test_noise_has_the_deviation_that_was_given() -> None:
    noise = add_noise(RAW, KEY, std=0.05) - RAW
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 0.002
    assert float(jnp.abs(add_noise(RAW, KEY, std=1.0)).max()) == 1.0
    np.testing.assert_array_equal(add_noise(RAW, KEY, std=0.0), RAW)
