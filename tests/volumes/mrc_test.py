"""MRC: modes, axes, size and origin in the header, bytes of IMOD, damaged files."""

import struct

import mrcfile
import numpy as np
import pytest

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.mrc import open_mrc

ARRAY = np.random.default_rng(0).integers(0, 100, (4, 5, 6))


def write(path, array, size=(40.0, 50.0, 45.6), **header):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        file.voxel_size = size
        for name, value in header.items():
            file.header[name] = value
    return path


def whole(source):
    return source.read(Box.of_shape(source.shape))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
def test_each_mode_is_read_with_its_place(tmp_path, dtype):
    source = open_mrc(write(tmp_path / "a.mrc", ARRAY.astype(dtype), origin=(10, 0, 30)))
    assert (source.shape, source.dtype, source.chunk_shape) == (ARRAY.shape, np.dtype(dtype), (1, 5, 6))
    assert (source.voxel_size_nm, source.offset_nm) == ((4.56, 5.0, 4.0), (3.0, 0.0, 1.0))
    box = Box((1, 0, 2), (3, 5, 4))
    np.testing.assert_array_equal(source.read(box), ARRAY.astype(dtype)[box.slices])


def test_a_header_may_say_nothing_of_the_place(tmp_path):
    source = open_mrc(write(tmp_path / "a.mrc", ARRAY.astype(np.int16), size=0.0))
    assert (source.voxel_size_nm, source.offset_nm) == (None, None)
    section = open_mrc(write(tmp_path / "b.mrc", ARRAY[0].astype(np.int16)))
    assert section.shape == (1, 5, 6)


def test_stored_axes_are_those_of_the_header(tmp_path):
    stored = np.ascontiguousarray(ARRAY.astype(np.int16).transpose(2, 1, 0))
    source = open_mrc(write(tmp_path / "a.mrc", stored, mapc=3, mapr=2, maps=1))
    np.testing.assert_array_equal(whole(source), ARRAY)
    assert open_mrc(write(tmp_path / "b.mrc", stored, mapc=0, mapr=0, maps=0)).shape == (6, 5, 4)
    with pytest.raises(ValueError, match=r"axes \[3, 1, 1\] .*export anew"):
        open_mrc(write(tmp_path / "c.mrc", stored, mapc=1, mapr=1, maps=3))


def test_bytes_of_imod_are_what_imod_says(tmp_path):
    path = write(tmp_path / "a.mrc", (ARRAY + 100).astype(np.uint8).view(np.int8))
    for flags, dtype in ((0, np.uint8), (1, np.int8)):
        content = bytearray(path.read_bytes())
        content[152:160] = struct.pack("<ii", 1146047817, flags)
        path.write_bytes(content)
        source = open_mrc(path)
        assert source.dtype == dtype
        np.testing.assert_array_equal(whole(source), (ARRAY + 100).astype(np.uint8).view(dtype))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content[:500],
        lambda content: b"no MRC file" * 200,
        lambda content: struct.pack("<i", -5) + content[4:],
        lambda content: struct.pack("<i", 2**30) + content[4:],
        lambda content: content[:12] + struct.pack("<i", 77) + content[16:],
    ],
    ids=["cut", "header cut", "text", "negative", "absurd", "mode"],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = write(tmp_path / "a.mrc", ARRAY.astype(np.int16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a.mrc is no MRC file, or a damaged one \(.*\); copy or export"):
        open_mrc(path)


def test_transforms_and_absent_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.mrc holds complex numbers \(mode 4.*give the volume"):
        open_mrc(write(tmp_path / "a.mrc", ARRAY.astype(np.complex64)))
    with pytest.raises(FileNotFoundError, match=r"b.mrc is not there; give an MRC file"):
        open_mrc(tmp_path / "b.mrc")
