"""Dark and bright membranes are told apart in phantoms and in real tissue, and noise says nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from asem_jax.volumes.polarity import membranes, sheet_balance


def shells(seed=0):
    """Dark spherical shells in noise."""
    z, y, x = np.indices((40, 40, 40)) - 20.0
    radius = np.sqrt(z**2 + y**2 + x**2)
    noise = np.random.default_rng(seed).normal(0, 8, radius.shape)
    return np.clip(160 - 70 * (np.abs(radius - 12) < 1.5) + noise, 0, 255).astype(np.uint8)


def source_of(array):
    return SimpleNamespace(shape=array.shape, read=lambda box: array[box.slices])


def test_membranes_are_dark_or_bright_and_inversion_swaps_them():
    dark = shells()
    assert membranes(source_of(dark)) == "dark"
    assert membranes(source_of(255 - dark)) == "bright"
    assert sheet_balance([255 - dark]) == pytest.approx(-sheet_balance([dark]), abs=1e-4)
    assert membranes(source_of((dark.astype(np.float32) - 80) * 100)) == "dark"


def test_noise_and_too_little_say_nothing():
    noise = np.random.default_rng(0).normal(128, 20, (40, 40, 40)).astype(np.uint8)
    assert membranes(source_of(noise)) == ""
    assert sheet_balance([noise[:8]]) == sheet_balance([]) == 0.0


@pytest.mark.parametrize("name", ["lucchi_training_raw.tif", "fib25_medulla_z000-169_raw.tif"])
def test_real_tissue_has_dark_membranes(data_dir, name):
    raw = tifffile.imread(data_dir / name)
    assert membranes(source_of(raw)) == "dark"
    assert membranes(source_of(255 - raw)) == "bright"
