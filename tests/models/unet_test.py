"""The network against the original's outputs, the published sizes, and its equivariance."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from asem_jax.models import convolution
from asem_jax.models.architecture import (
    Architecture,
    asem,
    asem_transposed,
    cosem_4nm,
    cosem_8to4nm,
    funke_fib25,
    lsd_fib25,
    multitask,
)
from asem_jax.models.model import apply, apply_heads
from asem_jax.models.shapes import context, output_shape, stride, valid_input_shape
from asem_jax.models.torch_files import read_torch_file
from asem_jax.models.torch_weights import params_from_state_dict
from asem_jax.models.unet import LearnedUpsampling, UNet
from asem_jax.training.step import init_state
from tests.phantoms import NARROW_NETWORKS, small_model

SHALLOW = asem(num_maps=4, pool_factors=((2, 2, 2),))


def shapes_of(architecture: Architecture) -> Mapping[str, Any]:
    """Returns the shapes of the parameters; nothing is allocated."""
    shape = valid_input_shape((1, 1, 1), architecture)
    raw = jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)
    return jax.eval_shape(UNet(architecture).init, jax.random.key(0), raw)["params"]


def random_params(architecture: Architecture) -> Any:
    """Returns parameters that keep the signal's size; drawn without compiling anything."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if len(leaf.shape) == 5 else 0.1
        return jnp.asarray(rng.normal(0, scale, leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes_of(architecture))


def raw_of(shape: tuple[int, ...]) -> jax.Array:
    """Returns grey values in [-1, 1], `[1, z, y, x, 1]`."""
    return jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (1, *shape, 1)), jnp.float32)


@pytest.mark.parametrize(
    ("architecture", "number", "unit"),
    [
        (asem(), 5_837_730, 1),
        (asem_transposed(), 6_526_306, 1),
        (multitask(num_channels=2, num_auxiliary=16), 5_851_570, 1),
        (cosem_4nm(num_channels=14), 2347, 1e5),
        (cosem_8to4nm(num_channels=14), 235, 1e6),
        (cosem_4nm(num_channels=14, map_growth=3), 54, 1e5),
        (funke_fib25(num_channels=3), 87, 1e6),
        (lsd_fib25(num_channels=3), 264, 1e6),
    ],
)
def test_networks_have_their_published_numbers_of_parameters(
    architecture: Architecture, number: int, unit: float
) -> None:
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes_of(architecture)))
    assert round(total / unit) == number


def test_parameters_have_the_names_that_checkpoints_rely_on() -> None:
    params = shapes_of(asem())
    assert set(params) == {*(f"encoder_{n}" for n in range(4)), *(f"decoder_{n}" for n in range(3)), "head"}
    assert params["decoder_2"]["conv_0"]["kernel"].shape == (3, 3, 3, 384, 128)
    assert shapes_of(asem_transposed())["upsample_1"]["kernel"].shape == (2, 2, 2, 128, 128)
    finer = shapes_of(cosem_8to4nm(num_channels=14))
    assert set(finer) - set(params) == {"upsample_0", "upsample_1", "upsample_2", "upsample_final", "final"}
    assert {name: leaf.shape for name, leaf in finer["upsample_2"].items()} == {"kernel": (1, 1, 1, 2592, 432)}


def test_the_asem_network_predicts_110_voxels_from_204() -> None:
    raw = jax.ShapeDtypeStruct((2, 204, 100, 108, 1), jnp.float32)
    logits, _ = jax.eval_shape(UNet(asem()).init_with_output, jax.random.key(0), raw)
    assert logits.shape == (2, 110, 6, 14, 2)
    assert logits.dtype == jnp.float32


def test_initialisation_is_uniform_within_the_inverse_root_of_the_fan_in() -> None:
    params = init_state(UNet(SHALLOW), optax.identity(), (32, 32, 32), seed=0).params
    for level in ("encoder_1", "decoder_0"):
        kernel, bias = params[level]["conv_1"]["kernel"], params[level]["conv_1"]["bias"]
        bound = (27 * kernel.shape[3]) ** -0.5
        assert 0.97 * bound < float(jnp.abs(kernel).max()) <= bound
        assert abs(float(kernel.std()) - bound / 3**0.5) < 0.05 * bound
        assert 0.3 * bound < float(jnp.abs(bias).max()) <= bound


