"""The stage: from an id, a path or an address to a folder that predicts and goes on training."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from asem_jax.models.architecture import Architecture, asem
from asem_jax.models.catalogue import EQUALISATION
from asem_jax.models.checkpoint import load_model, load_state
from asem_jax.models.torch_export import write_torch_file
from asem_jax.models.torch_weights import params_from_state_dict, read_checkpoint
from asem_jax.models.unet import UNet
from asem_jax.settings import SETTINGS
from asem_jax.stages import import_weights, recipe, train
from asem_jax.training.optimizer import make_optimizer, moments_of
from asem_jax.training.step import TrainState
from tests.models.torch_weights_test import adam, state_dict
from tests.phantoms import balls, train_config, write_volume

NET = asem(2, 4, 2, ((2, 2, 2),))


def section(folder: Path, **changes: Any) -> ConfigDict:
    """Returns the section for a checkpoint of `NET` in `folder`, which is written if it is not there."""
    source = folder / "model_checkpoint_3"
    if not source.exists():
        tensors = state_dict(NET)
        content = {"model_state_dict": tensors, "optimizer_state_dict": adam(tensors, steps=4)}
        write_torch_file(source, content)
    settings = {
        "source": str(source),
        "target": f"{folder}/model",
        "downloads": f"{folder}/downloads",
        "organelles": ("mito",),
        "voxel_size_nm": (10.0, 10.0, 10.0),
        "polarity": None,
        "equalised": None,
        "pool_factors": ((2, 2, 2),),
        "compute_dtype": "float32",
    }
    return ConfigDict(settings | changes)


def test_the_section_of_the_tests_is_complete(tmp_path: Path) -> None:
    assert set(section(tmp_path)) == set(SETTINGS["import_weights"])


def test_an_imported_folder_is_a_model_and_is_not_imported_twice(tmp_path: Path, caplog: Any) -> None:
    config = section(tmp_path)
    with caplog.at_level(logging.INFO, logger="asem_jax"):
        import_weights.run(config, tmp_path)
        import_weights.run(config, tmp_path)
    texts = [record.getMessage() for record in caplog.records]
    assert "mito at (10.0, 10.0, 10.0) nm, 5110 parameters, optimiser with 4 updates" in texts[0]
    assert texts[1].endswith("model_checkpoint_3 is imported already")
    model = load_model(config.target)
    assert model.card.polarity == "unknown"
    jax.tree.map(np.testing.assert_array_equal, model.params, params_from_state_dict(state_dict(NET), NET))
    with pytest.raises(ValueError, match=r"holds a checkpoint made with other settings .*give another one"):
        import_weights.run(section(tmp_path, voxel_size_nm=(8.0, 8.0, 8.0)), tmp_path)
    again = section(tmp_path, downloads="elsewhere")
    Path(config.source).unlink()  # no longer needed
    import_weights.run(again, tmp_path)


@pytest.mark.parametrize("keep", [True, False])
def test_a_training_begins_with_the_imported_optimiser_if_asked(tmp_path: Path, keep: bool) -> None:
    import_weights.run(section(tmp_path), tmp_path)
    raw, labels = balls((40, 40, 40))
    write_volume(tmp_path / "cell.zarr/raw", raw)
    write_volume(tmp_path / "cell.zarr/labels/mito", labels)
    config = train_config(tmp_path / "cell.zarr", init_from=f"{tmp_path}/model", init_optimizer=keep)
    card = recipe.make_card(config, recipe.open_regions("regions", config.regions, config))
    state = train._first_state(config, recipe.make_recipe(config, card))
    params = params_from_state_dict(state_dict(NET), NET)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    moments = moments_of(state.opt_state)
    assert (int(state.step), int(moments.count)) == (0, 4 if keep else 0)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b * keep), moments.mu, params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 3 * abs(b) * keep), moments.nu, params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"organelles": None, "voxel_size_nm": None}, "does not say organelles and voxel_size_nm; give them"),
        ({"voxel_size_nm": None}, "does not say voxel_size_nm; give them"),
        ({"source": "1842"}, "1842 is the id of no published model"),
        ({"source": "1669"}, "source=1669 is a published model whose file name is not documented; look it up"),
        ({"source": "http://example.org/a.pt"}, "begins with http://"),
        ({"pool_factors": None}, "which its tensors do not tell; give one factor"),
        ({"organelles": ("mito", "er")}, "2 output channels"),
    ],
)
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        import_weights.run(section(tmp_path, **changes), tmp_path)


def test_a_file_that_is_not_there_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mito.pt is no file; give a checkpoint, an https:// or an s3://"):
        import_weights.run(section(tmp_path, source=f"{tmp_path}/mito.pt", organelles=None), tmp_path)


def test_the_catalogue_fills_in_what_the_config_leaves_open(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "model_checkpoint_1986_ccp_HPF.pt"
    write_torch_file(path, {"model_state_dict": state_dict(asem(2, 1))})
    nothing = {"organelles": None, "voxel_size_nm": None, "pool_factors": None, "source": str(path)}
    import_weights.run(section(tmp_path, **nothing), tmp_path)
    card = load_model(tmp_path / "model").card
    assert (card.organelles, card.voxel_size_nm, card.equalised) == (("coated_pits",), (4.0, 4.0, 4.0), True)
    assert card.equalisation == EQUALISATION
    assert "README says 5 nm, the training database 4 nm" in caplog.text
    caplog.clear()
    chosen = nothing | {"voxel_size_nm": (5.0, 5.0, 5.0), "equalised": False, "polarity": "membranes bright"}
    import_weights.run(section(tmp_path, **chosen, target=f"{tmp_path}/chosen"), tmp_path)
    card = load_model(tmp_path / "chosen").card
    assert (card.voxel_size_nm, card.equalised, card.polarity) == ((5.0, 5.0, 5.0), False, "membranes bright")
    assert card.equalisation is None
    assert "README" not in caplog.text


def test_an_id_is_downloaded_from_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    write_torch_file(tmp_path / "file", {"model_state_dict": state_dict(asem(2, 1))})

    def fetch(address: str, folder: str) -> Path:
        asked.append((address, folder))
        return tmp_path / "file"

    monkeypatch.setattr(import_weights, "fetch", fetch)
    nothing = {"organelles": None, "voxel_size_nm": None, "pool_factors": None, "source": "1841"}
    import_weights.run(section(tmp_path, **nothing), tmp_path)
    (found,) = asked
    assert found[0].startswith("s3://asem-project/") and found[0].endswith("model_checkpoint_1841_er_CF.pt")
    assert load_model(tmp_path / "model").card.organelles == ("er",)


def torch_steps(network: Any, optimiser: Any, raw: Any, number: int) -> None:
    """Makes updates that raise the mean square of the logits' difference to 1."""
    for _ in range(number):
        optimiser.zero_grad()
        (network(raw) - 1).square().mean().backward()
        optimiser.step()


