"""Regions: what belongs to a channel, and what nobody annotated."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asem_jax.models.channels import Channel, exclusive
from asem_jax.training.regions import ChannelLabels, TrainingRegion, channel_labels, is_annotated, is_foreground
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume
from tests.phantoms import balls, write_volume

MITO = Channel("mito", "sigmoid", "all", (3, 4, 5))
MEMBRANE = Channel("membrane", "sigmoid", "all", (3,), parent="mito")
NUCLEUS = Channel("nucleus", "sigmoid", "all", (20, 21, 37), generic_ids=(37,))
RIBOSOMES = Channel("ribosomes", "sigmoid", "ribosomes")
NOTHING: dict[str, Any] = {"present": {}, "absent": {}, "unknown": {}, "ignore": {}}


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, Volume]:
    """Raw, ids in six columns, and ribosomes that begin one section later."""
    ids = np.broadcast_to(np.array([0, 3, 4, 9, 37, 300], np.uint16), (4, 4, 6))
    ribosomes = np.zeros((3, 4, 6), np.uint8)
    ribosomes[:, :, 2] = 7
    return {
        "raw": write_volume(tmp_path / "cell.zarr/raw", balls((4, 4, 6))[0]),
        "all": write_volume(tmp_path / "cell.zarr/labels/all", np.ascontiguousarray(ids)),
        "ribosomes": write_volume(tmp_path / "cell.zarr/labels/ribosomes", ribosomes, offset_nm=(10.0, 0.0, 0.0)),
    }


def region_of(volumes: dict[str, Volume], box: Box, channels: tuple[Channel, ...], **lists: Any) -> TrainingRegion:
    """Returns a region on the volumes."""
    named = {channel.labels: volumes.get(channel.labels) for channel in channels}
    return TrainingRegion("cell", volumes["raw"], channel_labels(channels, named, **NOTHING | lists), None, box)


def test_channels_share_a_volume_and_overlap(volumes: dict[str, Volume]) -> None:
    region = region_of(volumes, Box((1, 0, 0), (4, 4, 6)), (MITO, MEMBRANE, NUCLEUS, RIBOSOMES))
    members, known = region.read_members(Box((1, 1, 0), (2, 2, 6)))
    rows = members[0, 0].T
    np.testing.assert_array_equal(rows[0], [0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(rows[1], [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(rows[2], [0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(rows[3], [0, 0, 1, 0, 0, 0])
    assert known.all() and members.dtype == np.uint8


def test_a_volume_is_read_once_for_all_its_channels(
    volumes: dict[str, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    region = region_of(volumes, Box((1, 0, 0), (4, 4, 6)), (MITO, MEMBRANE, NUCLEUS, RIBOSOMES))
    read, addresses = Volume.read, []
    monkeypatch.setattr(Volume, "read", lambda self, box: (addresses.append(self.address), read(self, box))[1])
    region.read_members(Box((1, 0, 0), (2, 2, 2)))
    assert sorted(addresses) == sorted([volumes["all"].address, volumes["ribosomes"].address])


def test_what_leaves_the_region_and_what_is_ignored_is_unknown(volumes: dict[str, Volume]) -> None:
    region = region_of(volumes, Box((0, 0, 0), (4, 4, 5)), (MITO, NUCLEUS), ignore={"all": 0})
    members, known = region.read_members(Box((0, -1, -1), (1, 1, 7)))
    assert not known[0, 0].any() and not members[0, 0].any()
    np.testing.assert_array_equal(known[0, 1, :, 0], [0, 0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(members[0, 1, :, 0], [0, 0, 1, 1, 0, 0, 0, 0])


def test_a_value_to_ignore_is_no_member(volumes: dict[str, Volume]) -> None:
    own = ChannelLabels(Channel("any", "sigmoid", "all"), volumes["all"], ignore=300)
    labels = np.array([[[0, 3, 300]]])
    np.testing.assert_array_equal(own.members(labels), [[[False, True, False]]])
    np.testing.assert_array_equal(own.known(labels), [[[True, True, False]]])


def test_a_mask_volume_is_honoured(tmp_path: Path, volumes: dict[str, Volume]) -> None:
    annotated = np.zeros((4, 4, 6), np.uint8)
    annotated[:, 2:] = 1
    mask = write_volume(tmp_path / "cell.zarr/mask", annotated)
    labels = (ChannelLabels(MITO, volumes["all"]),)
    members, known = TrainingRegion("cell", volumes["raw"], labels, mask, volumes["raw"].box).read_members(
        Box((0, 0, 1), (1, 4, 2))
    )
    np.testing.assert_array_equal(known[0, :, 0, 0], [False, False, True, True])
    np.testing.assert_array_equal(members[0, :, 0, 0], [0, 0, 1, 1])


def test_affinities_get_numbers_of_objects_however_large_the_labels(volumes: dict[str, Volume]) -> None:
    beside = Channel("beside", "affinity", "all", offset=(0, 0, 1))
    members, _ = region_of(volumes, volumes["raw"].box, (MITO, beside)).read_members(Box((0, 0, 0), (1, 1, 6)))
    np.testing.assert_array_equal(members[0, 0].T, [[0, 1, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("channel", "lists", "annotated"),
    [
        (MITO, {}, True),
        (MITO, {"present": {"all": (3, 4)}, "absent": {"all": (5,)}}, True),
        (MITO, {"present": {"all": (3, 4)}}, False),
        (MITO, {"absent": {"all": None}}, True),
        (MITO, {"unknown": {"all": (5,)}}, False),
        (MITO, {"unknown": {"all": (9,)}}, True),
        (MITO, {"unknown": {"all": None}}, False),
        (MITO, {"unknown": {"ribosomes": None}}, True),
        (MITO, {"present": {"all": (3, 4, 5)}, "unknown": {"all": (6,)}}, True),
        (NUCLEUS, {"present": {"all": (37,)}}, True),
        (NUCLEUS, {"present": {"all": (20, 21)}}, True),
        (NUCLEUS, {"present": {"all": (20,)}}, False),
        (NUCLEUS, {"unknown": {"all": (20, 21)}}, True),
        (NUCLEUS, {"unknown": {"all": (20, 37)}}, False),
        (RIBOSOMES, {"present": {"ribosomes": (7,)}}, False),
        (RIBOSOMES, {"present": {"ribosomes": None}}, True),
        (RIBOSOMES, {"unknown": {"ribosomes": (8,)}}, False),
    ],
)
def test_a_channel_is_annotated_if_all_its_values_are(channel: Channel, lists: dict[str, Any], annotated: bool) -> None:
    assert is_annotated(channel, **{"present": {}, "absent": {}, "unknown": {}} | lists) is annotated


def test_without_labels_a_channel_is_background_where_it_is_absent_and_unknown_elsewhere() -> None:
    for lists, annotated in (({}, False), ({"absent": {"ribosomes": None}}, True)):
        (found,) = channel_labels((RIBOSOMES,), {"ribosomes": None}, **NOTHING | lists)
        assert found.annotated is annotated
        assert not found.members(np.zeros((1, 1, 1), np.uint8)).any()
    (found,) = channel_labels((MITO,), {"all": None}, **NOTHING | {"absent": {"all": (3, 4)}})
    assert found.annotated is False  # nobody looked for 5
    lists = {"present": {"ribosomes": None}, "unknown": {"all": (1,)}}
    (found,) = channel_labels((RIBOSOMES,), {"ribosomes": None, "all": None}, **NOTHING | lists)
    assert found.annotated is False


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"annotation\.absent names rib, the labels are all; correct the name"):
        channel_labels((MITO,), {"all": None}, **NOTHING | {"absent": {"rib": None}})
    both = {"present": {"all": (3, 4)}, "unknown": {"all": (4,)}}
    message = "present.all=(3, 4) and unknown.all=(4,) share values; a value is in one of them"
    with pytest.raises(ValueError, match=re.escape(message)):
        channel_labels((MITO,), {"all": None}, **NOTHING | both)


def test_foreground_is_what_a_channel_claims_but_not_what_two_exclusive_ones_do() -> None:
    channels = (*exclusive(["er", "golgi"]), MITO)
    members = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 1], [0, 1, 0]], np.uint8)
    known = np.ones(members.shape, bool)
    known[5] = False
    found = is_foreground(channels, members[None, None], known[None, None])
    np.testing.assert_array_equal(found[0, 0], [False, True, False, True, True, False])


def test_a_region_outside_its_volumes_is_refused(volumes: dict[str, Volume]) -> None:
    with pytest.raises(ValueError, match=r"leaves raw, whose shape is \(4, 4, 6\)"):
        region_of(volumes, Box((0, 0, 0), (5, 4, 6)), (MITO,))
    with pytest.raises(ValueError, match=r"needs \(-1, 0, 0\) to .* make the region smaller"):
        region_of(volumes, Box((0, 0, 0), (4, 4, 6)), (MITO, RIBOSOMES))
    assert region_of(volumes, Box((1, 0, 0), (4, 4, 6)), (MITO, RIBOSOMES)).labelled == Box((1, 0, 0), (4, 4, 6))


def test_raw_must_be_8_bit(tmp_path: Path, volumes: dict[str, Volume]) -> None:
    deep = write_volume(tmp_path / "deep.zarr/raw", np.zeros((4, 4, 6), np.uint16))
    with pytest.raises(ValueError, match="dtype uint16, training reads uint8; convert it first"):
        region_of(volumes | {"raw": deep}, Box((0, 0, 0), (4, 4, 6)), (MITO,))
