"""COSEM's networks of a few related organelles at 4 nm, one per group: the distances of 1 to 4 channels.

The groups, their channels, targets, losses and network are those of Heinrich et al., Nature 2021 (setups 25 to 51).
Ribosomes, nucleoli and centrosomes overlap other labels and have volumes of their own; labels/all is not 0 where
something was annotated. A region per crop goes into `regions`; where a crop was not annotated for all ids of a channel,
`annotation` of its region lists what was, and the channel is left out there.

Differs from the original: brightness is shifted by +-0.35 (there -0.5 to 0.35), kernels begin as He et al. have them,
labels are read at 4 nm (there distances are measured at 2 nm and every second voxel is kept), and microtubules are not
joined with centrosomes, nor these with their appendages. It has not been run: it needs a GPU, and labelled crops.

Data:     cell.zarr in the folder data_dir, with raw, labels/all and, for their groups, labels/ribosomes,
          labels/nucleolus or labels/centrosome, all at 4 nm (stages convert and preprocess).
Command:  bash launch/local.sh --config configs/train_cosem_few.py --workdir runs/cosem_mito --config.data_dir=FOLDER
          For another group give its name behind the file: configs/train_cosem_few.py:golgi
"""

import math
from typing import Literal

from ml_collections import ConfigDict

CELL = "{data_dir}/cell.zarr"
Group = Literal[
    "mito",
    "er",
    "golgi",
    "microtubules",
    "ribosomes",
    "nucleus",
    "NE",
    "chromatin",
    "centrosome",
    "ERES",
    "ecs",
    "MVB",
    "vesicle",
    "LD",
]


def get_config(group: Group = "mito") -> ConfigDict:
    """Returns the config of a group (see `groups`); lengths are nm, boxes are voxels of 4 nm, z y x."""
    return ConfigDict({"stages": ("train",), "data_dir": "data", "train": train(groups()[group])})


def groups() -> dict[str, dict[str, dict[str, object]]]:
    """Returns the channels of each group; most membranes share the balance of their organelle."""
    return {
        "mito": {
            "mito": channel("all", 3, 4, 5),
            "mito_membrane": channel("all", 3, parent="mito"),
            "mito_DNA": channel("all", 5, parent="mito"),
        },
        "er": {"er": channel("all", *range(16, 24)), "er_membrane": channel("all", 16, 18, 20, parent="er")},
        "golgi": {"golgi": channel("all", 6, 7), "golgi_membrane": channel("all", 6)},
        "microtubules": {
            "microtubules": channel("all", 30, 36),
            "microtubules_out": channel("all", 30, parent="microtubules"),
        },
        "ribosomes": {"ribosomes": channel("ribosomes", 34, added_nm=8.0)},
        "nucleus": {"nucleus": channel("all", *range(20, 30), 37), "nucleolus": channel("nucleolus", 29)},
        "NE": {
            "NE": channel("all", *range(20, 24)),
            "NE_membrane": channel("all", 20, 22, 23, parent="NE"),
            "nuclear_pore": channel("all", 22, 23),
            "nuclear_pore_out": channel("all", 22, parent="nuclear_pore"),
        },
        "chromatin": {
            "chromatin": channel("all", *range(24, 28)),
            "NHChrom": channel("all", 25),
            "EChrom": channel("all", 26),
            "NEChrom": channel("all", 27),
        },
        "centrosome": {
            "centrosome": channel("centrosome", 31, added_nm=2.0),
            "distal_app": channel("centrosome", 32),
            "subdistal_app": channel("centrosome", 33),
        },
        "ERES": {"ERES": channel("all", 18, 19), "ERES_membrane": channel("all", 18, parent="ERES")},
        "ecs": {"ecs": channel("all", 1), "plasma_membrane": channel("all", 2)},
        "MVB": {
            "MVB": channel("all", 10, 11),
            "MVB_membrane": channel("all", 10, parent="MVB"),
            "lysosome": channel("all", 12, 13),
            "lysosome_membrane": channel("all", 12, parent="lysosome"),
        },
        "vesicle": {
            "vesicle": channel("all", 8, 9),
            "vesicle_membrane": channel("all", 8, parent="vesicle"),
        },
        "LD": {"LD": channel("all", 14, 15), "LD_membrane": channel("all", 14, parent="LD")},
    }


