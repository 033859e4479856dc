"""The model card's way to JSON and back, and what a model says of a wrong input."""

import json
from dataclasses import replace

import jax.numpy as jnp
import pytest

from asem_jax.models.architecture import Head, asem, cosem_8to4nm
from asem_jax.models.channels import Channel
from asem_jax.models.model import ModelCard
from asem_jax.volumes.clahe import Equalisation
from tests.phantoms import small_model


def test_a_card_survives_json() -> None:
    card = small_model(organelles=2).card
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert card.channels == ("background", "mito", "er")


def test_a_card_without_meanings_means_one_softmax() -> None:
    card = small_model(organelles=2).card
    old = json.loads(json.dumps(card.to_dict()))
    del old["meanings"]
    assert ModelCard.from_dict(old) == card
    assert [channel.kind for channel in card.meanings] == ["softmax", "softmax"]


def test_a_card_says_how_raw_was_equalised() -> None:
    how = Equalisation((128, 128, 64), 0.02)
    card = ModelCard(("mito",), (4.0, 4.0, 4.0), asem(2), "float32", "dark", equalised=True, equalisation=how)
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))).equalisation == how


def test_a_card_keeps_thresholds() -> None:
    card = replace(small_model(organelles=2).card, thresholds=(0.4, None))
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_a_card_of_channels_judged_alone_survives_json_and_has_no_background() -> None:
    meanings = (
        Channel("mito", "distance", "all", (3, 4), parent=None, added_nm=8.0),
        Channel("beside", "affinity", "all", None, offset=(0, 0, -1)),
    )
    card = replace(small_model().card, organelles=("mito", "beside"), meanings=meanings)
    assert card.channels == ("mito", "beside")
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    with pytest.raises(ValueError, match=r"organelles=\('mito',\) are not the names of meanings=.*give the same"):
        replace(card, organelles=("mito",))


def test_a_card_says_how_large_the_voxels_are_that_the_network_predicts() -> None:
    card = small_model(organelles=2).card
    assert card.output_voxel_size_nm == (10.0, 10.0, 10.0)
    finer = replace(card, architecture=cosem_8to4nm(num_channels=3), voxel_size_nm=(8.0, 8.0, 9.0))
    assert finer.output_voxel_size_nm == (4.0, 4.0, 4.5)


def test_a_network_whose_first_head_does_not_fit_the_organelles_is_refused() -> None:
    card = small_model(organelles=2).card
    with pytest.raises(ValueError, match=r"has 2 channels with activation none, .* need 3 \(background, mito, er\)"):
        replace(card, architecture=asem(num_channels=2))
    affinities = replace(asem(), heads=(Head("affinities", 3, (1, 1, 1), "sigmoid"),))
    with pytest.raises(ValueError, match=r"'affinities' has 3 channels with activation sigmoid"):
        replace(card, architecture=affinities)


def test_entries_of_a_newer_card_are_passed_over() -> None:
    card = small_model().card
    assert ModelCard.from_dict({**card.to_dict(), "favourite_colour": "grey"}) == card


def test_a_card_without_an_entry_is_refused() -> None:
    values = small_model().card.to_dict()
    del values["architecture"]["padding"]
    with pytest.raises(ValueError, match=r"lacks some .*padding"):
        ModelCard.from_dict(values)


def test_a_shape_that_does_not_fit_is_refused_before_compilation() -> None:
    with pytest.raises(ValueError, match="nearest"):
        small_model()(jnp.zeros((1, 31, 32, 32, 1)))
