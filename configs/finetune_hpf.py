"""Fine-tuning on a new cell: the model of chemically fixed tissue, 2 um^3 of high-pressure frozen tissue, 5000 steps.

Begins with the parameters of configs/train_cf.py, which knows nothing of this preparation, and trains on 126 voxels of
10 nm per axis of the volume of configs/simulate_hpf.py. The threshold is the best one for the same 2 um^3; the score is
taken where configs/predict_hpf.py takes it.

Result:   with --config.train.num_train_steps=500 F1 0.551 outside a 4-voxel exclusion zone, 0.475 without it; the model
          it begins with scores 0.126 there. benchmarks/results/finetune_hpf.json. 5000 steps have not been run.
Data:     runs/simulate_hpf, made by configs/simulate_hpf.py, or the run folder named by data_dir.
Command:  bash launch/local.sh --config configs/finetune_hpf.py --workdir runs/finetune_hpf
"""

import math

from ml_collections import ConfigDict

CELL = "{data_dir}/hpf.zarr"
PREDICTION = "{workdir}/prediction.zarr/mito"


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, boxes are voxels of 10 nm, z y x."""
    labels = f"{CELL}/labels/mito"
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("train", "predict", "postprocess", "evaluate"),
            "data_dir": "runs/simulate_hpf",
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
                    "hpf": {"raw": f"{CELL}/raw", "target": PREDICTION, "mask": None, "start": None, "stop": None},
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
                    "annotated": {"labels": labels, "mask": None, "start": (0, 0, 0), "stop": (126, 126, 126)}
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
    """Returns the training of configs/train_cf.py, begun where that ended; a lower learning rate spoils less of it."""
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
        "regions": {"annotated": {**volumes, "start": (0, 0, 0), "stop": (126, 126, 126)}},
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
        "num_train_steps": 5000,
        "learning_rate": 2e-4,
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
        "init_from": "runs/train_cf",
        "init_new": (),
        "init_optimizer": False,
    }
