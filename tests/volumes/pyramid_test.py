"""Pyramids: the levels against NumPy, their places, anisotropy, validity, replacement."""

import numpy as np
import pytest
from ome_zarr_models import open_ome_zarr

from asem_jax.volumes.geometry import Box, nm_from_voxels, tiles
from asem_jax.volumes.pyramid import GrowingImage, write_pyramid
from asem_jax.volumes.volume import create_volume, open_volume


def volume_of(address, array, *, voxel_size_nm=(5, 5, 5), chunk=8, **settings):
    volume = create_volume(
        address,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=voxel_size_nm,
        offset_nm=(1.5, 0, 100),
        chunk_shape=(chunk, chunk, chunk),
        **settings,
    )
    volume.write(volume.box, array)
    return volume


def cells(array):
    """Returns the voxels of each 2 x 2 x 2 cell along a last axis; even shapes only."""
    z, y, x = (n // 2 for n in array.shape)
    return array.reshape(z, 2, y, 2, x, 2).transpose(0, 2, 4, 1, 3, 5).reshape(z, y, x, 8)


@pytest.mark.parametrize("layout", [{}, {"zarr_format": 3}, {"zarr_format": 3, "shard_shape": (16, 16, 16)}], ids=str)
def test_grey_levels_are_rounded_means_of_cells(tmp_path, layout):
    array = np.random.default_rng(0).integers(0, 256, (20, 24, 36)).astype(np.uint8)
    volume = volume_of(tmp_path / "cell.zarr/raw", array, **layout)
    write_pyramid(volume, labels=False)
    coarse = open_volume(tmp_path / "cell.zarr/raw", level=1)
    np.testing.assert_array_equal(coarse.read(coarse.box), np.rint(cells(array).mean(-1)))
    assert coarse.voxel_size_nm == (10, 10, 10)
    assert coarse.chunk_shape == volume.chunk_shape
    zarr = pytest.importorskip("zarr")
    assert "Label" not in type(open_ome_zarr(zarr.open_group(str(tmp_path / "cell.zarr/raw"), mode="r"))).__name__


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_are_known_as_such_to_other_programs(tmp_path, zarr_format):
    zarr = pytest.importorskip("zarr")
    volume = volume_of(tmp_path / "cell.zarr/labels", np.ones((20, 24, 36), np.uint8), zarr_format=zarr_format)
    write_pyramid(volume, labels=True)
    assert type(open_ome_zarr(zarr.open_group(volume.address, mode="r"))).__name__ == "ImageLabel"


def test_labels_take_the_most_frequent_value_of_a_cell(tmp_path):
    array = np.random.default_rng(1).choice([0, 7, 70000], (10, 12, 14)).astype(np.uint32)
    write_pyramid(volume_of(tmp_path / "cell.zarr/labels", array), labels=True)
    coarse = open_volume(tmp_path / "cell.zarr/labels", level=1)
    modes = [[np.bincount(c).argmax() for c in row] for row in cells(array).reshape(5, -1, 8)]
    np.testing.assert_array_equal(coarse.read(coarse.box), np.reshape(modes, (5, 6, 7)))


def test_levels_end_when_one_fits_a_chunk_and_lie_in_place(tmp_path):
    array = np.full((33, 9, 9), 40, np.uint8)
    write_pyramid(volume_of(tmp_path / "cell.zarr/raw", array), labels=False)
    levels = [open_volume(tmp_path / "cell.zarr/raw", level=level) for level in range(4)]
    assert [v.shape for v in levels] == [(33, 9, 9), (17, 5, 5), (9, 3, 3), (5, 2, 2)]
    for level, volume in enumerate(levels):
        # The first cell of each level begins at the same face of the volume.
        face = nm_from_voxels((-0.5, -0.5, -0.5), volume.voxel_size_nm, volume.offset_nm)
        np.testing.assert_allclose(face, (-1, -2.5, 97.5))
        assert volume.read(volume.box).min() == 40, level
    with pytest.raises(ValueError, match="has no level 4"):
        open_volume(tmp_path / "cell.zarr/raw", level=4)


def test_a_cut_cell_is_the_mean_of_what_it_has(tmp_path):
    array = np.array([10, 20, 90], np.uint8).reshape(1, 1, 3)
    write_pyramid(volume_of(tmp_path / "cell.zarr/raw", array, chunk=2), labels=False)
    coarse = open_volume(tmp_path / "cell.zarr/raw", level=1)
    assert coarse.read(coarse.box).ravel().tolist() == [15, 90]


def test_a_coarse_axis_waits_until_voxels_are_isotropic(tmp_path):
    array = np.zeros((8, 32, 32), np.uint8)
    write_pyramid(volume_of(tmp_path / "cell.zarr/raw", array, voxel_size_nm=(16, 4, 4), chunk=4), labels=False)
    sizes = [open_volume(tmp_path / "cell.zarr/raw", level=n).voxel_size_nm for n in range(4)]
    assert sizes == [(16, 4, 4), (16, 8, 8), (16, 16, 16), (32, 32, 32)]


def test_a_second_pyramid_replaces_the_first(tmp_path):
    volume = volume_of(tmp_path / "cell.zarr/raw", np.zeros((16, 16, 16), np.uint8))
    write_pyramid(volume, labels=False)
    volume.write(volume.box, np.full(volume.shape, 9, np.uint8))
    write_pyramid(volume, labels=False)
    coarse = open_volume(volume.address, level=1)
    assert coarse.read(coarse.box).min() == 9
    with pytest.raises(ValueError, match="level 1 is not the finest"):
        write_pyramid(coarse, labels=False)


def test_a_pyramid_that_fails_is_not_announced_nor_is_the_one_before_it(tmp_path):
    volume = volume_of(tmp_path / "cell.zarr/raw", np.zeros((16, 8, 8), np.uint8))
    write_pyramid(volume, labels=False)
    (tmp_path / "cell.zarr/raw/0/1/0/0").unlink()
    with pytest.raises(RuntimeError, match="never written"):
        write_pyramid(open_volume(volume.address), labels=False)
    with pytest.raises(ValueError, match="has no level 1"):
        open_volume(volume.address, level=1)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(("block", "levels"), [((16, 16, 16), 2), ((8, 16, 32), 1), ((12, 16, 16), 0), (None, 0)])
def test_levels_that_grow_with_the_blocks_are_those_of_the_whole(tmp_path, block, levels, labels):
    array = np.random.default_rng(3).integers(0, 3 if labels else 256, (37, 50, 41)).astype(np.uint8)
    whole = volume_of(tmp_path / "cell.zarr/whole", array, chunk=4)
    write_pyramid(whole, labels=labels)
    grown = volume_of(tmp_path / "cell.zarr/grown", np.zeros_like(array), chunk=4)
    for box in tiles(grown.box, block or grown.shape):
        image = GrowingImage.begin(grown, block, labels=labels)  # as a process that begins anew does
        for write in image.write_async(box, array[box.slices]):
            write.result()
    assert len(image.coarse) == levels
    write_pyramid(grown, labels=labels, written=image.coarse)
    for level in range(5):
        expected, found = (open_volume(v.address, level=level) for v in (whole, grown))
        np.testing.assert_array_equal(found.read(found.box), expected.read(expected.box))
        assert (found.voxel_size_nm, found.offset_nm) == (expected.voxel_size_nm, expected.offset_nm)


def test_a_level_that_grew_is_not_read_where_no_block_was(tmp_path):
    volume = create_volume(
        tmp_path / "cell.zarr/raw", shape=(16, 8, 8), dtype=np.uint8, voxel_size_nm=(5, 5, 5), chunk_shape=(4, 4, 4)
    )
    image = GrowingImage.begin(volume, (8, 8, 8), labels=False)
    for write in image.write_async(Box.of_shape((8, 8, 8)), np.ones((8, 8, 8), np.uint8)):
        write.result()
    with pytest.raises(RuntimeError, match="never written"):
        write_pyramid(volume, labels=False, written=image.coarse)
