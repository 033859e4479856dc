"""A network for mitochondria from labels that were cut from strokes; the last step of docs/tiffs_to_training.md.

Reads the equalised raw of configs/preprocess_tiff.py, and labels and mask of configs/annotate.py: what the mask leaves
out, next to the borders, is not learned from. For your own data copy this file and change `cell`, `annotated`,
VOXEL_SIZE_NM and `polarity`; prediction and scores follow as in configs/train_tiff.py.

Command:  bash launch/local.sh --config configs/train_annotated.py --workdir runs/annotated_mito
"""

import math

from ml_collections import ConfigDict

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)  # z y x
# First voxel and one past the last, z y x, with the network's context (21 voxels) between the two boxes.
TRAIN = {"start": (0, 0, 0), "stop": (64, 112, 128)}
VALIDATE = {"start": (0, 136, 0), "stop": (64, 192, 128)}


def get_config() -> ConfigDict:
    """Returns the config; labels cover all of raw, so boxes count the same voxels in both."""
    return ConfigDict(
        {
            "stage": "train",
            "cell": "runs/tiff_data/cell.zarr",
            "annotated": "runs/tiff_annotated/annotations.zarr/mito",
            **train(),
        }
    )


def train() -> dict[str, object]:
    """Returns a training that fits a laptop; what each entry means is in asem_jax/settings."""
    volumes = {
        "raw": "{cell}/raw_equalised",
        "labels": {"mito": "{annotated}/labels"},
        "mask": "{annotated}/mask",
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
        "validation_regions": {"held_out": {**volumes, **VALIDATE}},
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
        "exclude_inwards": 4,  # voxels at the borders that the validation leaves out
        "exclude_outwards": 4,
    }
