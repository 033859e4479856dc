"""Validation says what prediction and scoring, done by hand on whole arrays, say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from asem_jax.measurement.metrics import Counts, ProbabilityHistogram
from asem_jax.measurement.scoring import Scores
from asem_jax.models.channels import Channel, exclusive
from asem_jax.models.model import Model
from asem_jax.prediction import predictor, validation
from asem_jax.prediction.validation import Validation, common_thresholds, validate
from asem_jax.training.regions import ChannelLabels, TrainingRegion
from asem_jax.training.targets import make_targets
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume
from tests.phantoms import NARROW_NETWORKS, balls, small_model, write_volume

SHAPE = (30, 36, 40)
BOX = Box((3, 2, 5), (27, 30, 40))
RAW, LABELS = balls(SHAPE)
SETTINGS = {"exclude_inwards": 1, "exclude_outwards": 2, "min_fraction": 0.3, "max_fraction": 0.9}
NO_ZONE = {**SETTINGS, "exclude_inwards": 0, "exclude_outwards": 0}


@pytest.fixture(scope="module")
def model() -> Model:
    """A network with one pooling and random parameters."""
    return small_model()


@pytest.fixture(scope="module")
def probability(model: Model) -> npt.NDArray[np.float32]:
    """What it predicts for all of RAW, `[z, y, x, c]`."""
    return predictor.predict(model, RAW)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Volume]:
    """Raw, labels of two organelles, and a mask that leaves out an edge."""
    container = tmp_path_factory.mktemp("data") / "cell.zarr"
    other = np.roll(LABELS, 9, axis=2)
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :, :12] = 0
    arrays = {"raw": RAW, "labels/mito": LABELS, "labels/er": other, "mask": mask}
    return {name: write_volume(container / name, array) for name, array in arrays.items()}


def region_of(raw: Volume, labels: tuple[Volume, ...], mask: Volume | None, box: Box) -> TrainingRegion:
    """Returns a region of organelles that exclude each other."""
    channels = exclusive(("mito", "er")[: len(labels)])
    return TrainingRegion("val", raw, tuple(map(ChannelLabels, channels, labels)), mask, box)


def by_hand(
    probability: npt.NDArray[np.float32], target: npt.NDArray[np.integer], used: npt.NDArray[np.bool_]
) -> float:
    """Returns the balanced loss of whole arrays, a voxel at a time, as the formula has it."""
    chosen, truth = probability[used].astype(float), target[used]
    share = np.clip([np.mean(truth == c) for c in range(chosen.shape[-1])], 0.3, 0.9)
    weights = 1 / share[truth]
    return float((-np.log(chosen[np.arange(len(truth)), truth]) * weights).sum() / weights.sum())


def zone(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Returns 1 voxel inside and 2 outside the borders; objects go on beyond the volume."""
    grown = ndimage.binary_dilation(labels != 0, iterations=2)
    return grown & ~ndimage.binary_erosion(labels != 0, iterations=1, border_value=True)


@pytest.mark.parametrize("masked", [False, True])
def test_validation_is_prediction_and_scoring(
    model: Model, probability: npt.NDArray[np.float32], volumes: dict[str, Volume], masked: bool
) -> None:
    mask = volumes["mask"] if masked else None
    found = validate(model, region_of(volumes["raw"], (volumes["labels/mito"],), mask, BOX), **SETTINGS)
    labels, inside = LABELS[BOX.slices], probability[BOX.slices]
    used = mask.read(BOX) != 0 if mask else np.ones(labels.shape, bool)
    assert found.loss == pytest.approx(by_hand(inside, labels, used), abs=1e-5)
    scored = used & ~zone(LABELS)[BOX.slices]
    grey, there = np.rint(255 * inside[scored][:, 1]), labels[scored] != 0
    f1 = [2 * np.sum((grey >= level) & there) / (np.sum(grey >= level) + np.sum(there)) for level in range(256)]
    assert found.scores["mito"].counts.num_voxels == scored.sum()
    assert found.f1 == pytest.approx(max(f1), abs=2e-3)  # rounding may move a voxel to the next grey value
    assert f1[round(255 * found.thresholds["mito"])] == pytest.approx(found.f1, abs=2e-3)
    assert found.f1 > 0


