"""Analytic bodies measure what they are (flat ends less exactly: see `crossings`), and blocks do not show."""

import numpy as np
import pytest

from asem_jax.measurement import morphometry
from asem_jax.measurement.morphometry import Sums, box_of, measure_objects, of_length, places_nm
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume


def write(address, array, size=(4.0, 4.0, 4.0), offset=(0.0, 0.0, 0.0)):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=size, offset_nm=offset, chunk_shape=(16, 16, 16)
    )
    volume.write(volume.box, array)
    return volume


def measure(volume, raw=None, block=(64, 64, 64)):
    return measure_objects(volume, raw=raw, block_shape=block, num_threads=2, name="objects")


def turned(axes_nm, shape, size, centre_nm, *, cylinder=False):
    """An ellipsoid of these semi-axes, or a cylinder (half length, radius, radius), turned out of the grid."""
    turn = np.linalg.qr(np.array([[2.0, 1, 0.3], [-0.7, 2, 1], [0.4, -1, 2]]))[0]
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, size, strict=True)), indexing="ij"), -1)
    along = (places - centre_nm) @ turn
    if cylinder:
        inside = (np.abs(along[..., 0]) <= axes_nm[0]) & (np.hypot(along[..., 1], along[..., 2]) <= axes_nm[1])
    else:
        inside = np.square(along / np.array(axes_nm)).sum(-1) <= 1
    return inside, turn[:, 0]


@pytest.fixture
def random(tmp_path):
    """Objects in pieces, some at the border, ids that are far apart, and grey values."""
    rng = np.random.default_rng(3)
    ids = np.array([0, 0, 0, 7, 2**31 + 5, 9], np.uint32)[rng.integers(0, 6, (5, 6, 7))]
    ids = ids.repeat(3, 0).repeat(4, 1).repeat(3, 2)
    raw = rng.integers(0, 256, ids.shape).astype(np.uint8)
    size, offset = (8.0, 4.0, 5.0), (100.0, -20.0, 3.0)
    folder = f"{tmp_path}/a.zarr"
    return write(f"{folder}/ids", ids, size, offset), write(f"{folder}/raw", raw, size, offset), ids, raw


def test_every_column_is_that_of_the_voxels(random):
    volume, raw, ids, grey = random
    table = measure(volume, raw)
    assert table["id"].tolist() == [7, 9, 2**31 + 5]
    size = np.array(volume.voxel_size_nm)
    for row, number in enumerate(table["id"]):
        mine = ids == number
        places = places_nm(mine, volume.box, volume)
        assert table["voxels"][row] == len(places) and table["volume_nm3"][row] == len(places) * 160
        np.testing.assert_allclose([table[f"{a}_nm"][row] for a in "zyx"], places.mean(0))
        spread = np.cov(places.T, bias=True) + np.diag(size**2 / 12)
        axes = [table[f"{name}_nm"][row] for name in ("major", "middle", "minor")]
        np.testing.assert_allclose(axes, 2 * np.sqrt(5 * np.linalg.eigvalsh(spread)[::-1]))
        major = np.array([table[f"major_{a}"][row] for a in "zyx"])
        np.testing.assert_allclose(spread @ major, major * (axes[0] / 2) ** 2 / 5)
        found = np.argwhere(mine)
        assert box_of(table, row) == Box(tuple(found.min(0)), tuple(found.max(0) + 1))
        faces = [mine.take((0, -1), axis).sum() for axis in range(3)]
        assert table["border_nm2"][row] == pytest.approx(np.dot(faces, 160 / size))
        assert table["grey_mean"][row] == pytest.approx(grey[mine].mean())
        assert table["grey_std"][row] == pytest.approx(grey[mine].std())


def test_blocks_do_not_show(random):
    volume, raw, *_ = random
    whole = measure(volume, raw)
    for block in ((5, 7, 4), (1, 24, 21), (15, 3, 100)):
        for name, column in measure(volume, raw, block).items():
            np.testing.assert_array_equal(column, whole[name], name)


