"""Writing PyTorch's files without PyTorch: what is written is read back, by us and, where it is there, by PyTorch."""

import pickletools
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models.architecture import Architecture
from asem_jax.models.channels import Channel
from asem_jax.models.model import Model, ModelCard
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.torch_export import (
    checkpoint_content,
    export_torch,
    state_dict_from_params,
    write_torch_file,
)
from asem_jax.models.torch_files import read_torch_file
from asem_jax.models.torch_weights import infer_architecture, params_from_state_dict, read_checkpoint
from tests.phantoms import NARROW_NETWORKS

CONTENT = {
    "arrays": OrderedDict(
        matrix=np.arange(6, dtype=np.float32).reshape(2, 3),
        turned=np.arange(6, dtype=np.float64).reshape(2, 3).T,
        big_endian=np.arange(3, dtype=">f4"),
        scalar=np.array(7),
        half=np.ones((1, 3), np.float16),
        whole=np.array([-1, 2], np.int32),
    ),
    "numbers": [0, -1, 2**31 - 1, 0.1, True, False, None],
    "texts": ("", "Golgi-Apparat, 4 µm"),
    1: {},
}


def model_of(architecture: Architecture) -> Model:
    """A model whose parameters are all different."""
    card = ModelCard(("mito",), (5.0, 5.0, 5.0), architecture, "float32", "membranes dark")
    raw = jax.ShapeDtypeStruct((1, *valid_input_shape((1, 1, 1), architecture), 1), jnp.float32)
    shapes = jax.eval_shape(card.network().init, jax.random.key(0), raw)["params"]
    rng = np.random.default_rng(0)
    return Model(jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes), card)


def doubling(name: str) -> Architecture:
    """A narrow network whose maps double from level to level, as those of the original do."""
    return replace(NARROW_NETWORKS[name], encoder_maps=(2, 4, 8), decoder_maps=(2, 4), upsampled_maps=(4, 8))


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "file", CONTENT)
    found = read_torch_file(tmp_path / "file")
    assert (
        list(found) == list(CONTENT) and found["numbers"] == CONTENT["numbers"] and found["texts"] == CONTENT["texts"]
    )
    for name, array in CONTENT["arrays"].items():
        np.testing.assert_array_equal(found["arrays"][name], array)
        assert found["arrays"][name].dtype == array.dtype.newbyteorder("=")


def test_the_file_holds_only_what_a_careful_reader_takes(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "file", CONTENT)
    with zipfile.ZipFile(tmp_path / "file") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        instructions = [(code.name, word) for code, word, _ in pickletools.genops(archive.read("archive/data.pkl"))]
    assert instructions[0] == ("PROTO", 2)
    assert {word for name, word in instructions if name == "GLOBAL"} == {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Long", "Half", "Int")),
    }
    # Those that torch.load(weights_only=True) knows.
    assert {name for name, _ in instructions} <= {
        *("PROTO", "GLOBAL", "MARK", "REDUCE", "BINPERSID", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE"),
        *("BININT", "BINFLOAT", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "SETITEMS", "APPENDS"),
    }


@pytest.mark.parametrize("name", ["asem", "asem_transposed", "multitask"])
def test_a_network_of_the_original_survives_the_way_there_and_back(name: str, tmp_path: Path) -> None:
    model = model_of(doubling(name))
    export_torch(model, tmp_path / "new" / "model_checkpoint_1")
    checkpoint = read_checkpoint(tmp_path / "new" / "model_checkpoint_1")
    assert checkpoint.adam is None  # it has made no step
    net = model.card.architecture
    assert infer_architecture(checkpoint.tensors, net.pool_factors) == net
    assert_same(params_from_state_dict(checkpoint.tensors, net), model.params)


def test_names_and_order_are_the_originals(cases_dir: Path) -> None:
    written = read_checkpoint(cases_dir / "unet_asem_small" / "model_checkpoint_1000").tensors
    net = infer_architecture(written, ((2, 2, 2),) * 3)
    tensors = state_dict_from_params(params_from_state_dict(written, net), net)
    assert list(tensors) == list(written)
    for name, array in written.items():
        np.testing.assert_array_equal(tensors[name], array)


def test_the_file_is_laid_out_as_the_originals_with_an_adam_that_begins(cases_dir: Path) -> None:
    written = read_torch_file(cases_dir / "unet_asem_small" / "model_checkpoint_1000")
    content = checkpoint_content(written["model_state_dict"])
    assert list(content) == list(written)
    (ours,), (theirs,) = (c["optimizer_state_dict"]["param_groups"] for c in (content, written))
    assert ours.items() <= {**theirs, "betas": tuple(theirs["betas"])}.items()
    assert content["optimizer_state_dict"]["state"] == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asem_same", "no network with padding=same instead of valid; export it with format 'stablehlo'"),
        ("asem_flat", r"no network with kernel_sizes=\(\(1, 3, 3\), "),
        ("cosem_4nm", "no network with .*upsampling=constant instead of repeat"),
        ("cosem_8to4nm", "no network with .*final_upsampling="),
        ("funke_fib25", "no network with .*crop_to_factor=False instead of True"),
    ],
)
def test_other_networks_are_refused_before_anything_is_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_torch(model_of(doubling(name)), tmp_path / "new" / "file")
    assert not (tmp_path / "new").exists()


def test_a_second_head_must_be_the_originals(tmp_path: Path) -> None:
    net = doubling("multitask")
    linear = replace(net, heads=(net.heads[0], replace(net.heads[1], activation="none")))
    with pytest.raises(ValueError, match="no network with heads="):
        export_torch(model_of(linear), tmp_path / "file")


@pytest.mark.parametrize("value", [{1, 2}, 2**31, -(2**31) - 1, b"bytes"], ids=str)
def test_what_has_no_place_in_the_file_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no place in a PyTorch file; give arrays, numbers and texts"):
        write_torch_file(tmp_path / "file", {"value": value})
    for array in (np.zeros(3, np.uint16), np.zeros((3, 0), np.float32)):
        with pytest.raises(
            ValueError, match=r"an array \w+\(3,.*\) has no place in a PyTorch file; give at least one number"
        ):
            write_torch_file(tmp_path / "file", {"value": array})
    assert not (tmp_path / "file").exists()


def test_pytorch_reads_it_where_it_is_installed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    write_torch_file(tmp_path / "file", CONTENT)
    found = torch.load(tmp_path / "file", weights_only=True)
    assert found["numbers"] == CONTENT["numbers"] and found["texts"] == CONTENT["texts"]
    for name, array in CONTENT["arrays"].items():
        np.testing.assert_array_equal(found["arrays"][name].numpy(), array)


def test_channels_outside_a_softmax_are_refused(tmp_path: Path) -> None:
    plain = model_of(doubling("asem"))
    meanings = (Channel("mito", "sigmoid", "mito"), Channel("far", "distance", "mito"))
    other = Model(plain.params, replace(plain.card, organelles=("mito", "far"), meanings=meanings))
    with pytest.raises(ValueError, match=r"channels mito, far are outside a softmax, .*; export as stablehlo"):
        export_torch(other, tmp_path / "model_checkpoint_1")
    assert not any(tmp_path.iterdir())
