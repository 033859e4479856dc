"""A study from annotated labels to pictures, in parts that docs/whole_study.md and whole_study_epfl.md run.

whole_study.py:mito and :er are one organelle each of a simulated cell: a network, objects and scores of what it
predicted. :cell is the cell with both: predicted in one reading of raw, superimposed, measured, shown. :lucchi is all
of it in one go for mitochondria of the EPFL hippocampus volume at 10 nm. Each trains for some minutes, so scores are
those of a try; for a good one take more steps, as configs/train_lucchi_mito.py does.

A network is trained on the box `train`; checkpoint and threshold are chosen on `choose`, by labels of the annotator
too; known labels are looked at in the box `score` alone.

Result:   F1 on `score` outside the exclusion zone: mito 0.915 (best threshold on smoothed grey values 0.844), er 0.158
          (0.124; no zone), lucchi 0.738 (0.563). 5, 7 and 8 minutes of processor time.
          benchmarks/results/whole_study.json, whole_study_epfl.json
Data:     what the steps before it in these guides make; :lucchi begins with the volume of Lucchi et al., IEEE TMI 2012.
Command:  bash launch/local.sh --config configs/whole_study.py --workdir runs/study_mito
          Another part by its name behind the file: configs/whole_study.py:er
"""

import math
from typing import Literal

from ml_collections import ConfigDict

Section = dict[str, object]

STORAGE = {"chunk_shape": (64, 64, 64), "shard_shape": None, "zarr_format": 2, "num_threads": 2, "cluster": None}
CELL = "runs/study_data/cell.zarr"
PREDICTIONS = "{workdir}/predictions.zarr"
TOGETHER = "{workdir}/superimposed.zarr/cell"
CELL_BOXES = {
    "train": {"start": (0, 0, 0), "stop": (64, 144, 192)},
    "choose": {"start": (0, 168, 0), "stop": (64, 208, 192)},
    "score": {"start": (0, 232, 0), "stop": (64, 288, 192)},
}
LUCCHI_BOXES = {
    "train": {"start": (0, 0, 0), "stop": (83, 144, 256)},
    "choose": {"start": (0, 168, 0), "stop": (83, 208, 256)},
    "score": {"start": (0, 232, 0), "stop": (83, 384, 512)},
}
# As in configs/postprocess_mito.py and configs/postprocess_er.py, but smaller objects are kept.
MITO = {
    "smoothing_nm": 12.0,
    "fill_holes_nm3": 5e6,
    "objects": {"connectivity": 6, "min_nm3": 4e6, "split_depth_nm": 60.0, "split_reach_nm": 240.0},
}
ER = {
    "smoothing_nm": None,
    "fill_holes_nm3": None,
    "objects": {"connectivity": 26, "min_nm3": 1e5, "split_depth_nm": None, "split_reach_nm": None},
}


def get_config(part: Literal["mito", "er", "cell", "lucchi"] = "mito") -> ConfigDict:
    """Returns the config of a part; lengths are nm, volumes nm^3, boxes are voxels of 10 nm, z y x."""
    return ConfigDict({"mito": mito, "er": er, "cell": cell, "lucchi": lucchi}[part]())


def mito() -> Section:
    """Returns mitochondria of the simulated cell, learned from labels that were cut from strokes."""
    return {
        "stages": ("train",),
        "cell": CELL,
        "annotated": "runs/study_annotated/annotations.zarr/mito",
        "prediction": "runs/study_cell/predictions.zarr/mito",
        "train": train("mito", CELL_BOXES, zone=4, num_steps=200),
        "postprocess": postprocess(MITO, CELL_BOXES, zone=4),
        "evaluate": evaluate("mito", CELL_BOXES, zone=4)
        | {"compared": superimposed("runs/study_cell/superimposed.zarr/cell/mito")},
        "report": report("Mitochondria of a simulated cell", "mito", CELL_BOXES, zone=4),
    }


def er() -> Section:
    """Returns reticulum of the simulated cell, learned from outlines on every section."""
    return {
        "stages": ("train",),
        "cell": CELL,
        "annotated": "runs/study_er_outlines/exact.zarr",
        "prediction": "runs/study_cell/predictions.zarr/er",
        "train": train("er", CELL_BOXES, zone=0, num_steps=250),
        "postprocess": postprocess(ER, CELL_BOXES, zone=0),
        "evaluate": evaluate("er", CELL_BOXES, zone=0)
        | {"compared": superimposed("runs/study_cell/superimposed.zarr/cell/er")},
        "report": report("Reticulum of a simulated cell", "er", CELL_BOXES, zone=0),
    }


