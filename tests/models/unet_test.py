"""The network against the original's outputs, its published size, and its equivariance."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asem_jax.models.shapes import stride
from asem_jax.models.torch_weights import params_from_state_dict, read_torch_file
from asem_jax.models.unet import UNet
from asem_jax.training.step import init_state
from tests.phantoms import small_model


def test_the_asem_network_has_its_published_number_of_parameters() -> None:
    raw = jax.ShapeDtypeStruct((1, 100, 100, 100, 1), jnp.float32)
    shapes = jax.eval_shape(UNet().init, jax.random.key(0), raw)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 5_837_730


def test_the_asem_network_predicts_110_voxels_from_204() -> None:
    network = UNet()
    raw = jax.ShapeDtypeStruct((2, 204, 100, 108, 1), jnp.float32)
    logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), raw)
    assert logits.shape == (2, 110, 6, 14, 2)
    assert logits.dtype == jnp.float32


def test_initialisation_is_uniform_within_the_inverse_root_of_the_fan_in() -> None:
    params = init_state(UNet(4, 2, ((2, 2, 2),)), optax.identity(), (32, 32, 32), seed=0).params
    for level in ("encoder_1", "decoder_0"):
        kernel, bias = params[level]["conv_1"]["kernel"], params[level]["conv_1"]["bias"]
        bound = (27 * kernel.shape[3]) ** -0.5
        assert 0.97 * bound < float(jnp.abs(kernel).max()) <= bound
        assert abs(float(kernel.std()) - bound / 3**0.5) < 0.05 * bound
        assert 0.3 * bound < float(jnp.abs(bias).max()) <= bound


@pytest.mark.parametrize("amplified", [False, True])
def test_logits_equal_those_of_the_original(cases_dir: Path, amplified: bool) -> None:
    case = cases_dir / "unet_asem_small"
    arrays = np.load(case / "io.npz")
    tensors = read_torch_file(case / "model_checkpoint_1000")["model_state_dict"]
    expected, tolerance = arrays["logits_f64"], 1e-6
    if amplified:
        gain = np.float32(arrays["gain"])
        tensors = {name: t * gain if name.endswith(".weight") else t for name, t in tensors.items()}
        expected, tolerance = arrays["logits_gain_f64"], 1e-5
    params = params_from_state_dict(tensors, num_poolings=3)
    logits = jax.jit(UNet(num_maps=4).apply)({"params": params}, arrays["input"][None, ..., None])
    np.testing.assert_allclose(np.moveaxis(logits[0], -1, 0), expected, rtol=0, atol=tolerance)


def test_a_shift_by_the_stride_shifts_the_logits() -> None:
    model = small_model(pool_factors=((2, 2, 2), (1, 2, 2)))
    step = stride(model.card.pool_factors)
    raw = jax.random.uniform(jax.random.key(1), (1, 50, 60, 60, 1), minval=-1.0)
    near, far = raw[:, :48, :56, :56], raw[:, step[0] :, step[1] :, step[2] :]
    a = model(near[:, :48])
    b = model(far[:, :48, :56, :56])
    overlap = a[:, step[0] :, step[1] :, step[2] :]
    same = b[:, : overlap.shape[1], : overlap.shape[2], : overlap.shape[3]]
    np.testing.assert_allclose(same, overlap, atol=1e-5)
    assert float(overlap.std()) > 1e-3


def test_flipping_the_input_of_a_flipped_network_flips_the_output() -> None:
    model = small_model()
    raw = jax.random.uniform(jax.random.key(1), (1, 32, 32, 36, 1), minval=-1.0)
    flipped = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim == 5 else leaf, model.params)
    expected = model(raw)[:, ::-1]
    np.testing.assert_allclose(type(model)(flipped, model.card)(raw[:, ::-1]), expected, atol=1e-5)


def test_bfloat16_keeps_parameters_and_logits_in_float32() -> None:
    raw = jax.random.uniform(jax.random.key(1), (1, 32, 32, 32, 1), minval=-1.0)
    exact, rounded = UNet(4, 2, ((2, 2, 2),)), UNet(4, 2, ((2, 2, 2),), dtype=jnp.bfloat16)
    variables = {"params": init_state(exact, optax.identity(), (32, 32, 32), seed=0).params}
    logits = jax.jit(rounded.apply)(variables, raw)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(logits, jax.jit(exact.apply)(variables, raw), atol=0.02)
