"""The chain of the study of nuclear pores: a network learns from ten pores of one cell and measures those of another.

Trains on the pores in one box of the cell of configs/analyse_pores.py, ten whole and two cut, and chooses the threshold
on three others of that cell; simulates another cell, predicts the part that holds its nucleus, makes objects, scores
them against the truth and measures them. No envelope is predicted, so the normal of a pore is its own shortest axis.
How the measured pores differ from the true ones:

          python -m benchmarks.analysis_truth --predicted runs/study_pores

Result:   40 of 53 pores found, none made up; diameters 85.8 +- 11.7 nm (true: 95.2 +- 10.0). F1 0.761 outside the
          exclusion zone, 0.629 of all voxels. 57 min on one busy CPU core. benchmarks/results/study_pores.json
Source:   Gallusser et al., Journal of Cell Biology 222(2) (2023): nuclear pores learned from few annotated ones.
Data:     runs/pores, made by configs/analyse_pores.py, or the run folder named by data_dir.
Command:  bash launch/local.sh --config configs/study_pores.py --workdir runs/study_pores
"""

import math

from ml_collections import ConfigDict

ANNOTATED, NEW = "{data_dir}/cell.zarr", "{workdir}/cell.zarr"
PREDICTION, TUNING = "{workdir}/prediction.zarr/nuclear_pores", "{workdir}/tuning.zarr/nuclear_pores"
OBJECTS = f"{PREDICTION}/recipe/objects"


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, boxes are voxels of 5 nm, z y x."""
    exclusion_zone = {"exclude_inwards": 2, "exclude_outwards": 2}  # voxels
    truth = f"{NEW}/objects/nuclear_pores"
    predicted = {"start": (64, 64, 64), "stop": (280, 496, 496)}
    tuning = {"start": (184, 396, 316), "stop": (272, 492, 412)}
    return ConfigDict(
        {
            "stages": ("simulate", "train", "predict", "postprocess", "evaluate", "analyse", "report"),
            "data_dir": "runs/pores",
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
                    "tuning": {"raw": f"{ANNOTATED}/raw", "target": TUNING, "mask": None, **tuning},
                    "new": {"raw": f"{NEW}/raw", "target": PREDICTION, "mask": None, **predicted},
                },
                "write_shape": None,
                "retries": 2,
                "shard": None,
                "cluster": None,
            },
            "postprocess": {
                "probability": f"{PREDICTION}/probability",
                "target": f"{PREDICTION}/recipe",
                "voxel_size_nm": None,
                "threshold": None,
                "threshold_probability": f"{TUNING}/probability",
                "threshold_regions": {
                    "three_pores": {"labels": f"{ANNOTATED}/labels/nuclear_pores", "mask": None, **tuning}
                },
                "smoothing_nm": None,
                "fill_holes_nm3": 1.7e5,
                "objects": {"connectivity": 6, "min_nm3": 1e5, "split_depth_nm": None, "split_reach_nm": None},
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
                "segmentation": f"{PREDICTION}/recipe/segmentation",
                "raw": f"{NEW}/raw",
                "regions": {"new": {"labels": truth, "mask": None, **predicted}},
                "baseline_sigmas": (),
                "block_shape": (128, 128, 128),
                "compared": {
                    "objects": {"kind": "objects", "address": OBJECTS, "threshold": None},
                    "at_half": {"kind": "probability", "address": f"{PREDICTION}/probability", "threshold": 0.5},
                },
                "distance_cap_nm": 50.0,
                "tolerances_nm": (10.0,),
                "iou_thresholds": (0.5, 0.75),
                "min_object_voxels": 0,
                "bootstrap_samples": 1000,
                "bootstrap_cell_shape": (64, 64, 64),
                "bootstrap_seed": 0,
                **exclusion_zone,
            },
            "analyse": analyse(),
            "report": {
                "title": "Nuclear pores of a new cell, from ten annotated ones",
                "raw": f"{NEW}/raw",
                "segmentation": f"{PREDICTION}/recipe/segmentation",
                "regions": {"new": {"labels": truth, "mask": None, **predicted}},
                "planes_per_axis": 1,
                "picture_shape": (256, 432, 432),
                "block_shape": (64, 64, 64),
                "num_worst_blocks": 4,
                "objects": {"predicted": OBJECTS},
                "runs": {},
                "pictures": (),
                **exclusion_zone,
            },
        }
    )


def analyse() -> dict[str, object]:
    """Returns what is measured: the predicted pores."""
    return {
        "objects": {"nuclear_pores": OBJECTS},
        "raw": f"{NEW}/raw",
        "pores": {"objects": "nuclear_pores", "envelope": None, "reach_nm": 150.0, "length_nm": (50.0, 180.0)},
        "pits": None,
        "contacts": {},
        "tables": ("csv",),
        "block_shape": (128, 128, 128),
        "num_threads": 2,
        "cluster": None,
    }


def train() -> dict[str, object]:
    """Returns a training like that of configs/train_cf.py, on pores, with more steps."""
    volumes = {
        "raw": f"{ANNOTATED}/raw",
        "labels": {"nuclear_pores": f"{ANNOTATED}/labels/nuclear_pores"},
        "mask": None,
        "annotation": None,
        "weight": None,
    }
    return {
        "seed": 0,
        "organelles": ("nuclear_pores",),
        "channels": None,
        "voxel_size_nm": (5.0, 5.0, 5.0),
        "polarity": "membranes dark, cytosol bright",
        "regions": {"ten_pores": {**volumes, "start": (64, 148, 164), "stop": (176, 324, 340)}},
        "validation_regions": {"three_pores": {**volumes, "start": (184, 396, 316), "stop": (272, 492, 412)}},
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
        "num_train_steps": 2000,
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
        "min_foreground": 0.01,
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
        "checkpoint_every": 250,
        "validate_every": 500,
        "stop_after": None,
        "images_every": None,
        "init_from": None,
        "init_new": (),
        "init_optimizer": False,
    }


def simulate() -> dict[str, object]:
    """Returns half a nucleus like that of configs/analyse_pores.py, of another cell."""
    return {
        "container": NEW,
        "shape": (280, 560, 560),
        "voxel_size_nm": (5.0, 5.0, 5.0),
        "seed": 11,
        "block_shape": (128, 128, 128),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
        "organelles": ("nuclear_pores", "nuclear_envelope"),
        "cell": {
            "mitochondria_per_um3": 55.0,
            "mitochondrion_radius_nm": (110.0, 180.0),
            "mitochondrion_length_nm": (200.0, 800.0),
            "branched_share": 0.2,
            "cristae_spacing_nm": (75.0, 125.0),
            "bodies_per_um3": 45.0,
            "body_radius_nm": (80.0, 220.0),
            "matrix_grey": (106.0, 162.0),
            "body_grey": (95.0, 172.0),
            "vesicles_per_um3": 120.0,
            "vesicle_radius_nm": (20.0, 45.0),
            "process_nm": 0.0,
            "process_tone_grey": (0.0, 0.0),
            "er_nm": 0.0,
            "membrane_nm": 16.0,
            "membrane_grey": 66.0,
            "cytosol_grey": 158.0,
            "texture_grey": 12.0,
            "wobble_nm": 6.0,
        },
        "whole_cell": {
            "pitch_nm": 2800.0,
            "radius_nm": (1230.0, 1250.0),
            "nucleus_radius_nm": (900.0, 940.0),
            "roughness_nm": 30.0,
            "bare_share": 0.15,
            "extracellular_grey": 188.0,
            "nucleoplasm_grey": 150.0,
            "chromatin_grey": 86.0,
            "envelope_nm": 48.0,
            "pores_per_um2": 40.0,
            "pore_diameter_nm": (75.0, 120.0),
            "narrow_pore_share": 0.3,
            "pits_per_um2": 1.5,
            "pit_width_nm": (90.0, 150.0),
            "pit_eccentricity": (0.0, 0.7),
            "coat_nm": 18.0,
            "caveolae_per_um2": 2.5,
            "caveola_width_nm": (55.0, 75.0),
            "er_mesh_nm": 150.0,
            "rough_share": 0.6,
            "ribosome_share": 0.45,
            "golgi_per_um3": 0.8,
            "golgi_radius_nm": (180.0, 280.0),
            "golgi_cisternae": (4, 6),
            "droplets_per_um3": 8.0,
            "droplet_radius_nm": (80.0, 220.0),
            "droplet_grey": (85.0, 150.0),
            "microtubules_per_um3": 40.0,
            "microtubule_length_nm": (500.0, 1800.0),
        },
        "preparation": {
            "shrinkage": 1.0,
            "strand_grey": -24.0,
            "strand_nm": 45.0,
            "hole_share": 0.02,
            "hole_nm": 70.0,
            "hole_grey": 195.0,
            "ribosome_grey": -40.0,
            "ruffle_nm": 2.0,
            "ruffle_pitch_nm": 50.0,
            "fade": 0.5,
            "fade_nm": 200.0,
            "extracellular_nm": 0.0,
            "extracellular_grey": 200.0,
        },
        "microscope": {
            "blur_nm": 6.0,
            "depth_samples": 1,
            "charging": 0.0,
            "charging_greys": (90.0, 185.0),
            "charging_nm": 30.0,
            "streak_nm": 200.0,
            "shift_nm": 0.0,
            "shot_noise_grey": 9.0,
            "drift_grey": 4.0,
            "drift_contrast": 0.05,
            "drift_nm": 250.0,
            "curtain_grey": 1.5,
            "window_grey": (0.0, 255.0),
        },
    }