def assert_logits(architecture: Architecture, params: Any, arrays: Any, wanted: str, tolerance: float) -> None:
    logits = apply(UNet(architecture), params, arrays["input"][None, ..., None])
    np.testing.assert_allclose(np.moveaxis(logits[0], -1, 0), arrays[wanted], rtol=0, atol=tolerance)


@pytest.mark.parametrize("amplified", [False, True])
def test_logits_equal_those_of_the_original(cases_dir: Path, amplified: bool) -> None:
    case = cases_dir / "unet_asem_small"
    arrays = np.load(case / "io.npz")
    tensors = read_torch_file(case / "model_checkpoint_1000")["model_state_dict"]
    gain = np.float32(arrays["gain"]) if amplified else np.float32(1)
    tensors = {name: t * gain if name.endswith(".weight") else t for name, t in tensors.items()}
    wanted, tolerance = ("logits_gain_f64", 1e-5) if amplified else ("logits_f64", 1e-6)
    params = params_from_state_dict(tensors, asem(num_maps=4))
    assert_logits(asem(num_maps=4), params, arrays, wanted, tolerance)


def test_logits_of_anisotropic_poolings_equal_those_of_the_original(cases_dir: Path) -> None:
    case = cases_dir / "unet_asem_aniso"
    tensors = read_torch_file(case / "model_checkpoint_0")["model_state_dict"]
    architecture = asem(num_channels=3, num_maps=2, pool_factors=((1, 2, 2), (2, 2, 2)))
    params = params_from_state_dict(tensors, architecture)
    assert_logits(architecture, params, np.load(case / "io.npz"), "logits_f64", 2e-5)


def test_logits_of_transposed_convolutions_equal_those_of_the_original(cases_dir: Path) -> None:
    case = cases_dir / "unet_asem_transposed"
    tensors = read_torch_file(case / "model_checkpoint_500")["model_state_dict"]
    params = params_from_state_dict(tensors, asem_transposed(num_maps=3))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 57740
    assert_logits(asem_transposed(num_maps=3), params, np.load(case / "io.npz"), "logits_f64", 1e-5)


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_what_a_voxel_is_does_not_depend_on_the_tile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # XLA's own convolution compiles in no time, and the laws of the other are tested with it.
    monkeypatch.setattr(convolution, "_fits", lambda x, kernel: False)
    architecture = NARROW_NETWORKS[name]
    params = random_params(architecture)
    step, margin, factor = stride(architecture), context(architecture), architecture.final_factor
    tile = valid_input_shape([1 + s + 2 * c for s, c in zip(step, margin, strict=True)], architecture)
    raw = raw_of([n + s for n, s in zip(tile, step, strict=True)])
    here, shifted = raw[:, : tile[0], : tile[1], : tile[2]], raw[:, step[0] :, step[1] :, step[2] :]
    both = [apply_heads(UNet(architecture), params, x) for x in (here, shifted)]
    assert both[0]["head"].shape[1:4] == output_shape(tile, architecture)
    felt = margin if architecture.padding == "same" else (0, 0, 0)
    for head in architecture.heads:
        first, second = (said[head.name][0] for said in both)
        axes = list(zip(first.shape, step, felt, factor, strict=False))
        expected = first[tuple(slice((c + s) * r, n - c * r) for n, s, c, r in axes)]
        found = second[tuple(slice(c * r, n - (c + s) * r) for n, s, c, r in axes)]
        assert found.size > 0
        assert float(expected.std()) > 1e-4
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(jnp.abs(expected).max()))


