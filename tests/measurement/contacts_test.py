"""Contact areas are those of plates and balls, and do not depend on blocks."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.measurement.contacts import measure_contacts
from asem_jax.measurement.crossings import STEPS, area_per_crossing
from tests.measurement.bodies import write


def contacts(first, second, within_nm, block=(64, 64, 64)):
    return measure_contacts(first, second, within_nm=within_nm, block_shape=block, num_threads=2, name="a to b")


def test_a_ball_beside_a_plate_has_the_area_of_its_cap(tmp_path):
    z, y, x = np.meshgrid(*(np.arange(n) * 4.0 for n in (50, 60, 60)), indexing="ij")
    ball = (z - 92) ** 2 + (y - 118) ** 2 + (x - 117) ** 2 <= 60**2
    plate = z > 160
    first = write(f"{tmp_path}/a.zarr/balls", ball.astype(np.uint8) * 5, (4.0, 4.0, 4.0))
    second = write(f"{tmp_path}/a.zarr/plates", plate.astype(np.uint16) * 300, (4.0, 4.0, 4.0))
    table = contacts(first, second, 30.0)
    assert (table["first_id"].tolist(), table["second_id"].tolist()) == ([5], [300])
    assert table["gap_nm"].tolist() == [16.0]
    # A cap of a ball, 2 pi r h, of voxels whose centres lie at 136 nm and above: its rim is half a voxel below.
    # It faces along the grid, where flat surfaces come out 7 % too small.
    assert table["area_nm2"][0] == pytest.approx(2 * np.pi * 60 * (152 - 134), rel=0.1)
    assert contacts(first, second, 8.0)["area_nm2"].size == 0


@pytest.fixture
def both(tmp_path):
    rng = np.random.default_rng(4)
    arrays = [
        (rng.integers(1, 4, shape) * (rng.random(shape) > 0.6)).repeat(3, 0).repeat(2, 1).repeat(3, 2).astype(np.uint32)
        for shape in ((3, 5, 4), (3, 5, 4))
    ]
    return [
        write(f"{tmp_path}/a.zarr/{name}", array, (8.0, 4.0, 5.0)) for name, array in zip("ab", arrays, strict=True)
    ]


def test_blocks_do_not_show_and_areas_are_those_of_the_whole(both):
    first, second = both
    whole = contacts(first, second, 13.0)
    for block in ((4, 5, 7), (9, 3, 12), (2, 10, 5)):
        for name, column in contacts(first, second, 13.0, block).items():
            np.testing.assert_array_equal(column, whole[name], name)
    ids, others = first.read(first.box), second.read(second.box)
    padded = np.pad(ids, 1, mode="edge")
    rows = list(zip(whole["first_id"].tolist(), whole["second_id"].tolist(), strict=True))
    assert len(rows) == 9
    for row, (own, other) in enumerate(rows):
        away = ndimage.distance_transform_edt(others != other, sampling=(8.0, 4.0, 5.0))
        area = 0.0
        for place in np.argwhere((ids == own) & (away <= 13)):
            for number, step in enumerate(STEPS):
                for sign in (1, -1):
                    there = place + sign * np.array(step)
                    if ((there >= 0) & (there < ids.shape)).all() and padded[tuple(there + 1)] != own:
                        area += area_per_crossing((8.0, 4.0, 5.0))[number]
        assert whole["area_nm2"][row] == pytest.approx(area)
        assert whole["gap_nm"][row] == away[ids == own].min()


def test_one_volume_and_a_distance_below_a_voxel_are_refused(both):
    first, second = both
    with pytest.raises(
        ValueError, match=r"a to b: within_nm=7.0 is less than a voxel of \(8.0, 4.0, 5.0\) nm.*give more"
    ):
        contacts(first, second, 7.0)
    with pytest.raises(ValueError, match=r"contacts a to b: first and second are both .*/a; name two volumes"):
        contacts(first, first, 20.0)
