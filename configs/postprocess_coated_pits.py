"""Coated pits and vesicles, one by one, so that they can be measured.

Shallow pits are small, so the limit is low: 3.3e4 nm^3, a ball of 40 nm diameter. Pits that touch are parted where
they hang together through less than 40 nm.

Source:   the size is COSEM's for vesicles (Heinrich et al., Nature 599, 2021), which has no coated pits; ASEM
          (Gallusser et al. 2023) states no size. The depth of the split is ours.
Data:     a prediction of stage predict, named by `prediction`.
Command:  bash launch/local.sh --config configs/postprocess_coated_pits.py --workdir runs/coated_pits_objects
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, volumes nm^3, shapes voxels, z y x."""
    return ConfigDict(
        {
            "stage": "postprocess",
            "prediction": "runs/cell/cell.zarr/predictions/coated_pits",  # folder that holds the probability
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
                "connectivity": 6,
                "min_nm3": 3.3e4,
                "split_depth_nm": 20.0,
                "split_reach_nm": 80.0,
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
