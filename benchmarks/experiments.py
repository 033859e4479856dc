"""What a choice in training brings: small trainings side by side, three seeds each.

    ASEM_JAX_DATA=FOLDER python -m benchmarks.experiments EXPERIMENT [--workdir runs/experiments] [--steps 400]

EXPERIMENT is preparations, epfl, designs, organelles or annotations; `trials.py` says what is in each. `orientations`
and `symmetries` train nothing. The first predicts the validation strip with the models of epfl, mirrored and not, each
alone and all together; the second predicts cubes, whose axes can be exchanged, with the models that annotations trained
on exact labels. Scores are those of a validation: F1 outside the exclusion zone where there is one, at the threshold
that is best for the scored region itself, which flatters all trials alike. Every training has a run folder below
--workdir; what is finished there is not made again. Writes benchmarks/results/experiments_EXPERIMENT.json.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from ml_collections import ConfigDict

from asem_jax.models.checkpoint import load_model
from asem_jax.models.model import Model
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.validation import validate
from asem_jax.stages.recipe import open_regions
from benchmarks.records import RESULTS, circumstances, save, table
from benchmarks.trials import EXPERIMENTS, MAPS, Trial, settings

QUESTIONS = ("orientations", "symmetries")
CUBE = 64
Scores = dict[str, dict[str, float]]  # region -> what -> value


@dataclass(frozen=True)
class Question:
    """What the models of a trial are asked, one per seed.

    Attributes:
      experiment: that trained them.
      trial: its name there.
      regions: that they are scored on, as validation_regions of a config.
      ways: `Ensemble.symmetries`.
      together: whether the models are also asked as one.
    """

    experiment: str
    trial: str
    regions: Mapping[str, Any]
    ways: Sequence[str]
    together: bool


def run(config: dict[str, Any], workdir: Path) -> None:
    """Runs a config as a user does; one that is finished says so and ends."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / "trial.json"
    file.write_text(json.dumps(config, indent=1))
    words = ["--config", str(file), "--workdir", str(workdir)]
    log = workdir / "log"
    with log.open("a") as said:
        done = subprocess.run([sys.executable, "-m", "asem_jax.main", *words], stdout=said, stderr=said, check=False)
    if done.returncode:
        raise SystemExit(f"{workdir} failed:\n{log.read_text()[-2000:]}")


def folder_of(workdir: Path, name: str, trial: str, seed: int) -> Path:
    """Returns the run folder of one training."""
    return workdir / name / f"{trial.replace(', ', '_').replace(' ', '_')}_{seed}"


def train(workdir: Path, name: str, trial: Trial, seed: int, steps: int) -> Scores:
    """Trains, unless that is done, and returns the scores of the model."""
    folder = folder_of(workdir, name, trial.name, seed)
    begun = None if trial.begins_with is None else folder_of(workdir, name, trial.begins_with, seed)
    content = settings(trial, seed, steps, begun)
    found = folder / f"scores_{steps}.json"
    if not found.exists():
        run(content, folder)
        config = ConfigDict({**content["train"], "validation_regions": trial.scored})
        found.write_text(json.dumps(scored((load_model(folder),), config), indent=1))
    scores: Scores = json.loads(found.read_text())
    return scores


def scored(models: tuple[Model, ...], config: ConfigDict, symmetries: str = "none") -> Scores:
    """Returns the scores of a model, or of several together, on the validation regions of a training."""
    found = {}
    for region in open_regions("validation_regions", config.validation_regions, config):
        validation = validate(
            Ensemble(models, symmetries),
            region,
            exclude_inwards=config.exclude_inwards,
            exclude_outwards=config.exclude_outwards,
            min_fraction=config.min_class_fraction,
            max_fraction=config.max_class_fraction,
        )
        found[region.name.rpartition(".")[2]] = flat(validation.as_json())
    return found


def flat(validation: dict[str, Any]) -> dict[str, float]:
    """Returns the numbers of a validation; of several organelles each F1 as well."""
    numbers = {key: validation[key] for key in ("f1", "iou", "precision", "recall")}
    return {**numbers, **{f"f1 {name}": value for name, value in validation.get("f1_of", {}).items()}}


def question(name: str, workdir: Path) -> Question:
    """Returns what trained models are asked."""
    if name == "orientations":
        strip = trial_of("epfl", "recipe", workdir).scored["strip"]
        half = {"half of the strip": {**strip, "stop": (83, 384, 256)}}
        return Question("epfl", "recipe", half, ("none", "mirrors"), together=True)
    held_out = trial_of("annotations", "exact", workdir).scored["held_out"]
    z, y, x = held_out["start"]
    cubes = {
        f"cube {number}": {**held_out, "start": (z, y, at), "stop": (z + CUBE, y + CUBE, at + CUBE)}
        for number, at in enumerate((x, x + 2 * CUBE), 1)
    }
    return Question("annotations", "exact", cubes, ("none", "mirrors", "all"), together=False)