def test_blocks_do_not_matter(model: Model, volumes: dict[str, Volume], monkeypatch: pytest.MonkeyPatch) -> None:
    region = region_of(volumes["raw"], (volumes["labels/mito"],), volumes["mask"], BOX)
    whole = validate(model, region, **SETTINGS)
    monkeypatch.setattr(validation, "make_plan", lambda m, box: predictor.make_plan(m, box, (8, 12, 16)))
    tiled = validate(model, region, **SETTINGS)
    assert tiled.loss == pytest.approx(whole.loss, abs=1e-6)
    assert tiled.scores["mito"].counts.num_voxels == whole.scores["mito"].counts.num_voxels
    assert tiled.f1 == pytest.approx(whole.f1, abs=1e-3)


def test_what_the_mask_leaves_out_does_not_matter(tmp_path: Path, model: Model, volumes: dict[str, Volume]) -> None:
    labels = LABELS.copy()
    labels[:, :, :12] = 1 - labels[:, :, :12]
    other = write_volume(tmp_path / "cell.zarr/labels/mito", labels)
    both = [
        validate(model, region_of(volumes["raw"], (truth,), volumes["mask"], BOX), **NO_ZONE)
        for truth in (volumes["labels/mito"], other)
    ]
    assert both[0] == both[1]


def test_labels_that_say_what_the_model_says_score_one(
    tmp_path: Path, model: Model, probability: npt.NDArray[np.float32], volumes: dict[str, Volume]
) -> None:
    labels = write_volume(tmp_path / "cell.zarr/labels/mito", probability.argmax(-1).astype(np.uint8))
    found = validate(model, region_of(volumes["raw"], (labels,), None, BOX), **NO_ZONE)
    assert found.f1 > 0.999


def test_every_organelle_is_scored_outside_its_own_zone(volumes: dict[str, Volume]) -> None:
    labels = (volumes["labels/mito"], volumes["labels/er"])
    region = region_of(volumes["raw"], labels, None, volumes["raw"].box)
    found = validate(small_model(organelles=2), region, **SETTINGS)
    claimed_once = (LABELS == 0) | (labels[1].read(region.box) == 0)
    for organelle, volume in zip(("mito", "er"), labels, strict=True):
        scored = claimed_once & ~zone(volume.read(region.box))
        assert found.scores[organelle].counts.num_voxels == scored.sum()
    assert found.f1 == pytest.approx(np.mean([scores.f1 for scores in found.scores.values()]))


def test_channels_judged_alone_have_a_loss_and_a_score_each(volumes: dict[str, Volume]) -> None:
    channels = (
        Channel("mito", "sigmoid", "mito"),
        Channel("far", "distance", "mito", scale_nm=20.0),
        Channel("er", "sigmoid", "er", parent="mito"),
        Channel("beside", "affinity", "mito", offset=(0, 0, 1)),
    )
    names = tuple(channel.name for channel in channels)
    plain = small_model(organelles=3)
    model = Model(plain.params, replace(plain.card, organelles=names, meanings=channels))
    box = Box((7, 7, 7), (23, 29, 33))
    labels = tuple(ChannelLabels(channel, volumes[f"labels/{channel.labels}"]) for channel in channels)
    region = TrainingRegion("val", volumes["raw"], labels, volumes["mask"], box)
    found = validate(model, region, **NO_ZONE)
    sure = predictor.predict(model, RAW)[box.slices]
    members, known = region.read_members(box.grow(6))
    targets = make_targets(channels, members, known, voxel_size_nm=(10.0,) * 3, padding=(6,) * 3)
    assert not np.asarray(targets.known[..., 1]).all()
    inside, values = np.asarray(targets.values) > 0, np.asarray(targets.values)
    for place, parent in enumerate((0, 1, 0, 3)):
        there = inside[..., place]
        losses = -np.log(np.where(there, sure[..., place], 1 - sure[..., place]))
        if channels[place].kind == "distance":
            losses = (2 * sure[..., place] - 1 - values[..., place]) ** 2
        used = np.asarray(targets.known[..., place])
        share = np.clip(inside[..., parent][np.asarray(targets.known[..., parent])].mean(), 0.3, 0.9)
        weights = np.where(inside[..., parent], 1 / share, 1 / (1 - share)) / 2
        assert found.losses[names[place]] == pytest.approx((losses * weights)[used].mean(), rel=1e-4), names[place]
    assert found.loss == pytest.approx(sum(found.losses.values()))
    assert set(found.as_json()["losses"]) == set(found.as_json()["f1_of"]) == set(names)
    counts = {name: scores.counts for name, scores in found.scores.items()}
    mask = volumes["mask"].read(box) != 0
    assert [counts[name].num_voxels for name in names[:3]] == [mask.sum()] * 3  # certainty is a matter of the loss
    there = counts["far"].true_positive + counts["far"].false_negative
    assert there == (LABELS[box.slices] * mask).sum()


