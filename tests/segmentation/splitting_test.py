"""Touching objects parted at their necks, whatever the blocks."""

import numpy as np
import pytest

from asem_jax.segmentation.splitting import flood, is_deep, read_cores, split_objects
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (20, 22, 44)


def ball(centre, radius):
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def split(folder, mask, block_shape, depth_nm=30.0, reach_nm=150.0, size=10.0):
    def make(name, dtype):
        return create_volume(
            f"{folder}/cell.zarr/{name}",
            shape=SHAPE,
            dtype=dtype,
            voxel_size_nm=(size,) * 3,
            chunk_shape=(8, 8, 8),
        )

    source = make("mask", np.uint8)
    source.write(source.box, mask.astype(np.uint8))
    job = BlockJob(folder / "job", block_shape, 2, {})
    parts = split_objects(source, connectivity=6, depth_nm=depth_nm, reach_nm=reach_nm, make=make, job=job)
    ids = np.zeros(SHAPE, np.int64)
    for index, box in job.blocks(source.box):
        ids[box.slices] = parts.final_numbers(0)[parts.read(index, box)]
    return parts, ids


TWO = ball((10, 10, 11), 8) | ball((10, 10, 25), 8)  # their surfaces cut each other 3.9 voxels from the axis
THIN = np.zeros(SHAPE, bool)
THIN[2:4, 2, 36:43] = True


def test_balls_that_touch_are_parted_halfway(tmp_path):
    parts, ids = split(tmp_path, TWO, (24, 24, 16), depth_nm=45.0)
    assert len(parts.sizes) == 2
    np.testing.assert_array_equal(ids > 0, TWO)
    # Floods arrive at the plane between them at one time, and the smaller number stays there.
    assert set(np.unique(ids[:, :, :19])) == {0, 1} and set(np.unique(ids[:, :, 19:])) == {0, 2}
    assert parts.sizes.sum() == TWO.sum()


def test_a_neck_that_is_thick_enough_holds(tmp_path):
    parts, _ = split(tmp_path, TWO, (24, 24, 16), depth_nm=30.0)
    assert len(parts.sizes) == 1


def test_the_result_does_not_depend_on_blocks(tmp_path):
    mask = TWO | ball((4, 19, 34), 6) | THIN | (np.random.default_rng(0).random(SHAPE) < 0.02)
    mask[10, 10, 33:] = True  # a core ends at x 28, blocks at x 32: the flood goes on from there for two voxels
    results = [
        split(tmp_path / str(i), mask, shape, depth_nm=45.0, reach_nm=60.0)[1]
        for i, shape in enumerate([(16, 16, 16), (8, 24, 24), (24, 24, 48)])
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[0] > 0, mask)
    assert results[0].max() > 10


def test_what_has_no_core_stays_one(tmp_path):
    parts, ids = split(tmp_path, THIN, (24, 24, 40))
    assert parts.sizes.tolist() == [THIN.sum()]
    np.testing.assert_array_equal(ids, THIN)


def test_what_no_flood_reaches_is_an_object_of_its_own(tmp_path):
    tail = ball((10, 10, 10), 8)
    tail[10, 10, 10:40] = True
    parts, _ = split(tmp_path, tail, (24, 24, 16), reach_nm=100.0)
    assert parts.sizes.tolist() == [tail[:, :, :26].sum(), 14]  # the core ends at x 15


def test_depth_looks_beyond_the_block(tmp_path):
    make = {"shape": SHAPE, "dtype": "uint8", "voxel_size_nm": (20.0, 10.0, 10.0), "chunk_shape": (8, 8, 8)}
    volume = create_volume(f"{tmp_path}/cell.zarr/mask", **make)
    volume.write(volume.box, TWO.astype(np.uint8))
    box = Box((7, 5, 9), (11, 12, 13))
    whole = is_deep(TWO, 40.0, (20.0, 10.0, 10.0))
    np.testing.assert_array_equal(read_cores(volume, box, 40.0), whole[box.slices])


def test_an_object_that_fills_the_array_is_deep_everywhere():
    assert is_deep(np.ones((3, 3, 3), bool), 1e6, (1.0, 1.0, 1.0)).all()


def test_a_flood_stays_in_its_mask():
    mask = np.ones((1, 3, 5), bool)
    mask[0, :2, 2] = False
    seeds = np.zeros(mask.shape, np.uint32)
    seeds[0, 0, 1] = 7
    assert flood(seeds, mask, 5)[0].tolist() == [[7, 7, 0, 0, 0], [7, 7, 0, 7, 0], [7, 7, 7, 7, 7]]
    assert seeds.sum() == 7


@pytest.mark.parametrize(("depth_nm", "reach_nm"), [(5.0, 50.0), (30.0, 20.0)])
def test_sizes_that_cut_nothing_are_refused(tmp_path, depth_nm, reach_nm):
    message = rf"split_depth_nm={depth_nm}, split_reach_nm={reach_nm} cut nothing; give .* \(10 nm\)"
    with pytest.raises(ValueError, match=message):
        split(tmp_path, TWO, (8, 8, 8), depth_nm, reach_nm)