def trial_of(name: str, trial: str, workdir: Path) -> Trial:
    """Returns a trial of an experiment."""
    return next(found for found in EXPERIMENTS[name](workdir / "data", run) if found.name == trial)


def asked(question: Question, workdir: Path, seeds: list[int], steps: int) -> dict[str, list[Scores]]:
    """Returns scores of models that an experiment trained, alone and together, in several orientations."""
    trial = trial_of(question.experiment, question.trial, workdir)
    config = ConfigDict(settings(trial, 0, steps, None)["train"])
    config.validation_regions = question.regions
    models = tuple(load_model(folder_of(workdir, question.experiment, trial.name, seed)) for seed in seeds)
    groups = {"": [(model,) for model in models], **({"models together, ": [models]} if question.together else {})}
    found: dict[str, list[Scores]] = {}
    for group, way in product(groups, question.ways):
        for members in groups[group]:
            found.setdefault(f"{group}{way}", []).append(scored(members, config, way))
            print(f"{group}{way}: {found[f'{group}{way}'][-1]}", flush=True)
    return found


def trained(name: str, workdir: Path, seeds: list[int], steps: int) -> dict[str, list[Scores]]:
    """Returns the scores of all trials of an experiment, one per seed."""
    trials = EXPERIMENTS[name](workdir / "data", run)
    found: dict[str, list[Scores]] = {trial.name: [] for trial in trials}
    for seed in seeds:
        for trial in trials:
            scores = train(workdir, name, trial, seed, steps)
            found[trial.name].append(scores)
            print(f"seed {seed}, {trial.name}:", {r: round(v["f1"], 3) for r, v in scores.items()}, flush=True)
    return found


def losses(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns the learning curve of each training in a folder: steps, and the mean loss since the step before."""
    curves = {}
    for path in sorted(folder.glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        curves[path.parent.name] = [(line["step"], round(line["loss"], 4)) for line in lines if "loss" in line]
    return curves


def summary(scores: list[Scores]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Returns mean and standard deviation over seeds of each number of each region."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for region, values in scores[0].items():
        for what in values:
            known = [other[region][what] for other in scores if other[region][what] is not None]
            spread = round(stdev(known), 4) if len(known) > 1 else None
            entry = {"mean": round(mean(known), 4) if known else None, "std": spread}
            found.setdefault(region, {})[what] = entry
    return found


def markdown(record: dict[str, Any]) -> str:
    """Returns the table of a record: mean and standard deviation over the seeds."""
    rows = []
    for trial, regions in record["means"].items():
        for region, numbers in regions.items():
            single = [what for what in numbers if what.startswith("f1 ")]
            for what in single or ["f1"]:
                name = what.removeprefix("f1").strip() or "its own"
                rows.append([trial, region, name, _text(numbers[what]), "" if single else _text(numbers["iou"])])
    return "\n".join(table(["training", "scored on", "what", "F1", "IoU"], rows))


def _text(found: dict[str, float | None]) -> str:
    if found["mean"] is None:
        return "not there"
    return f"{found['mean']:.3f}" + ("" if found["std"] is None else f" ± {found['std']:.3f}")


def draw(record: dict[str, Any], path: Path) -> None:
    """Draws the learning curves of a record: of each trial the mean over seeds, and from the least to the most."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for trial in record["trials"]:
        curves = [record["losses"][folder_of(Path(), "", trial, seed).name] for seed in record["seeds"]]
        steps, values = [step for step, _ in curves[0]], np.array([[loss for _, loss in curve] for curve in curves])
        (line,) = axes.plot(steps, values.mean(0), label=trial)
        axes.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains what is not trained, scores, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=[*EXPERIMENTS, *QUESTIONS])
    parser.add_argument("--workdir", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", action="store_true", help="print the table of the record that is there")
    parser.add_argument("--curves", type=Path, help="draw the learning curves of the record that is there")
    words = parser.parse_args()
    path = RESULTS / f"experiments_{words.experiment}.json"
    if words.markdown:
        print(markdown(json.loads(path.read_text())))
        return
    if words.curves:
        draw(json.loads(path.read_text()), words.curves)
        return
    if words.experiment in QUESTIONS:
        found = asked(question(words.experiment, words.workdir), words.workdir, words.seeds, words.steps)
    else:
        found = trained(words.experiment, words.workdir, words.seeds, words.steps)
    means = {trial: summary(scores) for trial, scores in found.items()}
    curves = {} if words.experiment in QUESTIONS else losses(words.workdir / words.experiment)
    drawn = words.workdir / "data" / "drawn" / "annotations.json"
    effort = json.loads(drawn.read_text()) if words.experiment == "annotations" else {}
    record = {
        "experiment": words.experiment,
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "budget": {"steps": words.steps, "maps": MAPS, "voxel_nm": 10},
        "seeds": words.seeds,
        "means": means,
        "effort": effort,
        "trials": found,
        "losses": curves,
    }
    print(markdown(record))
    save(path, record)


if __name__ == "__main__":
    main()
