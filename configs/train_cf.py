"""Mitochondria of simulated chemically fixed tissue: training, prediction and score.

Trains on y 0-159 of the volume of configs/simulate_cf.py, which also sets the threshold, chooses the checkpoint on
y 160-191 and scores on y 192-255. The network fits two CPU cores and has the shape of that in
configs/train_lucchi_mito.py, which can begin with its parameters (docs/simulation.md).

Result:   F1 0.854 on the held-out part outside a 4-voxel exclusion zone, 0.743 without it.
          benchmarks/results/train_cf.json
Data:     runs/simulate_cf, made by configs/simulate_cf.py, or the run folder named by data_dir.
Command:  bash launch/local.sh --config configs/train_cf.py --workdir runs/train_cf
"""

import math

from ml_collections import ConfigDict

CELL = "{data_dir}/cf.zarr"
PREDICTION = "{workdir}/prediction.zarr/mito"


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, boxes are voxels of 10 nm, z y x."""
    labels = f"{CELL}/labels/mito"
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("train", "predict", "postprocess", "evaluate"),
            "data_dir": "runs/simulate_cf",
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
                    "cf": {"raw": f"{CELL}/raw", "target": PREDICTION, "mask": None, "start": None, "stop": None},
                },
                "write_shape": None,
                "retries": 2,
                "shard": None,
                "cluster": None,
            },
            "postprocess": {
                "probability": f"{PREDICTION}/probability",
                "target": f"{PREDICTION}/thresholded",
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
                "segmentation": f"{PREDICTION}/thresholded/segmentation",
                "raw": f"{CELL}/raw",
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
    """Returns a training like that of the quickstart, with more and smaller steps: this tissue is harder."""
    volumes = {
        "raw": f"{CELL}/raw",
        "labels": {"mito": f"{CELL}/labels/mito"},
        "mask": None,
        "annotation": None,
        "weight": None,
    }
    return {
        "seed": 0,
        "organelles": ("mito",),
        "channels": None,
        "voxel_size_nm": (10.0, 10.0, 10.0),
        "polarity": "membranes dark, cytosol bright",
        "regions": {"training": {**volumes, "start": (0, 0, 0), "stop": (128, 160, 256)}},
        "validation_regions": {"strip": {**volumes, "start": (0, 160, 0), "stop": (128, 192, 256)}},
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