def test_sums_are_added_in_portions(random, monkeypatch):
    volume, raw, *_ = random
    whole = measure(volume, raw)
    monkeypatch.setattr(morphometry, "_APART", 2)
    np.testing.assert_array_equal(measure(volume, raw, (4, 4, 4))["surface_nm2"], whole["surface_nm2"])


BODIES = {
    "ball": ((60.0, 60.0, 60.0), False, 4 / 3 * np.pi * 60**3, 4 * np.pi * 60**2, (120, 120, 120)),
    # Knud Thomsen's formula for the area, good to 1 %.
    "ellipsoid": ((90.0, 60.0, 45.0), False, 4 / 3 * np.pi * 90 * 60 * 45, 51380.0, (180, 120, 90)),
    "cylinder": ((80.0, 30.0, 30.0), True, np.pi * 900 * 160, 2 * np.pi * 30 * 190, None),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("size", [(4.0, 4.0, 4.0), (6.0, 4.0, 4.0)])
def test_a_body_measures_what_it_is(body, size, tmp_path):
    semi, cylinder, volume_nm3, area_nm2, axes = BODIES[body]
    shape, centre = tuple(int(240 / s) for s in size), (119.0, 122.5, 118.2)
    inside, along = turned(semi, shape, size, centre, cylinder=cylinder)
    table = measure(write(f"{tmp_path}/a.zarr/ids", inside.astype(np.uint8), size), block=(32, 32, 32))
    row = {name: column[0] for name, column in table.items()}
    assert row["volume_nm3"] == pytest.approx(volume_nm3, rel=0.01)
    assert row["surface_nm2"] == pytest.approx(area_nm2, rel=0.05 if cylinder else 0.02)
    np.testing.assert_allclose((row["z_nm"], row["y_nm"], row["x_nm"]), centre, atol=0.5)
    assert row["sphericity"] == pytest.approx(np.cbrt(36 * np.pi * volume_nm3**2) / area_nm2, rel=0.05)
    assert not row["touches_border"]
    if axes is not None:
        np.testing.assert_allclose((row["major_nm"], row["middle_nm"], row["minor_nm"]), axes, atol=2)
    if body != "ball":
        major = np.array([row["major_z"], row["major_y"], row["major_x"]])
        assert abs(major @ along) > 0.999


def test_an_object_that_fills_the_volume_has_no_surface(tmp_path):
    table = measure(write(f"{tmp_path}/a.zarr/ids", np.ones((4, 5, 6), np.uint8)))
    assert table["surface_nm2"][0] == 0 and np.isnan(table["sphericity"][0]) and table["touches_border"][0]


def test_no_object_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ids holds no object: no voxel is above 0. Look at what made it"):
        measure(write(f"{tmp_path}/a.zarr/ids", np.zeros((4, 5, 6), np.uint32)))


def test_other_types_are_refused(tmp_path):
    ids = write(f"{tmp_path}/a.zarr/ids", np.ones((4, 5, 6), np.uint8))
    real = write(f"{tmp_path}/a.zarr/real", np.ones((4, 5, 6), np.float32))
    with pytest.raises(ValueError, match=r"real is float32; objects are whole numbers, one per object"):
        measure(real)
    with pytest.raises(ValueError, match=r"real is float32; grey values of 8 or 16 bits are needed"):
        measure(ids, real)


def test_objects_are_chosen_by_their_length(random, caplog):
    volume, *_ = random
    table = measure(volume)
    with caplog.at_level("INFO"):
        kept = of_length(table, (0.0, float(table["major_nm"].min())), volume.address)
    assert len(kept["id"]) == 1 and "ids: 2 objects are left out: they are not 0 to" in caplog.text
    with pytest.raises(ValueError, match=r"ids: none of 3 objects is 1.0 to 2.0 nm long; look at the column major_nm"):
        of_length(table, (1.0, 2.0), volume.address)


def test_an_object_too_large_for_the_sums_is_refused():
    far = np.full((1, 3), 40000)
    sums = Sums(np.array([3]), np.array([[2**33] + [0] * 27]), -far, far)
    with pytest.raises(
        ValueError, match=r"cell: object 3 has 8589934592 voxels, too many for 64 bits; measure a coarser level"
    ):
        morphometry._check_fit(sums, (0, 0, 0), 0, "cell")
