"""Mitochondria, one by one: smoothed, holes filled, touching ones parted at necks, small ones left out.

The Gaussian closes gaps that cristae leave; what is smaller than 2e7 nm^3 (a ball of 170 nm radius) is no
mitochondrion. A neck thinner than 120 nm is cut: where mitochondria are that thin themselves, lower split_depth_nm.

Source:   Heinrich et al., Nature 599 (2021), COSEM: Gaussian of 12 nm, threshold 127 of 255, then holes filled,
          components below 2e7 nm^3 dropped. The sizes of holes and necks are ours; COSEM parts them by watershed and
          agglomeration.
Data:     a prediction of stage predict, named by `prediction` (that of configs/quickstart.py).
Command:  bash launch/local.sh --config configs/postprocess_mito.py --workdir runs/mito_objects
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, volumes nm^3, shapes voxels, z y x."""
    return ConfigDict(
        {
            "stage": "postprocess",
            "prediction": "runs/quickstart/cell.zarr/predictions/mito",  # folder that holds the probability
            "probability": "{prediction}/probability",
            "target": "{prediction}/recipe",
            "voxel_size_nm": None,
            "threshold": 0.5,
            "threshold_probability": None,
            "threshold_regions": {},
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "smoothing_nm": 12.0,
            "fill_holes_nm3": 5e6,
            "objects": {
                "connectivity": 6,
                "min_nm3": 2e7,
                "split_depth_nm": 60.0,
                "split_reach_nm": 240.0,
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
