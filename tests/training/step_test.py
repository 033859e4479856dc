"""The update: the original's numbers, any number of devices alike, the same crops the same way."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asem_jax import devices
from asem_jax.models.architecture import asem
from asem_jax.models.channels import Channel, exclusive
from asem_jax.models.torch_weights import params_from_state_dict, read_checkpoint
from asem_jax.models.unet import UNet
from asem_jax.training import step
from asem_jax.training.augment import Augmentation, allowed_transpositions
from asem_jax.training.losses import Objective
from asem_jax.training.optimizer import make_optimizer, moments_of
from asem_jax.training.step import (
    Recipe,
    TrainState,
    batch_loss,
    init_state,
    parallel_train_step,
    start_average,
)
from asem_jax.training.targets import label_padding
from tests.phantoms import balls

NETWORK = UNet(asem(num_maps=2, pool_factors=((2, 2, 2),)), kernel_gain=2.4)
SHAPE = (24, 24, 24)
NO_CHANGE = Augmentation((), ((0, 1, 2),), 0.0, 0.0)


def make_recipe(optimizer: optax.GradientTransformation, augmentation: Augmentation, network: UNet) -> Recipe:
    """Returns a recipe with ASEM's balance."""
    objective = Objective(exclusive(["mito"]), (1.0, 1.0), None, 0.01, 0.99, 1.0, 1.0, 0.0, 2.0, 0.0)
    return Recipe(network, optimizer, augmentation, objective, voxel_size_nm=(5.0, 5.0, 5.0), seed=4)


def make_batch(size: int) -> dict[str, np.ndarray]:
    """Returns crops of balls; of the last one nothing is known."""
    crops = [balls(SHAPE, seed=index) for index in range(size)]
    known = np.ones((size, 6, 6, 6, 1), bool)
    known[-1] = False
    return {
        "raw": np.stack([raw for raw, _ in crops])[..., None],
        "members": np.stack([labels[9:15, 9:15, 9:15, None] for _, labels in crops]),
        "known": known,
    }


def run_steps(
    recipe: Recipe, num_devices: int, number: int = 2, batch: dict[str, np.ndarray] | None = None
) -> tuple[TrainState, list[float]]:
    """Returns the state and the losses after some steps on the first devices; `batch` replaces arrays of crops."""
    mesh = jax.make_mesh((num_devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:num_devices])
    update = parallel_train_step(recipe, mesh)
    state = init_state(recipe.network, recipe.optimizer, SHAPE, seed=0)
    state = state if recipe.ema_decay is None else start_average(state)
    state = jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    losses = []
    for _ in range(number):
        state, loss = update(state, jax.device_put(make_batch(8) | (batch or {}), split))
        losses.append(float(loss))
    return jax.device_get(state), losses


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), make_optimizer(
    learning_rate=1e-3, final_learning_rate=1e-4, num_steps=9, weight_decay=3e-5, max_gradient_norm=None
)], ids=["sgd", "adam"])  # fmt: skip
def test_one_device_equals_eight(optimizer: optax.GradientTransformation) -> None:
    recipe = make_recipe(
        optimizer,
        Augmentation((0, 1, 2), allowed_transpositions(SHAPE, (5.0, 5.0, 5.0)), 0.2, 0.2),
        NETWORK,
    )
    one, losses = run_steps(recipe, 1)
    eight, losses_of_eight = run_steps(recipe, 8)
    np.testing.assert_allclose(losses_of_eight, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), eight.params, one.params)
    assert int(eight.step) == 2


def test_one_device_equals_eight_for_channels_of_every_kind() -> None:
    channels = (
        *exclusive(["er"]),
        Channel("mito", "sigmoid", "all", (3, 4)),
        Channel("far", "distance", "all", (3, 4), scale_nm=5.0),
        Channel("beside", "affinity", "mito", offset=(0, -1, 1)),
    )
    padding = label_padding(channels, (5.0, 5.0, 5.0))
    objective = Objective(channels, (1.0,) * 5, None, 0.05, 0.95, 1.0, 1.0, 0.5, 2.0, 0.5)
    turns = Augmentation((0, 1, 2), allowed_transpositions(SHAPE, (5.0, 5.0, 5.0)), 0.2, 0.2)
    network = UNet(asem(num_channels=5, num_maps=2, pool_factors=((2, 2, 2),)), kernel_gain=2.4)
    recipe = Recipe(network, optax.sgd(0.1), turns, objective, voxel_size_nm=(5.0, 5.0, 5.0), seed=4)
    crops = [balls(SHAPE, seed=index)[1] for index in range(8)]
    inside = (slice(9 - padding[0], 15 + padding[0]),) * 3
    members = np.stack([np.stack([np.roll(labels, 3 * c, 0)[inside] for c in range(4)], -1) for labels in crops])
    known = np.ones(members.shape, bool)
    known[::2, 2:-2, :, 4:] = False
    other = {"members": members, "known": known}
    one, losses = run_steps(recipe, 1, batch=other)
    eight, losses_of_eight = run_steps(recipe, 8, batch=other)
    np.testing.assert_allclose(losses_of_eight, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), eight.params, one.params)
    assert losses[1] != losses[0]


