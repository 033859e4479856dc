"""Four organelles of one cell in one volume, in which no voxel belongs to two.

Simulates half a cell and outlines four of its organelles loosely, each by itself, as stand-ins for what four networks
would say; then superimposes them. Pores stay only within 70 nm of the envelope (their middle lies up to 60 nm from it),
and reticulum only off it; what two still claim goes to the organelle that comes first in PRIORITY. For predictions
name their segmentations in `volumes`, and their probabilities, which decide where `priority` names none of those that
claim a voxel; `stages` is ("superimpose",) then.

Result:   4822 of 13.5 million voxels are claimed by two, 5317 claims are taken away; docs/objects.md has the table.
          1 min 40 s on two idle CPU cores. benchmarks/results/superimpose.json
Command:  bash launch/local.sh --config configs/superimpose_cell.py --workdir runs/superimpose
"""

from ml_collections import ConfigDict

CELL = "{workdir}/cell.zarr"
ORGANELLES = ("er", "mito", "nuclear_envelope", "nuclear_pores")
PRIORITY = ("nuclear_pores", "nuclear_envelope", "mito", "er")


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    return ConfigDict(
        {
            "stages": ("simulate", "simulate_annotations", "superimpose", "report"),
            "simulate": simulate(),
            "simulate_annotations": outline(),
            "superimpose": {
                "volumes": {
                    name: {"segmentation": f"{CELL}/loose/{name}/labels", "probability": None, "objects": None}
                    for name in ORGANELLES
                },
                "rules": {
                    "pores_on_envelope": {
                        "organelle": "nuclear_pores",
                        "relation": "inside",
                        "of": "nuclear_envelope",
                        "within_nm": 70.0,
                    },
                    "er_off_envelope": {
                        "organelle": "er",
                        "relation": "outside",
                        "of": "nuclear_envelope",
                        "within_nm": 0.0,
                    },
                },
                "priority": PRIORITY,
                "target": f"{CELL}/superimposed",
                "block_shape": (128, 128, 128),
                "chunk_shape": (64, 64, 64),
                "shard_shape": None,
                "zarr_format": 2,
                "num_threads": 2,
                "cluster": None,
            },
            "report": {
                "title": "Four organelles in one volume",
                "raw": f"{CELL}/raw",
                "segmentation": None,
                "regions": {},
                "exclude_inwards": 0,
                "exclude_outwards": 0,
                "planes_per_axis": 0,
                "picture_shape": (150, 300, 300),
                "block_shape": (64, 64, 64),
                "num_worst_blocks": 0,
                "objects": {"superimposed": f"{CELL}/superimposed/labels"},
                "runs": {},
                "pictures": (),
            },
        }
    )


def outline() -> dict[str, object]:
    """Returns an annotator who outlines each organelle in every section, off by 24 nm here and there."""
    how = {"section_step": 1, "missed_share": 0.0, "offset_nm": 24.0, "offset_pitch_nm": 150.0}
    return {
        "annotations": {
            name: {
                "labels": f"{CELL}/labels/{name}",
                "target": f"{CELL}/loose/{name}",
                "seed": seed,
                "outlines": how,
                "strokes": None,
            }
            for seed, name in enumerate(ORGANELLES)
        },
        "pace": {
            "section_s": 5.0,
            "object_s": 3.0,
            "outline_s_per_um": 4.0,
            "stroke_s": 1.0,
            "stroke_s_per_um": 2.0,
        },
        "block_shape": (64, 64, 64),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
    }


def simulate() -> dict[str, object]:
    """Returns half of the cell of configs/simulate_cell.py at 16 nm."""
    return {
        "container": "{workdir}/cell.zarr",
        "shape": (150, 300, 300),
        "voxel_size_nm": (16.0, 16.0, 16.0),
        "seed": 3,
        "block_shape": (128, 128, 128),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
        "organelles": ORGANELLES,
        "cell": {
            "mitochondria_per_um3": 55.0,
            "mitochondrion_radius_nm": (110.0, 180.0),
            "mitochondrion_length_nm": (200.0, 800.0),
            "branched_share": 0.2,
            "cristae_spacing_nm": (75.0, 125.0),
            "bodies_per_um3": 45.0,
            "body_radius_nm": (80.0, 220.0),
            "matrix_grey": (106.0, 162.0),
            "body_grey": (95.0, 172.0),
            "vesicles_per_um3": 120.0,
            "vesicle_radius_nm": (20.0, 45.0),
            "process_nm": 0.0,
            "process_tone_grey": (0.0, 0.0),
            "er_nm": 0.0,
            "membrane_nm": 16.0,
            "membrane_grey": 66.0,
            "cytosol_grey": 158.0,
            "texture_grey": 12.0,
            "wobble_nm": 6.0,
        },
        "whole_cell": {
            "pitch_nm": 4800.0,
            "radius_nm": (2000.0, 2080.0),
            "nucleus_radius_nm": (900.0, 1000.0),
            "roughness_nm": 60.0,
            "bare_share": 0.15,
            "extracellular_grey": 188.0,
            "nucleoplasm_grey": 150.0,
            "chromatin_grey": 86.0,
            "envelope_nm": 48.0,
            "pores_per_um2": 12.0,
            "pore_diameter_nm": (75.0, 120.0),
            "narrow_pore_share": 0.3,
            "pits_per_um2": 1.5,
            "pit_width_nm": (90.0, 150.0),
            "pit_eccentricity": (0.0, 0.7),
            "coat_nm": 18.0,
            "caveolae_per_um2": 2.5,
            "caveola_width_nm": (55.0, 75.0),
            "er_mesh_nm": 150.0,
            "rough_share": 0.6,
            "ribosome_share": 0.45,
            "golgi_per_um3": 0.8,
            "golgi_radius_nm": (180.0, 280.0),
            "golgi_cisternae": (4, 6),
            "droplets_per_um3": 8.0,
            "droplet_radius_nm": (80.0, 220.0),
            "droplet_grey": (85.0, 150.0),
            "microtubules_per_um3": 40.0,
            "microtubule_length_nm": (500.0, 1800.0),
        },
        "preparation": {
            "shrinkage": 1.0,
            "strand_grey": -24.0,
            "strand_nm": 45.0,
            "hole_share": 0.02,
            "hole_nm": 70.0,
            "hole_grey": 195.0,
            "ribosome_grey": -40.0,
            "ruffle_nm": 2.0,
            "ruffle_pitch_nm": 50.0,
            "fade": 0.5,
            "fade_nm": 200.0,
            "extracellular_nm": 0.0,
            "extracellular_grey": 200.0,
        },
        "microscope": {
            "blur_nm": 6.0,
            "depth_samples": 1,
            "charging": 0.0,
            "charging_greys": (90.0, 185.0),
            "charging_nm": 30.0,
            "streak_nm": 200.0,
            "shift_nm": 0.0,
            "shot_noise_grey": 9.0,
            "drift_grey": 4.0,
            "drift_contrast": 0.05,
            "drift_nm": 250.0,
            "curtain_grey": 1.5,
            "window_grey": (0.0, 255.0),
        },
    }
