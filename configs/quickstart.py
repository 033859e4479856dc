"""Quickstart: from nothing to a scored segmentation of mitochondria, on a simulated cell.

Simulates a FIB-SEM-like volume, trains a small U-Net on one part of it, predicts all of it, thresholds, scores on the
part that was not trained on and writes a report.

Result:   F1 0.922 on the held-out part outside a 4-voxel exclusion zone, 0.924 without it; the best threshold on
          smoothed grey values reaches 0.549. All stages took 10 min 31 s on 2 CPU cores that did other work too.
          benchmarks/results/quickstart.json
Command:  bash launch/local.sh --config configs/quickstart.py --workdir runs/quickstart
"""

import math

from ml_collections import ConfigDict

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)
CELL = "{workdir}/cell.zarr"
PREDICTION = "{workdir}/cell.zarr/predictions/mito"


def get_config() -> ConfigDict:
    """Returns the config; y 0-191 is trained on and sets the threshold, 192-223 validates, 224-287 is scored."""
    held_out = {"labels": f"{CELL}/labels/mito", "mask": None, "start": (0, 224, 0), "stop": (128, 288, 256)}
    trained_on = {"labels": f"{CELL}/labels/mito", "mask": None, "start": (0, 0, 0), "stop": (128, 192, 256)}
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("simulate", "train", "predict", "postprocess", "evaluate", "report"),
            "simulate": simulate(),
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
                    "cell": {"raw": f"{CELL}/raw", "target": PREDICTION, "mask": None, "start": None, "stop": None},
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
                "threshold_regions": {"trained_on": trained_on},
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
                "regions": {"held_out": held_out},
                "baseline_sigmas": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0),
                "block_shape": (128, 128, 128),
                "compared": {},
                "distance_cap_nm": 200.0,
                "tolerances_nm": (40.0,),
                "iou_thresholds": (0.5,),
                "min_object_voxels": 0,
                "bootstrap_samples": 1000,
                "bootstrap_cell_shape": (32, 64, 64),  # voxels
                "bootstrap_seed": 0,
                **exclusion_zone,
            },
            "report": {
                "title": "Quickstart: mitochondria in a simulated cell",
                "raw": f"{CELL}/raw",
                "segmentation": f"{PREDICTION}/thresholded/segmentation",
                "regions": {"held_out": held_out},
                "planes_per_axis": 1,
                "picture_shape": (256, 256, 256),
                "block_shape": (64, 64, 64),
                "num_worst_blocks": 3,
                "objects": {},
                "runs": {},
                "pictures": (),
                **exclusion_zone,
            },
        }
    )


def simulate() -> dict[str, object]:
    """Returns the simulated cell: mitochondria among membranes, vesicles, look-alikes and dark cytosol."""
    return {
        "container": CELL,
        "shape": (128, 288, 256),
        "voxel_size_nm": VOXEL_SIZE_NM,
        "seed": 1,
        "block_shape": (64, 64, 64),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
        "organelles": ("mito",),
        "whole_cell": None,
        "cell": {
            "mitochondria_per_um3": 20.0,
            "mitochondrion_radius_nm": (110.0, 165.0),
            "mitochondrion_length_nm": (300.0, 1000.0),
            "branched_share": 0.25,
            "cristae_spacing_nm": (60.0, 85.0),
            "bodies_per_um3": 8.0,
            "body_radius_nm": (60.0, 120.0),
            "matrix_grey": (120.0, 155.0),
            "body_grey": (90.0, 210.0),
            "vesicles_per_um3": 60.0,
            "vesicle_radius_nm": (25.0, 45.0),
            "process_nm": 400.0,
            "process_tone_grey": (-45.0, 15.0),
            "er_nm": 260.0,
            "membrane_nm": 20.0,
            "membrane_grey": 45.0,
            "cytosol_grey": 185.0,
            "texture_grey": 11.0,
            "wobble_nm": 10.0,
        },
        "preparation": {
            "shrinkage": 1.0,
            "strand_grey": 0.0,
            "strand_nm": 45.0,
            "hole_share": 0.0,
            "hole_nm": 70.0,
            "hole_grey": 205.0,
            "ribosome_grey": 0.0,
            "ruffle_nm": 0.0,
            "ruffle_pitch_nm": 50.0,
            "fade": 0.0,
            "fade_nm": 90.0,
            "extracellular_nm": 0.0,
            "extracellular_grey": 200.0,
        },
        "microscope": {
            "blur_nm": 8.0,
            "depth_samples": 1,
            "charging": 0.0,
            "charging_greys": (90.0, 185.0),
            "charging_nm": 30.0,
            "streak_nm": 200.0,
            "shift_nm": 0.0,
            "shot_noise_grey": 8.0,
            "drift_grey": 5.0,
            "drift_contrast": 0.05,
            "drift_nm": 250.0,
            "curtain_grey": 1.5,
            "window_grey": (0.0, 255.0),
        },
    }


def train() -> dict[str, object]:
    """Returns a training that fits a laptop: a narrow network with two poolings, small crops, a high rate."""
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
        "voxel_size_nm": VOXEL_SIZE_NM,
        "polarity": "membranes dark, cytosol bright",
        "regions": {"cell": {**volumes, "start": (0, 0, 0), "stop": (128, 192, 256)}},
        "validation_regions": {"strip": {**volumes, "start": (0, 192, 0), "stop": (128, 224, 256)}},
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
        "num_train_steps": 560,
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
        "checkpoint_every": 140,
        "validate_every": 280,
        "stop_after": None,
        "images_every": None,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
    }
