"""The table of parts, and what is written of it."""

import numpy as np

from asem_jax.segmentation.components import find_components
from asem_jax.segmentation.parts import Parts, parts_of, tabulate, write_objects
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (6, 7, 10)
BOX = Box.of_shape(SHAPE)
IDS = np.random.default_rng(0).integers(0, 5, SHAPE)


def job(folder):
    return BlockJob(folder, (4, 4, 4), 2, {})


def test_counts_and_first_voxels_are_those_of_the_whole(tmp_path):
    parts = tabulate(lambda _, box: IDS[box.slices], 4, BOX, job=job(tmp_path), label="x")
    np.testing.assert_array_equal(parts.sizes, np.bincount(IDS.ravel())[1:])
    assert parts.firsts.tolist() == [np.flatnonzero(IDS.ravel() == n)[0] for n in range(1, 5)]


def test_numbers_follow_the_first_voxel_and_skip_what_is_small():
    parts = Parts(None, np.array([5, 4, 5, 9]), np.array([30, 0, 10, 20]))
    assert parts.final_numbers(5).tolist() == [0, 3, 0, 1, 2]
    assert parts.final_numbers(0).tolist() == [0, 4, 1, 2, 3]
    assert parts.final_numbers(10).tolist() == [0, 0, 0, 0, 0]


def test_objects_and_segmentation_agree_and_small_parts_are_in_neither(tmp_path):
    def make(name, dtype):
        return create_volume(
            f"{tmp_path}/cell.zarr/{name}",
            shape=SHAPE,
            dtype=dtype,
            voxel_size_nm=(4.0, 4.0, 4.0),
            chunk_shape=(4, 4, 4),
        )

    mask = np.random.default_rng(2).random(SHAPE) < 0.3
    components = find_components(
        lambda box: mask[box.slices], SHAPE, connectivity=6, job=job(tmp_path / "job"), label="x"
    )
    parts = parts_of(components, lambda box: mask[box.slices])
    objects, segmentation = make("objects", "uint32"), make("segmentation", "uint8")
    write_objects(parts, objects, segmentation, min_voxels=3, job=job(tmp_path / "job"))
    ids = objects.read(BOX)
    sizes = np.bincount(ids.ravel())[1:]
    assert sizes.tolist() == [size for size in components.sizes if size >= 3]
    np.testing.assert_array_equal(segmentation.read(BOX), ids > 0)
    assert (mask & (ids == 0)).any()
