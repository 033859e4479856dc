"""Holes filled block by block are those of the whole volume."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.holes import fill_holes
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.volume import create_volume

VOXEL_NM3 = 8.0 * 4.0 * 4.0


def volume(folder, name, shape):
    return create_volume(
        f"{folder}/cell.zarr/{name}", shape=shape, dtype="uint8", voxel_size_nm=(8.0, 4.0, 4.0), chunk_shape=(4, 4, 4)
    )


def filled(folder, mask, max_nm3, block_shape=(4, 4, 4)):
    source, target = volume(folder, "mask", mask.shape), volume(folder, "filled", mask.shape)
    source.write(source.box, mask.astype(np.uint8))
    found = fill_holes(source, target, max_nm3=max_nm3, job=BlockJob(folder / "job", block_shape, 2, {}))
    return found, target.read(target.box) != 0


@pytest.mark.parametrize("block_shape", [(4, 4, 4), (16, 8, 4)])
def test_without_limit_as_scipy(tmp_path, block_shape):
    mask = np.random.default_rng(1).random((11, 14, 12)) < 0.68
    found, result = filled(tmp_path, mask, 1e9, block_shape)
    whole = ndimage.binary_fill_holes(mask)
    assert (whole & ~mask).sum() > 20
    np.testing.assert_array_equal(result, whole)
    background = ndimage.label(whole & ~mask)
    assert found == {"holes": background[1], "voxels": int((whole & ~mask).sum())}
    again, _ = filled(tmp_path / "again", result, 1e9)
    assert again == {"holes": 0, "voxels": 0}


def test_what_is_larger_than_the_limit_or_open_stays(tmp_path):
    mask = np.ones((9, 9, 12), bool)
    mask[4, 4, 2:4] = False  # two voxels
    mask[4, 4, 6:9] = False  # three
    mask[0, 0, 0] = False  # at the border
    found, result = filled(tmp_path, mask, 2 * VOXEL_NM3)
    assert found == {"holes": 1, "voxels": 2}
    assert result[4, 4].tolist() == [[True] * 6 + [False] * 3 + [True] * 3][0]
    assert not result[0, 0, 0]


def test_a_hole_behind_a_diagonal_wall_is_a_hole(tmp_path):
    mask = np.zeros((3, 5, 5), bool)
    mask[0, 2, 2] = mask[2, 2, 2] = True
    mask[1, [1, 2, 2, 3], [2, 1, 3, 2]] = True  # touch each other only at edges
    _, result = filled(tmp_path, mask, 1e9)
    assert result[1, 2, 2]


def test_no_size_fills_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"fill_holes_nm3=0.0 fills nothing; give the volume .* or None"):
        filled(tmp_path, np.ones((4, 4, 4), bool), 0.0)
