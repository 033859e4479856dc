"""One update of the parameters, and the data-parallel form of it.

`train_step` is what one device does with its crops. `parallel_train_step` runs it on every device of a mesh: the
gradients are averaged over the axis "data", and each device makes the same update. It is written as
`jit(shard_map(..., check_vma=False))`, which is what `jax.pmap` is since JAX 0.10. Laws (tested): one device equals
eight, one process equals two, for the same global batch.

Source: Gallusser et al., J Cell Biol 2023 (code): Adam, weight decay added to the gradient (not decoupled).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from asem_jax.models.model import Params, apply, scale_raw
from asem_jax.models.unet import UNet
from asem_jax.training.augment import Augmentation, augment_geometry, augment_intensity
from asem_jax.training.losses import balanced_cross_entropy
from asem_jax.volumes.geometry import Int3

AXIS = "data"  # the mesh axis that batches are split over; see devices.make_mesh


class TrainState(NamedTuple):
    """What training carries from step to step.

    Attributes:
      step: int32 scalar, number of updates made.
      params: parameters of the network.
      opt_state: state of the optimiser.
    """

    step: jax.Array
    params: Params
    opt_state: optax.OptState


@dataclass(frozen=True)
class Recipe:
    """All that `train_step` needs besides arrays.

    Attributes:
      network: the network.
      optimizer: see `make_optimizer`.
      augmentation: what is done to crops.
      min_fraction: lower clip of a class's share in the balance; ASEM 0.01.
      max_fraction: upper clip; ASEM 0.99.
      class_weights: how much the voxels of each output channel add to the loss; ASEM all 1.
      seed: of the augmentation.
    """

    network: UNet
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    min_fraction: float
    max_fraction: float
    class_weights: tuple[float, ...]
    seed: int


def make_optimizer(
    *,
    learning_rate: float,
    final_learning_rate: float,
    num_steps: int,
    weight_decay: float,
    max_gradient_norm: float | None,
) -> optax.GradientTransformation:
    """Returns Adam whose weight decay is part of the gradient, with a cosine from one learning rate to another.

    Args:
      learning_rate: at the first step; ASEM 3e-5.
      final_learning_rate: at step `num_steps`; the same as `learning_rate` = constant, as ASEM has it.
      num_steps: length of the cosine.
      weight_decay: coupled L2 on all parameters, biases too; ASEM 3e-5.
      max_gradient_norm: longer gradients are shortened to it, so that one odd crop does not kill a network that
        learns at a high rate; None = never, as ASEM.
    """
    ratio = final_learning_rate / learning_rate
    schedule = optax.cosine_decay_schedule(learning_rate, max(1, num_steps), alpha=ratio)
    clip = optax.identity() if max_gradient_norm is None else optax.clip_by_global_norm(max_gradient_norm)
    return optax.chain(
        clip,
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
    )


def init_state(network: UNet, optimizer: optax.GradientTransformation, input_shape: Int3, seed: int) -> TrainState:
    """Returns the state before the first update; parameters as the original initialises them.

    Args:
      network: the network.
      optimizer: see `make_optimizer`.
      input_shape: voxels z y x, any that fit the network.
      seed: of the parameters.
    """
    raw = jax.ShapeDtypeStruct((1, *input_shape, 1), jnp.float32)
    # XLA's optimiser would spend ten times longer on the random numbers than it takes to draw them.
    unoptimised = {"xla_backend_optimization_level": 0}
    initialize = jax.jit(lambda key: network.lazy_init(key, raw)["params"], compiler_options=unoptimised)
    params = initialize(jax.random.key(seed))
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def with_moments(opt_state: optax.OptState, step: jax.Array, first: Params, second: Params) -> optax.OptState:
    """Returns an optimiser's state with the moments of an Adam that has made some steps; its schedule begins anew.

    PyTorch's Adam and optax's keep the same two means, of gradients that include the weight decay, and correct them
    for the same number of steps, so a fine-tune goes on as it would have there.

    Args:
      opt_state: of an optimiser of `make_optimizer`.
      step: updates made, int32 scalar.
      first: running mean of the gradients, a tree like the parameters.
      second: running mean of their squares.

    Raises:
      ValueError: `opt_state` holds no Adam.
    """
    adam = moments_of(opt_state)._replace(count=jnp.asarray(step, jnp.int32), mu=first, nu=second)
    return tuple(adam if isinstance(part, optax.ScaleByAdamState) else part for part in opt_state)


def moments_of(opt_state: optax.OptState) -> optax.ScaleByAdamState:
    """Returns the part of an optimiser's state that Adam carries: `count`, `mu` and `nu`.

    Raises:
      ValueError: there is none.
    """
    parts = [part for part in opt_state if isinstance(part, optax.ScaleByAdamState)]
    if len(parts) != 1:
        raise ValueError(f"the optimiser's state ({type(opt_state).__name__}) holds {len(parts)} Adams, 1 is needed.")
    return parts[0]


def train_step(
    recipe: Recipe, state: TrainState, batch: Mapping[str, jax.Array], first_slot: jax.Array
) -> tuple[TrainState, jax.Array]:
    """Makes one update from the crops of one device; to be called inside a mesh axis named "data".

    Args:
      recipe: network, optimiser and settings.
      state: replicated over the devices.
      batch: this device's share: `raw` uint8 `[b, z, y, x, 1]`; `target` uint8, `mask` bool `[b, z', y', x']`.
      first_slot: index of its first crop in the global batch; with the step it seeds the augmentation.

    Returns:
      The next state and the loss, a float32 scalar, both equal on all devices.
    """
    num_crops = batch["raw"].shape[0]
    key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
    keys = jax.vmap(lambda slot: jax.random.fold_in(key, slot))(first_slot + jnp.arange(num_crops))
    loss, gradients = jax.value_and_grad(batch_loss)(state.params, recipe, batch, keys)
    loss, gradients = jax.lax.pmean((loss, gradients), AXIS)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), loss


def batch_loss(params: Params, recipe: Recipe, batch: Mapping[str, jax.Array], keys: jax.Array) -> jax.Array:
    """Returns the mean over crops of their balanced cross-entropies, after augmentation, a float32 scalar.

    Args:
      params: of the network.
      recipe: network and settings.
      batch: see `train_step`.
      keys: one JAX key per crop.
    """
    raw, target, mask = jax.lax.map(
        lambda crop: augment_crop(recipe.augmentation, *crop),
        (batch["raw"][..., 0], batch["target"], batch["mask"], keys),
    )
    logits = apply(recipe.network, params, raw[..., None])
    loss_of_crop = partial(
        balanced_cross_entropy,
        min_fraction=recipe.min_fraction,
        max_fraction=recipe.max_fraction,
        class_weights=jnp.array(recipe.class_weights, jnp.float32),
    )
    return jax.vmap(loss_of_crop)(logits, target.astype(jnp.int32), mask).mean()


def augment_crop(
    augmentation: Augmentation, raw: jax.Array, target: jax.Array, mask: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns a crop changed at random: raw float32 in [-1, 1], target and mask turned alike.

    Args:
      augmentation: what may be done.
      raw: uint8 `[z, y, x]`.
      target: integers `[z', y', x']`, centred in raw.
      mask: bool `[z', y', x']`.
      key: of this crop.
    """
    geometry_key, intensity_key = jax.random.split(key)
    turned = augment_geometry(
        (raw, target, mask),
        geometry_key,
        mirror_axes=augmentation.mirror_axes,
        transpositions=augmentation.transpositions,
    )
    grey = augment_intensity(
        scale_raw(turned[0]),
        intensity_key,
        scale=augmentation.intensity_scale,
        shift=augmentation.intensity_shift,
    )
    return grey, turned[1], turned[2]


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