def test_adam_goes_on_as_in_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tests.torch_networks import TorchUnet

    torch.manual_seed(0)
    network, raw = TorchUnet(NET), torch.rand(1, 1, 32, 32, 32) * 2 - 1
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=3e-5)
    torch_steps(network, optimiser, raw, 3)
    content = {"model_state_dict": network.state_dict(), "optimizer_state_dict": optimiser.state_dict()}
    torch.save(content, tmp_path / "model_checkpoint_3")
    import_weights.run(section(tmp_path), tmp_path)
    ours = continued(tmp_path / "model", NET, raw.movedim(1, -1).numpy(), 2)
    before = params_from_state_dict(read_checkpoint(tmp_path / "model_checkpoint_3").tensors, NET)
    torch_steps(network, optimiser, raw, 2)
    theirs = params_from_state_dict({name: t.detach().numpy() for name, t in network.named_parameters()}, NET)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)
    moved = max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (before, theirs)), strict=True))
    assert moved > 1e-3


def continued(folder: Path, net: Architecture, raw: Any, number: int) -> Any:
    """Returns the parameters after some more of those updates, from an imported folder."""
    optimizer = make_optimizer(
        learning_rate=1e-3, final_learning_rate=1e-3, num_steps=9, weight_decay=3e-5, max_gradient_norm=None
    )
    params = load_model(folder).params
    state = load_state(folder, TrainState(jnp.int32(0), params, optimizer.init(params)))

    @jax.jit
    def update(params: Any, opt_state: Any) -> Any:
        gradients = jax.grad(lambda p: jnp.mean((UNet(net).apply({"params": p}, raw) - 1) ** 2))(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = state.params, state.opt_state
    for _ in range(number):
        params, opt_state = update(params, opt_state)
    return params
