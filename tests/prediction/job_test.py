"""A job is checked before anything runs, and knows what makes two predictions different."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from asem_jax.models.channels import Channel
from asem_jax.models.model import Model
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.job import make_job, validated_threshold
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume
from tests.phantoms import balls, small_model, write_volume

SHAPE = (30, 40, 46)
BLOCKS = (16, 16, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Volume:
    return write_volume(tmp_path / "cell.zarr/raw", balls(SHAPE)[0])


def test_results_lie_in_folders_of_models_and_organelles(raw: Volume) -> None:
    one, two = small_model(), small_model(organelles=2)

    def folders(models: object) -> dict[str, str]:
        return {result.name: result.folder for result in make_job(models, raw, "p", write_shape=BLOCKS).results}  # type: ignore[arg-type]

    assert folders(one) == {"mito": "p"}
    assert folders(two) == {"mito": "p/mito", "er": "p/er"}
    assert folders({"cf": one, "all": two}) == {"cf": "p/cf", "all/mito": "p/all/mito", "all/er": "p/all/er"}


def test_the_fingerprint_changes_with_whatever_changes_the_result(raw: Volume, tmp_path: Path) -> None:
    model, two = small_model(), small_model(organelles=2)
    halves = np.zeros((3, 4, 5), np.uint8)
    halves[:, :2] = 1
    place = {"voxel_size_nm": (100.0, 100.0, 100.0), "offset_nm": (45.0, 45.0, 45.0)}
    mask = write_volume(tmp_path / "cell.zarr/mask", halves, **place)
    other = Model(jax.tree.map(lambda leaf: leaf * 1.01, model.params), model.card)
    uncropped = replace(model.card, architecture=replace(model.card.architecture, crop_to_factor=False))
    meanings = tuple(Channel(name, kind, name) for name, kind in (("mito", "softmax"), ("er", "distance")))
    changes = [
        {},
        {"models": other},
        {"models": Model(model.params, uncropped)},
        {"models": two},
        {"models": Model(two.params, replace(two.card, meanings=meanings))},
        {"models": Ensemble((model,), "mirrors")},
        {"models": {"a": model, "b": other}},
        {"models": {"b": model, "a": other}},
        {"write_shape": (16, 16, 32)},
        {"box": Box((0, 0, 0), (30, 40, 40))},
        {"mask": mask},
        {"thresholds": {"mito": 0.7}},
        {"equalisation": Equalisation((16, 16, 16), 0.02)},
        {"equalisation": Equalisation((16, 16, 16), 0.03)},
        {"write_shape": (12, 12, 12), "tiling": "incasem"},
    ]
    prints = []
    for change in changes:
        settings = {"models": model, "write_shape": BLOCKS, **change}
        prints.append(make_job(settings.pop("models"), raw, "p", **settings).fingerprint())
    mask.write(mask.box, np.ones_like(halves))
    prints.append(make_job(model, raw, "p", write_shape=BLOCKS, mask=mask).fingerprint())
    assert make_job(small_model(), raw, "p", write_shape=BLOCKS).fingerprint() == prints[0]
    assert all(a != b for i, a in enumerate(prints) for b in prints[:i])


def test_settings_that_are_impossible_are_refused(raw: Volume) -> None:
    model = small_model()
    with pytest.raises(ValueError, match=r"thresholds.mit=0.5: nothing is predicted of that name; did you mean 'mito'"):
        make_job(model, raw, "p", write_shape=BLOCKS, thresholds={"mit": 0.5})
    with pytest.raises(ValueError, match=r"thresholds.mito=50 is not a probability; give a number from 0 to 1"):
        make_job(model, raw, "p", write_shape=BLOCKS, thresholds={"mito": 50})
    with pytest.raises(ValueError, match=r"tiling='seamles' is none of seamless, incasem; choose one"):
        make_job(model, raw, "p", tiling="seamles")
    with pytest.raises(ValueError, match=r"holds no tile of the original's tiling, .* give a larger box"):
        make_job(model, raw, "p", tiling="incasem")
    deeper = small_model(pool_factors=((2, 2, 2),) * 2)
    wide = write_volume(Path(raw.address).parent / "wide", np.zeros((60, 60, 60), np.uint8))
    with pytest.raises(ValueError, match=r"models whose contexts are .* predict them one by one"):
        make_job({"a": model, "b": deeper}, wide, "p", write_shape=(14, 14, 14), tiling="incasem")


def test_a_threshold_of_the_training_is_that_of_the_result() -> None:
    two = small_model(organelles=2)
    first, second = (Model(two.params, replace(two.card, thresholds=levels)) for levels in ((0.2, None), (0.4, 0.9)))
    models = {"both": Ensemble((first, second)), "one": Ensemble((second,))}
    assert validated_threshold(models, "both/mito") == pytest.approx(0.3)
    assert validated_threshold(models, "one/er") == 0.9
    with pytest.raises(
        ValueError, match=r"thresholds.both/er='card': the model's card has no threshold of it, .* number"
    ):
        validated_threshold(models, "both/er")
    with pytest.raises(ValueError, match=r"thresholds.er=card: nothing is predicted of that name; .*one/er"):
        validated_threshold(models, "er")
    with pytest.raises(ValueError, match="has no threshold of it"):
        validated_threshold({"": Ensemble((two,))}, "mito")
