"""HDF5: round trips, ilastik's axes, whichever attribute states the size, damaged and hostile files."""

import json
import os

import h5py
import numpy as np
import pytest

from asem_jax.volumes import hdf5
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.hdf5 import is_begun, open_hdf5, split_address, write_hdf5
from asem_jax.volumes.ledger import Ledger
from tests.phantoms import write_volume

ARRAY = np.random.default_rng(0).integers(0, 200, (7, 9, 10)).astype(np.uint16)


def write(path, name="raw", array=ARRAY, attributes=(), **settings):
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=array, **settings).attrs.update(dict(attributes))
    return f"{path}/{name}"


def tags(axes, resolution=0, description=""):
    entries = [{"key": a, "typeFlags": 2, "resolution": resolution, "description": description} for a in axes]
    return {"axistags": json.dumps({"axes": entries})}


def whole(source):
    return source.read(Box.of_shape(source.shape))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "float32"])
def test_a_volume_comes_back(tmp_path, dtype):
    array = ARRAY.astype(dtype)
    place = {"voxel_size_nm": (4.56, 4.0, 3.5), "offset_nm": (10.0, -3.25, 0.1)}
    volume = write_volume(tmp_path / "cell.zarr/raw", array, chunk_shape=(4, 4, 4), **place)
    address = f"{tmp_path}/out/cell.h5/volumes/raw"
    write_hdf5(volume, address)
    write_hdf5(volume, f"{tmp_path}/out/cell.h5/other")
    back = open_hdf5(address)
    assert (back.voxel_size_nm, back.offset_nm) == (volume.voxel_size_nm, volume.offset_nm)
    assert (back.dtype, back.shape, back.chunk_shape) == (array.dtype, array.shape, (4, 4, 4))
    np.testing.assert_array_equal(whole(back), array)
    with h5py.File(tmp_path / "out/cell.h5") as file:
        assert [a["key"] for a in json.loads(file["other"].attrs["axistags"])["axes"]] == ["z", "y", "x"]
        np.testing.assert_allclose(file["other"].attrs["element_size_um"], (0.00456, 0.004, 0.0035))


@pytest.mark.parametrize("axes", ["xyz", "zyxc", "tzyxc", "cxyz"])
def test_the_axes_of_ilastik_are_followed(tmp_path, axes):
    order = [("zyx" + "tc").index(axis) for axis in axes]
    stored = ARRAY[..., np.newaxis, np.newaxis].transpose(order + [i for i in range(5) if i not in order])
    stored = stored.reshape(stored.shape[: len(axes)])
    source = open_hdf5(write(tmp_path / "a.h5", array=stored, attributes=tags(axes), chunks=True))
    assert source.shape == ARRAY.shape
    box = Box((1, 2, 3), (6, 4, 9))
    np.testing.assert_array_equal(source.read(box), ARRAY[box.slices])


def test_a_channel_is_chosen(tmp_path):
    address = write(tmp_path / "a.h5", array=np.stack([ARRAY, ARRAY + 1]), attributes=tags("czyx"))
    with pytest.raises(ValueError, match=r"has 2 elements along c, .*give the channel"):
        open_hdf5(address)
    np.testing.assert_array_equal(whole(open_hdf5(address, channel=1)), ARRAY + 1)
    unnamed = write(tmp_path / "a.h5", "unnamed", np.stack([ARRAY, ARRAY + 1]))
    with pytest.raises(ValueError, match=r"does not name its axes.*give axes"):
        open_hdf5(unnamed)
    np.testing.assert_array_equal(whole(open_hdf5(unnamed, channel=0, axes="czyx")), ARRAY)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"resolution": (8, 4, 4), "element_size_um": (1, 1, 1)}, (8, 4, 4)),
        ({"element_size_um": (0.008, 0.00456, 0.004)}, (8, 4.56, 4)),
        (tags("zyx", 5.0, "nm"), (5, 5, 5)),
        (tags("zyx", 5.0, "arbitrary"), None),
        (tags("zyx"), None),
        ({}, None),
    ],
)
def test_the_size_is_found_where_it_stands(tmp_path, attributes, size):
    found = open_hdf5(write(tmp_path / "a.h5", attributes=attributes)).voxel_size_nm
    assert found == (size if size is None else pytest.approx(size))


