import xml.etree.ElementTree as ET

import pytest

from asem_jax.reporting.curves import draw_sweep, draw_training

TRAINING = [{"step": s, "loss": 1 / (s + 1)} for s in range(5)]
VALIDATION = [
    {"step": 2, "validation": {"a": {"loss": 0.3, "f1": None}}, "f1": None},
    {"step": 4, "validation": {"a": {"loss": 0.2, "f1": 0.8}, "b": {"loss": 0.3, "f1": 0.7}}, "f1": 0.75},
]
SWEEP = {
    "threshold": [0.0, 0.5, 1.0],
    "f1": [0.1, 0.9, None],
    "precision": [0.1, 0.9, 0.0],
    "recall": [1.0, 0.9, 0.0],
}


@pytest.mark.parametrize("records", [TRAINING, VALIDATION, TRAINING + VALIDATION])
def test_training_is_drawn_from_what_there_is(records):
    assert ET.fromstring(draw_training(records)).tag.endswith("svg")


def test_regions_beyond_the_colours_can_be_drawn():
    record = {"step": 1, "validation": {f"cell {n}": {"loss": 0.1, "f1": 0.5} for n in range(8)}, "f1": 0.5}
    assert draw_training([record]).startswith("<svg")


def test_sweep_points_nowhere_else_and_is_reproducible():
    svg = draw_sweep(SWEEP, 0.5)
    assert svg == draw_sweep(SWEEP, 0.5)
    assert svg != draw_sweep(SWEEP, 0.7)
    assert "<metadata>" not in svg
    assert "DOCTYPE" not in svg
    assert ET.fromstring(svg).tag.endswith("svg")
