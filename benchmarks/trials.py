"""The small trainings of `benchmarks.experiments`: which there are, and on what.

All share one budget: the recipe of configs/train_cf.py at 10 nm with 8 maps at the finest level, a learning rate of
6e-4 after 20 steps of warm-up, and as many steps for each (to fine-tune: 2e-4, and half as many). What a trial changes
stands beside its name.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.volumes.geometry import Int3
from asem_jax.volumes.volume import create_volume, open_volume
from benchmarks.records import config_of

MAPS = 8
# The HPF-like tissue of configs/simulate_hpf.py takes more steps than the budget has; mitochondria are darker here,
# and noise is weaker.
EASIER = {"cell": {"matrix_grey": (84.0, 122.0)}, "microscope": {"shot_noise_grey": 5.0}}
TISSUES = {"cf": ("simulate_cf", {}), "hpf": ("simulate_hpf", EASIER), "other_cf": ("simulate_cf", {"seed": 4})}
DESIGN_ORGANELLES = ("mito", "er")
EPFL_ORGANELLES = ("mitochondrion", "mito_boundary", "plasma_membrane", "vesicles", "psd", "myelin_axon")
NOT_ANNOTATED = 255
TWICE = "{}, twice the steps"  # the name of a trial
ELASTIC = {
    "probability": 1.0,
    "spacing_nm": (320.0, 320.0, 320.0),
    "jitter_nm": (20.0, 20.0, 20.0),
    "rotation_degrees": 90.0,
    "shift_probability": 0.05,
    "slip_probability": 0.0,
    "max_misalign": 2,
}


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
      name: of it.
      changes: settings of the stage train that differ from the budget's.
      scored: the regions that the model is scored on, as validation_regions of a config.
      begins_with: name of the trial whose model it begins with; None = random.
      share: of the budget's steps.
    """

    name: str
    changes: Mapping[str, Any]
    scored: Mapping[str, Any]
    begins_with: str | None = None
    share: float = 1.0


Experiment = Callable[[Path, Callable[..., None]], list[Trial]]


def preparations(data: Path, run: Callable[..., None]) -> list[Trial]:
    """Chemically fixed tissue, high-pressure frozen tissue, both; each scored on both and on another CF cell.

    With as many steps both share the crops; with twice as many each has as many as it has alone.
    Fine-tuning has 2 um^3 of the new cell, or, to see what more steps do by themselves, of the first one.
    """
    cells = {name: simulated(data, run, name, *made) for name, made in TISSUES.items()}
    wide, little, scored = ((0, 0, 0), (128, 160, 256)), ((0, 0, 0), (126, 126, 126)), ((0, 192, 0), (128, 256, 256))
    held_out = {name: region(cell, *scored) for name, cell in cells.items()}

    def of(*names: str) -> dict[str, Any]:
        return {"regions": {name: region(cells[name], *wide) for name in names}}

    def fine_tuned(name: str, how: str = "{}", share: float = 0.5) -> Trial:
        changes = {"regions": {name: region(cells[name], *little)}, "learning_rate": 2e-4}
        return Trial(how.format(f"cf, then {name}"), changes, held_out, begins_with="cf", share=share)

    begun = {"cf": of("cf"), "hpf": of("hpf"), "both": of("cf", "hpf")}
    return [
        *(Trial(name, changes, held_out) for name, changes in begun.items()),
        Trial(TWICE.format("both"), begun["both"], held_out, share=2.0),
        *map(fine_tuned, ("hpf", "other_cf", "cf")),
        fine_tuned("hpf", TWICE, share=1.0),
    ]


def epfl(data: Path, run: Callable[..., None]) -> list[Trial]:
    """Mitochondria of the EPFL volume: the recipe, with elastic augmentation, with a running mean of the parameters.

    Each is scored on the validation strip as it is and with 0.6 of the contrast, brighter and noisier (`harder`); one
    training is fine-tuned with 2 um^3 that look like that.
    """
    cell = f"{converted(data, run, ('mito',))}/10nm"
    harder = changed_copy(cell, contrast=0.6, shift=25.0, noise=4.0)
    strip = region(cell, (0, 312, 0), (83, 384, 512))
    scored = {"strip": strip, "harder": {**strip, "raw": harder}}
    recipe = {
        "class_weights": (1.0, 1.0),
        "regions": {"training": region(cell, (0, 0, 0), (83, 264, 512))},
        **{"min_class_fraction": 0.01, "max_class_fraction": 0.99},
    }
    little = {"training": {**region(cell, (0, 0, 0), (83, 155, 155)), "raw": harder}}
    return [
        Trial("recipe", recipe, scored),
        Trial("recipe, elastic", {**recipe, "elastic": ELASTIC}, scored),
        Trial("recipe, running mean", {**recipe, "ema_decay": 0.98}, scored),
        Trial("recipe, then harder", {**recipe, "learning_rate": 2e-4, "regions": little}, scored, "recipe", 0.5),
    ]


