"""The EPFL hippocampus volume equalised as the published models of ASEM need it: CLAHE over 128 x 128 x 128 voxels.

Converts the TIFF and equalises it; membranes are dark in it already. For a stack with bright membranes set `invert` to
True, for voxels of another size `voxel_size_nm`; what has another contrast than the raw of your model is brought to it
with `match`. docs/preprocessing.md says what each step does.

Result:   half of the voxels lie within 52 grey values before (112 to 164) and within 127 after (59 to 186). 40 s for
          165 x 768 x 1024 voxels, both stages, on 2 CPU cores that did other work too.
Data:     Lucchi et al., IEEE TMI 2012 (training volume); a folder with lucchi_training_raw.tif, named by data_dir.
Command:  bash launch/local.sh --config configs/preprocess_clahe.py --workdir runs/equalised --config.data_dir=FOLDER
"""

import os

from ml_collections import ConfigDict

CELL = "{workdir}/lucchi.zarr"


def get_config() -> ConfigDict:
    """Returns the config; shapes are voxels, z y x."""
    storage = {"chunk_shape": (64, 64, 64), "shard_shape": None, "zarr_format": 2}
    raw = {
        "source": "{data_dir}/lucchi_training_raw.tif",
        "target": f"{CELL}/raw",
        "part": None,
        "labels": False,
        "annotation": None,
        "voxel_size_nm": (5.0, 5.0, 5.0),
        "offset_nm": (0.0, 0.0, 0.0),
        "percentiles": None,
        "window": None,
        "invert": False,
        "polarity": "dark",
        "allow_gaps": False,
    }
    equalised = {
        "source": f"{CELL}/raw",
        "target": f"{CELL}/raw_equalised",
        "voxel_size_nm": None,
        "labels": False,
        "invert": False,
        "match": None,
        "equalise": {"kernel_shape": (128, 128, 128), "clip_limit": 0.02},
    }
    return ConfigDict(
        {
            "stages": ("convert", "preprocess"),
            "data_dir": os.environ.get("ASEM_JAX_DATA", "data"),
            "convert": {"volumes": {"raw": raw | storage}, "exports": {}, "num_threads": 2},
            "preprocess": {"masks": {}, "volumes": {"raw": equalised | storage}, "num_threads": 2},
        }
    )