def test_a_region_without_a_used_voxel_has_no_score(tmp_path: Path, model: Model, volumes: dict[str, Volume]) -> None:
    nothing = write_volume(tmp_path / "cell.zarr/mask", np.zeros(SHAPE, np.uint8))
    region = region_of(volumes["raw"], (volumes["labels/mito"],), nothing, BOX)
    found = validate(model, region, **SETTINGS)
    assert found.loss == 0.0
    assert np.isnan(found.f1)
    assert found.as_json()["f1"] is None
    assert found.as_json()["thresholds"] == {"mito": 0.5}


def test_a_network_with_a_finer_grid_is_refused(volumes: dict[str, Volume]) -> None:
    finer = small_model(architecture=replace(NARROW_NETWORKS["cosem_8to4nm"], padding="same"))
    region = region_of(volumes["raw"], (volumes["labels/mito"],), None, BOX)
    with pytest.raises(ValueError, match=r"val: the network predicts \(2, 2, 2\) voxels .*; predict the volume"):
        validate(finer, region, **SETTINGS)


def test_organelles_that_cannot_be_scored_are_left_out_of_the_mean() -> None:
    scores = {"mito": Scores.of(Counts(2, 1, 1, 4)), "er": Scores.of(Counts(true_negative=8))}
    found = Validation(0.5, scores, {"mito": 0.3, "er": 0.5})
    assert found.f1 == pytest.approx(2 / 3)
    logged = found.as_json()
    assert logged.pop("thresholds") == {"mito": 0.3, "er": 0.5}
    assert logged.pop("f1_of") == {"mito": pytest.approx(2 / 3), "er": None}
    assert logged == pytest.approx(
        {"loss": 0.5, "f1": 2 / 3, "iou": (0.5 + 1) / 2, "precision": 1 / 3, "recall": 1 / 3}
    )


def test_a_threshold_for_several_regions_is_that_of_all_their_voxels() -> None:
    def region(grey: list[int], labels: list[int]) -> Validation:
        sweep = ProbabilityHistogram.of(np.array(grey, np.uint8), np.array(labels))
        nothing = ProbabilityHistogram.of(np.array(grey, np.uint8), np.zeros(len(labels), np.uint8))
        return Validation(0.0, {}, {}, {}, {"mito": sweep, "er": nothing})

    one, many = region([100, 200], [0, 1]), region([20, 40, 40, 50], [0, 1, 1, 1])
    (alone, nowhere), (both, _) = (common_thresholds(found, ("mito", "er")) for found in ([one], [one, many]))
    assert alone is not None and 100 / 255 < alone <= 200 / 255
    assert both is not None and 20 / 255 < both <= 40 / 255  # one more of background, three more of the organelle
    assert nowhere is None
