"""A cell refuses numbers that make no tissue, and says which."""

from dataclasses import replace

import pytest

from tests.simulation.cells import CELL, WHOLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, r"seed=-1 is no seed; give a whole number from 0"),
        ({"voxel_size_nm": (10.0, 0.0, 10.0)}, r"voxel_size_nm=\(10.0, 0.0, 10.0\) .* give nm above 0"),
        ({"er_nm": -5.0}, r"er_nm=-5.0 is negative; give 0 \(none\) or more"),
        ({"body_radius_nm": (90.0, 60.0)}, r"body_radius_nm=\(90.0, 60.0\) is no range; give the smallest"),
        ({"body_grey": (1.0, 2.0, 3.0)}, r"body_grey=\(1.0, 2.0, 3.0\) is no range"),
        (
            {"mitochondrion_radius_nm": (50.0, 60.0)},
            r"mitochondrion_radius_nm=\(50.0, 60.0\) leaves no room inside a wall of 52 nm .* larger radii",
        ),
    ],
)
def test_messages(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CELL, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coat_nm": -1.0}, r"coat_nm=-1.0 is negative; give 0 \(none\) or more"),
        ({"bare_share": 1.5}, r"bare_share=1.5 is no share; give 0 to 1"),
        ({"pit_eccentricity": (0.5, 1.0)}, r"pit_eccentricity=\(0.5, 1.0\) is flat; give values below 1"),
        ({"pitch_nm": 2000.0}, r"pitch_nm=2000 is too small for cells .* give at least 2448"),
        ({"nucleus_radius_nm": (900.0, 950.0)}, r"nucleus_radius_nm=\(900.0, 950.0\) does not fit .* smaller nuclei"),
    ],
)
def test_messages_of_whole_cells(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(WHOLE, **changes)


def test_whole_cells_are_no_tissue():
    with pytest.raises(ValueError, match=r"process_nm=400.0 and er_nm=260.0 belong to tissue; give 0 for both"):
        replace(CELL, whole=WHOLE)


def test_lists_of_a_config_become_tuples():
    cell = replace(CELL, voxel_size_nm=[5, 5, 5], body_radius_nm=[60, 90])
    assert cell.voxel_size_nm == (5.0, 5.0, 5.0) and cell.body_radius_nm == (60.0, 90.0)
    assert hash(cell) == hash(replace(CELL, voxel_size_nm=(5.0, 5.0, 5.0), body_radius_nm=(60.0, 90.0)))