def test_the_gradient_is_the_mean_over_devices_not_the_sum() -> None:
    recipe = make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK)
    before = init_state(NETWORK, recipe.optimizer, SHAPE, seed=0).params
    after, _ = run_steps(recipe, 8, number=1)
    batch = jax.tree.map(jnp.asarray, make_batch(8))
    keys = jax.random.split(jax.random.key(0), 8)
    gradient = jax.jit(jax.grad(batch_loss), static_argnums=1)(before, recipe, batch, keys)
    jax.tree.map(lambda a, b, g: np.testing.assert_allclose(a - b, g, atol=1e-6), before, after.params, gradient)


def test_a_batch_of_unknown_crops_changes_nothing() -> None:
    recipe = make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK)
    mesh = devices.make_mesh()
    state = init_state(NETWORK, recipe.optimizer, SHAPE, seed=0)
    batch = make_batch(8) | {"known": np.zeros((8, 6, 6, 6, 1), bool)}
    placed = {name: devices.place_batch(mesh, array) for name, array in batch.items()}
    after, loss = parallel_train_step(recipe, mesh)(devices.replicate(mesh, state), placed)
    assert float(loss) == 0.0
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after.params), jax.device_get(state.params))


def test_three_updates_equal_those_of_the_original(cases_dir: Path) -> None:
    case = cases_dir / "train_steps"
    settings = json.loads((case / "expected.json").read_text())
    arrays = np.load(case / "batch.npz")
    network = UNet(asem(num_maps=2))
    rate = settings["config"]["lr"]
    optimizer = make_optimizer(
        learning_rate=rate,
        final_learning_rate=rate,
        num_steps=3,
        weight_decay=settings["config"]["weight_decay"],
        max_gradient_norm=None,
    )
    params = params_from_state_dict(np.load(case / "weights_initial.npz"), network.architecture)
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    mesh = jax.make_mesh((1,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    # The case gives raw in [-1, 1]; the step scales grey values, and these are whole.
    batch = {
        "raw": np.rint((arrays["raw"] + 1) * 127.5).astype(np.uint8)[None, ..., None],
        "members": arrays["labels"][None, ..., None],
        "known": arrays["mask"][None, ..., None] != 0,
    }
    update = parallel_train_step(make_recipe(optimizer, NO_CHANGE, network), mesh)
    losses = []
    for _ in range(3):
        state, loss = update(state, batch)
        losses.append(float(loss))
    np.testing.assert_allclose(losses, settings["loss_f64"], atol=1e-5)
    expected = params_from_state_dict(np.load(case / "weights_after3_f64.npz"), network.architecture)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=0.05 * rate), state.params, expected)
    # The file that the original wrote after these updates holds the optimiser that ours has become.
    adam = read_checkpoint(case / "model_checkpoint_2").adam
    assert adam is not None and adam.step == int(moments_of(state.opt_state).count) == 3
    for moments, arrays in (
        (moments_of(state.opt_state).mu, adam.first),
        (moments_of(state.opt_state).nu, adam.second),
    ):
        wanted = params_from_state_dict(arrays, network.architecture)
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(wanted))
        jax.tree.map(lambda a, b, m=largest: np.testing.assert_allclose(a, b, atol=1e-4 * m), moments, wanted)


def test_crops_in_portions_make_the_update_of_all_at_once() -> None:
    whole = make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK)
    one, losses = run_steps(whole, 1)
    portions, losses_of_portions = run_steps(replace(whole, crops_at_once=2), 1)
    np.testing.assert_allclose(losses_of_portions, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), portions.params, one.params)


def test_the_mean_of_the_parameters_follows_them() -> None:
    recipe = replace(make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK), ema_decay=0.2)
    before = init_state(NETWORK, recipe.optimizer, SHAPE, seed=0).params
    first, _ = run_steps(recipe, 8, number=1)
    second, _ = run_steps(recipe, 8, number=2)
    # Young means forget faster: 1/10 stays at the first step, 2/11 at the second; later 0.2.
    jax.tree.map(
        lambda mean, p0, p1, p2: np.testing.assert_allclose(
            mean, 2 / 11 * (p0 / 10 + p1 * 9 / 10) + 9 / 11 * p2, atol=1e-6
        ),
        *(second.averaged, before, first.params, second.params),
    )
    plain, _ = run_steps(replace(recipe, ema_decay=None), 8)
    assert plain.averaged is None
    jax.tree.map(np.testing.assert_array_equal, plain.params, second.params)


def test_a_step_that_is_not_finite_changes_nothing_but_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(make_recipe(optax.adam(1e-3), NO_CHANGE, NETWORK), ema_decay=0.9)
    real = step.batch_loss
    monkeypatch.setattr(step, "batch_loss", lambda params, *more: jnp.sqrt(real(params, *more) - 1e3))
    before = start_average(init_state(NETWORK, recipe.optimizer, SHAPE, seed=0))
    after, losses = run_steps(recipe, 8, number=1)
    assert np.isnan(losses).all()
    assert int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, after[1:], jax.device_get(before)[1:])
    # Also where only the gradient is not: the root of 0 is finite, its slope is not.
    monkeypatch.setattr(step, "batch_loss", lambda params, *more: jnp.sqrt(0.0 * real(params, *more)))
    after, losses = run_steps(recipe, 8, number=1)
    assert np.isnan(losses).all()
    jax.tree.map(np.testing.assert_array_equal, after.params, jax.device_get(before).params)
