"""Neuroglancer's precomputed format: the place of scales, channels, absent chunks, hostile metadata."""

import json

import numpy as np
import pytest
import tensorstore as ts

from asem_jax.volumes.ngff import Level
from asem_jax.volumes.precomputed import voxel_offset
from asem_jax.volumes.volume import open_volume

ARRAY = np.arange(1, 1 + 6 * 7 * 9, dtype=np.uint16).reshape(6, 7, 9)


def write(folder, array, resolution=(4.56, 4.0, 8.0), voxel_offset=(3, 2, 1), num_channels=1):
    """Writes z y x, or z y x c, with another writer's hands: straight through TensorStore, x y z c."""
    array = array if array.ndim == 4 else array[..., np.newaxis]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {"data_type": array.dtype.name, "num_channels": num_channels, "type": "image"},
        "scale_metadata": {
            "size": array.shape[2::-1],
            "encoding": "raw",
            "chunk_size": [4, 4, 4],
            "resolution": resolution,
            "voxel_offset": voxel_offset,
        },
    }
    ts.open(spec, create=True).result().write(array.transpose(2, 1, 0, 3)).result()


def change_info(folder, change):
    info = json.loads((folder / "info").read_text())
    change(info)
    (folder / "info").write_text(json.dumps(info))


def test_scales_lie_over_each_other(tmp_path):
    write(tmp_path, ARRAY, (4.0, 4.0, 8.0), (4, 2, 0))
    write(tmp_path, ARRAY[::2, ::2, ::2], (8.0, 8.0, 16.0), (2, 1, 0))
    fine, coarse = open_volume(tmp_path), open_volume(tmp_path, level=1)
    assert (fine.voxel_size_nm, fine.offset_nm) == ((8.0, 4.0, 4.0), (0.0, 8.0, 16.0))
    assert coarse.offset_nm == (4.0, 10.0, 18.0)  # between the first two voxels of the fine scale
    np.testing.assert_array_equal(fine.read(fine.box), ARRAY)
    assert voxel_offset(Level("", coarse.voxel_size_nm, coarse.offset_nm), fine.voxel_size_nm) == (2, 1, 0)
    assert voxel_offset(Level("", (8.0, 4.0, 4.0), (1.0, 0.0, 0.0)), (8.0, 4.0, 4.0)) is None


def test_one_of_several_channels_is_read_and_an_absent_chunk_is_zero(tmp_path):
    write(tmp_path, np.stack([ARRAY, ARRAY + 1], axis=-1), num_channels=2)
    with pytest.raises(ValueError, match=r"2 elements along c, .*give the channel"):
        open_volume(tmp_path)
    volume = open_volume(tmp_path, channel=1)
    np.testing.assert_array_equal(volume.read(volume.box), ARRAY + 1)
    next(tmp_path.glob("*/3-7_2-6_1-5")).unlink()
    assert not open_volume(tmp_path, channel=0).read(volume.box)[:4, :4, :4].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info["scales"][0].update(key="../elsewhere"), "names an array '../elsewhere' outside its own"),
        (lambda info: info["scales"][0].pop("resolution"), "a scale in its info has only .*key, resolution, size"),
        (lambda info: info["scales"][0].update(size=[-3, 4, 5]), "cannot open its array"),
    ],
)
def test_metadata_that_is_damaged_or_hostile_is_refused(tmp_path, change, message):
    write(tmp_path, ARRAY)
    change_info(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        open_volume(tmp_path)
