"""The network in slabs: the values of the whole pass, in less memory, and whole where it cannot be divided."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models import convolution, slabs
from asem_jax.models.architecture import asem
from asem_jax.models.model import apply
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.unet import UNet
from tests.models.unet_test import random_params, raw_of
from tests.phantoms import NARROW_NETWORKS

THREES = asem(num_maps=2, pool_factors=((3, 3, 3),))


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_slabs_say_what_the_whole_pass_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "FEWEST_SLICES", 6)
    monkeypatch.setattr(convolution, "_fits", lambda x, kernel: False)  # compiles sooner
    architecture = NARROW_NETWORKS[name]
    smallest = valid_input_shape((1, 1, 1), architecture)
    shape = valid_input_shape([n + add for n, add in zip(smallest, (30, 0, 4), strict=True)], architecture)
    params, raw = random_params(architecture), raw_of(shape)
    whole, divided = (apply(UNet(architecture, slabs=number), params, raw) for number in (1, 5))
    assert whole.shape == divided.shape
    np.testing.assert_allclose(divided, whole, rtol=0, atol=1e-5 * float(jnp.abs(whole).max()))
    program = str(jax.make_jaxpr(lambda x: UNet(architecture, slabs=5).apply({"params": params}, x))(raw))
    assert ("scan" in program) == slabs.runs_in_slabs(architecture)


def test_slabs_need_less_memory() -> None:
    architecture = asem(num_maps=4, pool_factors=((2, 2, 2),))
    params = random_params(architecture)
    raw = jax.ShapeDtypeStruct((1, 132, 132, 132, 1), jnp.float32)

    def temporary(number: int) -> int:
        return apply.lower(UNet(architecture, slabs=number), params, raw).compile().memory_analysis().temp_size_in_bytes

    assert temporary(slabs.SLABS) < 0.6 * temporary(1)


def test_poolings_by_three_are_divided_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_fits", lambda x, kernel: False)
    params = random_params(THREES)
    for depth in (58, 61, 64):
        raw = raw_of(valid_input_shape((depth, 1, 1), THREES))
        whole, divided = (apply(UNet(THREES, slabs=number), params, raw) for number in (1, 2))
        np.testing.assert_allclose(divided, whole, rtol=0, atol=1e-5 * float(jnp.abs(whole).max()))


def test_networks_that_cannot_be_divided_are_known() -> None:
    assert slabs.runs_in_slabs(THREES)
    assert not slabs.runs_in_slabs(replace(THREES, padding="same"))
