import json

from asem_jax.reporting import sections


def test_threshold_that_was_given_has_no_sweep():
    notes = {"threshold": 0.25, "fixed": True, "regions": [], "sweep": None}
    html = "".join(sections.threshold_section(notes, ()))
    assert "The threshold 0.250 was given." in html
    assert "names no region" in html


def test_sweeps_of_predictions_stand_under_threshold():
    assert sections.threshold_section(None, ()) == []
    html = "".join(sections.threshold_section(None, ["<figure>a</figure>"]))
    assert html == "<h2>Threshold</h2><figure>a</figure>"


def test_training_without_a_score_is_drawn():
    records = [{"step": 1, "validation": {"a": {"loss": 0.5, "f1": None}}, "f1": None}]
    assert "Best mean F1" not in "".join(sections.training_section(records))


def test_what_a_folder_lacks_is_listed_with_the_stage_that_makes_it(tmp_path):
    html = "".join(sections.missing_section(tmp_path))
    assert "No scores.json (scores: stage evaluate" in html and "no superimpose.json" in html
    (tmp_path / "analysis").mkdir()
    for name in sections._MISSING:
        (tmp_path / name).write_text(json.dumps({}))
    assert sections.missing_section(tmp_path) == []
