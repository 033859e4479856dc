import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.measurement import metrics
from asem_jax.measurement.intervals import Resampling
from asem_jax.measurement.overlaps import Overlaps, PartitionSums
from asem_jax.measurement.predictions import (
    ALL,
    OUTSIDE,
    Measures,
    Prediction,
    curve,
    summary,
    sweep_regions,
    tally_region,
    with_best_threshold,
)
from asem_jax.measurement.scoring import Region, evaluate_volumes
from asem_jax.measurement.surfaces import DistanceScores, measure_distances
from asem_jax.segmentation.labels import threshold
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (16, 24, 20)
MEASURES = Measures(
    exclude_inwards=1,
    exclude_outwards=1,
    distance_cap_nm=30.0,
    tolerances_nm=(0.0, 5.0),
    iou_thresholds=(0.5, 0.7),
    min_object_voxels=0,
    resampling=Resampling(30, 0, (4, 8, 10)),
    block_shape=(64, 64, 64),
)


def _volume(folder, name, array):
    volume = create_volume(
        str(folder / "cell.zarr" / name),
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(5, 5, 5),
        chunk_shape=(8, 16, 16),
    )
    volume.write(volume.box, array)
    return volume


@pytest.fixture
def volumes(tmp_path):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2)
    labels = ndimage.label(noise > 0.06)[0].astype(np.uint16)
    probability = np.clip(128 + 900 * np.roll(noise - 0.06, 1, 1), 0, 255).astype(np.uint8)
    objects = ndimage.label(probability >= 128)[0].astype(np.uint16)
    arrays = {"labels": labels, "probability": probability, "objects": objects}
    return {name: _volume(tmp_path, name, array) for name, array in arrays.items()}


@pytest.fixture
def regions(volumes):
    boxes = {"front": Box((0, 0, 0), (7, 24, 20)), "back": Box((7, 0, 0), SHAPE)}
    return [Region(name, volumes["labels"], box) for name, box in boxes.items()]


def _json(prediction, regions, measures=MEASURES, first=None):
    tallies = {region.name: tally_region(prediction, region, measures) for region in regions}
    other = tallies if first is None else {region.name: tally_region(first, region, measures) for region in regions}
    return json.loads(json.dumps(summary(tallies, measures, first=other), allow_nan=False))


@pytest.mark.parametrize(("block_shape", "kind"), [((5, 7, 20), "objects"), ((3, 24, 9), "probability")])
def test_no_score_depends_on_the_block_shape(volumes, regions, block_shape, kind):
    prediction = Prediction("a", kind, volumes[kind], 0.5 if kind == "probability" else None)
    small = replace(MEASURES, block_shape=block_shape)
    assert _json(prediction, regions, small) == _json(prediction, regions)


def test_scores_are_those_of_the_functions_for_volumes(volumes, regions):
    prediction = Prediction("a", "objects", volumes["objects"])
    region = regions[1]
    scores = _json(prediction, [region])["regions"]["back"]
    found, labels = volumes["objects"], region.labels
    outside = evaluate_volumes(found, labels, exclude_inwards=1, exclude_outwards=1, box=region.box)
    assert scores[OUTSIDE].items() >= outside.as_json().items()
    distances = DistanceScores.of(measure_distances(found, labels, cap_nm=30.0, box=region.box), (0.0, 5.0))
    assert scores["distances"].items() >= json.loads(json.dumps(distances.as_json())).items()
    table = Overlaps.of(found.read(region.box), labels.read(region.box))
    assert scores[ALL]["objects"].items() >= PartitionSums.of(table).as_json().items()
    assert list(scores[ALL]["objects"]["matches"]) == ["0.5", "0.7"]


def test_total_is_the_score_of_summed_counts_and_spread_that_of_regions(volumes, regions):
    scores = _json(Prediction("a", "objects", volumes["objects"]), regions)
    whole = evaluate_volumes(volumes["objects"], volumes["labels"], exclude_inwards=0, exclude_outwards=0)
    assert scores["total"][ALL]["f1"] == whole.f1
    each = [scores["regions"][region.name][ALL]["f1"] for region in regions]
    assert scores["spread"][ALL]["f1"]["mean"] == pytest.approx(np.mean(each))
    assert scores["spread"][ALL]["f1"]["max"] == max(each)
    assert scores["spread"]["mean_false_distance_nm"]["regions"] == 2


def test_a_mask_scores_what_a_smaller_box_scores(volumes, tmp_path):
    part, array = Box((3, 4, 2), (12, 20, 17)), np.zeros(SHAPE, np.uint8)
    array[part.slices] = 255
    whole = Region("a", volumes["labels"], Box.of_shape(SHAPE), _volume(tmp_path, "mask", array))
    boxed = replace(whole, box=part, mask=None)
    without = replace(MEASURES, resampling=Resampling(0, 0, (4, 8, 10)))
    for kind in ("probability", "objects"):
        prediction = Prediction("a", kind, volumes[kind], 0.5 if kind == "probability" else None)
        masked, cut = (_json(prediction, [region], without)["total"] for region in (whole, boxed))
        assert masked | {"num_cells": 0} == cut | {"num_cells": 0}
    found = Prediction("a", "probability", volumes["probability"])
    masked, cut = (sweep_regions(found, [region], without)[OUTSIDE] for region in (whole, boxed))
    assert curve(masked) == curve(cut) != curve(sweep_regions(found, [replace(whole, mask=None)], without)[OUTSIDE])


