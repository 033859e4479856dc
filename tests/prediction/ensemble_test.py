"""Several models and orientations: their mean, which orientations there are, what cannot be asked of them."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from asem_jax.models.architecture import asem
from asem_jax.models.channels import Channel
from asem_jax.models.model import Model
from asem_jax.prediction import ensemble
from asem_jax.prediction.ensemble import Ensemble, exchangeable
from asem_jax.prediction.predictor import predict
from tests.phantoms import balls, small_model

RAW = balls((20, 24, 28))[0]
CUBE = (32, 32, 32)


def test_several_models_predict_their_mean() -> None:
    models = small_model(seed=0), small_model(seed=1)
    expected = np.mean([predict(model, RAW) for model in models], axis=0)
    assert np.abs(predict(models[0], RAW) - expected).max() > 0.01
    np.testing.assert_allclose(predict(Ensemble(models), RAW), expected, atol=1e-6)
    np.testing.assert_array_equal(predict(Ensemble(models[:1]), RAW), predict(models[0], RAW))


def test_mirrors_are_the_mean_over_mirrored_blocks() -> None:
    model = small_model()
    axes = [tuple(axis for axis in range(3) if chosen[axis]) for chosen in product((False, True), repeat=3)]
    expected = np.mean([np.flip(predict(model, np.flip(RAW, flipped)), flipped) for flipped in axes], axis=0)
    np.testing.assert_allclose(predict(Ensemble((model,), "mirrors"), RAW), expected, atol=1e-6)


def test_with_all_symmetries_a_turned_block_is_predicted_alike() -> None:
    both = Ensemble((small_model(seed=0), small_model(seed=1)), "all")
    cube = balls((20, 20, 20))[0]
    assert len(both.orientations(CUBE)) == 48
    said = predict(both, cube)
    for order in ((1, 0, 2), (2, 0, 1)):
        np.testing.assert_allclose(predict(both, cube.transpose(order)), said.transpose(*order, 3), atol=1e-6)
    assert np.abs(predict(both.models[0], cube) - said).max() > 0.01


def test_axes_are_exchanged_only_where_everything_is_alike() -> None:
    card = small_model().card
    assert len(exchangeable(card, CUBE)) == 6
    assert exchangeable(card, (20, 32, 32)) == [(0, 1, 2), (0, 2, 1)]
    model = small_model()
    for kind, number in (("none", 1), ("mirrors", 8), ("all", 16)):
        assert len(Ensemble((model,), kind).orientations((20, 32, 32))) == number


def model_of(meaning: str) -> Model:
    """Returns a model with one channel of this kind; its parameters do not fit, and are not used."""
    channel = Channel("mito", meaning, "mito", offset=(0, 0, 1) if meaning == "affinity" else None)
    model = small_model()
    return replace(model, card=replace(model.card, architecture=asem(1, 4, 2, ((2, 2, 2),)), meanings=(channel,)))


def test_what_has_no_mean_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="symmetries='some' is none of none, mirrors, all"):
        Ensemble((small_model(),), "some")
    with pytest.raises(ValueError, match="give one model or more"):
        Ensemble(())
    with pytest.raises(ValueError, match=r"differ in architecture, meanings \(mito; mito, er\); a mean needs one"):
        Ensemble((small_model(), small_model(organelles=2)))
    with pytest.raises(ValueError, match="symmetries='mirrors': mito speak of a neighbour on one side"):
        Ensemble((model_of("affinity"),), "mirrors")
    Ensemble((model_of("sigmoid"),), "mirrors")
    monkeypatch.setattr(ensemble, "output_start", lambda net: (8, 9, 9))
    with pytest.raises(ValueError, match=r"of a tile of \(32, 32, 32\) voxels .* not quite its middle"):
        Ensemble((small_model(),), "mirrors").orientations(CUBE)
