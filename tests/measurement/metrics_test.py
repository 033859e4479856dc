import json
from itertools import product

import numpy as np
import pytest

from asem_jax.measurement import metrics
from asem_jax.measurement.metrics import Counts, ProbabilityHistogram, confusion_matrix, count
from asem_jax.segmentation.labels import grey_level, threshold

CASES = [
    "binary",
    "binary_masked",
    "three_class",
    "three_class_masked",
    "empty_target",
    "empty_prediction",
    "both_empty",
    "all_target_all_prediction",
    "target_full_prediction_empty",
]


def _block(seed, shape=(4, 5, 6)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, shape)
    grey = np.clip(rng.integers(0, 256, shape) + 60 * labels - 30, 0, 255).astype(np.uint8)
    return grey, labels, rng.integers(0, 4, shape) > 0


def _case(cases_dir, name):
    arrays = np.load(cases_dir / "metrics" / "cases.npz")
    expected = json.loads((cases_dir / "metrics" / "expected.json").read_text())[name]
    mask = arrays.get(f"{name}/mask", None)
    return arrays[f"{name}/prob"], arrays[f"{name}/target"], mask, expected


def _numbers(values):
    return [float(v) for v in values]


def test_every_pair_of_values_has_its_own_count():
    pairs = np.array(list(product([0, 1], [0, 1])))
    found, there = np.repeat(pairs, [1, 2, 3, 4], axis=0).T
    assert count(found, there) == Counts(4, 3, 2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_parts_add_up_to_the_whole(seed):
    grey, labels, mask = _block(seed)
    parts = [count(grey[z] > 99, labels[z], mask[z]) for z in range(len(grey))]
    assert sum(parts, Counts()) == count(grey > 99, labels, mask)
    assert count(grey > 99, labels, mask).num_voxels == mask.sum()


def test_scores_of_hand_counted_voxels():
    counts = Counts(true_positive=6, false_positive=2, false_negative=4, true_negative=88)
    scores = [metrics.f1(counts), metrics.iou(counts), metrics.precision(counts), metrics.recall(counts)]
    assert scores == pytest.approx([12 / 18, 0.5, 0.75, 0.6])


def test_scores_of_nothing():
    nothing = Counts(true_negative=7)
    assert np.isnan(metrics.f1(nothing))
    assert (metrics.iou(nothing), metrics.precision(nothing), metrics.recall(nothing)) == (1, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_histogram_counts_are_those_of_the_thresholded_array(seed):
    grey, labels, mask = _block(seed)
    seen = ProbabilityHistogram.of(grey, labels, mask)
    for level in (0, 1, 100, 128, 255):
        assert seen.counts_at(level) == count(threshold(grey, level / 255), labels, mask)
        assert seen.inverted().counts_at(level) == count(255 - grey >= level, labels, mask)


def test_histograms_of_parts_add_up_to_the_whole():
    grey, labels, mask = _block(5)
    parts = [ProbabilityHistogram.of(grey[z], labels[z], mask[z]) for z in range(len(grey))]
    assert sum(parts, ProbabilityHistogram.empty()).counts() == ProbabilityHistogram.of(grey, labels, mask).counts()


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_beats_the_best_one(seed):
    grey, labels, mask = _block(seed)
    best = ProbabilityHistogram.of(grey, labels, mask).best_threshold()
    scores = [metrics.f1(count(threshold(grey, level / 255), labels, mask)) for level in range(256)]
    assert scores[grey_level(best)] == max(scores)


@pytest.mark.parametrize(("background", "foreground", "level"), [(9, 250, 128), (9, 40, 40), (180, 250, 181)])
def test_of_equal_thresholds_the_nearest_to_a_half_wins(background, foreground, level):
    grey = np.array([background, foreground], np.uint8)
    assert grey_level(ProbabilityHistogram.of(grey, np.array([0, 1])).best_threshold()) == level


@pytest.mark.parametrize("name", CASES)
def test_thresholded_scores_equal_the_authors(cases_dir, name):
    probability, target, mask, expected = _case(cases_dir, name)
    for t in (0.3, 0.5, 0.8):
        counts = [count(p >= t, target == c, mask) for c, p in enumerate(probability)]
        for score, key in ((metrics.f1, "dice"), (metrics.iou, "jaccard")):
            got = [score(c) for c in counts]
            np.testing.assert_allclose(got, _numbers(expected[f"{key}_thr{t}"]), rtol=0, atol=1e-9)
        if t < 0.8:
            pairs = [(metrics.precision(c), metrics.recall(c)) for c in counts]
            np.testing.assert_allclose(pairs, np.array(expected[f"precision_recall_thr{t}"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_scores_of_the_likeliest_class_equal_the_authors(cases_dir, name):
    probability, target, mask, expected = _case(cases_dir, name)
    matrix = confusion_matrix(probability.argmax(0), target, len(probability), mask)
    fractions = np.array(expected["confusion_matrix_normalised"], float)
    np.testing.assert_allclose(matrix / matrix.sum(), fractions, rtol=0, atol=1e-9)
    counts = [count(probability.argmax(0) == c, target == c, mask) for c in range(len(probability))]
    jaccard = [metrics.iou(c) for c in counts]
    np.testing.assert_allclose(jaccard, _numbers(expected["jaccard_argmax"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "index"), [("binary", 1), ("three_class", 2)])
def test_histogram_gives_the_precision_recall_curve(cases_dir, name, index):
    probability, target, _, _ = _case(cases_dir, name)
    arrays = np.load(cases_dir / "metrics" / "cases.npz")
    # The case holds 257 values, multiples of 1/256; only its last threshold, 1, has no level of its own.
    grey = np.minimum(256 * probability[index], 255).astype(np.uint8)
    seen = ProbabilityHistogram.of(grey, target == index)
    curve = {part: arrays[f"{name}/pr_curve/class{index}/{part}"] for part in ("thresholds", "precision", "recall")}
    # The authors put one threshold more in front, scikit-learn one precision and recall more at the end.
    points = zip(curve["thresholds"][1:], curve["precision"][:-1], curve["recall"][:-1], strict=True)
    checked = 0
    for t, precision, recall in points:
        if t < 1:
            counts = seen.counts_at(round(256 * t))
            assert (metrics.precision(counts), metrics.recall(counts)) == pytest.approx((precision, recall), abs=1e-9)
            checked += 1
    assert checked > 200


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[\(2,\), \(3,\)\] cannot be compared; read all from the same box"):
        count(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="cannot be compared"):
        ProbabilityHistogram.of(np.zeros(2, np.uint8), np.zeros(2), np.zeros(1))


def test_histogram_refuses_floats():
    with pytest.raises(ValueError, match=r"dtype float64; give uint8"):
        ProbabilityHistogram.of(np.zeros(2), np.zeros(2))


def test_best_threshold_needs_foreground():
    with pytest.raises(ValueError, match=r"none of 3 voxels is foreground .* choose the threshold on a region"):
        ProbabilityHistogram.of(np.zeros(3, np.uint8), np.zeros(3)).best_threshold()


def test_confusion_matrix_names_the_class_that_has_no_place():
    with pytest.raises(ValueError, match=r"labels holds classes 0 to 3, num_classes=3; give one more"):
        confusion_matrix(np.array([0, 0]), np.array([0, 3]), 3)
