"""What each output of a network means, and how it becomes a probability.

A network has named channels, one output each. Exclusive organelles share one softmax, whose first output is background;
every other channel is judged alone. Outputs stand in this order: background, the softmax channels, the others. What a
channel is made of is a set of values of a label volume, so several channels may overlap (mitochondria and their
membranes). A network that learns an organelle in two ways has two channels of the same values.

Laws (tested): a card without channels means softmax; softmax channels give the softmax of all logits, bit for bit.

Source: Gallusser et al., J Cell Biol 2023 (softmax); Heinrich et al., Nature 2021 (distances); Funke et al., TPAMI 2019
(affinities).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

import jax
import jax.numpy as jnp

from asem_jax.volumes.geometry import Int3, int3

KINDS = ("softmax", "sigmoid", "distance", "affinity")
SATURATION = 2.76  # distances are exact up to so many times their scale; tanh is 0.992 there


@dataclass(frozen=True)
class Channel:
    """One output of a network.

    Attributes:
      name: as people see it; also the folder of its volumes.
      kind: "softmax" = one of several exclusive organelles; "sigmoid" = a voxel belongs to it or not, whatever else it
        belongs to; "distance" = tanh of the signed distance to its border, positive inside; "affinity" = a voxel and
        its neighbour at `offset` belong to the same object.
      labels: name of the label volume that it is read from.
      ids: values of that volume that belong to it; None = all but 0.
      generic_ids: those of `ids` that stand for all the others where a region tells no more, as COSEM's 37 for nucleus.
      parent: channel whose balance it shares, as a membrane that of its organelle; None = its own.
      scale_nm: distance that becomes tanh(1); COSEM 50.
      added_nm: added to the distance, for labels that are smaller than what they mean; COSEM 8 for ribosomes.
      offset: the neighbour of an affinity, voxels z y x.

    Raises:
      ValueError: an entry is not known, or does not fit the kind.
    """

    name: str
    kind: str
    labels: str
    ids: tuple[int, ...] | None = None
    generic_ids: tuple[int, ...] = ()
    parent: str | None = None
    scale_nm: float = 50.0
    added_nm: float = 0.0
    offset: Int3 | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"channel {self.name}: kind={self.kind!r} is none of {', '.join(KINDS)}; choose one.")
        for name in ("ids", "generic_ids"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(int(number) for number in getattr(self, name)))
        if self.offset is not None:
            object.__setattr__(self, "offset", int3(self.offset, f"offset of channel {self.name}"))
        if self.ids is not None and (not self.ids or 0 in self.ids):
            raise ValueError(f"channel {self.name}: ids={self.ids} is empty or holds 0, the background; give others.")
        if not set(self.generic_ids) <= set(self.ids or ()):
            raise ValueError(
                f"channel {self.name}: generic_ids={self.generic_ids} are not all in ids={self.ids}; add them there."
            )
        if self.kind == "distance" and not (self.scale_nm > 0 and 0 <= self.added_nm < self.reach_nm):
            raise ValueError(
                f"channel {self.name}: scale_nm={self.scale_nm} and added_nm={self.added_nm} make no distance; give a "
                f"scale above 0, and from 0 to {SATURATION} times it to add."
            )
        if (self.kind == "affinity") != (self.offset is not None) or self.offset == (0, 0, 0):
            raise ValueError(
                f"channel {self.name}: offset={self.offset} with kind={self.kind!r}; an affinity needs a neighbour "
                "that is not the voxel itself, all other kinds None."
            )

    @property
    def reach_nm(self) -> float:
        """Where the distance saturates, on both sides of the border."""
        return SATURATION * self.scale_nm

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the channel that `dataclasses.asdict` described.

        Raises:
          ValueError: see the class.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; `from_dict` reads them."""
        return asdict(self)


def exclusive(names: Iterable[str]) -> tuple[Channel, ...]:
    """Returns one softmax channel per organelle, each with a label volume of its own name.

    Example:
      >>> [channel.kind for channel in exclusive(["mito", "er"])]
      ['softmax', 'softmax']
    """
    return tuple(Channel(name, "softmax", name) for name in names)


def check_channels(channels: Sequence[Channel]) -> None:
    """Raises unless the channels can be learned together.

    Raises:
      ValueError: there is none, two share a name, a softmax channel stands behind another kind, or a parent is not
        among them, has a parent itself, or is a softmax channel.
    """
    names = [channel.name for channel in channels]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"channels={names} are none, or two of one name; give at least one, each its own name.")
    if any(channel.kind == "softmax" for channel in channels[num_softmax(channels) :]):
        raise ValueError(
            f"channels={[(channel.name, channel.kind) for channel in channels]} have a softmax channel behind another "
            "kind; put those of the softmax first."
        )
    parents = {c.name for c in channels if c.parent is None and c.kind != "softmax"}
    for channel in channels:
        if channel.parent is not None and (channel.parent not in parents or channel.kind == "softmax"):
            meant = get_close_matches(channel.parent, parents, 1)
            raise ValueError(
                f"channel {channel.name} ({channel.kind}): parent={channel.parent!r} has no balance to share"
                f"{f'; did you mean {meant[0]!r}?' if meant else ';'} A parent balances itself, and neither it nor "
                f"its child is a softmax channel: {', '.join(sorted(parents)) or 'there is none'}."
            )


def num_softmax(channels: Sequence[Channel]) -> int:
    """Returns how many channels, the first ones, share the softmax."""
    return next((i for i, channel in enumerate(channels) if channel.kind != "softmax"), len(channels))


def output_names(channels: Sequence[Channel]) -> tuple[str, ...]:
    """Returns the names of the network's outputs: background, if there is a softmax, and the channels.

    Example:
      >>> output_names(exclusive(["mito"])), output_names([Channel("er", "distance", "all", (16, 17))])
      (('background', 'mito'), ('er',))
    """
    return ("background",) * (num_softmax(channels) > 0) + tuple(channel.name for channel in channels)


def probabilities(logits: jax.Array, channels: Sequence[Channel]) -> jax.Array:
    """Returns how sure the network is of each output, 0 to 1; 0.5 at the border of an organelle.

    Args:
      logits: float32 `[..., c]`, c in the order of `output_names`.
      channels: what they mean.

    Returns:
      float32 `[..., c]`: the softmax, the sigmoid, or, of a distance, half of it above 0.5, clipped.

    Example:
      >>> probabilities(jnp.array([0.0, 0.5, 3.0]), [Channel(n, "distance", n) for n in "abc"]).tolist()
      [0.5, 0.75, 1.0]
    """
    first = len(output_names(channels[: num_softmax(channels)]))
    if first == logits.shape[-1]:
        return jax.nn.softmax(logits)
    others = [
        jnp.clip((logits[..., i] + 1) / 2, 0, 1) if channel.kind == "distance" else jax.nn.sigmoid(logits[..., i])
        for i, channel in enumerate(channels[num_softmax(channels) :], start=first)
    ]
    alone = jnp.stack(others, axis=-1)
    return jnp.concatenate([jax.nn.softmax(logits[..., :first]), alone], axis=-1) if first else alone
