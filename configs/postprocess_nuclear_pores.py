"""Nuclear pores, one by one, so that they can be measured.

A pore is a ring; what it encloses is filled, up to the volume of a cylinder of 60 nm diameter and height.
Pores off the envelope are another matter: stage superimpose takes them away.

Source:   Heinrich et al., Nature 599 (2021), COSEM: Gaussian of 12 nm, threshold 127 of 255, then components below 3e5
          nm^3 dropped, within the nuclear envelope. The size of holes is ours.
Data:     a prediction of stage predict, named by `prediction`.
Command:  bash launch/local.sh --config configs/postprocess_nuclear_pores.py --workdir runs/nuclear_pores_objects
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, volumes nm^3, shapes voxels, z y x."""
    return ConfigDict(
        {
            "stage": "postprocess",
            "prediction": "runs/cell/cell.zarr/predictions/nuclear_pores",  # folder that holds the probability
            "probability": "{prediction}/probability",
            "target": "{prediction}/recipe",
            "voxel_size_nm": None,
            "threshold": 0.5,
            "threshold_probability": None,
            "threshold_regions": {},
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "smoothing_nm": None,
            "fill_holes_nm3": 1.7e5,
            "objects": {
                "connectivity": 6,
                "min_nm3": 3e5,
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
