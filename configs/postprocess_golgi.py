"""Golgi stacks: pieces of at least 2e7 nm^3.

The cisternae of a stack lie apart, so a stack is several objects where the network does not join them. Nothing between
them is filled.

Source:   Heinrich et al., Nature 599 (2021), COSEM: Gaussian of 12 nm, threshold 127 of 255, then components below
          2e7 nm^3 dropped; the Golgi without the Gaussian. The connectivity is ours.
Data:     a prediction of stage predict, named by `prediction`.
Command:  bash launch/local.sh --config configs/postprocess_golgi.py --workdir runs/golgi_objects
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, volumes nm^3, shapes voxels, z y x."""
    return ConfigDict(
        {
            "stage": "postprocess",
            "prediction": "runs/cell/cell.zarr/predictions/golgi",  # folder that holds the probability
            "probability": "{prediction}/probability",
            "target": "{prediction}/recipe",
            "voxel_size_nm": None,
            "threshold": 0.5,
            "threshold_probability": None,
            "threshold_regions": {},
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "smoothing_nm": None,
            "fill_holes_nm3": None,
            "objects": {
                "connectivity": 26,
                "min_nm3": 2e7,
                "split_depth_nm": None,
                "split_reach_nm": None,
            },
            "block_shape": (256, 256, 256),
            "chunk_shape": (64, 64, 64),
            "shard_shape": None,
            "zarr_format": 2,
            "num_threads": 2,
            "retries": 2,
            "cluster": None,
        }
    )