def designs(data: Path, run: Callable[..., None]) -> list[Trial]:
    """One network per organelle, as ASEM, or one for all with distances, as COSEM, on one simulated cell.

    With twice the steps the one network has as many as the two together.
    """
    cell = simulated(data, run, "designs", "quickstart", {"organelles": DESIGN_ORGANELLES})
    training, other = ((0, 0, 0), (128, 192, 256)), ((0, 224, 0), (128, 288, 256))

    def of(*names: str) -> dict[str, Any]:
        return {
            "organelles": names,
            "regions": {"training": region(cell, *training, names)},
            "class_weights": (1.0,) * len(names),
            **{"min_class_fraction": 0.01, "max_class_fraction": 0.99, "exclude_inwards": 0, "exclude_outwards": 0},
        }

    def held_out(*names: str) -> dict[str, Any]:
        return {"held_out": region(cell, *other, names)}

    alone = [
        Trial(f"only {name}", {**of(name), "class_weights": (1.0, 1.0)}, held_out(name)) for name in DESIGN_ORGANELLES
    ]
    together = {**of(*DESIGN_ORGANELLES), "channels": {name: channel(name, "distance") for name in DESIGN_ORGANELLES}}
    shares, scored = {"all, distances": 1.0, TWICE.format("all, distances"): 2.0}, held_out(*DESIGN_ORGANELLES)
    return [*alone, *(Trial(name, together, scored, share=share) for name, share in shares.items())]


def organelles(data: Path, run: Callable[..., None]) -> list[Trial]:
    """Six structures of the EPFL volume in one network; of 100 sections 44 are annotated, the others are left out."""
    names = EPFL_ORGANELLES
    cell = f"{converted(data, run, names)}/10nm"
    ignored = dict.fromkeys(names, NOT_ANNOTATED)

    def of(start: Int3, stop: Int3) -> dict[str, Any]:
        annotation = {"present": None, "absent": None, "unknown": None, "ignore": ignored}
        return {**region(cell, start, stop, names), "annotation": annotation}

    changes = {
        "organelles": names,
        "channels": {name: channel(name, "sigmoid") for name in names},
        "class_weights": (1.0,) * len(names),
        "regions": {"training": of((0, 0, 0), (50, 264, 512))},
        **{"min_class_fraction": 0.01, "max_class_fraction": 0.99, "exclude_inwards": 0, "exclude_outwards": 0},
    }
    return [Trial("all six", changes, {"strip": of((0, 312, 0), (50, 384, 512))})]


def annotations(data: Path, run: Callable[..., None]) -> list[Trial]:
    """Exact labels of one simulated cell, loose ones, strokes as they are, and what the minimum cut makes of strokes.

    All are of the same part of the cell and are scored on exact labels of another. `annotations.json` in the folder
    `drawn` beside the cell holds the time that each takes an annotator for the whole cell, of which 5 / 8 are trained
    on; a cut takes that of its strokes.
    """
    cell = simulated(data, run, "cf", *TISSUES["cf"])
    training, scored = ((0, 0, 0), (128, 160, 256)), ((0, 192, 0), (128, 256, 256))
    drawn = data / "drawn"
    run(_drawing(cell), drawn)
    run(_cutting(cell, drawn, training), data / "cut")
    exact = region(cell, *training)

    def of(labels: str) -> dict[str, Any]:
        given = {"labels": {"mito": f"{labels}/labels"}, "mask": f"{labels}/mask"}
        # Most of a crop is not annotated where there are only strokes.
        return {"regions": {"training": {**exact, **given}}, "min_known": 0.0}

    made = {name: f"{drawn}/{name}.zarr" for name in ("exact", "loose", "sparse")}
    made |= {f"cut of {name}": f"{data}/cut/cut.zarr/{name}" for name in ("sparse", "denser")}
    return [Trial(name, of(labels), {"held_out": region(cell, *scored)}) for name, labels in made.items()]


def _drawing(cell: str) -> dict[str, Any]:
    """Returns a config of stage simulate_annotations: exact, loose, and strokes on every 16th and every 8th section."""
    content = config_of("simulate_annotations")
    kinds = content["annotations"]
    dense = {**kinds["strokes"], "strokes": {**kinds["strokes"]["strokes"], "section_step": 8}}
    kinds = {"exact": kinds["exact"], "loose": kinds["loose"], "sparse": kinds["strokes"], "denser": dense}
    for name, kind in kinds.items():
        kind |= {"labels": f"{cell}/labels/mito", "target": f"{{workdir}}/{name}.zarr"}
    del content["volume"], content["organelle"]
    return {**content, "annotations": kinds}


