"""What lies at an address: each kind of container, axes in any order, plain arrays whose size is given."""

import json
import pickle

import numpy as np
import pytest
import tensorstore as ts

from asem_jax.volumes.containers import Reading, find_array
from asem_jax.volumes.volume import open_volume
from tests.phantoms import write_volume

ARRAY = np.arange(1, 1 + 4 * 5 * 6, dtype=np.uint32).reshape(4, 5, 6)


def write_array(folder, array, attributes=None):
    metadata = {"shape": array.shape, "dtype": array.dtype.str, "chunks": array.shape}
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/"}, "metadata": metadata}
    ts.open(spec, create=True).result().write(array).result()
    if attributes is not None:
        (folder / ".zattrs").write_text(json.dumps(attributes))


def write_webknossos(folder):
    """Writes an image as webKnossos exports it: axes c x y z."""
    write_array(folder / "color/1", ARRAY.T[np.newaxis])
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "nanometer"} for n in "xyz")]
    scale = {"type": "scale", "scale": [1, 4.0, 4.5, 8.0]}
    datasets = [{"path": "1", "coordinateTransformations": [scale]}]
    (folder / "color/.zgroup").write_text('{"zarr_format": 2}')
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    (folder / "color/.zattrs").write_text(json.dumps({"multiscales": multiscales}))


def test_an_image_of_webknossos_is_read_as_z_y_x(tmp_path):
    write_webknossos(tmp_path)
    volume = open_volume(tmp_path / "color")
    assert (volume.shape, volume.chunk_shape) == (ARRAY.shape, ARRAY.shape)
    assert volume.voxel_size_nm == (8.0, 4.5, 4.0)
    np.testing.assert_array_equal(volume.read(volume.box), ARRAY)


def test_a_plain_array_takes_the_size_and_axes_that_are_given(tmp_path):
    write_array(tmp_path / "a.zarr", np.stack([ARRAY.T, ARRAY.T + 1]))
    with pytest.raises(ValueError, match="plain zarr array without a voxel size; give voxel_size_nm"):
        open_volume(tmp_path / "a.zarr")
    volume = open_volume(tmp_path / "a.zarr", voxel_size_nm=(8, 4, 4), axes="cxyz", channel=1)
    assert (volume.voxel_size_nm, volume.offset_nm) == ((8.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    for found in (volume, pickle.loads(pickle.dumps(volume))):
        np.testing.assert_array_equal(found.read(found.box), ARRAY + 1)


def test_kinds_are_told_apart_and_levels_are_there(tmp_path):
    write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    write_array(tmp_path / "b.zarr", ARRAY, {"resolution": [5, 5, 5], "offset": [5, 0, 0]})
    found = find_array(str(tmp_path / "b.zarr"), Reading(voxel_size_nm=(9.0, 9.0, 9.0)))
    assert (found.voxel_size_nm, found.offset_nm) == ((5, 5, 5), (5, 0, 0))
    assert find_array(str(tmp_path), Reading()) is None
    for address, message in (
        ("b.zarr", "has no level 1; a plain array"),
        ("cell.zarr/raw", "has no level 1; it has 1"),
    ):
        with pytest.raises(ValueError, match=message):
            find_array(str(tmp_path / address), Reading(level=1))
    with pytest.raises(ValueError, match=r"raw/0 is one level of the image .*raw; open that"):
        find_array(str(tmp_path / "cell.zarr/raw/0"), Reading())
