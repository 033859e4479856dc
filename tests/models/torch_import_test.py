"""The original's checkpoints as models: the card says what is known, and what is not known is asked for."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from asem_jax.models.architecture import asem
from asem_jax.models.checkpoint import load_model
from asem_jax.models.torch_export import write_torch_file
from asem_jax.models.torch_import import Facts, import_checkpoint
from asem_jax.models.torch_weights import params_from_state_dict
from tests.models.torch_weights_test import adam, state_dict

FACTS = Facts(("mito",), (8.0, 8.0, 8.0), "membranes dark", None, ((2, 2, 2),), ("from our lab",))
NET = asem(2, 2, 2, ((2, 2, 2),))


def write(path: Path, **changes: Any) -> Path:
    """Returns a checkpoint of `NET`, with its optimiser."""
    tensors = state_dict(NET)
    write_torch_file(path, {"model_state_dict": tensors, "optimizer_state_dict": adam(tensors), **changes})
    return path


def test_the_card_says_what_was_given_and_what_the_file_tells(tmp_path: Path) -> None:
    imported = import_checkpoint(write(tmp_path / "file"), FACTS, "bfloat16")
    card = imported.model.card
    assert (card.organelles, card.voxel_size_nm, card.polarity, card.equalised) == (
        ("mito",),
        (8.0, 8.0, 8.0),
        "membranes dark",
        None,
    )
    assert (card.architecture, card.compute_dtype, card.grey_percentiles) == (NET, "bfloat16", None)
    assert card.notes[0].startswith("imported from file (sha256 ") and card.notes[1:] == ("from our lab",)
    assert type(card).from_dict(card.to_dict()) == card


def test_moments_are_trees_like_the_parameters(tmp_path: Path) -> None:
    imported = import_checkpoint(write(tmp_path / "file"), FACTS, "float32")
    params = params_from_state_dict(state_dict(NET), NET)
    assert imported.moments is not None and imported.moments.step == 7
    jax.tree.map(np.testing.assert_array_equal, imported.model.params, params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b), imported.moments.first, params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 3 * abs(b)), imported.moments.second, params)
    assert import_checkpoint(write(tmp_path / "b", optimizer_state_dict=None), FACTS, "float32").moments is None


def test_organelles_and_channels_have_to_agree(tmp_path: Path) -> None:
    facts = Facts(("mito", "er"), (8.0, 8.0, 8.0), "unknown", None, ((2, 2, 2),), ())
    with pytest.raises(ValueError, match=r"file has 2 output channels, background and 1 organelles; .*'er'\) names 2"):
        import_checkpoint(write(tmp_path / "file"), facts, "float32")


def test_a_published_file_is_loaded_by_its_name(tmp_path: Path) -> None:
    tensors = state_dict(asem(2, 1))
    path = tmp_path / "model_checkpoint_1841_er_CF.pt"
    write_torch_file(path, {"model_state_dict": tensors})
    model = load_model(path)
    assert model.card.organelles == ("er",)
    assert model.card.voxel_size_nm == (5.0, 5.0, 5.0)
    assert model.card.equalised is True
    assert "published ASEM model 1841 (er CF)" in model.card.notes
    jax.tree.map(np.testing.assert_array_equal, model.params, params_from_state_dict(tensors, asem(2, 1)))


def test_any_other_file_is_sent_to_the_stage(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"model_checkpoint_1000 is no published model .*import it with stage import_w"
    ):
        load_model(write(tmp_path / "model_checkpoint_1000"))
