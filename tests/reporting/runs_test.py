import xml.etree.ElementTree as ET

import pytest

from asem_jax.reporting.curves import draw_runs
from asem_jax.reporting.runs import Run, comparison_section

RECORDS = [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.3, "f1": None}, {"step": 30, "f1": 0.8, "validation": {}}]


def scores(f1: float, found: int = 70, missed: int = 30) -> dict:
    counts = {"true_positive": found, "false_positive": 10, "false_negative": missed, "true_negative": 90}
    both = {
        zone: {"f1": f1, "iou": 0.5, "precision": 0.6, "recall": None, "counts": counts}
        for zone in ("outside_exclusion_zone", "all")
    }
    return {"regions": {"held_out": both}, "total": both}


def test_runs_stand_beside_each_other() -> None:
    html = "\n".join(comparison_section([Run("this run", scores(0.9), RECORDS), Run("<old>", scores(0.7), ())]))
    assert html.count("<td>this run</td>") == html.count("<td>&lt;old&gt;</td>") == 2
    assert '<td class="number">0.900</td>' in html and '<td class="number">0.700</td>' in html
    assert '<td class="number">30</td>' in html  # steps
    assert html.count("<figure>") == 1 and "cannot be compared" not in html


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (scores(0.7, found=60), "Not scored on the voxels of this run: old."),
        (None, "No scores.json: old; run stage evaluate there."),
    ],
)
def test_what_cannot_be_compared_is_said(other: dict | None, said: str) -> None:
    html = "\n".join(comparison_section([Run("this run", scores(0.9), ()), Run("old", other, ())]))
    assert said in html and "<figure>" not in html


def test_shifted_labels_of_one_number_are_the_same_voxels() -> None:
    # Two predictions of one region find other voxels; how many are labelled stays.
    other = scores(0.7, found=60, missed=40)
    assert "compared" not in "\n".join(comparison_section([Run("a", scores(0.9), ()), Run("b", other, ())]))


def test_intervals_and_distances_of_a_run_are_shown() -> None:
    more = {"intervals": {"f1": (0.85, 0.95)}}
    distances = {"mean_false_distance_nm": 4.25, "surface_distance_95_nm": 31.0}
    total = {"outside_exclusion_zone": more, "all": more, "distances": distances}
    content = {**scores(0.9), "predictions": {"segmentation": {"total": total}}}
    html = "\n".join(comparison_section([Run("this run", content, ()), Run("old", scores(0.7), ())]))
    assert html.count("<small>[0.850, 0.950]</small>") == 2 and html.count(">4.2<") == html.count(">31.0<") == 1


def test_one_run_needs_no_comparison() -> None:
    assert comparison_section([Run("this run", scores(0.9), RECORDS)]) == []


def test_curves_of_runs_are_drawn_from_what_there_is() -> None:
    svg = draw_runs({"a": RECORDS, "b": RECORDS[:1], "c": []})
    assert ET.fromstring(svg).tag.endswith("svg") and svg == draw_runs({"a": RECORDS, "b": RECORDS[:1], "c": []})
    assert svg != draw_runs({"a": RECORDS})
