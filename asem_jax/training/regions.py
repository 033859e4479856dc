"""A box of a volume with its labels, and what of them is annotated.

Several channels may read one label volume; it is read once. What nobody annotated is unknown, never background: what
lies outside the box or where the mask is 0, voxels of the value that means "ignore", and whole channels of which a
region says that some of their values are not annotated there.

Source: Heinrich et al., Nature 2021 (code): lists of annotated values per region.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from asem_jax.models.channels import Channel, num_softmax
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume

Ids = tuple[int, ...] | None  # None = all
Integers = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChannelLabels:
    """Where a region holds the labels of a channel.

    Attributes:
      channel: what is learned.
      volume: its labels; None = there are none, either unknown or, where it is annotated, absent everywhere.
      annotated: whether all values that belong to the channel are annotated here, see `is_annotated`.
      ignore: value of `volume` that means not annotated; None = there is none.
    """

    channel: Channel
    volume: Volume | None
    annotated: bool = True
    ignore: int | None = None

    def members(self, labels: Integers) -> Bools:
        """Returns which voxels of some labels belong to the channel."""
        inside = labels != 0 if self.channel.ids is None else np.isin(labels, self.channel.ids)
        return inside if self.ignore is None else inside & (labels != self.ignore)

    def known(self, labels: Integers) -> Bools:
        """Returns where some labels say whether a voxel belongs to the channel."""
        return np.full(labels.shape, self.annotated) & (True if self.ignore is None else labels != self.ignore)


def is_annotated(
    channel: Channel, *, present: Mapping[str, Ids], absent: Mapping[str, Ids], unknown: Mapping[str, Ids]
) -> bool:
    """Says whether a region's labels tell of each voxel if it belongs to a channel.

    All values of the channel have to be annotated, whether they occur or not; or its generic values, or all others.

    Args:
      channel: what is learned.
      present: label volume -> values that are annotated and occur; None = all.
      absent: label volume -> values that were looked for and do not occur; None = all.
      unknown: label volume -> values that are not annotated; None = all. Of a volume that is in none of the three, all
        values are annotated.

    Example:
      >>> mito = Channel("mito", "sigmoid", "all", (3, 4, 5))
      >>> is_annotated(mito, present={"all": (3, 4)}, absent={"all": (5,)}, unknown={})
      True
      >>> is_annotated(mito, present={}, absent={}, unknown={"all": (5,)})
      False
    """
    name = channel.labels
    listed = [ids[name] for ids in (present, absent) if name in ids]
    missing = unknown.get(name, ())
    if listed and any(ids is None for ids in listed):
        return True
    if channel.ids is None:
        return not listed and missing == ()
    generic = set(channel.generic_ids)
    enough = [set(channel.ids), set(channel.ids) - generic, *([generic] if generic else [])]
    if listed:
        annotated = {number for ids in listed for number in ids or ()}
        return any(ids <= annotated for ids in enough)
    return missing is not None and any(not ids & set(missing) for ids in enough)


def channel_labels(
    channels: Sequence[Channel],
    volumes: Mapping[str, Volume | None],
    *,
    present: Mapping[str, Ids],
    absent: Mapping[str, Ids],
    unknown: Mapping[str, Ids],
    ignore: Mapping[str, int],
) -> tuple[ChannelLabels, ...]:
    """Returns where a region holds the labels of each channel, and whether it can be learned from them.

    Args:
      channels: what is learned.
      volumes: name -> label volume; None = there is none, so a channel is known only if it is all `absent`.
      present: see `is_annotated`.
      absent: see `is_annotated`.
      unknown: see `is_annotated`.
      ignore: name -> value that means not annotated.

    Raises:
      ValueError: a list names a volume that is not there, or two lists contradict each other.
    """
    lists = {"present": present, "absent": absent, "unknown": unknown}
    for word, given in {**lists, "ignore": ignore}.items():
        if stray := sorted(set(given) - set(volumes)):
            raise ValueError(
                f"annotation.{word} names {', '.join(stray)}, the labels are {', '.join(volumes)}; correct the name."
            )
    for (first, one), (second, other) in combinations(lists.items(), 2):
        for name in set(one) & set(other):
            a, b = one[name], other[name]
            if a is None or b is None or set(a) & set(b):
                raise ValueError(
                    f"annotation: {first}.{name}={a} and {second}.{name}={b} share values; a value is in one of them."
                )
    return tuple(
        _labels_of(channel, volumes[channel.labels], ignore.get(channel.labels), lists) for channel in channels
    )


def _labels_of(
    channel: Channel, volume: Volume | None, ignore: int | None, lists: Mapping[str, Mapping[str, Ids]]
) -> ChannelLabels:
    if volume is not None:
        return ChannelLabels(channel, volume, is_annotated(channel, **lists), ignore)
    absent = {name: ids for name, ids in lists["absent"].items() if name == channel.labels}
    return ChannelLabels(channel, None, bool(absent) and is_annotated(channel, present={}, absent=absent, unknown={}))


@dataclass(frozen=True)
class TrainingRegion:
    """A box of a volume with its labels.

    Attributes:
      name: as the config calls it.
      raw: grey values, uint8.
      labels: one entry per channel, in the order of the network's outputs.
      mask: non-zero = annotated; None = all of the box is.
      box: the annotated part, in voxels of `raw`.
      weight: how often crops come from here, beside those of other regions; None = as large as the box is.
    """

    name: str
    raw: Volume
    labels: tuple[ChannelLabels, ...]
    mask: Volume | None
    box: Box
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.raw.dtype != np.uint8:
            raise ValueError(
                f"{self.name}: raw {self.raw.address} has dtype {self.raw.dtype}, training reads uint8; "
                "convert it first (stage convert scales 16-bit and float volumes)."
            )
        if not self.raw.box.contains(self.box) or self.box.num_voxels == 0:
            raise ValueError(
                f"{self.name}: the box {self.box.start} to {self.box.stop} is empty or leaves raw, whose shape is "
                f"{self.raw.shape} (z y x); give start and stop inside it."
            )
        for volume in [*self._volumes(), *([] if self.mask is None else [self.mask])]:
            box = self.box.shift(grid_shift(volume, self.raw))
            if not volume.box.contains(box):
                raise ValueError(
                    f"{self.name}: {volume.address} covers voxels {volume.box.start} to {volume.box.stop}, the "
                    f"region needs {box.start} to {box.stop} of it; make the region smaller."
                )

    def _volumes(self) -> list[Volume]:
        """Returns each label volume once."""
        return list({own.volume.address: own.volume for own in self.labels if own.volume is not None}.values())

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is learned here, in the order of the network's outputs."""
        return tuple(own.channel for own in self.labels)

    def has_labels_of(self, organelle: str) -> bool:
        """Says whether a channel can be learned here, and may occur."""
        return any(own.channel.name == organelle and own.annotated and own.volume is not None for own in self.labels)

    @property
    def labelled(self) -> Box:
        """What all the labels cover, in voxels of `raw`; contains `box`."""
        covered = self.raw.box
        for volume in self._volumes():
            shift = grid_shift(volume, self.raw)
            covered = covered.intersect(volume.box.shift([-s for s in shift]))
        return covered

    def read_objects(self, box: Box) -> list[Bools]:
        """Returns which voxels of `box`, a part of `labelled` (voxels of raw), belong to each channel, z y x."""
        labels = self._read_labels(box)
        return [own.members(labels[own.volume.address if own.volume else ""]) for own in self.labels]

    def read_members(self, box: Box) -> tuple[Integers, Bools]:
        """Returns `members` and `known` of `box`, which may leave the region; nothing is known there.

        Args:
          box: voxels of raw.

        Returns:
          `members` `[z, y, x, c]`: uint8, 1 where a voxel belongs to a channel and that is known. If affinities are
          learned, uint32, and their channels hold the number of the object. `known` bool `[z, y, x, c]`.
        """
        inside = box.intersect(self.box)
        labels = self._read_labels(inside)
        used = np.ones(inside.shape, bool) if self.mask is None else self._read(self.mask, inside) != 0
        has_objects = any(channel.kind == "affinity" for channel in self.channels)
        members = np.zeros((*box.shape, len(self.labels)), np.uint32 if has_objects else np.uint8)
        known = np.zeros(members.shape, bool)
        z, y, x = inside.shift([-a for a in box.start]).slices
        for place, own in enumerate(self.labels):
            array = labels[own.volume.address if own.volume else ""]
            sure = used & own.known(array)
            belongs = own.members(array) & sure
            members[z, y, x, place] = _numbered(array, belongs) if own.channel.kind == "affinity" else belongs
            known[z, y, x, place] = sure
        return members, known

    def _read_labels(self, box: Box) -> dict[str, Integers]:
        """Returns the voxels of each label volume by its address, and nothing but 0 under "" for those without."""
        empty: dict[str, Integers] = {"": np.zeros(box.shape, np.uint8)}
        return empty | {volume.address: self._read(volume, box) for volume in self._volumes()}

    def _read(self, volume: Volume, box: Box) -> Integers:
        return volume.read(box.shift(grid_shift(volume, self.raw)))


def _numbered(labels: Integers, belongs: Bools) -> Integers:
    """Returns 1, 2, ... for the objects among some voxels, 0 elsewhere: labels may need more bits than a crop does."""
    numbers = np.zeros(labels.shape, np.uint32)
    numbers[belongs] = np.unique(labels[belongs], return_inverse=True)[1] + 1
    return numbers


def is_foreground(channels: Sequence[Channel], members: Integers, known: Bools) -> Bools:
    """Returns the voxels that belong to some channel, `[z, y, x]`; not those that exclusive organelles both claim.

    Args:
      channels: c of them.
      members: `[z, y, x, c]`, see `TrainingRegion.read_members`.
      known: bool `[z, y, x, c]`.
    """
    claims = (members != 0) & known
    number = num_softmax(channels)
    single: Bools = claims[..., number:].any(-1) | (claims[..., :number].sum(-1) == 1)
    return single
