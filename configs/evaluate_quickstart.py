"""Predictions of configs/quickstart.py side by side: its threshold, the likeliest channel, and all thresholds.

Needs a finished runs/quickstart, whose scores and curves stand on the page too. Any other prediction can stand under
`compared`; docs/evaluation.md explains the scores.

Command:  bash launch/local.sh --config configs/evaluate_quickstart.py --workdir runs/quickstart_compared
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; scored is what quickstart did not train on."""
    regions = {
        "front": {"labels": "{cell}/labels/mito", "mask": None, "start": (0, 224, 0), "stop": (64, 288, 256)},
        "back": {"labels": "{cell}/labels/mito", "mask": None, "start": (64, 224, 0), "stop": (128, 288, 256)},
    }
    shared = {
        "segmentation": "{cell}/predictions/mito/thresholded/segmentation",
        "raw": "{cell}/raw",
        "regions": regions,
        "exclude_inwards": 4,  # voxels
        "exclude_outwards": 4,
    }
    return ConfigDict(
        {
            "stages": ("evaluate", "report"),
            "cell": "runs/quickstart/cell.zarr",
            "evaluate": {
                **shared,
                "baseline_sigmas": (),
                "block_shape": (128, 128, 128),
                "compared": {
                    "likeliest": {
                        "kind": "segmentation",
                        "address": "{cell}/predictions/mito/segmentation",
                        "threshold": None,
                    },
                    "any_threshold": {
                        "kind": "probability",
                        "address": "{cell}/predictions/mito/probability",
                        "threshold": None,  # the best on these regions, so better than on new data
                    },
                },
                "distance_cap_nm": 200.0,
                "tolerances_nm": (40.0,),
                "iou_thresholds": (0.5,),  # for predictions of kind "objects"
                "min_object_voxels": 0,
                "bootstrap_samples": 1000,
                "bootstrap_cell_shape": (32, 64, 32),  # voxels
                "bootstrap_seed": 0,
            },
            "report": {
                **shared,
                "title": "Quickstart: three ways to read one prediction",
                "planes_per_axis": 1,
                "picture_shape": (128, 256, 256),
                "block_shape": (64, 64, 64),
                "num_worst_blocks": 2,
                "objects": {},
                "runs": {"quickstart": "runs/quickstart"},
                "pictures": (),
            },
        }
    )
