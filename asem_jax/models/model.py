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

from asem_jax.models.architecture import Architecture
from asem_jax.models.channels import Channel, check_channels, exclusive, output_names
from asem_jax.models.unet import UNet
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Float3, float3
from asem_jax.volumes.grey_values import Percentiles

Params = Mapping[str, Any]

RAW_SCALING = "uint8 grey value v -> v / 127.5 - 1"


@dataclass(frozen=True)
class ModelCard:
    """What a user of a model has to know.

    Attributes:
      organelles: names of the channels, in order.
      voxel_size_nm: of the raw it was trained on, z y x.
      architecture: the network; its first head gives the logits of `channels`.
      compute_dtype: type of the network's arithmetic, "float32" or "bfloat16".
      polarity: what dark and bright voxels are; a volume with the other polarity has to be inverted.
      training_regions: one line per region it was trained on.
      raw_scaling: how grey values become the network's input.
      version: of asem_jax when the card was written.
      equalised: whether raw was equalised (CLAHE); None = not known.
      grey_percentiles: of the raw it was trained on, see `volumes.grey_values`; None = not known.
      notes: what else a user should know, a sentence each.
      meanings: what each organelle's output means; left out = they exclude each other, and share a softmax.
      equalisation: how raw was equalised; None = not known, or not at all.
      thresholds: of each organelle, the probability with the best F1 in validation; None = not known, () = of none.
    """

    organelles: tuple[str, ...]
    voxel_size_nm: Float3
    architecture: Architecture
    compute_dtype: str
    polarity: str
    training_regions: tuple[str, ...] = ()
    raw_scaling: str = RAW_SCALING
    version: str = ""
    equalised: bool | None = None
    grey_percentiles: Percentiles | None = None
    notes: tuple[str, ...] = ()
    meanings: tuple[Channel, ...] = ()
    equalisation: Equalisation | None = None
    thresholds: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.meanings:
            object.__setattr__(self, "meanings", exclusive(self.organelles))
        check_channels(self.meanings)
        if tuple(channel.name for channel in self.meanings) != tuple(self.organelles):
            raise ValueError(
                f"organelles={self.organelles} are not the names of meanings={self.meanings}; give the same, in order."
            )
        head = self.architecture.heads[0]
        if head.num_channels != len(self.channels) or head.activation != "none":
            raise ValueError(
                f"the network's first head {head.name!r} has {head.num_channels} channels with activation "
                f"{head.activation}, the organelles {', '.join(self.organelles)} need {len(self.channels)} "
                f"({', '.join(self.channels)}) with activation none; give an architecture that has them."
            )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all outputs: background where there is a softmax, then the organelles."""
        return output_names(self.meanings)

    @property
    def output_voxel_size_nm(self) -> Float3:
        """Of what the network predicts, z y x: that of raw, or finer by the network's final upsampling."""
        sizes = zip(self.voxel_size_nm, self.architecture.final_factor, strict=True)
        return float3([size / factor for size, factor in sizes], "output_voxel_size_nm")

    def network(self, kernel_gain: float = 1.0, *, rematerialize: bool = False, slabs: int = 1) -> UNet:
        """Returns the network that the card describes; the arguments are those of `UNet`."""
        return UNet(self.architecture, kernel_gain, jnp.dtype(self.compute_dtype), rematerialize, slabs)

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
            known["architecture"] = Architecture.from_dict(values["architecture"])
            for name in ("organelles", "training_regions"):
                known[name] = tuple(values[name])
            for name in ("notes", "thresholds"):
                known[name] = tuple(values.get(name, ()))
            known["meanings"] = tuple(Channel.from_dict(channel) for channel in values.get("meanings", ()))
            if values.get("grey_percentiles") is not None:
                known["grey_percentiles"] = tuple(values["grey_percentiles"])
            if values.get("equalisation") is not None:
                known["equalisation"] = Equalisation.from_dict(values["equalisation"])
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
          `[b, z', y', x', c]` float32 at `shapes.output_start`; c follows `card.channels`.

        Raises:
          ValueError: the shape does not fit the network; the message names the nearest that do.
        """
        return apply(self.card.network(), self.params, raw)

    def heads(self, raw: jax.Array) -> dict[str, jax.Array]:
        """Returns what each head of the network says of `raw`, by name; otherwise as a call of the model."""
        return apply_heads(self.card.network(), self.params, raw)


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


@partial(jax.jit, static_argnums=0)
def apply_heads(network: UNet, params: Params, raw: jax.Array) -> dict[str, jax.Array]:
    """Returns what each head of `network` says of `raw`, as `Model.heads`; compiled once per shape."""
    said: dict[str, jax.Array] = network.apply({"params": params}, raw, method="heads")  # type: ignore[assignment]
    return said