def cell() -> Section:
    """Returns the simulated cell with both organelles: predicted, superimposed, measured, shown."""
    claims = {
        name: {
            "segmentation": f"{PREDICTIONS}/{name}/recipe/segmentation",
            "probability": f"{PREDICTIONS}/{name}/probability",
            "objects": f"{PREDICTIONS}/{name}/recipe/objects",
        }
        for name in ("mito", "er")
    }
    objects = {name: f"{TOGETHER}/{name}/objects" for name in claims}
    layer = {"color": None, "visible": True}
    return {
        "stages": ("predict",),
        "cell": CELL,
        "predict": predict({"mito": "runs/study_mito", "er": "runs/study_er"}, PREDICTIONS),
        "superimpose": {
            "volumes": claims,
            "rules": {},
            "priority": (),
            "target": TOGETHER,
            "block_shape": None,
            **STORAGE,
        },
        "analyse": analyse(objects) | {"contacts": {"mito_er": {"first": "mito", "second": "er", "within_nm": 30.0}}},
        "report": {
            "title": "Mitochondria and reticulum of a simulated cell",
            "raw": "{cell}/raw",
            "segmentation": None,
            "regions": {},
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "planes_per_axis": 0,
            "picture_shape": (64, 288, 192),
            "block_shape": (64, 64, 64),
            "num_worst_blocks": 0,
            "objects": {"organelles": f"{TOGETHER}/labels", **objects},
            "runs": {"mito": "runs/study_mito", "er": "runs/study_er"},
            "pictures": (),
        },
        "view": {
            "layers": {
                "raw": {"source": "{cell}/raw", "kind": "raw", **layer},
                **{name: {"source": address, "kind": "objects", **layer} for name, address in objects.items()},
            },
            "position_nm": None,
            "width_nm": None,
            "client": None,
            "host": "127.0.0.1",
            "port": 0,
            "seconds": None,
        },
    }


def lucchi() -> Section:
    """Returns mitochondria of the EPFL volume: trained, predicted in all of it, scored where nobody annotated."""
    return {
        "stages": ("train", "predict", "postprocess", "evaluate", "analyse", "report"),
        "cell": "runs/study_lucchi_data/lucchi.zarr/10nm",
        "annotated": "runs/study_lucchi_annotated/annotations.zarr/mito",
        "prediction": "{workdir}/predictions.zarr/mito",
        "train": train("mito", LUCCHI_BOXES, zone=2, num_steps=300),
        "predict": predict("{workdir}", f"{PREDICTIONS}/mito"),
        "postprocess": postprocess(MITO, LUCCHI_BOXES, zone=2),
        "evaluate": evaluate("mito", LUCCHI_BOXES, zone=2),
        "analyse": analyse({"mito": f"{PREDICTIONS}/mito/recipe/objects"}),
        "report": report("Mitochondria of the EPFL hippocampus volume", "mito", LUCCHI_BOXES, zone=2)
        | {"objects": {"mito": f"{PREDICTIONS}/mito/recipe/objects"}},
    }


def predict(model: object, target: str) -> Section:
    """Returns a prediction of all of the equalised raw."""
    volume = {"raw": "{cell}/raw_equalised", "target": target, "mask": None, "start": None, "stop": None}
    return {
        "model": model,
        "symmetries": "none",
        "thresholds": {},
        "tiling": "seamless",
        "equalise": True,
        "exports": (),
        "dry_run": False,
        "seams": None,
        "volumes": {"cell": volume},
        "write_shape": None,
        "retries": 2,
        "shard": None,
        "cluster": None,
    }


def postprocess(recipe: Section, boxes: dict[str, Section], *, zone: int) -> Section:
    """Returns objects of a recipe, at the threshold that is best for the annotator's labels in the box `choose`."""
    annotated = {"labels": "{annotated}/labels", "mask": "{annotated}/mask", **boxes["choose"]}
    return {
        "probability": "{prediction}/probability",
        "target": "{prediction}/recipe",
        "voxel_size_nm": None,
        "threshold": None,
        "threshold_probability": None,
        "threshold_regions": {"annotated": annotated},
        "exclude_inwards": zone,
        "exclude_outwards": zone,
        "block_shape": None,
        "retries": 2,
        **recipe,
        **STORAGE,
    }


