"""From a converted stack to a scored segmentation and to TIFF; the second step of docs/your_own_stack.md.

Trains on the box TRAIN, predicts all of raw, thresholds, scores on the box SCORE, writes a report, and saves
the segmentation as one TIFF file. As it stands it reads what configs/convert_tiff.py wrote. For your own data
copy this file and change `cell`, VOXEL_SIZE_NM, the boxes and `polarity`.

Command:  bash launch/local.sh --config configs/train_tiff.py --workdir runs/tiff_mito
"""

import math

from ml_collections import ConfigDict

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)  # z y x
# First voxel and one past the last, z y x, with the network's context (21 voxels) between the two boxes.
TRAIN = {"start": (0, 0, 0), "stop": (64, 112, 128)}
SCORE = {"start": (0, 136, 0), "stop": (64, 192, 128)}
PREDICTION = "{workdir}/predictions.zarr/mito"
SEGMENTATION = f"{PREDICTION}/thresholded/segmentation"


def get_config() -> ConfigDict:
    """Returns the config; labels cover all of raw, so boxes count the same voxels in both."""
    labels = "{cell}/labels/mito"
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("train", "predict", "postprocess", "evaluate", "report", "convert"),
            "cell": "runs/tiff_data/cell.zarr",
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
                    "cell": {"raw": "{cell}/raw", "target": PREDICTION, "mask": None, "start": None, "stop": None},
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
                "threshold": 0.5,  # None = best F1 on threshold_regions; that of TRAIN comes out too high
                "threshold_probability": None,
                "threshold_regions": {"held_out": {"labels": labels, "mask": None, **SCORE}},
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
                "segmentation": SEGMENTATION,
                "raw": "{cell}/raw",
                "regions": {"held_out": {"labels": labels, "mask": None, **SCORE}},
                "baseline_sigmas": (0.0, 1.0, 2.0, 4.0),  # voxels
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
                "title": "Mitochondria",
                "raw": "{cell}/raw",
                "segmentation": SEGMENTATION,
                "regions": {"held_out": {"labels": labels, "mask": None, **SCORE}},
                "planes_per_axis": 1,
                "picture_shape": (256, 256, 256),
                "block_shape": (64, 64, 64),
                "num_worst_blocks": 3,
                "objects": {},
                "runs": {},
                "pictures": (),
                **exclusion_zone,
            },
            "convert": {
                "volumes": {},
                "exports": {"mito": {"source": SEGMENTATION, "target": "{workdir}/mito.tif", "labels": True}},
                "num_threads": 2,
                "retries": 2,
                "cluster": None,
            },
        }
    )


def train() -> dict[str, object]:
    """Returns a training that fits a laptop; what each entry means is in asem_jax/settings."""
    volumes = {
        "raw": "{cell}/raw",
        "labels": {"mito": "{cell}/labels/mito"},
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
        "regions": {"annotated": {**volumes, **TRAIN}},
        "validation_regions": {"held_out": {**volumes, **SCORE}},
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
        "num_train_steps": 500,
        "learning_rate": 2e-3,
        "final_learning_rate": 1e-5,
        "weight_decay": 3e-5,
        "max_gradient_norm": 1.0,
        "warmup_steps": 0,
        "adam_betas": (0.9, 0.999),
        "ema_decay": None,
        "crops_at_once": None,
        "frozen": (),
        "max_skipped_steps": 10,
        "min_class_fraction": 0.01,
        "max_class_fraction": 0.99,
        "class_weights": (1.0, 1.0),
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
        "validate_every": 250,
        "stop_after": None,
        "images_every": None,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
    }
