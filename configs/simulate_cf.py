"""A chemically fixed (CF-like) piece of simulated tissue: shrunken, washed out in places, ruffled, strongly stained.

The same tissue (seed) as in configs/simulate_hpf.py, prepared in the other way: a network trained on one can be tried
on the other. 128 x 256 x 256 voxels of 10 nm with labels. The numbers were set by eye and by
the statistics in docs/simulation.md.

Command:  bash launch/local.sh --config configs/simulate_cf.py --workdir runs/simulate_cf
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    return ConfigDict(
        {
            "stage": "simulate",
            "container": "{workdir}/cf.zarr",
            "shape": (128, 256, 256),
            "voxel_size_nm": (10.0, 10.0, 10.0),
            "seed": 3,
            "block_shape": (128, 128, 128),
            "chunk_shape": (64, 64, 64),
            "num_threads": 2,
            "organelles": ("mito",),
            "whole_cell": None,
            "cell": {
                "mitochondria_per_um3": 12.0,
                "mitochondrion_radius_nm": (125.0, 200.0),
                "mitochondrion_length_nm": (300.0, 1100.0),
                "branched_share": 0.25,
                "cristae_spacing_nm": (75.0, 120.0),
                "bodies_per_um3": 8.0,
                "body_radius_nm": (70.0, 210.0),
                "matrix_grey": (96.0, 150.0),
                "body_grey": (100.0, 175.0),
                "vesicles_per_um3": 40.0,
                "vesicle_radius_nm": (25.0, 45.0),
                "process_nm": 400.0,
                "process_tone_grey": (-40.0, 14.0),
                "er_nm": 260.0,
                "membrane_nm": 20.0,
                "membrane_grey": 92.0,
                "cytosol_grey": 166.0,
                "texture_grey": 8.0,
                "wobble_nm": 12.0,
            },
            "preparation": {
                "shrinkage": 0.9,
                "strand_grey": -26.0,
                "strand_nm": 45.0,
                "hole_share": 0.08,
                "hole_nm": 70.0,
                "hole_grey": 205.0,
                "ribosome_grey": -45.0,
                "ruffle_nm": 6.0,
                "ruffle_pitch_nm": 50.0,
                "fade": 0.5,
                "fade_nm": 90.0,
                "extracellular_nm": 0.0,
                "extracellular_grey": 200.0,
            },
            "microscope": {
                "blur_nm": 8.0,
                "depth_samples": 1,
                "charging": 0.4,
                "charging_greys": (90.0, 185.0),
                "charging_nm": 30.0,
                "streak_nm": 200.0,
                "shift_nm": 10.0,
                "shot_noise_grey": 7.5,
                "drift_grey": 4.0,
                "drift_contrast": 0.05,
                "drift_nm": 250.0,
                "curtain_grey": 1.5,
                "window_grey": (20.0, 235.0),
            },
        }
    )
