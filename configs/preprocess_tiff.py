"""A converted TIFF stack equalised (CLAHE over 128 x 128 x 128 voxels); a step of docs/tiffs_to_training.md.

Reads the raw that configs/convert_tiff.py wrote (another: --config.cell=CONTAINER) and writes `raw_equalised` beside
it. The network is trained on that; strokes are cut on raw as it is.

Command:  bash launch/local.sh --config configs/preprocess_tiff.py --workdir runs/tiff_equalised
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; shapes are voxels, z y x."""
    equalised = {
        "source": "{cell}/raw",
        "target": "{cell}/raw_equalised",
        "voxel_size_nm": None,
        "labels": False,
        "invert": False,
        "match": None,
        "equalise": {"kernel_shape": (128, 128, 128), "clip_limit": 0.02},
        "chunk_shape": (64, 64, 64),
        "shard_shape": None,
        "zarr_format": 2,
    }
    return ConfigDict(
        {
            "stage": "preprocess",
            "cell": "runs/tiff_data/cell.zarr",
            "masks": {},
            "volumes": {"raw": equalised},
            "num_threads": 2,
            "retries": 2,
            "cluster": None,
        }
    )
