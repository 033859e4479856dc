"""The compiled step of a sweep: blocks of raw in, what is wanted of them out, one block per device at a time.

One program serves a whole sweep, with all its networks; the compiler says how much memory it needs before it runs.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asem_jax.models.channels import Channel, num_softmax, output_names
from asem_jax.models.model import Params, scale_raw
from asem_jax.models.slabs import SLABS
from asem_jax.models.unet import UNet
from asem_jax.prediction.ensemble import Ensemble, Orientation, mean_probabilities
from asem_jax.prediction.planner import SharedPlan
from asem_jax.volumes.geometry import Box

Finish = Callable[[jax.Array, tuple[Channel, ...]], jax.Array]
Members = tuple[tuple[Params, ...], ...]
Program = Callable[[Members, jax.Array], tuple[jax.Array, ...]]


class Part(NamedTuple):
    """What one network, or an ensemble of one network, does with a block.

    Attributes:
      network: the network.
      channels: what its outputs mean.
      orientations: in which it is asked.
      cut: its tile in the block that was read.
      kept: what of its output is wanted.
    """

    network: UNet
    channels: tuple[Channel, ...]
    orientations: tuple[Orientation, ...]
    cut: Box
    kept: Box


def compile_sweep(models: Sequence[Ensemble], plan: SharedPlan, finish: Finish, mesh: Mesh) -> jax.stages.Compiled:
    """Returns the program of a sweep; the same arguments give the one that was compiled before.

    It maps the members' parameters and raw, uint8 `[devices, z, y, x]`, to one `[devices, z', y', x', k]` per model.

    Args:
      models: that share the sweep.
      plan: theirs.
      finish: maps probabilities `[z, y, x, c]` on the device, and what they mean, to what is wanted per voxel,
        `[z, y, x, k]`; `all_outputs` and `organelle_bytes` are such.
      mesh: of the devices that take a block each.
    """
    parts = tuple(
        Part(model.card.network(slabs=SLABS), model.card.meanings, model.orientations(part.tile_shape), cut, part.kept)
        for model, part, cut in zip(models, plan.plans, plan.cuts, strict=True)
    )
    leaves, structure = jax.tree.flatten(members_of(models))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return _compiled(parts, finish, mesh, structure, (plan.read_shape, *shapes))


def members_of(models: Sequence[Ensemble]) -> Members:
    """Returns the parameters that the program takes."""
    return tuple(tuple(member.params for member in model.models) for model in models)


def placements(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Returns where the program expects parameters (on every device) and blocks (one each)."""
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def all_outputs(probability: jax.Array, channels: tuple[Channel, ...]) -> jax.Array:
    """Returns the probabilities of all outputs as they are; a `finish`."""
    return probability


def organelle_bytes(probability: jax.Array, channels: tuple[Channel, ...]) -> jax.Array:
    """Returns uint8 `[z, y, x, k + 1]`: what is stored of the k organelles, then the likeliest of the softmax.

    Stored is the probability, 255 = 1; of a distance it is 128 y + 127, y being the tanh that the network learned, so
    that 128 and more are inside. The likeliest is 0 for background, and where there is no softmax. A `finish`.

    Source: Heinrich et al., Nature 2021, the volumes of distances on OpenOrganelle.
    """
    organelles = probability[..., len(output_names(channels)) - len(channels) :]
    together = probability[..., : len(output_names(channels[: num_softmax(channels)]))]
    likeliest = jnp.argmax(together, axis=-1) if together.shape[-1] else jnp.zeros(together.shape[:-1])
    is_distance = jnp.array([channel.kind == "distance" for channel in channels]).reshape((1, 1, 1, -1))
    coded = jnp.where(is_distance, jnp.maximum(256.0 * organelles - 1.0, 0.0), 255.0 * organelles)
    stored = jnp.round(coded).astype(jnp.uint8)
    return jnp.concatenate([stored, likeliest[..., None].astype(jnp.uint8)], axis=-1)


@lru_cache(maxsize=8)
def _compiled(
    parts: tuple[Part, ...],
    finish: Finish,
    mesh: Mesh,
    structure: Any,
    shapes: tuple[Any, ...],
) -> jax.stages.Compiled:
    """Compiles for the shapes of raw and of the parameters."""
    everywhere, split = placements(mesh)
    read_shape, *leaves = shapes
    placed = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere) for leaf in leaves]
    raw = jax.ShapeDtypeStruct((mesh.size, *read_shape), jnp.uint8, sharding=split)
    predict_on_device = jax.shard_map(
        partial(_predict_blocks, parts, finish),
        mesh=mesh,
        in_specs=(everywhere.spec, split.spec),
        out_specs=split.spec,
        check_vma=False,
    )
    return jax.jit(predict_on_device).lower(jax.tree.unflatten(structure, placed), raw).compile()


def _predict_blocks(
    parts: tuple[Part, ...], finish: Finish, members: Members, blocks: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns what each part says of the blocks of one device, one after the other."""

    def predict_block(block: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(_predict(part, finish, own, block) for part, own in zip(parts, members, strict=True))

    return jax.lax.map(predict_block, blocks)


def _predict(part: Part, finish: Finish, members: tuple[Params, ...], block: jax.Array) -> jax.Array:
    """Returns what one part says of a block, uint8 `[z, y, x]`."""
    raw = scale_raw(block[part.cut.slices])
    probability = mean_probabilities(part.network, members, raw, channels=part.channels, orientations=part.orientations)
    return finish(probability[part.kept.slices], part.channels)
