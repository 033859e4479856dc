"""Stage export: both formats from a run folder, and what is refused before the model is read."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.models.checkpoint import Checkpoints
from asem_jax.models.model import Model
from asem_jax.models.torch_weights import params_from_state_dict, read_checkpoint
from asem_jax.settings import SETTINGS
from asem_jax.stages import export
from tests.phantoms import small_model

pytest.importorskip("flatbuffers", reason="JAX writes programs with flatbuffers")


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def trained(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one checkpoint."""
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(1, {"params": model.params}, config={}, card=model.card, score=0.5)
    return workdir


def config(model: Path, target: Path, **changes: object) -> ConfigDict:
    settings = {"model": str(model), "format": "stablehlo", "target": str(target), "input_shape": None}
    return ConfigDict(settings | changes)


def test_the_settings_are_those_of_the_stage(tmp_path: Path) -> None:
    assert set(config(tmp_path, tmp_path)) == set(SETTINGS["export"])


@pytest.mark.parametrize(("input_shape", "raw"), [(None, "float32[b,2*z + "), ((20, 20, 22), "float32[1,20,20,22,1]")])
def test_a_folder_for_jax(
    trained: Path, tmp_path: Path, input_shape: object, raw: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="asem_jax")
    export.run(config(trained, tmp_path / "bundle", input_shape=input_shape), tmp_path)
    assert json.loads((tmp_path / "bundle/card.json").read_text())["program"]["raw"].startswith(raw)
    assert "bundle is written; channels background, mito" in caplog.text and "v / 127.5 - 1" in caplog.text


def test_a_checkpoint_for_the_original(model: Model, trained: Path, tmp_path: Path) -> None:
    export.run(config(trained, tmp_path / "model.pt", format="pytorch"), tmp_path)
    tensors = read_checkpoint(tmp_path / "model.pt").tensors
    params = params_from_state_dict(tensors, model.card.architecture)
    jax.tree.map(np.testing.assert_array_equal, params, dict(model.params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, r"export\.format='onnx' is none of stablehlo, pytorch; choose"),
        (
            {"format": "pytorch", "input_shape": (20, 20, 20)},
            r"input_shape=\(20, 20, 20\) has no meaning .*set it to None",
        ),
        ({"format": "pytorch"}, r"export\.target=.* is a folder; give the file to write"),
        ({}, "holds mine, which no export wrote"),
    ],
)
def test_settings_are_checked_before_the_model_is_read(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises((ValueError, FileExistsError), match=message):
        export.run(config(Path("no model"), tmp_path, **changes), tmp_path)
