"""Cells that the tests of the simulation share."""

from dataclasses import replace
from typing import Any

from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.preparation import Preparation

PERFECT = Microscope(
    blur_nm=0.0,
    depth_samples=1,
    charging=0.0,
    charging_greys=(90.0, 185.0),
    charging_nm=30.0,
    streak_nm=200.0,
    shift_nm=0.0,
    shot_noise_grey=0.0,
    drift_grey=0.0,
    drift_contrast=0.0,
    drift_nm=250.0,
    curtain_grey=0.0,
    window_grey=(0.0, 255.0),
)
MICROSCOPE = replace(PERFECT, blur_nm=8.0, shot_noise_grey=7.0, drift_grey=4.0, drift_contrast=0.05, curtain_grey=1.5)
LIVING = Preparation(
    shrinkage=1.0,
    strand_grey=0.0,
    strand_nm=45.0,
    hole_share=0.0,
    hole_nm=70.0,
    hole_grey=205.0,
    ribosome_grey=0.0,
    ruffle_nm=0.0,
    ruffle_pitch_nm=50.0,
    fade=0.0,
    fade_nm=90.0,
    extracellular_nm=0.0,
    extracellular_grey=200.0,
)
CELL = Cell(
    seed=4,
    voxel_size_nm=(10.0, 10.0, 10.0),
    microscope=MICROSCOPE,
    preparation=LIVING,
    mitochondria_per_um3=7.0,
    mitochondrion_radius_nm=(125.0, 200.0),
    mitochondrion_length_nm=(300.0, 1100.0),
    branched_share=0.25,
    cristae_spacing_nm=(75.0, 120.0),
    bodies_per_um3=20.0,
    body_radius_nm=(70.0, 210.0),
    matrix_grey=(100.0, 180.0),
    body_grey=(100.0, 180.0),
    vesicles_per_um3=40.0,
    vesicle_radius_nm=(25.0, 45.0),
    process_nm=400.0,
    process_tone_grey=(-40.0, 10.0),
    er_nm=260.0,
    membrane_nm=20.0,
    membrane_grey=78.0,
    cytosol_grey=165.0,
    texture_grey=8.0,
    wobble_nm=10.0,
    whole=None,
)
WHOLE = WholeCell(
    pitch_nm=2600.0,
    radius_nm=(1050.0, 1100.0),
    nucleus_radius_nm=(480.0, 520.0),
    roughness_nm=25.0,
    bare_share=0.1,
    extracellular_grey=205.0,
    nucleoplasm_grey=165.0,
    chromatin_grey=110.0,
    envelope_nm=50.0,
    pores_per_um2=12.0,
    pore_diameter_nm=(70.0, 120.0),
    narrow_pore_share=0.3,
    pits_per_um2=2.0,
    pit_width_nm=(80.0, 140.0),
    pit_eccentricity=(0.0, 0.7),
    coat_nm=18.0,
    caveolae_per_um2=2.0,
    caveola_width_nm=(55.0, 75.0),
    er_mesh_nm=260.0,
    rough_share=0.6,
    ribosome_share=0.5,
    golgi_per_um3=3.0,
    golgi_radius_nm=(150.0, 220.0),
    golgi_cisternae=(3, 5),
    droplets_per_um3=3.0,
    droplet_radius_nm=(60.0, 140.0),
    droplet_grey=(70.0, 110.0),
    microtubules_per_um3=10.0,
    microtubule_length_nm=(300.0, 900.0),
)
# Small mitochondria, since the cell is small.
CELLS = replace(
    CELL,
    process_nm=0.0,
    er_nm=0.0,
    membrane_nm=14.0,
    mitochondrion_radius_nm=(70.0, 110.0),
    mitochondrion_length_nm=(150.0, 500.0),
    body_radius_nm=(50.0, 110.0),
    wobble_nm=4.0,
    whole=WHOLE,
)


def mitochondria_only(**changes: Any) -> Cell:
    """Returns a cell of smooth mitochondria in even cytosol, seen through a perfect microscope."""
    bare = {
        "microscope": PERFECT,
        "bodies_per_um3": 0.0,
        "vesicles_per_um3": 0.0,
        "process_nm": 0.0,
        "er_nm": 0.0,
        "texture_grey": 0.0,
        "wobble_nm": 0.0,
    }
    return replace(CELL, **(bare | changes))
