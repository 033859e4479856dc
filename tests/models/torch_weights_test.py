"""The original's checkpoints as parameters: its outputs, its optimiser, and files that do not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.models import convolution
from asem_jax.models.architecture import Architecture, asem, asem_transposed, multitask
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.torch_export import write_torch_file
from asem_jax.models.torch_weights import (
    infer_architecture,
    params_from_state_dict,
    read_checkpoint,
    torch_layers,
)
from asem_jax.models.unet import UNet

Arrays = dict[str, npt.NDArray[np.float32]]
FLAT = ((1, 2, 2), (2, 2, 2))
SMALL = asem(2, 3, 2, ((2, 2, 2), (2, 2, 2)))


def state_dict(net: Architecture, seed: int = 0) -> Arrays:
    """Returns the tensors that the original would have for a network, random, in its order."""
    raw = jax.ShapeDtypeStruct((1, *valid_input_shape((1, 1, 1), net), 1), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: UNet(net).init(key, x, method="heads")["params"], jax.random.key(0), raw)
    rng, tensors = np.random.default_rng(seed), {}
    for name, (path, axes) in torch_layers(net).items():
        layer: Any = shapes
        for part in path:
            layer = layer[part]
        kernel = rng.normal(scale=0.2, size=layer["kernel"].shape).astype(np.float32)
        tensors[f"{name}.weight"] = np.ascontiguousarray(np.transpose(kernel, np.argsort(axes)))
        tensors[f"{name}.bias"] = rng.normal(scale=0.1, size=layer["bias"].shape).astype(np.float32)
    return tensors


def adam(tensors: Arrays, steps: int = 7) -> dict[str, Any]:
    """Returns an optimiser of the original whose moments are 2 times the tensors and 3 times their sizes."""
    state = {
        i: {"step": np.array(steps, np.float32), "exp_avg": 2 * t, "exp_avg_sq": 3 * abs(t)}
        for i, t in enumerate(tensors.values())
    }
    return {"state": state, "param_groups": [{"lr": 3e-5, "params": list(range(len(tensors)))}]}


CASES = [
    ("unet_asem_small/model_checkpoint_1000", ((2, 2, 2),) * 3, asem(2, 4), 1e-6),
    ("unet_asem_transposed/model_checkpoint_500", None, asem_transposed(2, 3), 1e-5),
    ("unet_asem_aniso/model_checkpoint_0", FLAT, asem(3, 2, 2, FLAT), 2e-5),
]


@pytest.mark.parametrize(("file", "pool_factors", "net", "tolerance"), CASES, ids=["small", "learned", "flat"])
def test_logits_of_plain_convolutions_equal_those_of_the_original(
    cases_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    file: str,
    pool_factors: Any,
    net: Architecture,
    tolerance: float,
) -> None:
    monkeypatch.setattr(convolution, "_fits", lambda x, kernel: False)  # the fast ones: unet_test
    path = cases_dir / file
    arrays, tensors = np.load(path.parent / "io.npz"), read_checkpoint(path).tensors
    assert infer_architecture(tensors, pool_factors) == net
    network = jax.jit(lambda params, raw: UNet(net).apply({"params": params}, raw))
    outputs = {"logits_f64": (1.0, tolerance)}
    if "gain" in arrays:  # the plain logits are nearly constant, which hides mistakes
        outputs["logits_gain_f64"] = (float(arrays["gain"]), 1e-5)
    for output, (gain, allowed) in outputs.items():
        gained = {name: t * np.float32(gain if name.endswith(".weight") else 1) for name, t in tensors.items()}
        logits = network(params_from_state_dict(gained, net), arrays["input"][None, ..., None])
        np.testing.assert_allclose(np.moveaxis(logits[0], -1, 0), arrays[output], rtol=0, atol=allowed)


def test_learned_upsampling_and_two_heads_are_recognised() -> None:
    for net in (asem(2, 3), asem(4, 2, 3, FLAT), asem_transposed(3, 2), multitask(2, 5, 2)):
        learned = net.upsampling == "transposed"
        assert infer_architecture(state_dict(net), None if learned else net.pool_factors) == net


def test_both_file_formats_give_one_model(cases_dir: Path) -> None:
    files = [
        cases_dir / "unet_asem_ckpt_formats" / name for name in ("model_checkpoint_1", "model_checkpoint_1_legacy.pt")
    ]
    new, old = (read_checkpoint(file) for file in files)
    assert new.adam and old.adam and new.adam.step == old.adam.step == 2
    for a, b in ((new.tensors, old.tensors), (new.adam.first, old.adam.first), (new.adam.second, old.adam.second)):
        assert list(a) == list(b)
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_moments_belong_to_the_tensors_of_their_number(tmp_path: Path) -> None:
    tensors = state_dict(asem_transposed(2, 1))
    write_torch_file(tmp_path / "a", {"model_state_dict": tensors, "optimizer_state_dict": adam(tensors)})
    found = read_checkpoint(tmp_path / "a").adam
    assert found is not None and found.step == 7
    for name, array in tensors.items():
        np.testing.assert_array_equal(found.first[name], 2 * array)
        np.testing.assert_array_equal(found.second[name], 3 * abs(array))


def test_a_file_may_hold_no_optimiser_or_only_tensors(tmp_path: Path) -> None:
    tensors = state_dict(asem(2, 1))
    nothing = {"state": {}, "param_groups": [{"params": list(range(30))}]}
    for number, content in enumerate(
        [{"model_state_dict": tensors}, tensors, {"model_state_dict": tensors, "optimizer_state_dict": nothing}]
    ):
        write_torch_file(tmp_path / f"{number}", content)
        found = read_checkpoint(tmp_path / f"{number}")
        assert found.adam is None
        jax.tree.map(np.testing.assert_array_equal, dict(found.tensors), tensors)


def without(state: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns an optimiser that lacks the state of one tensor."""
    return state | {"state": {i: entry for i, entry in state["state"].items() if i != number}}


