import copy
import re

import pytest

from asem_jax.measurement.metrics import Counts
from asem_jax.measurement.scoring import Scores
from asem_jax.reporting import scores

INTERVALS = {"f1": (0.8, 0.95), "iou": None, "precision": None, "recall": None}
MATCH = {"f1": 0.61, "precision": 0.62, "recall": 0.63, "ap": 0.44, "sq": 0.85, "pq": 0.52, "rq": 0.61}
OBJECTS = {"true_objects": 12, "found_objects": 15, "voi_split": 0.31, "voi_merge": 0.02, "rand_error": 0.07}
DISTANCES = {
    "f1": {"40": 0.97},
    "surface_f1": {"40": 0.96},
    "false_positive_distance_nm": 3.25,
    "false_negative_distance_nm": 5.25,
    "mean_false_distance_nm": 4.25,
    "surface_distance_nm": 6.5,
    "surface_distance_95_nm": 31.0,
    "surface_distance_max_nm": 200.0,
    "intervals": {"f1": {"40": (0.9, 0.99)}, "mean_false_distance_nm": (3.0, 6.0), "surface_distance_nm": None},
}
SETTINGS = {
    "distance_cap_nm": 200.0,
    "tolerances_nm": (40.0,),
    "bootstrap_samples": 1000,
    "bootstrap_cell_shape": (32, 64, 64),
}


def _both(*counts):
    counts = Counts(*(counts or (6, 2, 2, 90)))
    return {zone: Scores.of(counts).as_json() for zone in scores.ZONES}


def _old(regions, baseline=None):
    """What scores.json held before predictions were compared."""
    beside = {"exclude_inwards": 3, "exclude_outwards": 5, "baseline": baseline}
    return {"regions": {name: _both() for name in regions}, "total": _both(9, 1, 1, 89), **beside}


def _part(kind, f1):
    own = {"intervals": INTERVALS, "f1_difference": -0.012, "f1_difference_interval": (-0.02, -0.004)}
    own["objects"] = {**OBJECTS, "matches": {"0.5": MATCH}} if kind == "objects" else None
    return {**{zone: {**_both()[zone], "f1": f1, **own} for zone in scores.ZONES}, "distances": DISTANCES}


def _new(regions, **kinds):
    """What scores.json holds; `kinds` are predictions and their kinds."""
    spread = {"regions": len(regions), "mean": 0.71, "sd": 0.05, "min": 0.66, "max": 0.76}
    content = {**_old(regions), "settings": SETTINGS, "predictions": {}}
    for name, kind in {"segmentation": "segmentation", **kinds}.items():
        parts = {region: _part(kind, 0.75) for region in regions}
        sweep = {key: [0.0, 0.5, 1.0] for key in ("threshold", "f1", "precision", "recall")}
        content["predictions"][name] = {
            "kind": kind,
            "address": f"cell.zarr/{name}",
            "threshold": 0.25 if kind == "probability" else None,
            "threshold_chosen_here": kind == "probability",
            "regions": parts,
            "total": {**_part(kind, 0.9), "num_cells": 24},
            "spread": {**{zone: dict.fromkeys(scores.SCORES, spread) for zone in scores.ZONES}},
            "sweep": {scores.OUTSIDE: sweep} if kind == "probability" else None,
        }
    return content


def test_headline_is_the_score_of_all_regions_together():
    html = "".join(scores.scores_section(_old(["a", "b"])))
    assert "<b>0.900</b><span>F1, outside the exclusion zone</span>" in html
    assert "3 voxels inside and 5 voxels outside" in html


@pytest.mark.parametrize(("regions", "num_rows"), [(["a"], 2), (["a", "b"], 6)])
def test_total_stands_only_below_several_regions(regions, num_rows):
    html = "".join(scores.scores_section(_old(regions)))
    assert html.count("<tr><td>") + html.count("<tr class=strong>") == num_rows
    assert ("<td>total</td>" in html) == (len(regions) > 1)


@pytest.mark.parametrize(("polarity", "words"), [("bright", "at or above 77"), ("dark", "at or below 77")])
def test_baseline_says_how_it_was_made(polarity, words):
    choice = {"f1": 0.9, "sigma": 1.5, "threshold": 77, "polarity": polarity}
    html = "".join(scores.scores_section(_old(["a"], {**choice, "regions": {"a": _both()}, "total": _both()})))
    assert f"sigma 1.5 voxels, then grey values {words}" in html
    assert "best grey-value threshold" in html


def test_no_baseline_and_no_intervals_are_said():
    html = "".join(scores.scores_section(_old(["a"])))
    assert "No baseline was computed" in html and "No intervals: they were not asked for" in html


def test_intervals_and_spread_stand_beside_the_scores():
    html = "".join(scores.scores_section(_new(["a", "b"])))
    assert "<small>[0.800, 0.950]</small>" in html and "1000 bootstrap resamples of 24 cells of 32 x 64 x 64" in html
    row = re.search(r"<td>F1</td><td>all voxels</td>(.*?)</tr>", html)[1]
    assert re.findall(r">([\d.]+)<", row) == ["2", "0.710", "0.050", "0.660", "0.760"]
    assert "Spread over regions" not in "".join(scores.scores_section(_new(["a"])))


def test_too_few_cells_are_said():
    content = copy.deepcopy(_new(["a"]))
    content["predictions"]["segmentation"]["total"][scores.ALL]["intervals"] = dict.fromkeys(scores.SCORES)
    assert "No intervals: 24 cells of 32 x 64 x 64 voxels are too few" in "".join(scores.scores_section(content))


def test_several_predictions_share_one_table():
    html = "".join(scores.predictions_section(_new(["a", "b"], raw="probability", objects="objects")))
    table = html[: html.index("</table>")]
    assert len(re.findall(r"<td>(a|b|total)</td><td>(segmentation|raw|objects)</td>", table)) == 9
    assert '-0.012<small>[-0.020, -0.004]</small></td><td class="number">0.750' in table
    assert "0.31 + 0.02" in table and table.count(">0.520<") == 3  # PQ of objects alone
    assert "0.250, the best here: better than on new data" in html
    assert scores.predictions_section(_new(["a"])) == []


def test_distances_say_where_they_end():
    html = "".join(scores.distances_section(_new(["a"])))
    cells = re.search(r"<td>a</td><td>segmentation</td>(.*?)</tr>", html)[1]
    assert cells.count("<small>") == 2 and "<small>[3.0, 6.0]</small>" in cells
    assert re.findall(r">([\d.]+|200 or more)<", cells)[-1] == "200 or more" and ">31.0<" in cells
    content = _new(["a"])
    content["predictions"]["segmentation"]["total"]["distances"] = None
    assert scores.distances_section(content) == scores.distances_section(_old(["a"])) == []


def test_objects_have_partition_and_matches():
    html = "".join(scores.objects_section(_new(["a"], mine="objects")))
    assert html.count("<td>mine</td><td>all voxels</td>") == 2
    assert re.search(r">12<.*>15<.*>0.310<.*>0.020<.*>0.070<", html)
    assert re.search(r">above 0.5<.*>0.610<.*>0.620<.*>0.630<.*>0.440<.*>0.850<.*>0.520<", html)
    assert scores.objects_section(_new(["a"])) == []


def test_each_probability_gets_its_curve():
    (picture,) = scores.sweeps_part(_new(["a"], raw="probability"))
    assert "Prediction raw on a" in picture and "the threshold marked was chosen on it" in picture
    assert scores.sweeps_part(None) == []