def evaluate(organelle: str, boxes: dict[str, Section], *, zone: int) -> Section:
    """Returns scores in the box that nobody annotated, by the known labels."""
    return {
        "segmentation": "{prediction}/recipe/segmentation",
        "raw": "{cell}/raw",
        "regions": {"held_out": {"labels": f"{{cell}}/labels/{organelle}", "mask": None, **boxes["score"]}},
        "exclude_inwards": zone,
        "exclude_outwards": zone,
        "baseline_sigmas": (0.0, 1.0, 2.0, 4.0),  # voxels
        "block_shape": (128, 128, 128),
        "compared": {},
        "distance_cap_nm": 200.0,
        "tolerances_nm": (20.0,),
        "iou_thresholds": (),
        "min_object_voxels": 0,
        "bootstrap_samples": 1000,
        "bootstrap_cell_shape": (32, 64, 64),  # voxels
        "bootstrap_seed": 0,
    }


def superimposed(address: str) -> Section:
    """Returns what is scored beside the prediction of one network: what superimposing left of it."""
    return {"superimposed": {"kind": "segmentation", "address": f"{address}/segmentation", "threshold": None}}


def analyse(objects: dict[str, str]) -> Section:
    """Returns the measurement of objects: sizes, shapes, grey values."""
    return {
        "objects": objects,
        "raw": "{cell}/raw",
        "pores": None,
        "pits": None,
        "contacts": {},
        "tables": ("csv",),
        "block_shape": (128, 128, 128),
        "num_threads": 2,
        "cluster": None,
    }


def report(title: str, organelle: str, boxes: dict[str, Section], *, zone: int) -> Section:
    """Returns a page with scores, curves and planes of the box that is scored."""
    return {
        "title": title,
        "raw": "{cell}/raw",
        "segmentation": "{prediction}/recipe/segmentation",
        "regions": {"held_out": {"labels": f"{{cell}}/labels/{organelle}", "mask": None, **boxes["score"]}},
        "exclude_inwards": zone,
        "exclude_outwards": zone,
        "planes_per_axis": 1,
        "picture_shape": (83, 300, 512),
        "block_shape": (32, 56, 64),
        "num_worst_blocks": 2,
        "objects": {},
        "runs": {},
        "pictures": (),
    }


def train(organelle: str, boxes: dict[str, Section], *, zone: int, num_steps: int) -> Section:
    """Returns a training with the settings of configs/quickstart.py, for fewer steps."""
    volumes = {
        "raw": "{cell}/raw_equalised",
        "labels": {organelle: "{annotated}/labels"},
        "mask": "{annotated}/mask",
        "annotation": None,
        "weight": None,
    }
    return {
        "seed": 0,
        "organelles": (organelle,),
        "channels": None,
        "voxel_size_nm": (10.0, 10.0, 10.0),
        "polarity": "membranes dark, cytosol bright",
        "regions": {"annotated": {**volumes, **boxes["train"]}},
        "validation_regions": {"annotated": {**volumes, **boxes["choose"]}},
        "incasem": None,
        "network": {
            "num_maps": 12,
            "map_growth": 2,
            "pool_factors": ((2, 2, 2), (2, 2, 2)),
            "kernel_sizes": (3, 3, 3),
            "padding": "valid",
            "decoder_maps": None,
            "upsampling": "repeat",
            "head_kernel_size": (3, 3, 3),
            "rematerialize": False,
        },
        "kernel_gain": math.sqrt(6),
        "compute_dtype": "float32",
        "input_shape": (84, 84, 84),
        "batch_size": 1,
        "num_train_steps": num_steps,
        "learning_rate": 6e-4,
        "final_learning_rate": 1e-5,
        "weight_decay": 3e-5,
        "max_gradient_norm": 0.5,
        "warmup_steps": 0,
        "adam_betas": (0.9, 0.999),
        "ema_decay": None,
        "crops_at_once": None,
        "frozen": (),
        "max_skipped_steps": 10,
        "min_class_fraction": 0.1,
        "max_class_fraction": 0.9,
        "class_weights": (1.0, 0.4),
        "class_fractions": None,
        "losses": None,
        "min_foreground": 0.05,
        "reject_probability": 0.9,
        "min_known": 0.0,
        "favoured": None,
        "favoured_probability": 0.5,
        "overfit_one_crop": False,
        "mirror_axes": (0, 1, 2),
        "intensity_scale": 0.15,
        "intensity_shift": 0.15,
        "elastic": None,
        "gamma": None,
        "noise_std": None,
        "defects": None,
        "batches_ahead": 4,
        "reader_threads": 1,
        "log_every": 10,
        "checkpoint_every": 50,
        "validate_every": 50,
        "stop_after": None,
        "images_every": None,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
        "exclude_inwards": zone,
        "exclude_outwards": zone,
    }
