"""The model card's way to JSON and back, and what a model says of a wrong input."""

import json

import jax.numpy as jnp
import pytest

from asem_jax.models.model import ModelCard
from tests.phantoms import small_model


def test_a_card_survives_json() -> None:
    card = small_model(organelles=2).card
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert card.channels == ("background", "mito", "er")


def test_entries_of_a_newer_card_are_passed_over() -> None:
    card = small_model().card
    assert ModelCard.from_dict({**card.to_dict(), "favourite_colour": "grey"}) == card


def test_a_card_without_an_entry_is_refused() -> None:
    values = small_model().card.to_dict()
    del values["num_maps"]
    with pytest.raises(ValueError, match=r"lacks some .*num_maps"):
        ModelCard.from_dict(values)


def test_a_shape_that_does_not_fit_is_refused_before_compilation() -> None:
    with pytest.raises(ValueError, match="nearest"):
        small_model()(jnp.zeros((1, 31, 32, 32, 1)))
