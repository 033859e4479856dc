"""Mitochondria of one simulated volume from sparse brush strokes, scored against the exact labels.

Reads the tissue that configs/simulate_cf.py writes and the strokes that configs/simulate_annotations.py draws on every
16th section of it. For strokes of your own: `strokes` is the label volume that you painted, `mask` None, and the ids
are yours, e.g. object_ids (1,) and background_ids (2,). Given again after more strokes, it only cuts again. With
--config.annotate.window=mito a window opens, to paint strokes and to correct the cut.

Result:   F1 0.856 outside an exclusion zone of 1 voxel, 0.813 of all voxels, from 586 strokes on 8 of 128 sections; the
          best threshold on smoothed grey values reaches 0.288 and 0.309. 82 s on two CPU cores that did much else.
Command:  bash launch/local.sh --config configs/annotate.py --workdir runs/annotate
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    annotate = {
        "raw": "{volume}/raw",
        "start": None,
        "stop": None,
        "supervoxels": {
            "target": "{workdir}/annotations.zarr/supervoxels",
            "pitch_nm": 50.0,
            "sigma_nm": 10.0,
            "grey_step": None,
            "gradient_step": 0.6,
            "looks_nm": (10.0, 20.0, 40.0),
        },
        "annotations": {
            "mito": {
                "strokes": "{strokes}/labels",
                "mask": "{strokes}/mask",
                "object_ids": None,
                "background_ids": (0,),
                "painted": "{workdir}/annotations.zarr/painted",
                "target": "{workdir}/annotations.zarr/mito",
                "smoothness": 2.0,
                "ridge": 3.0,
                "surroundings": 2,
                "bias": 0.0,
                "border_inwards": 1,
                "border_outwards": 1,
            }
        },
        "window": None,
        "block_shape": (64, 64, 64),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
    }
    evaluate = {
        "segmentation": "{workdir}/annotations.zarr/mito/labels",
        "raw": "{volume}/raw",
        "regions": {"all": {"labels": "{volume}/labels/mito", "mask": None, "start": None, "stop": None}},
        "exclude_inwards": 1,
        "exclude_outwards": 1,
        "compared": {},
        "distance_cap_nm": None,
        "tolerances_nm": (),
        "iou_thresholds": (),
        "min_object_voxels": 0,
        "bootstrap_samples": 0,
        "bootstrap_cell_shape": (64, 64, 64),
        "bootstrap_seed": 0,
        "baseline_sigmas": (0.0, 1.0, 2.0, 4.0),
        "block_shape": (128, 128, 128),
    }
    return ConfigDict(
        {
            "stages": ["annotate", "evaluate"],
            "volume": "runs/simulate_cf/cf.zarr",
            "strokes": "runs/simulate_annotations/strokes.zarr",
            "annotate": annotate,
            "evaluate": evaluate,
        }
    )
