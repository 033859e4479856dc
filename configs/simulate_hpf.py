"""A high-pressure frozen (HPF-like) piece of simulated tissue: dense even cytosol, smooth thin membranes, more noise.

The same tissue (seed) as in configs/simulate_cf.py, prepared in the other way: a network trained on one can be tried
on the other. 128 x 256 x 256 voxels of 10 nm with labels. The numbers were set by eye and by
the statistics in docs/simulation.md.

Command:  bash launch/local.sh --config configs/simulate_hpf.py --workdir runs/simulate_hpf
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    return ConfigDict(
        {
            "stage": "simulate",
            "container": "{workdir}/hpf.zarr",
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
                "matrix_grey": (102.0, 150.0),
                "body_grey": (92.0, 160.0),
                "vesicles_per_um3": 40.0,
                "vesicle_radius_nm": (25.0, 45.0),
                "process_nm": 400.0,
                "process_tone_grey": (-32.0, 12.0),
                "er_nm": 260.0,
                "membrane_nm": 14.0,
                "membrane_grey": 66.0,
                "cytosol_grey": 142.0,
                "texture_grey": 6.0,
                "wobble_nm": 5.0,
            },
            "preparation": {
                "shrinkage": 1.0,
                "strand_grey": -6.0,
                "strand_nm": 24.0,
                "hole_share": 0.0,
                "hole_nm": 70.0,
                "hole_grey": 205.0,
                "ribosome_grey": -14.0,
                "ruffle_nm": 0.0,
                "ruffle_pitch_nm": 50.0,
                "fade": 0.15,
                "fade_nm": 200.0,
                "extracellular_nm": 14.0,
                "extracellular_grey": 158.0,
            },
            "microscope": {
                "blur_nm": 8.0,
                "depth_samples": 1,
                "charging": 0.4,
                "charging_greys": (70.0, 170.0),
                "charging_nm": 30.0,
                "streak_nm": 200.0,
                "shift_nm": 10.0,
                "shot_noise_grey": 10.0,
                "drift_grey": 4.0,
                "drift_contrast": 0.05,
                "drift_nm": 250.0,
                "curtain_grey": 1.5,
                "window_grey": (20.0, 235.0),
            },
        }
    )
