"""Labels -> what each output of the network should say of each voxel, on the device.

A crop's labels come as `members`, for each channel which voxels belong to it, and `known`, where that is annotated.
Both may be larger than the network's output by `label_padding` voxels on each side, so that distances are right at the
crop's border. What is not annotated is never background: it is left out of the loss, and so is a distance that a border
beyond the annotation could shorten.

Distances are exact: squared distances are minima over the neighbours of one axis after the other, and since a distance
saturates, no neighbour beyond that matters. Law (tested): they equal SciPy's.

Source: Heinrich et al., Nature 2021 (code): distances, their certainty; Funke et al., TPAMI 2019: affinities.
"""

from collections.abc import Sequence
from functools import partial
from math import floor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from asem_jax.models.channels import Channel, num_softmax
from asem_jax.volumes.geometry import Box, Float3, Int3, int3


class Targets(NamedTuple):
    """What the network should say of a crop.

    Attributes:
      choice: int32 `[z, y, x]`: the output of the softmax per voxel, 0 = background.
      choice_known: bool `[z, y, x]`, True = use `choice`.
      values: float32 `[z, y, x, k]`, for the k channels behind the softmax: 0 or 1, or tanh of a distance.
      known: bool `[z, y, x, k]`, True = use that value.
    """

    choice: jax.Array
    choice_known: jax.Array
    values: jax.Array
    known: jax.Array


def label_padding(channels: Sequence[Channel], voxel_size_nm: Float3) -> Int3:
    """Returns how many voxels of labels around the output its targets depend on, z y x, on each side.

    Example:
      >>> label_padding([Channel("mito", "distance", "mito")], (5.0, 5.0, 40.0))
      (28, 28, 4)
      >>> label_padding([Channel("mito", "softmax", "mito")], (5.0, 5.0, 5.0))
      (0, 0, 0)
    """
    sides = [0, 0, 0]
    for channel in channels:
        if channel.kind == "distance":
            reach = channel.reach_nm + channel.added_nm
            sides = [max(side, floor(reach / size) + 1) for side, size in zip(sides, voxel_size_nm, strict=True)]
        if channel.offset is not None:
            sides = [max(side, abs(step)) for side, step in zip(sides, channel.offset, strict=True)]
    return int3(sides, "label_padding")


def make_targets(
    channels: Sequence[Channel], members: jax.Array, known: jax.Array, *, voxel_size_nm: Float3, padding: Int3
) -> Targets:
    """Returns the targets of a crop.

    Args:
      channels: of the network, c of them.
      members: integers `[z, y, x, c]`, not 0 where a voxel belongs to a channel; of an affinity, its object's number.
      known: bool `[z, y, x, c]`, True where that is annotated.
      voxel_size_nm: z y x.
      padding: voxels around the network's output that `members` and `known` hold; see `label_padding`.

    Example:
      >>> members = jnp.array([[[[0, 1], [1, 0], [1, 1]]]])
      >>> found = make_targets(
      ...     [Channel("a", "softmax", "a"), Channel("b", "sigmoid", "b")], members, members >= 0,
      ...     voxel_size_nm=(5.0, 5.0, 5.0), padding=(0, 0, 0)
      ... )
      >>> found.choice.tolist(), found.values[..., 0].tolist()
      ([[[0, 1, 1]]], [[[1.0, 0.0, 1.0]]])
    """
    number = num_softmax(channels)
    inside = _inside(members.shape, padding)
    choice, choice_known = _softmax_target(members[inside][..., :number], known[inside][..., :number])
    places = {channel: place for place, channel in enumerate(channels[number:], start=number)}
    found = {
        channel: _neighbour_target(channel, members[..., place], known[..., place], padding)
        for channel, place in places.items()
        if channel.kind != "distance"
    }
    if distances := [channel for channel in places if channel.kind == "distance"]:
        own = jnp.array([places[channel] for channel in distances])
        found |= _distance_targets(distances, members[..., own], known[..., own], voxel_size_nm, padding)
    if not found:
        nothing = jnp.zeros((*choice.shape, 0), jnp.float32)
        return Targets(choice, choice_known, nothing, nothing != 0)
    values, certain = zip(*(found[channel] for channel in places), strict=True)
    return Targets(choice, choice_known, jnp.stack(values, -1), jnp.stack(certain, -1))