def changed(state: dict[str, Any], **entries: Any) -> dict[str, Any]:
    """Returns an optimiser with other entries for its third tensor."""
    return state | {"state": state["state"] | {3: state["state"][3] | entries}}


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (lambda a: without(a, 4), "its network .4.; save"),
        (lambda a: changed(a, step=np.array(8.0)), r"seen \[7, 8\] steps"),
        (lambda a: changed(a, exp_avg=np.zeros((3, 3), np.float32)), r"exp_avg of unet\.l_conv\.0\.conv_pass\.2\.bias"),
        (lambda a: changed(a, exp_avg_sq=np.full(1, -1, np.float32)), "is negative, a mean of squares cannot be"),
        (lambda a: changed(a, exp_avg_sq=np.full(1, np.nan, np.float32)), "is negative"),
        (lambda a: changed(a, exp_avg_sq=4), r"exp_avg_sq of unet\.l_conv\.0\.conv_pass\.2\.bias"),
        (lambda a: a | {"param_groups": a["param_groups"] * 2}, "too many values"),
        (lambda a: a | {"param_groups": [{"params": [0]}]}, "shorter than"),
        (lambda a: 3, "not subscriptable"),
    ],
)
def test_an_optimiser_of_another_network_is_refused(tmp_path: Path, optimiser: Any, message: str) -> None:
    tensors = state_dict(asem(2, 1))
    content = {"model_state_dict": tensors, "optimizer_state_dict": optimiser(adam(tensors))}
    write_torch_file(tmp_path / "a", content)
    with pytest.raises(ValueError, match=f"an optimiser that does not belong.*{message}.*without it"):
        read_checkpoint(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"optimizer_state_dict": {}}, r"it holds optimizer_state_dict\); give a model_checkpoint"),
        ({"model_state_dict": {}}, "holds no network"),
        ({"model_state_dict": {"a": 3}}, "holds no network"),
        ({"model_state_dict": {"a": np.arange(3)}}, "holds no network"),
        ([1, 2], "it holds a list"),
    ],
)
def test_files_without_a_network_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    write_torch_file(tmp_path / "a", content)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "pool_factors", "message"),
    [
        (
            {},
            None,
            r"pool_factors=None does not fit a network with 3 poolings, which its tensors do not tell; give one",
        ),
        ({}, ((2, 2, 2),), r"pool_factors=\(\(2, 2, 2\),\) does not fit a network with 3 poolings"),
        ({"unet.l_conv.0.conv_pass.2.weight": None}, None, "not those of a 3D U-Net of the original"),
        ({"unet.r_conv.0.2.conv_pass.2.weight": np.zeros((4, 4, 3, 3))}, None, "not those of a 3D U-Net"),
        ({"final_conv_pass.conv_pass.0.weight": None}, None, "not those of a 3D U-Net"),
    ],
)
def test_tensors_of_other_networks_are_refused(change: Any, pool_factors: Any, message: str) -> None:
    tensors = {name: array for name, array in (state_dict(asem(2, 1)) | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        infer_architecture(tensors, pool_factors)


def test_poolings_that_contradict_learned_upsampling_are_refused() -> None:
    with pytest.raises(ValueError, match=r"whose tensors say \[\(2, 2, 2\), \(2, 2, 2\), \(2, 2, 2\)\]"):
        infer_architecture(state_dict(asem_transposed(2, 1)), ((1, 2, 2),) * 3)


def test_missing_and_misshapen_tensors_are_named() -> None:
    tensors = state_dict(asem(2, 1))
    bias = "unet.l_conv.1.conv_pass.0.bias"
    with pytest.raises(ValueError, match=r"the tensors unet\.l_conv\.1\.conv_pass\.0\.bias are missing .* 3 poolings"):
        params_from_state_dict({name: t for name, t in tensors.items() if name != bias}, asem(2, 1))
    with pytest.raises(ValueError, match=r"encoder_1/conv_0/bias would have shape \(9,\), .* needs \(2,\)"):
        params_from_state_dict(tensors | {bias: np.zeros(9, np.float32)}, asem(2, 1))
    kernel = "unet.l_conv.1.conv_pass.0.weight"
    with pytest.raises(ValueError, match=r"conv_pass\.0\.weight has shape \(3, 3\); a kernel has 5 axes"):
        params_from_state_dict(tensors | {kernel: np.zeros((3, 3))}, asem(2, 1))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "net", [SMALL, replace(SMALL, upsampling="transposed"), asem(3, 2, 2, FLAT)], ids=["asem", "learned", "flat"]
)
def test_logits_and_moments_equal_those_of_pytorch(tmp_path: Path, net: Architecture, legacy: bool) -> None:
    torch = pytest.importorskip("torch")
    from tests.torch_networks import TorchUnet

    torch.manual_seed(0)
    network = TorchUnet(net)
    raw = torch.rand(1, 1, *valid_input_shape((50, 50, 50), net)) * 2 - 1
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=3e-5)
    for _ in range(2):
        optimiser.zero_grad()
        network(raw).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor *= 6**0.5 if name.endswith("weight") else 1.0
        expected = network(raw)[0].numpy()
    content = {"model_state_dict": network.state_dict(), "optimizer_state_dict": optimiser.state_dict()}
    torch.save(content, tmp_path / "file", _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(tmp_path / "file")
    assert infer_architecture(found.tensors, net.pool_factors) == net
    logits = jax.jit(UNet(net).apply)(
        {"params": params_from_state_dict(found.tensors, net)}, raw.movedim(1, -1).numpy()
    )
    np.testing.assert_allclose(np.moveaxis(logits[0], -1, 0), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected) > 0.02
    assert found.adam is not None and found.adam.step == 2
    for (name, parameter), (_, state) in zip(
        network.named_parameters(), optimiser.state_dict()["state"].items(), strict=True
    ):
        assert found.adam.first[name].shape == tuple(parameter.shape)
        np.testing.assert_array_equal(found.adam.first[name], state["exp_avg"].numpy())
        np.testing.assert_array_equal(found.adam.second[name], state["exp_avg_sq"].numpy())