def channel(labels: str, *ids: int, parent: str | None = None, added_nm: float = 0.0) -> dict[str, object]:
    """Returns a channel that learns tanh of the distance, in units of 50 nm, to the border of what has these ids."""
    return {
        "kind": "distance",
        "labels": labels,
        "ids": ids,
        "generic_ids": (37,) if 37 in ids else (),
        "parent": parent,
        "scale_nm": 50.0,
        "added_nm": added_nm,
        "offset": None,
    }


def train(channels: dict[str, dict[str, object]]) -> dict[str, object]:
    """Returns the training; what each entry means is in asem_jax/settings."""
    labels = {name: f"{CELL}/labels/{name}" for name in sorted({str(entry["labels"]) for entry in channels.values()})}
    # present and absent list what was looked for in a crop: {"present": {"all": (3, 4)}, "absent": {"all": (5,)},
    # "unknown": None, "ignore": None}; None = all ids.
    volumes = {"raw": f"{CELL}/raw", "labels": labels, "mask": f"{CELL}/labels/all", "annotation": None, "weight": None}
    return {
        "seed": 0,
        "organelles": tuple(channels),
        "channels": channels,
        "voxel_size_nm": (4.0, 4.0, 4.0),
        "polarity": "not stated; write down whether membranes are dark or bright",
        "regions": {"crop": {**volumes, "start": None, "stop": None}},
        "validation_regions": {},
        "incasem": None,
        "network": {
            "num_maps": 12,
            "map_growth": 6,
            "pool_factors": ((2, 2, 2), (3, 3, 3), (3, 3, 3)),
            "kernel_sizes": (3, 3, 3),
            "padding": "valid",
            "decoder_maps": (72, 72, 432),
            "upsampling": "constant",
            "head_kernel_size": (1, 1, 1),
            "rematerialize": True,
        },
        "kernel_gain": math.sqrt(6),
        "compute_dtype": "float32",
        "input_shape": (216, 216, 216),  # 36 voxels per axis come out
        "batch_size": 1,
        "num_train_steps": 800_000,
        "learning_rate": 5e-5,
        "final_learning_rate": 5e-5,
        "weight_decay": 0.0,
        "max_gradient_norm": None,
        "warmup_steps": 0,
        "adam_betas": (0.95, 0.999),
        "ema_decay": None,
        "crops_at_once": None,
        "frozen": (),
        "max_skipped_steps": 10,
        "min_class_fraction": 0.05,
        "max_class_fraction": 0.95,
        "class_weights": (1.0,) * len(channels),
        "class_fractions": None,
        "losses": None,
        "min_foreground": 0.0,
        "reject_probability": 0.0,
        "min_known": 0.0,
        "favoured": None,
        "favoured_probability": 0.5,
        "overfit_one_crop": False,
        "mirror_axes": (0, 1, 2),
        "intensity_scale": 0.75,
        "intensity_shift": 0.35,
        "elastic": {
            "probability": 1.0,
            "spacing_nm": (100.0, 100.0, 100.0),
            "jitter_nm": (10.0, 10.0, 10.0),
            "rotation_degrees": 90.0,
            "shift_probability": 0.0,
            "slip_probability": 0.0,
            "max_misalign": 0,
        },
        "gamma": (0.5, 2.0),
        "noise_std": None,
        "defects": None,
        "batches_ahead": 8,
        "reader_threads": 4,
        "log_every": 100,
        "checkpoint_every": 5000,
        "validate_every": 25000,
        "stop_after": None,
        "images_every": None,
        "exclude_inwards": 0,
        "exclude_outwards": 0,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
    }