def _softmax_target(members: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the output per voxel, and where it is known.

    A voxel that two organelles claim teaches neither, where the original made it background. One that a single
    organelle claims belongs to it whatever is not annotated; background is what all of them leave.
    """
    claims = (members != 0) & known
    number = claims.sum(-1)
    choice = jnp.where(number == 1, claims.argmax(-1) + 1, 0) if members.shape[-1] else jnp.zeros_like(number)
    return choice.astype(jnp.int32), jnp.where(number == 0, known.all(-1), number == 1)


def _neighbour_target(
    channel: Channel, members: jax.Array, known: jax.Array, padding: Int3
) -> tuple[jax.Array, jax.Array]:
    """Returns 0 or 1 for a sigmoid or an affinity, and where it is known."""
    inside = _inside(members.shape, padding)
    if channel.offset is None:
        return (members[inside] != 0).astype(jnp.float32), known[inside]
    beside = tuple(slice(s.start + o, s.stop + o) for s, o in zip(inside, channel.offset, strict=True))
    same = (members[inside] == members[beside]) & (members[inside] != 0)
    return same.astype(jnp.float32), known[inside] & known[beside]


def _distance_targets(
    channels: Sequence[Channel], members: jax.Array, known: jax.Array, voxel_size_nm: Float3, padding: Int3
) -> dict[Channel, tuple[jax.Array, jax.Array]]:
    """Returns the target of each distance channel, and where it is known; one after the other, by one program."""
    reach = max(channel.reach_nm + channel.added_nm for channel in channels)
    sizes: dict[str, Any] = {"voxel_size_nm": voxel_size_nm, "padding": padding, "reach_nm": reach}
    inside = _inside(members.shape, padding)

    def distances(channel: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        members, known = channel
        distance = signed_distance(members, **sizes)
        # Most crops lie within their region.
        border = jax.lax.cond(
            known.all(), lambda: jnp.full_like(distance, reach), lambda: border_distance(known, **sizes)
        )
        return distance, border

    all_distances, borders = jax.lax.map(distances, (jnp.moveaxis(members != 0, -1, 0), jnp.moveaxis(known, -1, 0)))
    found = {}
    for place, channel in enumerate(channels):
        certain = is_certain(all_distances[place], borders[place], reach_nm=channel.reach_nm, added_nm=channel.added_nm)
        found[channel] = tanh_distance(all_distances[place], channel), known[inside][..., place] & certain
    return found


def _inside(shape: Sequence[int], padding: Int3) -> tuple[slice, slice, slice]:
    return Box.of_shape(shape[:3]).grow([-p for p in padding]).slices


def tanh_distance(distance_nm: jax.Array, channel: Channel) -> jax.Array:
    """Returns the target of a distance channel: tanh of the distance in units of its scale, saturated.

    Args:
      distance_nm: float32, any shape, see `signed_distance`.
      channel: its `added_nm` is added first.

    Example:
      >>> [round(float(t), 3) for t in tanh_distance(jnp.array([0.0, 50.0, 900.0]), Channel("a", "distance", "a"))]
      [0.0, 0.762, 0.992]
    """
    reach = channel.reach_nm
    return jnp.tanh(jnp.clip(distance_nm + channel.added_nm, -reach, reach) / channel.scale_nm)


def signed_distance(members: jax.Array, *, voxel_size_nm: Float3, padding: Int3, reach_nm: float) -> jax.Array:
    """Returns the distance of each voxel to the border of an object, nm; positive inside, exact up to `reach_nm`.

    Members that touch, by face, edge or corner, one that is not are the border, and have 0; voxels outside count from
    the nearest member. Beyond the array nothing is taken to change.

    Args:
      members: bool `[z, y, x]`.
      voxel_size_nm: z y x.
      padding: voxels on each side that are read, but of which nothing is returned; at least `reach_nm` of them.
      reach_nm: larger distances are returned as this.

    Example:
      >>> row = jnp.zeros((1, 1, 9), bool).at[..., 3:8].set(True)
      >>> signed_distance(row, voxel_size_nm=(4.0, 4.0, 4.0), padding=(0, 0, 2), reach_nm=8.0).tolist()
      [[[-4.0, 0.0, 4.0, 8.0, 4.0]]]
    """
    to = partial(_distance, voxel_size_nm=voxel_size_nm, padding=padding, reach_nm=reach_nm)
    return to(_dilated(~members)) - to(members)


def border_distance(known: jax.Array, *, voxel_size_nm: Float3, padding: Int3, reach_nm: float) -> jax.Array:
    """Returns the distance of each voxel to the border of what is annotated, nm: 0 on its outermost voxels.

    Args:
      known: bool `[z, y, x]`; all beyond the array counts as known.
      voxel_size_nm: z y x.
      padding: see `signed_distance`.
      reach_nm: larger distances are returned as this.
    """
    return _distance(_dilated(~known), voxel_size_nm=voxel_size_nm, padding=padding, reach_nm=reach_nm)


def is_certain(distance_nm: jax.Array, border_nm: jax.Array, *, reach_nm: float, added_nm: float) -> jax.Array:
    """Returns where a distance stands whatever lies beyond the annotation.

    An object's border that nobody drew may be nearer than the one that was found, if the end of the annotation is.
    Where that end is so far away that the target saturates, this does not matter.

    Args:
      distance_nm: float32, see `signed_distance`.
      border_nm: float32 of the same shape, see `border_distance`.
      reach_nm: where the target saturates.
      added_nm: what is added to the distance before.

    Example:
      >>> is_certain(jnp.array([8.0, 8.0]), jnp.array([4.0, 12.0]), reach_nm=138.0, added_nm=0.0).tolist()
      [False, True]
    """
    nearest = jnp.where(distance_nm < 0, border_nm + 1, border_nm)
    return (jnp.abs(distance_nm) < nearest) | (nearest >= reach_nm - added_nm)


def _distance(sources: jax.Array, *, voxel_size_nm: Float3, padding: Int3, reach_nm: float) -> jax.Array:
    """Returns the distance of the inner voxels of `[z, y, x]` to the nearest source, nm, at most `reach_nm`."""
    squared = jnp.where(sources, 0.0, jnp.inf).astype(jnp.float32)
    for axis, (size, margin) in enumerate(zip(voxel_size_nm, padding, strict=True)):
        squared = _lowest_parabola(squared, axis, size=size, margin=margin, steps=floor(reach_nm / size))
    return jnp.minimum(jnp.sqrt(squared), jnp.float32(reach_nm))


def _lowest_parabola(squared: jax.Array, axis: int, *, size: float, margin: int, steps: int) -> jax.Array:
    """Returns the least of `squared` at i + k plus (k size)^2 over |k| <= steps, along an axis without its margins."""
    lacking = max(0, steps - margin)  # beyond the array there is no source
    around = jnp.pad(squared, [(lacking * (a == axis),) * 2 for a in range(3)], constant_values=jnp.inf)
    first, length = margin + lacking, squared.shape[axis] - 2 * margin

    def moved(by: int) -> jax.Array:
        return jax.lax.slice_in_dim(around, first + by, first + by + length, axis=axis)

    lowest = moved(0)
    for step in range(1, steps + 1):
        lowest = jnp.minimum(lowest, jnp.minimum(moved(-step), moved(step)) + jnp.float32((step * size) ** 2))
    return lowest


def _dilated(mask: jax.Array) -> jax.Array:
    """Returns a mask grown by the voxels that touch it, by face, edge or corner."""
    for axis in range(3):
        around = jnp.pad(mask, [(int(a == axis),) * 2 for a in range(3)])
        parts = [jax.lax.slice_in_dim(around, i, i + mask.shape[axis], axis=axis) for i in range(3)]
        mask = parts[0] | parts[1] | parts[2]
    return mask
