"""One update of the parameters, and the data-parallel form of it.

`train_step` is what one device does with its crops. `parallel_train_step` runs it on every device of a mesh: the
gradients are averaged over the axis "data", and each device makes the same update. It is written as
`jit(shard_map(..., check_vma=False))`, which is what `jax.pmap` is since JAX 0.10. Laws (tested): one device equals
eight, one process equals two, crops in portions equal all at once, for the same global batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from asem_jax.models.channels import probabilities
from asem_jax.models.model import Params, apply
from asem_jax.models.unet import UNet
from asem_jax.training.augment import Augmentation, augment_crop
from asem_jax.training.losses import Objective, crop_loss
from asem_jax.training.targets import Targets, label_padding, make_targets
from asem_jax.volumes.geometry import Float3, Int3

AXIS = "data"  # the mesh axis that batches are split over; see devices.make_mesh


class TrainState(NamedTuple):
    """What training carries from step to step.

    Attributes:
      step: int32 scalar, number of updates made.
      params: parameters of the network.
      opt_state: state of the optimiser.
      averaged: running mean of the parameters; None where none is kept.
    """

    step: jax.Array
    params: Params
    opt_state: optax.OptState
    averaged: Params | None = None


@dataclass(frozen=True)
class Recipe:
    """All that `train_step` needs besides arrays.

    Attributes:
      network: the network.
      optimizer: see `optimizer.make_optimizer`.
      augmentation: what is done to crops.
      objective: what is minimised.
      voxel_size_nm: of the network's output, z y x.
      seed: of the augmentation.
      crops_at_once: crops whose maps a device holds at a time; None = all of its share of a batch.
      ema_decay: how much of the running mean of the parameters stays at a step, late in a training; None = no mean.
    """

    network: UNet
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    objective: Objective
    voxel_size_nm: Float3
    seed: int
    crops_at_once: int | None = None
    ema_decay: float | None = None


def init_state(network: UNet, optimizer: optax.GradientTransformation, input_shape: Int3, seed: int) -> TrainState:
    """Returns the state before the first update; parameters as the original initialises them, no mean of them.

    Args:
      network: the network.
      optimizer: see `optimizer.make_optimizer`.
      input_shape: voxels z y x, any that fit the network.
      seed: of the parameters.
    """
    raw = jax.ShapeDtypeStruct((1, *input_shape, 1), jnp.float32)
    # XLA's optimiser would spend ten times longer on the random numbers than it takes to draw them.
    unoptimised = {"xla_backend_optimization_level": 0}
    initialize = jax.jit(lambda key: network.lazy_init(key, raw)["params"], compiler_options=unoptimised)
    params = initialize(jax.random.key(seed))
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def start_average(state: TrainState) -> TrainState:
    """Returns the state with a running mean that begins at its parameters."""
    return state._replace(averaged=jax.tree.map(jnp.copy, state.params))


def train_step(
    recipe: Recipe, state: TrainState, batch: Mapping[str, jax.Array], first_slot: jax.Array
) -> tuple[TrainState, jax.Array]:
    """Makes one update from the crops of one device; to be called inside a mesh axis named "data".

    Args:
      recipe: network, optimiser and settings.
      state: replicated over the devices.
      batch: this device's share: `raw` uint8 `[b, z, y, x, 1]`; `members` integers, `known` bool
        `[b, z', y', x', c]`, see `crops.stack_crops`.
      first_slot: index of its first crop in the global batch; with the step it seeds the augmentation.

    Returns:
      The next state and the loss, a float32 scalar, both equal on all devices. Where the loss or a gradient is not
      finite, the loss is NaN and the state the same as before, but for its step.
    """
    num_crops = batch["raw"].shape[0]
    key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
    keys = jax.vmap(lambda slot: jax.random.fold_in(key, slot))(first_slot + jnp.arange(num_crops))
    loss, gradients = jax.lax.pmean(_loss_and_gradients(recipe, state.params, batch, keys), AXIS)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    averaged = None if state.averaged is None else _averaged(recipe, state, params)
    finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradients))
    after = state._replace(params=params, opt_state=opt_state, averaged=averaged)
    kept = jax.tree.map(partial(jnp.where, finite), after, state)
    return kept._replace(step=state.step + 1), jnp.where(finite, loss, jnp.nan)


def _averaged(recipe: Recipe, state: TrainState, params: Params) -> Params:
    """Returns the running mean after an update; young ones forget faster, lest the first parameters stay in it."""
    age = state.step.astype(jnp.float32)
    decay = jnp.minimum(recipe.ema_decay or 0.0, (1.0 + age) / (10.0 + age))
    mean: Params = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.averaged, params)
    return mean


def _loss_and_gradients(
    recipe: Recipe, params: Params, batch: Mapping[str, jax.Array], keys: jax.Array
) -> tuple[jax.Array, Params]:
    """Returns both for the crops of one device, taken in portions of `crops_at_once`."""
    of_crops = jax.value_and_grad(batch_loss)
    num_crops = keys.shape[0]
    at_once = recipe.crops_at_once or num_crops
    if at_once >= num_crops:
        return of_crops(params, recipe, batch, keys)

    def add(total: tuple[jax.Array, Params], portion: tuple[Mapping[str, jax.Array], jax.Array]) -> Any:
        return jax.tree.map(jnp.add, total, of_crops(params, recipe, *portion)), None

    portions = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), (batch, keys))
    nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.lax.scan(add, nothing, portions)
    mean: tuple[jax.Array, Params] = jax.tree.map(lambda x: x * (at_once / num_crops), total)
    return mean


def batch_loss(params: Params, recipe: Recipe, batch: Mapping[str, jax.Array], keys: jax.Array) -> jax.Array:
    """Returns the mean over crops of their losses, after augmentation, a float32 scalar.

    Args:
      params: of the network.
      recipe: network and settings.
      batch: see `train_step`.
      keys: one JAX key per crop.
    """
    objective, size = recipe.objective, recipe.voxel_size_nm
    padding = label_padding(objective.channels, size)

    def prepare(crop: tuple[jax.Array, tuple[jax.Array, ...], jax.Array]) -> tuple[jax.Array, Targets]:
        raw, (members, known) = augment_crop(recipe.augmentation, *crop)
        return raw, make_targets(objective.channels, members, known, voxel_size_nm=size, padding=padding)

    raw, targets = jax.lax.map(prepare, (batch["raw"][..., 0], (batch["members"], batch["known"]), keys))
    logits = apply(recipe.network, params, raw[..., None])
    return jax.vmap(partial(crop_loss, objective=objective))(logits, targets).mean()


@partial(jax.jit, static_argnums=0)
def preview(recipe: Recipe, params: Params, batch: Mapping[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Returns the middle plane of the first crop, as it may look after augmentation, for a person to see.

    Args:
      recipe: network and settings.
      params: of the network.
      batch: see `train_step`; one crop of it is used.
      key: JAX key of the augmentation.

    Returns:
      Pictures `[y, x]` in 0..1 by name: `raw`, and for each channel `<name>/labels`, 0.5 where not annotated, and
      `<name>/predicted`, the probability.
    """
    labels = batch["members"][0], batch["known"][0]
    raw, (members, known) = augment_crop(recipe.augmentation, batch["raw"][0, ..., 0], labels, key)
    channels = recipe.objective.channels
    said = probabilities(apply(recipe.network, params, raw[None, ..., None])[0], channels)
    pictures = {"raw": (_middle(raw, said.shape) + 1.0) / 2.0}
    for place, channel in enumerate(channels):
        own = jnp.where(known[..., place], members[..., place] != 0, 0.5)
        pictures[f"{channel.name}/labels"] = _middle(own, said.shape)
        pictures[f"{channel.name}/predicted"] = said[said.shape[0] // 2, ..., place - len(channels)]
    return pictures


def _middle(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns the middle plane z of the middle `shape` voxels of `[z, y, x]`."""
    z, y, x_axis = ((n - m) // 2 for n, m in zip(x.shape, shape, strict=False))
    return x[z + shape[0] // 2, y : y + shape[1], x_axis : x_axis + shape[2]]


ParallelStep = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, jax.Array]]


def parallel_train_step(recipe: Recipe, mesh: Mesh) -> ParallelStep:
    """Returns the jitted update over all devices of `mesh`: (state, batch) -> (state, loss).

    The state is replicated, and donated; the batch is split along its first axis, a multiple of the devices.
    """

    def step_of_device(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, jax.Array]:
        first_slot = jax.lax.axis_index(AXIS) * batch["raw"].shape[0]
        return train_step(recipe, state, batch, first_slot)

    # check_vma=False: gradients are per device until the pmean; with the check they come out summed.
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    sharded = jax.shard_map(
        step_of_device, mesh=mesh, in_specs=(everywhere, split), out_specs=everywhere, check_vma=False
    )
    return jax.jit(sharded, donate_argnums=0)
