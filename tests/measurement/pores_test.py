"""A pore of 90 nm measures 90 nm, and the pores of a simulated cell what its table says."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.measurement.pores import measure_pores, normal_at, section
from asem_jax.simulation.surfaces import Surface, site
from asem_jax.volumes.geometry import Box
from tests.measurement.bodies import directions, lattice, objects_table, simulated, write
from tests.simulation.whole_cells import FINE

LENGTH, REACH = (40.0, 200.0), 150.0


def pore(diameter_nm, voxel_nm, rng, *, oblong=1.0):
    """Pore and envelope, a shell of 500 nm, 48 nm thick, as voxel centres; the axis of the pore."""
    normal, side, other = directions(rng)
    places = lattice(150.0, voxel_nm, rng.random(3)).reshape(-1, 3)
    away = np.linalg.norm(places + 500 * normal, axis=1) - 500
    off = np.hypot(places @ side * np.sqrt(oblong), places @ other / np.sqrt(oblong))
    layer = np.abs(away) <= 24
    return places[layer & (off <= diameter_nm / 2)], places[layer & (off > diameter_nm / 2 + 5)], normal


@pytest.mark.parametrize("voxel_nm", [4.0, 8.0])
@pytest.mark.parametrize("diameter_nm", [60.0, 90.0, 120.0])
def test_a_pore_measures_its_diameter_within_half_a_voxel(diameter_nm, voxel_nm):
    rng = np.random.default_rng(int(diameter_nm))
    for _ in range(4):
        inside, envelope, axis = pore(diameter_nm, voxel_nm, rng)
        normal = normal_at(envelope, inside.mean(0), REACH)
        assert abs(normal @ axis) > np.cos(np.radians(1.5))
        found = section(inside, normal, np.full(3, voxel_nm))
        assert abs(found.diameter_nm - diameter_nm) < 0.25 * voxel_nm
        assert diameter_nm - voxel_nm / 2 < found.short_nm <= found.long_nm < diameter_nm + voxel_nm / 2
        assert found.height_nm == pytest.approx(50, abs=4)


def test_a_tilted_normal_hardly_matters():
    inside, _, axis = pore(90.0, 4.0, np.random.default_rng(5))
    tilted = axis + 0.1 * np.cross(axis, [0.0, 0.0, 1.0])
    assert abs(section(inside, tilted / np.linalg.norm(tilted), np.full(3, 4.0)).diameter_nm - 90) < 1


def test_a_pore_along_the_grid_and_an_oblong_one():
    z, y, x = np.meshgrid(np.arange(6) * 8.0, np.arange(20) * 8.0, np.arange(20) * 8.0, indexing="ij")
    places = np.stack([z, y, x], -1)[np.hypot(y - 77, x - 75) <= 45]
    assert abs(section(places, np.array([1.0, 0, 0]), np.full(3, 8.0)).diameter_nm - 90) < 2
    inside, _, axis = pore(90.0, 4.0, np.random.default_rng(6), oblong=1.25)
    found = section(inside, axis, np.full(3, 4.0))
    assert found.long_nm / found.short_nm == pytest.approx(1.25, rel=0.02)


@pytest.fixture(scope="module")
def pole(tmp_path_factory):
    """The top of a nucleus at 5 nm: pores and envelope as volumes, their table, and the truth by number."""
    cell = replace(FINE, voxel_size_nm=(5.0, 5.0, 5.0))
    one = site(cell, (0, 0, 0))
    top = one.centres_nm[Surface.ENVELOPE] + np.array([one.radii_nm[Surface.ENVELOPE], 0, 0])
    low, high = ((top + np.array(by)) / 5 for by in ((-250, -300, -300), (110, 300, 300)))
    box = Box(tuple(low.astype(int).tolist()), tuple(high.astype(int).tolist()))
    folder = f"{tmp_path_factory.mktemp('pole')}/cell.zarr"
    volumes, truth = simulated(cell, box, ("nuclear_pores", "nuclear_envelope"), folder)
    pores, envelope = volumes.values()
    return (
        pores,
        envelope,
        objects_table(pores),
        {n: row for (name, n), row in truth.items() if name == "nuclear_pores"},
    )


@pytest.mark.parametrize("with_envelope", [True, False])
def test_simulated_pores_measure_what_the_table_says(pole, with_envelope):
    pores, envelope, table, truth = pole
    found = measure_pores(pores, table, envelope=envelope if with_envelope else None, reach_nm=REACH, length_nm=LENGTH)
    rows = [row for row, number in enumerate(found["id"]) if not found["touches_border"][row]]
    assert len(rows) >= 2
    for row in rows:
        true = truth[int(found["id"][row])]
        assert abs(found["diameter_nm"][row] - true.diameter_nm) < 2.5
        others = [other for other in truth.values() if other.number in found["id"] and other is not true]
        centre = np.array([true.z_nm, true.y_nm, true.x_nm])
        near = min(np.linalg.norm(centre - (o.z_nm, o.y_nm, o.x_nm)) for o in others)
        assert abs(found["neighbour_nm"][row] - near) < 5
        assert found["neighbour_nm"][row] < found["neighbour_arc_nm"][row] < 1.05 * found["neighbour_nm"][row]


def test_a_single_pore_has_no_neighbour_and_without_envelope_its_own_axis(tmp_path):
    z, y, x = np.meshgrid(*(np.arange(n) * 4.0 for n in (20, 40, 40)), indexing="ij")
    inside = (np.abs(z - 40) <= 22) & (np.hypot(y - 80, x - 78) <= 40)
    volume = write(f"{tmp_path}/a.zarr/pores", inside.astype(np.uint8), (4.0, 4.0, 4.0))
    nothing = write(f"{tmp_path}/a.zarr/envelope", 0 * inside.astype(np.uint8), (4.0, 4.0, 4.0))
    found = measure_pores(volume, objects_table(volume), envelope=nothing, reach_nm=REACH, length_nm=LENGTH)
    assert abs(found["normal_z"][0]) > 0.999 and abs(found["diameter_nm"][0] - 80) < 2
    assert np.isnan(found["neighbour_nm"][0]) and not found["neighbour_is_sure"][0]


def test_a_neighbour_is_sure_if_the_border_is_farther(pole):
    pores, _, table, _ = pole
    found = measure_pores(pores, table, envelope=None, reach_nm=REACH, length_nm=LENGTH)
    low = np.array(pores.offset_nm) - 2.5
    for row in range(len(found["id"])):
        centre = np.array([found[f"{axis}_nm"][row] for axis in "zyx"])
        to_border = np.minimum(centre - low, low + 5 * np.array(pores.shape) - centre).min()
        cut = {n for n, touches in zip(found["id"], found["touches_border"], strict=True) if touches}
        is_near = found["neighbour_nm"][row] <= to_border
        is_whole = not {found["id"][row], found["neighbour_id"][row]} & cut
        assert found["neighbour_is_sure"][row] == (is_near and is_whole)
