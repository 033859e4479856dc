"""Resampling: against SciPy and hand-countable cells, blockwise = whole, places, round trips, messages."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.volumes.geometry import Box, nm_from_voxels
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.resample import resample_volume
from asem_jax.volumes.volume import create_volume, open_volume


def volume_of(address, array, voxel_size_nm=(5, 5, 5)):
    volume = create_volume(
        address,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=voxel_size_nm,
        offset_nm=(1, 2, 3),
        chunk_shape=(8, 8, 8),
    )
    volume.write(volume.box, array)
    return volume


def resampled(tmp_path, array, voxel_size_nm, *, labels=False, chunk=8, name="out", source_size=(5, 5, 5)):
    source = volume_of(tmp_path / f"{name}_source.zarr/raw", array, source_size)
    return resample_volume(
        source,
        f"{tmp_path}/{name}.zarr/raw",
        voxel_size_nm=voxel_size_nm,
        labels=labels,
        chunk_shape=(chunk, chunk, chunk),
    )


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def test_larger_voxels_are_means_of_their_cells_the_cut_ones_too(tmp_path):
    out = resampled(tmp_path, noise((7, 8, 9)), (10, 15, 5))
    assert out.shape == (4, 3, 9)
    array = noise((7, 8, 9)).astype(np.float64)
    expected = [[np.rint(array[z : z + 2, y : y + 3].mean((0, 1))) for y in (0, 3, 6)] for z in (0, 2, 4, 6)]
    np.testing.assert_array_equal(out.read(out.box), expected)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_smaller_voxels_are_interpolated_between_centres(tmp_path, factor):
    array = noise((5, 6, 7), np.float32)
    out = resampled(tmp_path, array, (5 / factor,) * 3)
    axes = [(np.arange(n * factor) - (factor - 1) / 2) / factor for n in array.shape]
    expected = ndimage.map_coordinates(array, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(out.read(out.box), expected, atol=1e-3)


def test_integers_are_rounded_not_cut(tmp_path):
    out = resampled(tmp_path, np.array([0, 255], np.uint8).reshape(1, 1, 2), (5, 5, 2.5))
    assert out.read(out.box).ravel().tolist() == [0, 64, 191, 255]


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("size", [(10, 10, 10), (2.5, 5, 10), (2.5, 2.5, 2.5)])
def test_block_by_block_equals_the_whole_at_once(tmp_path, labels, size):
    array = noise((13, 11, 10))
    small = resampled(tmp_path, array, size, labels=labels, chunk=5, name="small")
    whole = resampled(tmp_path, array, size, labels=labels, chunk=64, name="whole")
    np.testing.assert_array_equal(small.read(small.box), whole.read(whole.box))


def test_labels_come_back_from_smaller_voxels(tmp_path):
    array = noise((4, 5, 6), np.uint32) * 1000
    fine = resampled(tmp_path, array, (2.5, 5, 5 / 3), labels=True)
    assert set(np.unique(fine.read(fine.box))) <= set(np.unique(array))
    back = resample_volume(
        fine, f"{tmp_path}/back.zarr/raw", voxel_size_nm=(5, 5, 5), labels=True, chunk_shape=(8, 8, 8)
    )
    np.testing.assert_array_equal(back.read(back.box), array)
    np.testing.assert_allclose(back.offset_nm, (1, 2, 3))


@pytest.mark.parametrize("size", [(10, 10, 10), (2.5, 5, 15)])
def test_a_place_keeps_its_nanometres(tmp_path, size):
    # A grey ramp along x that counts nanometres: wherever a voxel lies, it holds its own position.
    array = np.broadcast_to(3 + 5.0 * np.arange(12, dtype=np.float32), (6, 6, 12)).copy()
    out = resampled(tmp_path, array, size)
    inner = out.read(Box((0, 0, 1), (1, 1, out.shape[2] - 1))).ravel()
    places = [nm_from_voxels((0, 0, x), out.voxel_size_nm, out.offset_nm)[2] for x in range(1, out.shape[2] - 1)]
    np.testing.assert_allclose(inner, places, rtol=1e-6)


def test_finished_blocks_are_not_made_again(tmp_path):
    source = volume_of(tmp_path / "source.zarr/raw", noise((16, 8, 8)))
    settings = {"voxel_size_nm": (5, 5, 5), "labels": False, "chunk_shape": (8, 8, 8)}
    ledger = Ledger(tmp_path / "ledger.jsonl", {})
    ledger.mark(0)
    resample_volume(source, f"{tmp_path}/out.zarr/raw", ledger=ledger, **settings)
    out = open_volume(f"{tmp_path}/out.zarr/raw", missing_as_zero=True)
    assert not out.read(Box((0, 0, 0), (8, 8, 8))).any()
    np.testing.assert_array_equal(out.read(Box((8, 0, 0), (16, 8, 8))), noise((16, 8, 8))[8:])


@pytest.mark.parametrize("size", [(5, 5, 7.5), (5, 5, 4), (5, 5, -5)])
def test_ratios_that_are_not_whole_are_refused_with_near_ones(tmp_path, size):
    with pytest.raises(ValueError, match=r"nm by whole ratios; nearby for 5.0 nm: .*\b5.* nm"):
        resampled(tmp_path, noise((2, 2, 2)), size)


def test_sizes_rounded_in_metadata_count_as_whole_ratios(tmp_path):
    out = resampled(tmp_path, noise((2, 2, 2)), (9.12, 9.12, 9.121), source_size=(4.56, 4.56, 4.56))
    assert out.shape == (1, 1, 1)
    assert out.voxel_size_nm == (9.12, 9.12, 9.12)
