"""Cut ellipsoids, and the pits of a simulated cell, measure what they are."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.measurement.pits import is_caveola, measure_pits, mouth_normal, normal_at, shape
from asem_jax.simulation.pits import pits
from tests.measurement.bodies import directions, lattice, objects_table, simulated, write
from tests.simulation.whole_cells import FINE, box_around

LENGTH = (20.0, 400.0)


def pit(semi_nm, centre_nm, voxel_nm, rng, tilt=0.0):
    """Voxel centres of an ellipsoid with its centre below a plane, those of the plane, its normal and a side."""
    normal, side, other = directions(rng)
    places = lattice(160.0, voxel_nm, rng.random(3)).reshape(-1, 3)
    height, u, v = places @ normal, places @ side, places @ other
    u = u - np.tan(np.radians(tilt)) * height
    inside = ((height + centre_nm) / semi_nm[0]) ** 2 + (u / semi_nm[1]) ** 2 + (v / semi_nm[2]) ** 2 <= 1
    return places[inside & (height < 0)], places[~inside & (np.abs(height) <= 8)], normal, side


STAGES = {"shallow": -0.4, "half": 0.0, "deep": 0.5, "neck": 0.8}


@pytest.mark.parametrize("stage", STAGES)
def test_a_cut_ellipsoid_measures_what_it_is(stage):
    rng, semi, share = np.random.default_rng(2), (52.0, 60.0, 45.0), STAGES[stage]
    lowest = max(0.0, -share)
    true_width = 120 * np.sqrt(1 - lowest**2)
    for _ in range(3):
        inside, _, normal, side = pit(semi, share * 52, 5.0, rng)
        found_normal = mouth_normal(inside, np.full(3, 5.0))
        assert found_normal @ normal > np.cos(np.radians(4))
        found, long = shape(inside, found_normal, np.full(3, 5.0))
        assert found.is_fitted
        assert abs(found.depth_nm - 52 * (1 + share)) < 1.5
        assert abs(found.width_nm - true_width) < 3
        assert found.short_nm / found.width_nm == pytest.approx(0.75, rel=0.04)
        assert found.eccentricity == pytest.approx(np.sqrt(1 - 0.75**2), abs=0.04)
        assert abs(found.stage - (1 + share) / 2) < 0.08  # of a shallow one; its depth is six voxels
        assert found.neck == pytest.approx(np.sqrt(1 - max(share, 0) ** 2), abs=0.05)
        assert abs(long @ side) > 0.99 and found.tilt_degrees < 5


def test_a_tilted_pit_has_its_tilt_and_the_membrane_says_against_what():
    inside, membrane, normal, _ = pit((50.0, 50.0, 50.0), 30.0, 5.0, np.random.default_rng(3), tilt=15.0)
    found_normal = normal_at(membrane, inside, 160.0)
    assert found_normal @ normal > np.cos(np.radians(1.5))
    assert shape(inside, found_normal, np.full(3, 5.0))[0].tilt_degrees == pytest.approx(15, abs=2)


def test_too_little_membrane_says_nothing():
    inside, membrane, *_ = pit((50.0, 50.0, 50.0), 30.0, 5.0, np.random.default_rng(3))
    assert normal_at(membrane, inside, 20.0) is None


def test_what_is_no_ellipsoid_is_measured_by_its_voxels():
    places = np.stack(np.meshgrid(*(np.arange(n) * 5.0 for n in (12, 10, 10)), indexing="ij"), -1).reshape(-1, 3)
    thin = places[(places[:, 1] < 1) | (places[:, 0] > 50)]
    found, _ = shape(thin, np.array([1.0, 0, 0]), np.full(3, 5.0))
    assert not found.is_fitted and np.isnan(found.stage) and found.depth_nm == 60
    flat, _ = shape(places[places[:, 0] < 1], np.array([1.0, 0, 0]), np.full(3, 5.0))
    assert not flat.is_fitted and flat.depth_nm == 5 and flat.eccentricity < 0.01


def test_simulated_pits_measure_what_the_table_says(tmp_path):
    cell = replace(FINE, voxel_size_nm=(5.0, 5.0, 5.0))
    every = pits(cell, (0, 0, 0))
    chosen = [one for one in every if one.organelle == "coated_pits"][:5]
    chosen += [one for one in every if one.organelle == "caveolae"][:2]
    for number, one in enumerate(chosen):
        box = box_around(one.patch.centre_nm - one.patch.normal * one.depth_nm / 2, 0.7 * one.reach_nm, cell)
        volumes, truth = simulated(cell, box, (one.organelle,), f"{tmp_path}/{number}.zarr")
        volume = volumes[one.organelle]
        found = measure_pits(volume, objects_table(volume), membrane=None, reach_nm=150.0, length_nm=LENGTH)
        row = int(np.argmin(np.abs([truth[one.organelle, int(n)].depth_nm - one.depth_nm for n in found["id"]])))
        assert not found["touches_border"][row]
        assert abs(found["depth_nm"][row] - one.depth_nm) < 2.5
        assert abs(found["width_nm"][row] - one.width_nm) < 2.5
        aspect = found["short_nm"][row] / found["width_nm"][row]
        assert aspect == pytest.approx(np.sqrt(1 - one.eccentricity**2), rel=0.05)
        outwards = np.array([found[f"normal_{axis}"][row] for axis in "zyx"])
        assert outwards @ one.patch.normal > np.cos(np.radians(6))
        caveola = is_caveola(
            {name: column[row] for name, column in found.items()}, width_nm=77.0, eccentricity=0.5, stage=0.6
        )
        assert caveola == (one.organelle == "caveolae")


def test_a_membrane_volume_is_used_where_there_is_one(tmp_path):
    z, y, x = np.meshgrid(*(np.arange(n) * 5.0 for n in (40, 60, 60)), indexing="ij")
    # The cell is at small z, and the membrane a plane between voxels.
    inside = ((z - 117.5) ** 2 + (y - 150) ** 2 + (x - 149) ** 2 <= 45**2) & (z < 147.5)
    membrane = (np.abs(z - 147.5) <= 8) & ~inside
    objects = write(f"{tmp_path}/a.zarr/pits", inside.astype(np.uint8), (5.0, 5.0, 5.0))
    labels = write(f"{tmp_path}/a.zarr/membrane", membrane.astype(np.uint8), (5.0, 5.0, 5.0))
    found = measure_pits(objects, objects_table(objects), membrane=labels, reach_nm=150.0, length_nm=LENGTH)
    assert found["normal_z"][0] > 0.999
    assert abs(found["depth_nm"][0] - 75) < 2.5 and abs(found["width_nm"][0] - 90) < 2.5
