"""A network of one preparation on tissue of the other: trained on CF-like tissue, scored on HPF-like tissue.

Predicts the volume of configs/simulate_hpf.py with the model of configs/train_cf.py and scores the box that
train_cf.py scores, of the same tissue. The threshold is the best one for the other part of this HPF-like volume, so
what is lost is not a matter of the threshold.

Result:   F1 0.126 outside a 4-voxel exclusion zone, 0.187 without it: the network has to learn this preparation.
          benchmarks/results/predict_hpf.json
Data:     runs/simulate_hpf, made by configs/simulate_hpf.py, or the run folder named by data_dir.
Command:  bash launch/local.sh --config configs/predict_hpf.py --workdir runs/predict_hpf
"""

from ml_collections import ConfigDict

CELL = "{data_dir}/hpf.zarr"
PREDICTION = "{workdir}/prediction.zarr/mito"


def get_config() -> ConfigDict:
    """Returns the config; boxes are voxels of 10 nm, z y x."""
    labels = f"{CELL}/labels/mito"
    exclusion_zone = {"exclude_inwards": 4, "exclude_outwards": 4}  # voxels
    return ConfigDict(
        {
            "stages": ("predict", "postprocess", "evaluate"),
            "data_dir": "runs/simulate_hpf",
            "predict": {
                "model": "runs/train_cf",
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
                    "other": {"labels": labels, "mask": None, "start": (0, 0, 0), "stop": (128, 160, 256)}
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
