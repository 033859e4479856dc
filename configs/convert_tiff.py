"""A TIFF stack and its labels as an OME-Zarr container; the first step of docs/your_own_stack.md.

As it stands it reads what configs/simulate_tiff.py wrote. For your own data copy this file and change
`raw_tiff`, `labels_tiff` and `voxel_size_nm`; `percentiles` too if your grey values are 8-bit already and
shall stay as they are.

Command:  bash launch/local.sh --config configs/convert_tiff.py --workdir runs/tiff_data
          For labels of another organelle, beside them, give its name behind the file: configs/convert_tiff.py:er
"""

from ml_collections import ConfigDict

CELL = "{workdir}/cell.zarr"


def get_config(organelle: str = "mito") -> ConfigDict:
    """Returns the config; raw and labels cover the same voxels."""
    common = {
        "part": None,  # all of the source
        "voxel_size_nm": (10.0, 10.0, 10.0),  # z y x; None = as the TIFF tags state it
        "offset_nm": (0.0, 0.0, 0.0),  # z y x; labels of a part of raw: its first voxel * voxel size
        "invert": False,  # True = dark becomes bright
        "allow_gaps": False,
        "chunk_shape": (64, 64, 64),
        "shard_shape": None,
        "zarr_format": 2,
    }
    return ConfigDict(
        {
            "stage": "convert",
            "raw_tiff": "runs/example_tiff/sections",  # a folder of sections, or one file of many pages
            "labels_tiff": f"runs/example_tiff/{organelle}.tif",
            "volumes": {
                "raw": {
                    "source": "{raw_tiff}",
                    "target": f"{CELL}/raw",
                    "labels": False,
                    "annotation": None,
                    "percentiles": (0.5, 99.5),  # grey values that become 0 and 255
                    "window": None,  # or those grey values themselves, and percentiles None
                    "polarity": "dark",  # membranes; a warning says if they look bright
                    **common,
                },
                organelle: {
                    "source": "{labels_tiff}",
                    "target": f"{CELL}/labels/{organelle}",
                    "labels": True,
                    "annotation": None,
                    "percentiles": None,
                    "window": None,
                    "polarity": None,
                    **common,
                },
            },
            "exports": {},
            "num_threads": 2,
            "retries": 2,
            "cluster": None,
        }
    )
