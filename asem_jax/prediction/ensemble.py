"""Several models, or one in several orientations, that predict as one: the mean of their probabilities.

A network trained on mirrored and transposed crops should say the same of a cell however it lies; what it says
differs a little all the same, and the mean of its answers errs less than each. The same holds for networks trained with
other seeds. Each orientation and each model costs as much as one prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

import jax
import jax.numpy as jnp

from asem_jax.models.channels import Channel, probabilities
from asem_jax.models.model import Model, ModelCard, Params, apply
from asem_jax.models.shapes import output_shape, output_start
from asem_jax.models.unet import UNet
from asem_jax.volumes.geometry import Float3, Int3

SYMMETRIES = ("none", "mirrors", "all")
_UNTURNED: Int3 = (0, 1, 2)


class Orientation(NamedTuple):
    """A way to lay a tile: its axes in another order, then some of them mirrored."""

    order: Int3
    mirrored: tuple[bool, bool, bool]


@dataclass(frozen=True)
class Ensemble:
    """Models with one network and the same channels, and the orientations they are asked in.

    Attributes:
      models: one or more.
      symmetries: "none"; "mirrors" = along every axis, 8 orientations; "all" = with exchanged axes too, 48 where
        voxels, network and tiles are the same along all axes, 16 where only along y and x.
    """

    models: tuple[Model, ...]
    symmetries: str = "none"

    def __post_init__(self) -> None:
        if self.symmetries not in SYMMETRIES:
            raise ValueError(f"symmetries={self.symmetries!r} is none of {', '.join(SYMMETRIES)}; choose one.")
        if not self.models:
            raise ValueError("models=() is empty; give one model or more.")
        for model in self.models[1:]:
            differ = [name for name, own in _essence(self.card).items() if own != _essence(model.card)[name]]
            if differ:
                raise ValueError(
                    f"the models differ in {', '.join(differ)} ({', '.join(self.card.organelles)}; "
                    f"{', '.join(model.card.organelles)}); a mean needs one network, voxel size and list of channels."
                )
        neighbours = [channel.name for channel in self.card.meanings if channel.kind == "affinity"]
        if neighbours and self.symmetries != "none":
            raise ValueError(
                f"symmetries={self.symmetries!r}: {', '.join(neighbours)} speak of a neighbour on one side, which a "
                "mirror puts on the other; give symmetries='none'."
            )

    @property
    def card(self) -> ModelCard:
        """What all the models are for: the card of the first."""
        return self.models[0].card

    def orientations(self, tile_shape: Int3) -> tuple[Orientation, ...]:
        """Returns the orientations in which a tile of this shape is predicted; the first leaves it as it is.

        Args:
          tile_shape: voxels z y x.

        Raises:
          ValueError: the network's output does not lie in the middle of a tile, so a mirror would shift it.
        """
        net = self.card.architecture
        sides = zip(tile_shape, net.final_factor, output_shape(tile_shape, net), output_start(net), strict=True)
        if self.symmetries != "none" and any(n * r - m != 2 * first for n, r, m, first in sides):
            raise ValueError(
                f"symmetries={self.symmetries!r}: of a tile of {tile_shape} voxels this network predicts what is not "
                "quite its middle, and a mirror would shift it; give symmetries='none'."
            )
        orders, mirrors = [_UNTURNED], [(False, False, False)]
        if self.symmetries != "none":
            mirrors = [(z, y, x) for z, y, x in product((False, True), repeat=3)]
        if self.symmetries == "all":
            orders = exchangeable(self.card, tile_shape)
        return tuple(Orientation(order, mirrored) for order in orders for mirrored in mirrors)


def as_ensemble(model: Model | Ensemble) -> Ensemble:
    """Returns one model as an ensemble of its own, and an ensemble as it is."""
    return model if isinstance(model, Ensemble) else Ensemble((model,))


def _essence(card: ModelCard) -> dict[str, object]:
    """Returns what models of an ensemble share, by its name."""
    names = ("architecture", "meanings", "voxel_size_nm", "compute_dtype")
    return {name.replace("_", " "): getattr(card, name) for name in names}


def exchangeable(card: ModelCard, tile_shape: Int3) -> list[Int3]:
    """Returns the orders of the axes that leave voxel size, network and tile as they are; the first is z y x."""
    net = card.architecture
    factors = [*net.pool_factors, *net.kernel_sizes, *(head.kernel_size for head in net.heads), net.final_factor]
    kinds: list[Float3 | Int3] = [card.voxel_size_nm, tile_shape, *factors]
    return [(a, b, c) for a, b, c in permutations(range(3)) if all((k[a], k[b], k[c]) == tuple(k) for k in kinds)]


def mean_probabilities(
    network: UNet,
    members: Sequence[Params],
    raw: jax.Array,
    *,
    channels: tuple[Channel, ...],
    orientations: Sequence[Orientation],
) -> jax.Array:
    """Returns the mean of what some parameters say of a tile in some orientations, `[z', y', x', c]` float32 in 0..1.

    The network is in the program once, however many members and orientations there are.

    Args:
      network: of all members.
      members: parameters.
      raw: `[z, y, x]` float32 in [-1, 1].
      channels: what the outputs mean.
      orientations: see `Ensemble.orientations`.
    """

    def ask(params: Params, raw: jax.Array) -> jax.Array:
        return probabilities(apply(network, params, raw[None, ..., None])[0], channels)

    if len(members) * len(orientations) == 1:
        return ask(members[0], raw)
    orders = list(dict.fromkeys(orientation.order for orientation in orientations))
    which = jnp.array([orders.index(orientation.order) for orientation in orientations])
    mirrored = jnp.array([orientation.mirrored for orientation in orientations])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        member, place = jnp.divmod(number, len(orientations))
        params = jax.tree.map(lambda leaves: leaves[member], stacked)
        laid = _mirror(_exchange(raw, which[place], orders), mirrored[place])
        said = _mirror(ask(params, laid), mirrored[place])
        return total + _exchange(said, which[place], [_back(order) for order in orders]), None

    shape = jax.eval_shape(ask, members[0], raw)
    total, _ = jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), jnp.arange(len(members) * len(orientations)))
    return total / (len(members) * len(orientations))


def _mirror(x: jax.Array, mirrored: jax.Array) -> jax.Array:
    for axis in range(3):
        x = jnp.where(mirrored[axis], jnp.flip(x, axis), x)
    return x


def _exchange(x: jax.Array, which: jax.Array, orders: Sequence[Int3]) -> jax.Array:
    rest = tuple(range(3, x.ndim))
    turned: jax.Array = jax.lax.switch(
        which, [lambda x, order=order: x.transpose(*order, *rest) for order in orders], x
    )
    return turned


def _back(order: Int3) -> Int3:
    z, y, x = (order.index(axis) for axis in range(3))
    return z, y, x
