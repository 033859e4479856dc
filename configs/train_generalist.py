"""One model for two preparations: trained on chemically fixed and on high-pressure frozen tissue, scored on both.

The regions are those of configs/train_cf.py, once in each of the two volumes; crops come from either as often. Steps,
network and learning rate are those of configs/train_cf.py too, so that each preparation has half as many steps. The
threshold is the best one for the training part of the preparation that is scored.

Result:   none yet.
Data:     runs/simulate_cf and runs/simulate_hpf, made by the configs of these names, or the run folders named by cf_dir
          and hpf_dir.
Command:  bash launch/local.sh --config configs/train_generalist.py --workdir runs/generalist
          and then, to score the same model on the other: --config configs/train_generalist.py:hpf, same --workdir
"""

import math
from typing import Literal

from ml_collections import ConfigDict

CELLS = {"cf": "{cf_dir}/cf.zarr", "hpf": "{hpf_dir}/hpf.zarr"}


def get_config(scored: Literal["cf", "hpf"] = "cf") -> ConfigDict:
    """Returns the config; `scored` is cf or hpf. Lengths are nm, boxes are voxels of 10 nm, z y x."""
    cell, prediction = CELLS[scored], f"{{workdir}}/{scored}.zarr/mito"
    labels = f"{cell}/labels/mito"
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("train", "predict", "postprocess", "evaluate"),
            "cf_dir": "runs/simulate_cf",
            "hpf_dir": "runs/simulate_hpf",
            "train": train() | exclusion_zone,
            "predict": {
                "model": "{workdir}",
                "symmetries": "none",
                "thresholds": {},
                "tiling": "seamless",
                "equalise": True,
                "exports": (),
                "dry_run": False,
                "seams": None,
                "volumes": {
                    scored: {"raw": f"{cell}/raw", "target": prediction, "mask": None, "start": None, "stop": None},
                },
                "write_shape": None,
                "retries": 2,
                "shard": None,
                "cluster": None,
            },
            "postprocess": {
                "probability": f"{prediction}/probability",
                "target": f"{prediction}/thresholded",
                "voxel_size_nm": None,
                "threshold": None,
                "threshold_probability": None,
                "threshold_regions": {
                    "training": {"labels": labels, "mask": None, "start": (0, 0, 0), "stop": (128, 160, 256)}
                },
                "smoothing_nm": None,
                "fill_holes_nm3": None,
                "objects": None,
                "block_shape": None,
                "chunk_shape": (64, 64, 64),
                "shard_shape": None,
                "zarr_format": 2,
                "num_threads": 2,
                "retries": 2,
                "cluster": None,
                **exclusion_zone,
            },
            "evaluate": {
                "segmentation": f"{prediction}/thresholded/segmentation",
                "raw": f"{cell}/raw",
                "regions": {
                    "held_out": {"labels": labels, "mask": None, "start": (0, 192, 0), "stop": (128, 256, 256)}
                },
                "baseline_sigmas": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0),
                "block_shape": (128, 128, 128),
                "compared": {},
                "distance_cap_nm": None,
                "tolerances_nm": (),
                "iou_thresholds": (),
                "min_object_voxels": 0,
                "bootstrap_samples": 0,
                "bootstrap_cell_shape": (64, 64, 64),
                "bootstrap_seed": 0,
                **exclusion_zone,
            },
        }
    )


def train() -> dict[str, object]:
    """Returns the training of configs/train_cf.py, with two regions in place of one."""
    volumes = {
        name: {
            "raw": f"{cell}/raw",
            "labels": {"mito": f"{cell}/labels/mito"},
            "mask": None,
            "annotation": None,
            "weight": 1.0,
        }
        for name, cell in CELLS.items()
    }
    return {
        "seed": 0,
        "organelles": ("mito",),
        "channels": None,
        "voxel_size_nm": (10.0, 10.0, 10.0),
        "polarity": "membranes dark",
        "regions": {name: {**own, "start": (0, 0, 0), "stop": (128, 160, 256)} for name, own in volumes.items()},
        "validation_regions": {
            name: {**own, "start": (0, 160, 0), "stop": (128, 192, 256)} for name, own in volumes.items()
        },
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
        "num_train_steps": 1000,
        "learning_rate": 5e-4,
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
        "log_every": 25,
        "checkpoint_every": 100,
        "validate_every": 200,
        "stop_after": None,
        "images_every": None,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
    }
