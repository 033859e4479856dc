"""Channels: the order of outputs, what becomes a probability, and which cannot be learned together."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models.channels import Channel, check_channels, exclusive, num_softmax, output_names, probabilities

MIXED = (
    *exclusive(["er", "golgi"]),
    Channel("mito", "sigmoid", "all", (3, 4)),
    Channel("mito_distance", "distance", "all", (3, 4)),
    Channel("beside", "affinity", "objects", offset=(0, 0, 1)),
)


def test_outputs_are_background_the_softmax_and_the_others() -> None:
    assert output_names(MIXED) == ("background", "er", "golgi", "mito", "mito_distance", "beside")
    assert output_names(MIXED[2:]) == ("mito", "mito_distance", "beside")
    assert (num_softmax(MIXED), num_softmax(MIXED[:2]), num_softmax(MIXED[2:])) == (2, 2, 0)


def test_exclusive_organelles_have_the_softmax_of_all_logits() -> None:
    logits = jax.random.normal(jax.random.key(0), (3, 4, 5, 3))
    np.testing.assert_array_equal(probabilities(logits, exclusive(["er", "golgi"])), jax.nn.softmax(logits))


def test_each_kind_becomes_a_probability_of_its_own() -> None:
    logits = jnp.array([1.0, 1.0, 1.0, 0.0, -0.5, 200.0])
    found = probabilities(logits, MIXED)
    np.testing.assert_allclose(found, [1 / 3, 1 / 3, 1 / 3, 0.5, 0.25, 1.0], rtol=1e-6)
    np.testing.assert_allclose(probabilities(logits[3:], MIXED[2:]), found[3:])


def test_the_softmax_does_not_see_the_others() -> None:
    logits = jnp.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(probabilities(logits, MIXED)[:3], probabilities(logits.at[3:].set(9.0), MIXED)[:3])


def test_a_channel_survives_the_way_through_plain_values() -> None:
    for channel in MIXED:
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in channel.to_dict().items()}
        assert Channel.from_dict(values | {"of_a_newer_version": 1}) == channel


def test_a_distance_saturates_where_cosem_lets_it() -> None:
    assert Channel("mito", "distance", "all").reach_nm == pytest.approx(138.0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"kind": "sigmiod"}, "channel a: kind='sigmiod' is none of softmax, sigmoid, distance, affinity; choose one"),
        ({"ids": ()}, "ids=() is empty or holds 0, the background; give others"),
        ({"ids": (0, 3)}, "ids=(0, 3) is empty or holds 0"),
        ({"ids": (3,), "generic_ids": (37,)}, "generic_ids=(37,) are not all in ids=(3,); add them there"),
        ({"kind": "distance", "scale_nm": 0.0}, "scale_nm=0.0 and added_nm=0.0 make no distance; give a scale above 0"),
        ({"kind": "distance", "added_nm": 200.0}, "added_nm=200.0 make no distance"),
        ({"kind": "affinity"}, "offset=None with kind='affinity'; an affinity needs a neighbour"),
        ({"kind": "affinity", "offset": (0, 0, 0)}, "offset=(0, 0, 0) with kind='affinity'"),
        ({"offset": (0, 0, 1)}, "offset=(0, 0, 1) with kind='sigmoid'"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Channel(**{"name": "a", "kind": "sigmoid", "labels": "all", **entries})


def child(name: str, parent: str, kind: str = "sigmoid") -> Channel:
    """Returns a channel with a parent."""
    return Channel(name, kind, "all", parent=parent)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((), "channels=[] are none, or two of one name"),
        (exclusive(["er", "er"]), "channels=['er', 'er'] are none, or two of one name; give at least one"),
        (MIXED[::-1], "have a softmax channel behind another kind; put those of the softmax first"),
        ((MIXED[2], child("b", "mitos")), "parent='mitos' has no balance to share; did you mean 'mito'?"),
        ((MIXED[2], child("b", "mito"), child("c", "b")), "channel c (sigmoid): parent='b' has no balance to share"),
        ((MIXED[0], child("b", "er")), "parent='er' has no balance to share; A parent balances itself"),
        ((child("b", "mito", "softmax"), MIXED[2]), "channel b (softmax): parent='mito' has no balance to share"),
    ],
)
def test_channels_that_cannot_be_learned_together_are_refused(channels: Sequence[Channel], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_channels(channels)


def test_channels_that_can_be_learned_together_pass() -> None:
    check_channels((*MIXED, child("mito_membrane", "mito", "distance")))