def test_same_padding_equals_the_valid_network_on_raw_within_zeros_only_inside() -> None:
    valid, same = SHALLOW, replace(SHALLOW, padding="same")
    params = random_params(SHALLOW)
    raw = raw_of((40, 44, 48))
    small, large = (apply(UNet(network), params, raw) for network in (valid, same))
    assert large.shape == (1, 40, 44, 48, 2)
    (margin, *_) = context(valid)
    inside = (slice(None), *[slice(margin, -margin)] * 3)
    np.testing.assert_allclose(large[inside], small, rtol=0, atol=1e-5)
    assert float(jnp.abs(large[:, :1]).std()) > 1e-4


def test_learned_upsampling_is_rectified_where_it_says_so() -> None:
    x = raw_of((3, 4, 5))
    kinds = [LearnedUpsampling(kind, (1, 2, 2), 3, 1.0, jnp.float32) for kind in ("transposed", "transposed_relu")]
    params = kinds[0].init(jax.random.key(0), x)
    linear, rectified = (kind.apply(params, x) for kind in kinds)
    assert linear.shape == (1, 3, 8, 10, 3)
    assert float(linear.min()) < 0
    np.testing.assert_array_equal(rectified, jnp.maximum(linear, 0))


def test_each_head_says_its_own() -> None:
    architecture = replace(SHALLOW, heads=multitask(num_auxiliary=3).heads)
    params = random_params(architecture)
    raw = raw_of((32, 32, 32))
    said = apply_heads(UNet(architecture), params, raw)
    assert {name: values.shape[-1] for name, values in said.items()} == {"head": 2, "auxiliary": 3}
    np.testing.assert_allclose(apply(UNet(architecture), params, raw), said["head"], rtol=0, atol=1e-6)
    assert 0 < float(said["auxiliary"].min()) < float(said["auxiliary"].max()) < 1


@pytest.mark.parametrize("upsampling", ["repeat", "transposed"])
def test_rematerialisation_changes_neither_values_nor_gradients(upsampling: str) -> None:
    architecture = replace(SHALLOW, upsampling=upsampling)
    params, raw = random_params(architecture), raw_of((32, 32, 32))

    def pulled_back(rematerialize: bool) -> Any:
        network = UNet(architecture, rematerialize=rematerialize)
        return jax.jit(jax.value_and_grad(lambda p: (apply(network, p, raw) ** 2).mean()))(params)

    for one, other in zip(*(jax.tree.leaves(pulled_back(again)) for again in (False, True)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    again = jax.make_jaxpr(jax.grad(lambda p: apply(UNet(architecture, rematerialize=True), p, raw).sum()))(params)
    assert "remat" in str(again)


def test_flipping_the_input_of_a_flipped_network_flips_the_output() -> None:
    model = small_model()
    raw = raw_of((32, 32, 36))
    flipped = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim == 5 else leaf, model.params)
    expected = model(raw)[:, ::-1]
    np.testing.assert_allclose(type(model)(flipped, model.card)(raw[:, ::-1]), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", [SHALLOW, replace(SHALLOW, upsampling="transposed")])
def test_bfloat16_keeps_parameters_and_logits_in_float32(architecture: Architecture) -> None:
    raw = raw_of((32, 32, 32))
    exact, rounded = UNet(architecture), UNet(architecture, dtype=jnp.bfloat16)
    params = init_state(rounded, optax.identity(), (32, 32, 32), seed=0).params
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    logits = apply(rounded, params, raw)
    assert logits.dtype == jnp.float32
    assert 0 < float(jnp.abs(logits - apply(exact, params, raw)).max()) < 0.02


def test_an_exported_program_may_leave_the_size_open() -> None:
    model = small_model()
    b, k = export.symbolic_shape("b, k")
    raw = jax.ShapeDtypeStruct((b, 2 * k + 20, 32, 32, 1), jnp.float32)
    exported = export.export(jax.jit(lambda raw: model(raw)))(raw)
    values = raw_of((36, 32, 32))
    np.testing.assert_allclose(exported.call(values), model(values), rtol=0, atol=1e-5)


def test_a_shape_that_does_not_fit_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="nearest"):
        UNet(SHALLOW).apply({"params": {}}, raw_of((31, 32, 32)))
