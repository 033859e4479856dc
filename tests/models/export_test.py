"""A model as a folder for JAX alone: run where asem_jax and Flax are not, at every size, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models import export as exporting
from asem_jax.models.channels import Channel
from asem_jax.models.export import export_model
from asem_jax.models.model import Model, ModelCard, scale_raw
from asem_jax.models.shapes import output_shape, stride, valid_input_shape
from asem_jax.volumes.clahe import Equalisation
from tests.phantoms import NARROW_NETWORKS, balls, small_model

flatbuffers = pytest.importorskip("flatbuffers", reason="JAX writes and reads programs with flatbuffers")

WITHOUT_US = """
import runpy, sys
sys.modules["asem_jax"] = sys.modules["flax"] = None  # importing either raises
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export for every size."""
    folder = tmp_path_factory.mktemp("exports") / "any_size"
    export_model(model, folder, input_shape=None)
    return folder


def call(folder: Path, raw: jax.Array) -> jax.Array:
    """Logits of the exported program."""
    program = jax.export.deserialize(bytearray((folder / "network.stablehlo").read_bytes()))
    logits: jax.Array = program.call(dict(np.load(folder / "weights.npz")), raw)
    return logits


def scaled(shape: tuple[int, int, int], seed: int = 0) -> jax.Array:
    return scale_raw(jnp.asarray(balls(shape, seed)[0]))[None, ..., None]


@pytest.mark.parametrize("shape", [(20, 22, 26), (28, 20, 20)])
def test_its_script_computes_what_the_model_does_without_us(
    model: Model, folder: Path, tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    raw = balls(shape)[0]
    np.save(tmp_path / "raw.npy", raw)
    words = [str(folder / "run.py"), str(tmp_path / "raw.npy"), str(tmp_path / "logits.npy")]
    place = {"PYTHONPATH": str(Path(flatbuffers.__file__).parent.parent), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", WITHOUT_US, *words]
    subprocess.run(command, cwd=tmp_path, env=place, check=True, timeout=300)
    expected = model(scaled(shape))[0]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)


def test_the_script_has_ten_lines_and_what_it_names_is_there(folder: Path) -> None:
    code = (folder / "run.py").read_text().splitlines()
    assert len([line for line in code if line.strip()]) == 10
    assert {file.name for file in folder.iterdir()} == {
        *("network.stablehlo", "weights.npz", "card.json", "README.md", "run.py")
    }


def test_one_program_takes_every_batch_and_no_size_that_does_not_fit(model: Model, folder: Path) -> None:
    pair = jnp.concatenate([scaled((20, 20, 20), seed) for seed in (0, 1)])
    np.testing.assert_allclose(call(folder, pair), model(pair), atol=1e-5)
    with pytest.raises(ValueError, match=r"2\*z \+ "):
        call(folder, scaled((21, 20, 20)))


def test_a_program_of_one_size_is_the_models_own(model: Model, tmp_path: Path) -> None:
    export_model(model, tmp_path, input_shape=(20, 22, 20))
    raw = scaled((20, 22, 20))
    np.testing.assert_allclose(call(tmp_path, raw), model(raw), atol=1e-6)
    with pytest.raises(ValueError, match="22"):
        call(tmp_path, scaled((22, 22, 20)))
    assert "and no other shape" in (tmp_path / "README.md").read_text()


def test_the_card_is_the_models_and_says_what_goes_in_and_out(model: Model, folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert ModelCard.from_dict(card) == model.card
    assert card["channels"] == ["background", "mito"]
    program = card["program"]
    assert program["raw"].startswith("float32[b,2*z + ") and program["platforms"] == ["cpu", "cuda"]
    assert program["output_start"] == [9, 9, 9]
    readme = (folder / "README.md").read_text()
    for words in ("10 x 10 x 10 nm in", "v / 127.5 - 1", "background, mito", "membranes dark", "XLA's convolution"):
        assert words in readme


def test_the_readme_says_how_each_kind_of_channel_becomes_a_probability(model: Model, tmp_path: Path) -> None:
    meanings = (Channel("mito", "distance", "all", (3,)), Channel("er", "sigmoid", "all", (16,)))
    how = {"equalised": True, "equalisation": Equalisation((64, 128, 128), 0.02)}
    card = replace(model.card, organelles=("mito", "er"), meanings=meanings, **how)
    export_model(Model(model.params, card), tmp_path, input_shape=(20, 20, 20))
    readme = (tmp_path / "README.md").read_text()
    assert "mito: about tanh(distance to the border / 50 nm), as it is; er: its sigmoid is the probability" in readme
    assert "trained on: yes, kernel of 64 x 128 x 128 voxels, clip limit 0.02." in readme
    assert ModelCard.from_dict(json.loads((tmp_path / "card.json").read_text())) == card


@pytest.mark.parametrize("name", ["asem_same", "asem_flat", "cosem_8to4nm"])
def test_other_networks_are_exported_for_every_size(name: str, model: Model, tmp_path: Path) -> None:
    net = NARROW_NETWORKS[name]
    card = replace(model.card, architecture=net)
    raw = jax.ShapeDtypeStruct((1, *valid_input_shape((1, 1, 1), net), 1), jnp.float32)
    params = jax.eval_shape(card.network().init, jax.random.key(0), raw)["params"]
    export_model(
        Model(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params), card), tmp_path, input_shape=None
    )
    for more in (0, 1):
        shape = [n + more * s for n, s in zip(valid_input_shape((1, 1, 1), net), stride(net), strict=True)]
        logits = jax.eval_shape(partial(call, tmp_path), jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32))
        assert logits.shape == (1, *output_shape(shape, net), 2)


def test_an_earlier_export_is_replaced_and_anything_else_kept(model: Model, tmp_path: Path) -> None:
    export_model(model, tmp_path / "a", input_shape=(20, 20, 20))
    export_model(model, tmp_path / "a", input_shape=(20, 20, 22))
    assert "22" in json.loads((tmp_path / "a/card.json").read_text())["program"]["raw"]
    with pytest.raises(FileExistsError, match="holds a, which no export wrote; give another folder"):
        export_model(model, tmp_path, input_shape=None)
    with pytest.raises(FileExistsError, match=r"card\.json is a file; give a folder"):
        export_model(model, tmp_path / "a/card.json", input_shape=None)


def test_a_size_that_does_not_fit_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"input_shape=\(21, 20, 20\) does not fit .*nearest: \(20 or 22"):
        export_model(model, tmp_path / "a", input_shape=(21, 20, 20))
    assert not (tmp_path / "a").exists()


def test_a_network_that_needs_a_size_says_so(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "valid_input_shape", lambda *_: (4, 4, 4))  # z = 1 would leave no voxel
    with pytest.raises(ValueError, match=r"cannot be exported for sizes left open .*; give input_shape, e\.g\. \(4,"):
        export_model(model, tmp_path, input_shape=None)


def test_a_missing_package_is_named(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match="needs the package flatbuffers; pip install flatbuffers"):
        export_model(model, tmp_path, input_shape=None)
