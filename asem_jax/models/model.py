"""A trained network with all that is needed to use it.

What a network is worth nothing without travels with its parameters as a `ModelCard`: the voxel size it was trained
at, how grey values are scaled, which side of the grey scale membranes are on, what its output channels mean.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp

from asem_jax.models.unet import UNet
from asem_jax.volumes.geometry import Float3, float3, int3

Params = Mapping[str, Any]

RAW_SCALING = "uint8 grey value v -> v / 127.5 - 1"


@dataclass(frozen=True)
class ModelCard:
    """What a user of a model has to know.

    Attributes:
      organelles: names of the output channels after background, in order.
      voxel_size_nm: of the raw it was trained on, z y x.
      num_maps: maps of the network's finest level.
      map_growth: factor of maps from level to level.
      pool_factors: max-pooling per level, finest first, each z y x.
      compute_dtype: type of the network's arithmetic, "float32" or "bfloat16".
      polarity: what dark and bright voxels are; a volume with the other polarity has to be inverted.
      training_regions: one line per region it was trained on.
      raw_scaling: how grey values become the network's input.
      version: of asem_jax when the card was written.
    """

    organelles: tuple[str, ...]
    voxel_size_nm: Float3
    num_maps: int
    map_growth: int
    pool_factors: tuple[tuple[int, int, int], ...]
    compute_dtype: str
    polarity: str
    training_regions: tuple[str, ...] = ()
    raw_scaling: str = RAW_SCALING
    version: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all output channels: background, then the organelles."""
        return ("background", *self.organelles)

    def network(self, kernel_gain: float = 1.0) -> UNet:
        """Returns the network that the card describes; `kernel_gain` matters only where it is initialised."""
        return UNet(
            kernel_gain=kernel_gain,
            num_maps=self.num_maps,
            map_growth=self.map_growth,
            pool_factors=self.pool_factors,
            num_channels=len(self.channels),
            dtype=jnp.dtype(self.compute_dtype),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the card as plain values for JSON; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the card that `to_dict` wrote, perhaps by a newer version with entries unknown here.

        Raises:
          ValueError: an entry is missing.
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        try:
            known["voxel_size_nm"] = float3(values["voxel_size_nm"], "voxel_size_nm")
            known["pool_factors"] = tuple(int3(factor, "pool_factors") for factor in values["pool_factors"])
            for name in ("organelles", "training_regions"):
                known[name] = tuple(values[name])
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"the model card with entries {sorted(values)} lacks some ({error}); "
                "it was not written by asem_jax, or by a version with another card."
            ) from error


@dataclass(frozen=True)
class Model:
    """A network, its parameters and its card.

    Attributes:
      params: the parameters, a tree of arrays.
      card: what they are for.
    """

    params: Params
    card: ModelCard

    def __call__(self, raw: jax.Array) -> jax.Array:
        """Returns logits of the voxels in the middle of `raw`.

        Args:
          raw: `[b, z, y, x, 1]` float32 in [-1, 1], of the card's voxel size.

        Returns:
          `[b, z', y', x', c]` float32, smaller than `raw` by the network's context; c follows `card.channels`.

        Raises:
          ValueError: the shape does not fit the network; the message names the nearest that do.
        """
        return apply(self.card.network(), self.params, raw)


def scale_raw(raw: jax.Array) -> jax.Array:
    """Returns grey values 0..255 as the network's input in [-1, 1], float32.

    Example:
      >>> scale_raw(jnp.array([0, 255], jnp.uint8)).tolist()
      [-1.0, 1.0]
    """
    return raw.astype(jnp.float32) / 127.5 - 1.0


@partial(jax.jit, static_argnums=0)
def apply(network: UNet, params: Params, raw: jax.Array) -> jax.Array:
    """Returns the logits of `network` for `raw`, both as in `Model.__call__`; compiled once per shape."""
    logits: jax.Array = network.apply({"params": params}, raw)  # type: ignore[assignment]
    return logits
