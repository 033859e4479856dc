"""The study of nuclear pores on a simulated cell: diameters, neighbours, and whether the diameters are normal.

Simulates half a nucleus of 1.8 micrometres at 5 nm, then measures its pores against the envelope around them. What is
measured, and how: docs/analysis.md

Result:   66 pores, 58 of them whole: 95.5 +- 10.5 nm (true: 95.5 +- 10.5), each within 0.3 nm of its true diameter.
          Their true distribution has two humps; of 58 pores neither test of normality sees it (p 0.21 and 0.67). To the
          nearest pore 222 nm along the envelope, centre to centre. 3 min 15 s on two busy CPU cores, mostly simulating.
          benchmarks/results/analysis_truth.json
Command:  bash launch/local.sh --config configs/analyse_pores.py --workdir runs/pores
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config; lengths are nm, shapes are voxels, z y x."""
    cell = "{workdir}/cell.zarr"
    sections = {"simulate": simulate(cell), "analyse": analyse(cell), "report": report(cell)}
    return ConfigDict({"stages": tuple(sections), **sections})


def analyse(cell: str) -> dict[str, object]:
    """Returns what is measured: pores against the envelope around them."""
    return {
        "objects": {"nuclear_pores": f"{cell}/objects/nuclear_pores"},
        "raw": f"{cell}/raw",
        "pores": {
            "objects": "nuclear_pores",
            "envelope": f"{cell}/labels/nuclear_envelope",
            "reach_nm": 150.0,
            "length_nm": (50.0, 180.0),
        },
        "pits": None,
        "contacts": {},
        "tables": ("csv",),
        "block_shape": (128, 128, 128),
        "num_threads": 2,
        "cluster": None,
    }


def report(cell: str) -> dict[str, object]:
    """Returns a page with the plots, the tables and the pores on raw."""
    return {
        "title": "Nuclear pores of a simulated cell",
        "raw": f"{cell}/raw",
        "segmentation": None,
        "regions": {},
        "exclude_inwards": 0,
        "exclude_outwards": 0,
        "planes_per_axis": 0,
        "picture_shape": (460, 560, 560),
        "block_shape": (64, 64, 64),
        "num_worst_blocks": 0,
        "objects": {"nuclear_pores": f"{cell}/objects/nuclear_pores"},
        "runs": {},
        "pictures": (),
    }


def simulate(cell: str) -> dict[str, object]:
    """Returns half a nucleus, cut at its middle, with its pores; no other cell reaches into the volume."""
    return {
        "container": cell,
        "shape": (280, 560, 560),
        "voxel_size_nm": (5.0, 5.0, 5.0),
        "seed": 5,
        "block_shape": (128, 128, 128),
        "chunk_shape": (64, 64, 64),
        "num_threads": 2,
        "organelles": ("nuclear_pores", "nuclear_envelope"),
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
            "pitch_nm": 2800.0,
            "radius_nm": (1230.0, 1250.0),
            "nucleus_radius_nm": (900.0, 940.0),
            "roughness_nm": 30.0,
            "bare_share": 0.15,
            "extracellular_grey": 188.0,
            "nucleoplasm_grey": 150.0,
            "chromatin_grey": 86.0,
            "envelope_nm": 48.0,
            "pores_per_um2": 40.0,
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