def test_intervals_are_those_of_drawn_cells(volumes, regions):
    """The same resamples, made from whole arrays."""
    region, resampling = regions[1], MEASURES.resampling
    prediction = Prediction("a", "objects", volumes["objects"])
    found, labels = (volumes[name].read(region.box) for name in ("objects", "labels"))
    sums = np.zeros((30, 4), int)
    for z, y, x in np.ndindex(3, 3, 2):
        part = tuple(slice(i * s, (i + 1) * s) for i, s in zip((z, y, x), (4, 8, 10), strict=True))
        counts = metrics.count(found[part], labels[part])
        sums += np.outer(resampling.weights("back", (z, y, x)), list(vars(counts).values()))
    scores = [2 * t / (2 * t + p + n) for t, p, n, _ in sums]
    result = _json(prediction, [region])["regions"]["back"]
    assert result["num_cells"] == 18
    assert result[ALL]["intervals"]["f1"] == pytest.approx(np.quantile(scores, [0.025, 0.975]))
    low, high = result["distances"]["intervals"]["f1"]["0"]  # without tolerance the F1 is that of voxels
    assert (low, high) == pytest.approx(result[ALL]["intervals"]["f1"])
    low, high = result["distances"]["intervals"]["mean_false_distance_nm"]
    assert low < result["distances"]["mean_false_distance_nm"] < high


def test_difference_to_the_first_is_resampled_as_a_pair(volumes, regions):
    first = Prediction("a", "objects", volumes["objects"])
    same = _json(first, regions, first=first)["total"][ALL]
    assert (same["f1_difference"], same["f1_difference_interval"]) == (0, [0, 0])
    worse = Prediction("b", "probability", volumes["probability"], 0.52)
    scores = _json(worse, regions, first=first)["total"][ALL]
    assert scores["f1_difference"] == scores["f1"] - _json(first, regions)["total"][ALL]["f1"] < 0
    low, high = scores["f1_difference_interval"]
    own = scores["intervals"]["f1"]
    assert high < 0 and high - low < own[1] - own[0]


def test_without_resamples_and_distances_there_are_none(volumes, regions):
    plain = replace(MEASURES, distance_cap_nm=None, tolerances_nm=(), resampling=Resampling(0, 0, (4, 8, 10)))
    total = _json(Prediction("a", "segmentation", volumes["objects"]), regions, plain)["total"]
    assert total["distances"] is None
    assert set(total[ALL]["intervals"].values()) == {None}
    assert total[ALL]["objects"] is None


def test_threshold_of_a_probability_is_kept_or_the_best(volumes, regions):
    prediction = Prediction("a", "probability", volumes["probability"])
    sweep = sweep_regions(prediction, regions, MEASURES)
    best = with_best_threshold(prediction, sweep)
    given = with_best_threshold(replace(prediction, threshold=0.5), sweep)
    scores = [_json(p, regions)["total"][OUTSIDE]["f1"] for p in (best, given)]
    assert (given.threshold, given.least) == (0.5, 128)
    assert scores[0] >= scores[1]
    assert scores[0] == max(value for value in curve(sweep[OUTSIDE])["f1"] if value is not None)
    labels, grey = (volumes[name].read(volumes[name].box) for name in ("labels", "probability"))
    assert sweep[ALL].counts_at(128) == metrics.count(threshold(grey, 0.5), labels)


def test_nothing_found_and_nothing_there_can_be_written(tmp_path, volumes, regions):
    nothing = _volume(tmp_path, "nothing", np.zeros(SHAPE, np.uint8))
    missed = _json(Prediction("a", "objects", nothing), regions)
    assert missed["total"][ALL]["f1"] == 0
    assert missed["total"][ALL]["objects"]["matches"]["0.5"]["recall"] == 0
    assert missed["total"]["distances"]["surface_distance_max_nm"] == 30
    empty = [Region(region.name, nothing, region.box) for region in regions]
    total = _json(Prediction("a", "objects", nothing), empty)["total"]
    assert (total[ALL]["f1"], total[ALL]["iou"], total["distances"]["f1"]) == (None, 1, {"0": None, "5": None})
    assert (total[ALL]["f1_difference"], total[ALL]["objects"]["voi_split"]) == (None, None)


def test_prediction_that_cannot_be_read_so_is_refused(volumes):
    with pytest.raises(ValueError, match=r"a: kind='labels' is none of segmentation, probability, objects; choose"):
        Prediction("a", "labels", volumes["objects"])
    with pytest.raises(ValueError, match=r"a: .*objects has dtype uint16, a probability is uint8 .* store it so"):
        Prediction("a", "probability", volumes["objects"])
    with pytest.raises(ValueError, match=r"a: threshold=0.5 has no meaning for kind 'objects'; set it to None"):
        Prediction("a", "objects", volumes["objects"], 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iou_thresholds": (0.3,)}, "iou_threshold=0.3"),
        ({"tolerances_nm": (31.0,)}, "tolerances_nm"),
        ({"distance_cap_nm": 0.0}, "distance_cap_nm=0.0"),
    ],
)
def test_measures_that_cannot_be_taken_are_refused_before_anything_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MEASURES, **change)
