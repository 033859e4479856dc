"""The record of a run that was killed is that of one that was not."""

import json
from pathlib import Path

from asem_jax.training.logbook import Logbook


def test_what_an_interrupted_run_wrote_after_its_checkpoint_is_dropped(tmp_path: Path) -> None:
    with Logbook(tmp_path, 0) as logbook:
        for step in (1, 2, 3):
            logbook.write(step, {"loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with Logbook(tmp_path, 2) as logbook:
        logbook.write(3, {"loss": 0.5, "validation": {"a": {"f1": None, "loss": 0.25}}})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2] == {"step": 3, "loss": 0.5, "validation": {"a": {"f1": None, "loss": 0.25}}}


def test_numbers_reach_tensorboard(tmp_path: Path) -> None:
    with Logbook(tmp_path, 0) as logbook:
        logbook.write(5, {"loss": 0.5, "validation": {"a": {"f1": None, "loss": 0.25}}})
    assert list(tmp_path.glob("events.out.tfevents.*"))