def test_a_killed_export_goes_on_and_never_looks_finished(tmp_path, monkeypatch):
    volume = write_volume(tmp_path / "cell.zarr/raw", ARRAY, chunk_shape=(4, 16, 16))
    address = f"{tmp_path}/cell.h5/raw"
    original = hdf5._open_to_write
    monkeypatch.setattr(hdf5, "_open_to_write", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_hdf5(volume, address, ledger=Ledger(tmp_path / "ledger.jsonl", {}))
    assert is_begun(address)
    with pytest.raises(FileNotFoundError, match=r"names no dataset; .* holds raw.unfinished"):
        open_hdf5(address)
    with pytest.raises(ValueError, match=r"raw.unfinished is not written completely; give the export"):
        open_hdf5(f"{address}.unfinished")
    monkeypatch.setattr(hdf5, "_open_to_write", original)
    ledger = Ledger(tmp_path / "ledger.jsonl", {})
    with h5py.File(tmp_path / "cell.h5", "r+") as file:
        file["raw.unfinished"][:4] = 7  # what the ledger holds is not written again
        file["raw.unfinished"].attrs["same"] = True
    ledger.mark(0)
    write_hdf5(volume, address, ledger=ledger)
    expected = ARRAY.copy()
    expected[:4] = 7
    np.testing.assert_array_equal(whole(open_hdf5(address)), expected)
    assert open_hdf5(address).dataset.attrs["same"]


def test_names_are_needed_where_there_are_several(tmp_path):
    address = write(tmp_path / "a.h5", "volumes/raw")
    assert open_hdf5(tmp_path / "a.h5").shape == ARRAY.shape
    write(tmp_path / "a.h5", "volumes/labels")
    with pytest.raises(
        FileNotFoundError, match=r"a.h5 names no dataset; .* holds volumes/labels, volumes/raw: give one"
    ):
        open_hdf5(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match="names no dataset"):
        open_hdf5(f"{address}s")
    with pytest.raises(FileNotFoundError, match=r"b.h5 is not there; give an HDF5 file"):
        open_hdf5(tmp_path / "b.h5/raw")
    assert split_address("a.HDF5") == (split_address("a.HDF5/x")[0], "")
    assert not is_begun(tmp_path / "b.h5/raw")


def test_damaged_files_are_named(tmp_path):
    address = write(tmp_path / "a.h5")
    os.truncate(tmp_path / "a.h5", (tmp_path / "a.h5").stat().st_size // 2)
    with pytest.raises(ValueError, match=r"a.h5 is no HDF5 file, or a damaged one \(.*truncated.*\); copy"):
        open_hdf5(address)
    packed = write(tmp_path / "b.h5", chunks=(7, 9, 10), compression="gzip")
    with h5py.File(tmp_path / "b.h5") as file:
        begin, size = file["raw"].id.get_chunk_info(0)[2:]
    with (tmp_path / "b.h5").open("r+b") as raw:
        raw.seek(begin)
        raw.write(b"\xff" * size)
    source = open_hdf5(packed)
    with pytest.raises(ValueError, match=r"b.h5/raw: voxels \(0, 0, 0\) to \(7, 9, 10\) cannot be read .*; copy"):
        whole(source)


def test_voxels_in_other_files_and_wrong_attributes_are_refused(tmp_path):
    address = write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/raw")
        layout = h5py.VirtualLayout(ARRAY.shape, ARRAY.dtype)
        layout[:] = h5py.VirtualSource(str(tmp_path / "a.h5"), "raw", ARRAY.shape)
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", (2, 2, 2), "u1", external=[("../secret", 0, 8)])
        file.create_dataset("empty", (9, 9, 9), "u1")
    for name in ("link", "virtual", "external"):
        with pytest.raises(ValueError, match=rf"evil.h5/{name} has its voxels in other files .*h5repack"):
            open_hdf5(f"{tmp_path}/evil.h5/{name}")
    with pytest.raises(ValueError, match=r"empty has the shape \(9, 9, 9\), but no voxel was ever written"):
        open_hdf5(f"{tmp_path}/evil.h5/empty")
    for name, value, message in (
        ("axistags", "[]", "axistags that are none of ilastik .*remove or correct"),
        ("resolution", (4.0, 4.0), "attribute resolution=.*three numbers z, y, x"),
    ):
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["raw"].attrs[name] = value
        with pytest.raises(ValueError, match=message):
            open_hdf5(address)
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            del file["raw"].attrs[name]