def _cutting(cell: str, drawn: Path, box: tuple[Int3, Int3]) -> dict[str, Any]:
    """Returns a config of stage annotate: a cut for each of the two sets of strokes, in the part that is trained on."""
    content = config_of("annotate")["annotate"]
    one = content["annotations"]["mito"]
    content["annotations"] = {
        name: {
            **one,
            **{"strokes": f"{drawn}/{name}.zarr/labels", "mask": f"{drawn}/{name}.zarr/mask"},
            "target": f"{{workdir}}/cut.zarr/{name}",
        }
        for name in ("sparse", "denser")
    }
    content["supervoxels"]["target"] = "{workdir}/cut.zarr/supervoxels"
    return {"stage": "annotate", **content, "raw": f"{cell}/raw", "start": box[0], "stop": box[1]}


EXPERIMENTS: dict[str, Experiment] = {
    experiment.__name__: experiment for experiment in (preparations, epfl, designs, organelles, annotations)
}


def settings(trial: Trial, seed: int, steps: int, model: Path | None) -> dict[str, Any]:
    """Returns the config of a trial: stage train alone, without validation."""
    base = config_of("train_cf")["train"]
    count = round(steps * trial.share)
    budget = {
        "network": {**base["network"], "num_maps": MAPS},
        **{"learning_rate": 6e-4, "warmup_steps": 20},
        "seed": seed,
        "num_train_steps": count,
        "log_every": math.gcd(count, base["log_every"]),
        "checkpoint_every": count,
        "validate_every": count,
        "validation_regions": {},
        "init_from": None if model is None else str(model),
    }
    return {"stages": ["train"], "train": {**base, **budget, **trial.changes}}


def region(cell: str, start: Int3, stop: Int3, names: tuple[str, ...] = ("mito",)) -> dict[str, Any]:
    """Returns a box of a container, with the labels of some organelles."""
    labels = {name: f"{cell}/labels/{name}" for name in names}
    rest = {"mask": None, "annotation": None, "weight": None}
    return {"raw": f"{cell}/raw", "labels": labels, "start": start, "stop": stop, **rest}


def channel(name: str, kind: str) -> dict[str, Any]:
    """Returns the channel of an organelle with labels of its own."""
    own = {"kind": kind, "labels": name, "ids": None, "generic_ids": (), "parent": None}
    return {**own, "scale_nm": 50.0, "added_nm": 0.0, "offset": None}


def simulated(data: Path, run: Callable[..., None], name: str, config: str, changes: Mapping[str, Any]) -> str:
    """Returns the container of a simulated cell, made now unless it is there: a config, and what differs in it."""
    content = config_of(config)
    content = {"stage": "simulate", **content["simulate"]} if "stages" in content else content
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, Mapping) else value
    run({**content, "container": "{workdir}/cell.zarr"}, data / name)
    return f"{data / name}/cell.zarr"


def converted(data: Path, run: Callable[..., None], names: tuple[str, ...]) -> str:
    """Returns the container of the EPFL volume at 5 nm and, below 10nm, at 10 nm; made now unless it is there."""
    content = config_of("train_lucchi_mito")
    convert, preprocess = content["convert"], content["preprocess"]
    file = convert["volumes"].pop("mito")
    copy = preprocess["volumes"].pop("mito")
    for name in names:
        stem = "lucchi_training_mito" if name == "mito" else f"lucchi_training_z000-099_multi_{name}"
        places = {"source": f"{{data_dir}}/{stem}.tif", "target": f"{{workdir}}/lucchi.zarr/labels/{name}"}
        convert["volumes"][name] = {**file, **places}
        places = {"source": places["target"], "target": f"{{workdir}}/lucchi.zarr/10nm/labels/{name}"}
        preprocess["volumes"][name] = {**copy, **places}
    folder = data / ("epfl" if names == ("mito",) else "epfl_organelles")
    stages = {"stages": ["convert", "preprocess"], "convert": convert, "preprocess": preprocess}
    run({"data_dir": os.environ.get("ASEM_JAX_DATA", "data"), **stages}, folder)
    return f"{folder}/lucchi.zarr"


def changed_copy(cell: str, *, contrast: float, shift: float, noise: float) -> str:
    """Returns the address of raw with other contrast (around grey 128), brightness and Gaussian noise."""
    raw, address = open_volume(f"{cell}/raw"), f"{cell}/harder"
    if not Path(address).exists():
        grey = raw.read(raw.box).astype(np.float64)
        grey = 128 + contrast * (grey - 128) + shift + noise * np.random.default_rng(0).standard_normal(grey.shape)
        copy = create_volume(
            address,
            shape=raw.shape,
            dtype="uint8",
            voxel_size_nm=raw.voxel_size_nm,
            offset_nm=raw.offset_nm,
        )
        copy.write(raw.box, np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return address
