"""The update: the original's numbers, any number of devices alike, the same crops the same way."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asem_jax import devices
from asem_jax.models.architecture import asem
from asem_jax.models.torch_weights import params_from_state_dict, read_checkpoint
from asem_jax.models.unet import UNet
from asem_jax.training.augment import Augmentation, allowed_transpositions
from asem_jax.training.step import (
    Recipe,
    TrainState,
    batch_loss,
    init_state,
    make_optimizer,
    moments_of,
    parallel_train_step,
    with_moments,
)
from tests.phantoms import balls

NETWORK = UNet(asem(num_maps=2, pool_factors=((2, 2, 2),)), kernel_gain=2.4)
SHAPE = (24, 24, 24)
NO_CHANGE = Augmentation((), ((0, 1, 2),), 0.0, 0.0)


def make_recipe(optimizer: optax.GradientTransformation, augmentation: Augmentation, network: UNet) -> Recipe:
    """Returns a recipe with ASEM's balance."""
    return Recipe(network, optimizer, augmentation, 0.01, 0.99, class_weights=(1.0, 1.0), seed=4)


def make_batch(size: int) -> dict[str, np.ndarray]:
    """Returns crops of balls, the last one fully masked."""
    crops = [balls(SHAPE, seed=index) for index in range(size)]
    mask = np.ones((size, 6, 6, 6), bool)
    mask[-1] = False
    return {
        "raw": np.stack([raw for raw, _ in crops])[..., None],
        "target": np.stack([labels[9:15, 9:15, 9:15] for _, labels in crops]),
        "mask": mask,
    }


def run_steps(recipe: Recipe, num_devices: int, number: int = 2) -> tuple[TrainState, list[float]]:
    """Returns the state and the losses after some steps on the first devices."""
    mesh = jax.make_mesh((num_devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:num_devices])
    update = parallel_train_step(recipe, mesh)
    state = init_state(recipe.network, recipe.optimizer, SHAPE, seed=0)
    state = jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    losses = []
    for _ in range(number):
        state, loss = update(state, jax.device_put(make_batch(8), split))
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


def test_the_gradient_is_the_mean_over_devices_not_the_sum() -> None:
    recipe = make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK)
    before = init_state(NETWORK, recipe.optimizer, SHAPE, seed=0).params
    after, _ = run_steps(recipe, 8, number=1)
    batch = jax.tree.map(jnp.asarray, make_batch(8))
    keys = jax.random.split(jax.random.key(0), 8)
    gradient = jax.jit(jax.grad(batch_loss), static_argnums=1)(before, recipe, batch, keys)
    jax.tree.map(lambda a, b, g: np.testing.assert_allclose(a - b, g, atol=1e-6), before, after.params, gradient)


def test_a_batch_of_masked_crops_changes_nothing() -> None:
    recipe = make_recipe(optax.sgd(1.0), NO_CHANGE, NETWORK)
    mesh = devices.make_mesh()
    state = init_state(NETWORK, recipe.optimizer, SHAPE, seed=0)
    batch = make_batch(8) | {"mask": np.zeros((8, 6, 6, 6), bool)}
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
        "target": arrays["labels"][None],
        "mask": arrays["mask"][None] != 0,
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


def test_moments_replace_those_of_adam_and_nothing_else() -> None:
    optimizer = make_optimizer(
        learning_rate=1.0, final_learning_rate=0.5, num_steps=10, weight_decay=0.1, max_gradient_norm=1.0
    )
    params = {"a": jnp.zeros(2)}
    before = optimizer.init(params)
    after = with_moments(before, jnp.int32(5), {"a": jnp.ones(2)}, {"a": jnp.full(2, 3.0)})
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert int(moments_of(after).count) == 5
    assert [float(tree["a"][0]) for tree in (moments_of(after).mu, moments_of(after).nu)] == [1.0, 3.0]
    updates, _ = optimizer.update({"a": jnp.zeros(2)}, after, params)
    # The schedule is at its beginning: the rate is 1, and the means are corrected for 6 updates.
    mean, square = 0.9 / (1 - 0.9**6), 0.999 * 3 / (1 - 0.999**6)
    np.testing.assert_allclose(updates["a"], -mean / square**0.5, rtol=1e-5)


def test_an_optimiser_without_adam_has_no_moments() -> None:
    with pytest.raises(ValueError, match="holds 0 Adams, 1 is needed"):
        moments_of(optax.sgd(0.1).init({"a": jnp.zeros(2)}))
