"""An example to try docs/your_own_stack.md with: a small simulated cell, saved as TIFF files.

Writes sections/ (one TIFF per section, grey values), mito.tif and er.tif (labels, one file each), 64 x 192 x 128
voxels of 10 nm, into the run folder. With `:clear` behind the file the tissue is that of configs/quickstart.py: more
and smaller mitochondria, fewer look-alikes, darker membranes, so that a short training learns something.

Command:  bash launch/local.sh --config configs/simulate_tiff.py --workdir runs/example_tiff
"""

from typing import Literal

from ml_collections import ConfigDict

CELL = "{workdir}/simulated.zarr"
CLEAR = {
    "mitochondria_per_um3": 20.0,
    "mitochondrion_radius_nm": (110.0, 165.0),
    "mitochondrion_length_nm": (300.0, 1000.0),
    "cristae_spacing_nm": (60.0, 85.0),
    "bodies_per_um3": 8.0,
    "body_radius_nm": (60.0, 120.0),
    "matrix_grey": (120.0, 155.0),
    "body_grey": (90.0, 210.0),
    "vesicles_per_um3": 60.0,
    "process_tone_grey": (-45.0, 15.0),
    "membrane_grey": 45.0,
    "cytosol_grey": 185.0,
    "texture_grey": 11.0,
}


def get_config(tissue: Literal["faint", "clear"] = "faint") -> ConfigDict:
    """Returns the config, of faint or clear tissue; lengths are nm, shapes are voxels, z y x."""
    return ConfigDict(
        {
            "stages": ("simulate", "convert"),
            "simulate": {
                "container": CELL,
                "shape": (64, 192, 128),
                "voxel_size_nm": (10.0, 10.0, 10.0),
                "seed": 2,
                "block_shape": (64, 64, 64),
                "chunk_shape": (64, 64, 64),
                "num_threads": 2,
                "organelles": ("mito", "er"),
                "whole_cell": None,
                "cell": {
                    "mitochondria_per_um3": 7.0,
                    "mitochondrion_radius_nm": (125.0, 200.0),
                    "mitochondrion_length_nm": (300.0, 1100.0),
                    "branched_share": 0.25,
                    "cristae_spacing_nm": (75.0, 120.0),
                    "bodies_per_um3": 20.0,
                    "body_radius_nm": (70.0, 210.0),
                    "matrix_grey": (100.0, 175.0),
                    "body_grey": (100.0, 175.0),
                    "vesicles_per_um3": 40.0,
                    "vesicle_radius_nm": (25.0, 45.0),
                    "process_nm": 400.0,
                    "process_tone_grey": (-32.0, 12.0),
                    "er_nm": 260.0,
                    "membrane_nm": 20.0,
                    "membrane_grey": 78.0,
                    "cytosol_grey": 165.0,
                    "texture_grey": 8.0,
                    "wobble_nm": 10.0,
                    **{"faint": {}, "clear": CLEAR}[tissue],
                },
                "preparation": {
                    "shrinkage": 1.0,
                    "strand_grey": 0.0,
                    "strand_nm": 45.0,
                    "hole_share": 0.0,
                    "hole_nm": 70.0,
                    "hole_grey": 205.0,
                    "ribosome_grey": 0.0,
                    "ruffle_nm": 0.0,
                    "ruffle_pitch_nm": 50.0,
                    "fade": 0.0,
                    "fade_nm": 90.0,
                    "extracellular_nm": 0.0,
                    "extracellular_grey": 200.0,
                },
                "microscope": {
                    "blur_nm": 8.0,
                    "depth_samples": 1,
                    "charging": 0.0,
                    "charging_greys": (90.0, 185.0),
                    "charging_nm": 30.0,
                    "streak_nm": 200.0,
                    "shift_nm": 0.0,
                    "shot_noise_grey": 7.0,
                    "drift_grey": 4.0,
                    "drift_contrast": 0.05,
                    "drift_nm": 250.0,
                    "curtain_grey": 1.5,
                    "window_grey": (0.0, 255.0),
                },
            },
            "convert": {
                "volumes": {},
                "exports": {
                    "raw": {"source": f"{CELL}/raw", "target": "{workdir}/sections/", "labels": False},
                    "mito": {"source": f"{CELL}/labels/mito", "target": "{workdir}/mito.tif", "labels": True},
                    "er": {"source": f"{CELL}/labels/er", "target": "{workdir}/er.tif", "labels": True},
                },
                "num_threads": 2,
                "retries": 2,
                "cluster": None,
            },
        }
    )
