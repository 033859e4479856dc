"""Keeps the result of a run folder as JSON: scores, threshold, training, as far as there are; versions, machine, date.

    python -m benchmarks.record_run --workdir runs/quickstart --name quickstart --picture docs/images/quickstart.png

writes benchmarks/results/quickstart.json, and the first picture of the report.
"""

import argparse
import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax

from benchmarks.records import RESULTS, circumstances


def main() -> None:
    """Reads a run folder and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="run folder")
    parser.add_argument("--name", required=True, help="of the record")
    parser.add_argument("--note", default="", help="what else a reader has to know, e.g. the load of the machine")
    parser.add_argument("--picture", type=Path, help="file for the first picture of the report; simulated cells only")
    options = parser.parse_args()
    record = {
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "note": options.note,
        **outcomes(options.workdir),
        # Folders on top (data_dir) belong to one machine.
        "config": {k: v for k, v in read(options.workdir / "config.json").items() if not isinstance(v, str)},
    }
    path = RESULTS / f"{options.name}.json"
    # Run folders lie beside each other, and a run may begin with the model of another.
    text = json.dumps(record, indent=1).replace(str(options.workdir), "{workdir}")
    text = text.replace(str(options.workdir.parent), "runs")
    path.write_text(text + "\n")
    print(f"{path} is written")
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_bytes(first_picture(options.workdir / "report.html"))


def outcomes(workdir: Path) -> dict[str, Any]:
    """Returns what the stages of a run folder that were run have found."""
    found: dict[str, Any] = {}
    if (workdir / "metrics.jsonl").exists():
        found["training"] = training(workdir / "metrics.jsonl")
    if (workdir / "postprocess.json").exists():
        found["threshold"] = read(workdir / "postprocess.json")["threshold"]
    if (workdir / "scores.json").exists():
        found["scores"] = read(workdir / "scores.json")
    return found


def first_picture(page: Path) -> bytes:
    """Returns the first PNG inside a report."""
    found = re.search(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", page.read_text())
    if found is None:
        raise ValueError(f"{page} shows no picture; run stage report with planes_per_axis of at least 1.")
    return base64.b64decode(found[1])


def training(path: Path) -> dict[str, Any]:
    """Returns steps, duration and validations of a training; the best step is the one whose checkpoint is used."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [line for line in lines if "time" in line]
    validations = [line for line in lines if "validation" in line]
    best = max(validations, key=lambda line: line["f1"])["step"] if validations else steps[-1]["step"]

    def minutes_until(step: int) -> float:
        done = [(b["step"] - a["step"]) / b["steps_per_s"] for a, b in pairwise(steps) if b["step"] <= step]
        return round(sum(done) / 60, 1)

    return {
        "num_steps": steps[-1]["step"],
        "minutes_after_first_record": minutes_until(steps[-1]["step"]),
        "best_step": best,
        "minutes_until_best_step": minutes_until(best),
        "validation": validations,
    }


def read(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file of the run folder."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


if __name__ == "__main__":
    main()
