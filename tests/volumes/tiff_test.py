"""TIFF in and out: round trips, the tags of other programs, files that cannot be a stack, large files."""

import os
import re

import numpy as np
import pytest
import tifffile

from asem_jax.volumes import tiff as tiff_stacks
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.tiff import open_stack, write_sections, write_stack
from asem_jax.volumes.volume import create_volume


def grey(shape=(7, 6, 5), dtype="uint8"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def sections(start, stop):
    return Box((start, 0, 0), (stop, 6, 5))


def volume_of(tmp_path, array, voxel_size_nm=(6.5, 4.56, 5)):
    volume = create_volume(
        tmp_path / "cell.zarr/raw",
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=voxel_size_nm,
        chunk_shape=(3, 4, 4),
    )
    volume.write(volume.box, array)
    return volume


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_a_volume_comes_back_from_one_file_and_from_sections(tmp_path, dtype):
    array = grey(dtype=dtype)
    volume = volume_of(tmp_path, array)
    write_stack(volume, tmp_path / "out/stack.tif")
    write_sections(volume, tmp_path / "sections/")
    for source in ("out/stack.tif", "sections/"):
        stack = open_stack(tmp_path / source)
        assert (stack.shape, stack.dtype, stack.voxel_size_nm) == ((7, 6, 5), array.dtype, (6.5, 4.56, 5.0))
        np.testing.assert_array_equal(stack.read(sections(0, 7)), array)
        np.testing.assert_array_equal(stack.read(sections(2, 5)), array[2:5])


def test_the_file_says_to_imagej_what_it_is(tmp_path):
    write_stack(volume_of(tmp_path, grey()), tmp_path / "stack.tif")
    with tifffile.TiffFile(tmp_path / "stack.tif") as tiff:
        assert tiff.is_imagej and not tiff.is_bigtiff
        wanted = {"images": 7, "slices": 7, "unit": "nm", "spacing": 6.5}
        assert wanted.items() <= tiff.imagej_metadata.items()
        assert tiff.series[0].axes == "ZYX"


def test_a_large_volume_becomes_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_stacks, "CLASSIC_TIFF_BYTES", 100)
    write_stack(volume_of(tmp_path, grey()), tmp_path / "stack.tif")
    with tifffile.TiffFile(tmp_path / "stack.tif") as tiff:
        assert tiff.is_bigtiff
    np.testing.assert_array_equal(open_stack(tmp_path / "stack.tif").read(sections(0, 7)), grey())


def test_sections_that_are_written_are_not_written_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", {})
    ledger.mark(1)
    write_sections(volume_of(tmp_path, grey()), tmp_path / "out", ledger=ledger)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"section_{z:04d}.tif" for z in (0, 1, 2, 6)]


def test_imagej_and_ome_state_the_voxel_size(tmp_path):
    metadata = {"spacing": 0.008, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(tmp_path / "ij.tif", grey(), imagej=True, resolution=(250, 200), metadata=metadata)
    sizes = {"PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.005, "PhysicalSizeZ": 0.008}
    tifffile.imwrite(tmp_path / "x.ome.tif", grey(), metadata={"axes": "ZYX"} | sizes)
    for name in ("ij.tif", "x.ome.tif"):
        assert open_stack(tmp_path / name).voxel_size_nm == pytest.approx((8, 5, 4))


@pytest.mark.parametrize(
    "settings",
    [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"bigtiff": True}, {"metadata": None}],
    ids=str,
)
def test_plain_files_are_read_and_state_no_size(tmp_path, settings):
    tifffile.imwrite(tmp_path / "a.tif", grey(dtype="uint16"), photometric="minisblack", **settings)
    stack = open_stack(tmp_path / "a.tif")
    assert stack.voxel_size_nm is None and stack.dtype == np.dtype("uint16")
    np.testing.assert_array_equal(stack.read(sections(1, 6)), grey(dtype="uint16")[1:6])


def test_pages_written_one_by_one_and_single_bits_are_a_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for page in grey() > 100:
            tiff.write(page, contiguous=False)
    stack = open_stack(tmp_path / "a.tif")
    assert stack.dtype == np.uint8
    np.testing.assert_array_equal(stack.read(sections(0, 7)), grey() > 100)


def test_pages_that_imagej_left_unlisted_are_read(tmp_path):
    # Above 4 GiB ImageJ writes one directory, for the first page, and all voxels after it.
    array = grey(dtype="uint16")
    description = "ImageJ=1.54f\nimages=7\nslices=7\nunit=nm\nspacing=5\n"
    with tifffile.TiffWriter(tmp_path / "big.tif", byteorder=">") as tiff:
        tiff.write(array[0], metadata=None, description=description, resolution=(0.2, 0.2), resolutionunit=1)
    with (tmp_path / "big.tif").open("ab") as file:
        file.write(array[1:].astype(">u2").tobytes())
    with tifffile.TiffFile(tmp_path / "big.tif") as tiff:
        assert tiff.series[0].is_truncated and len(tiff.pages) == 1
    stack = open_stack(tmp_path / "big.tif")
    assert stack.voxel_size_nm == (5, 5, 5)
    np.testing.assert_array_equal(stack.read(sections(1, 7)), array[1:])


def write_pages(path, *pages):
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as tiff:
        for page in pages:
            tiff.write(page, contiguous=False, metadata=None)


def test_pages_that_differ_are_refused_by_name(tmp_path):
    small, large = np.zeros((4, 5), np.uint8), np.zeros((4, 6), np.uint8)
    write_pages(tmp_path / "mix.tif", small, large)
    with pytest.raises(ValueError, match=r"mix.tif: page 1 has 4 x 6 pixels of uint8, page 0 has 4 x 5"):
        open_stack(tmp_path / "mix.tif")
    for name, page in (("s1", small), ("s2", small), ("s3", small.astype(np.uint16))):
        write_pages(tmp_path / f"folder/{name}.tif", page)
    with pytest.raises(ValueError, match=r"s3.tif has 4 x 5 pixels of uint16, s1.tif has 4 x 5 .* uint8"):
        open_stack(tmp_path / "folder")
    write_pages(tmp_path / "folder/s3.tif", small, small)
    with pytest.raises(ValueError, match=r"s3.tif has 2 pages, a folder holds one section per file"):
        open_stack(tmp_path / "folder")


@pytest.mark.parametrize(
    ("array", "settings", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), {"photometric": "rgb"}, "3 samples per pixel .RGB.*Type > 8-bit"),
        (
            np.zeros((3, 2, 4, 5), np.uint8),
            {"imagej": True, "metadata": {"axes": "ZCYX"}},
            "axes ZCYX of shape .*save one channel",
        ),
        (
            np.zeros((2, 3, 4, 5), np.uint8),
            {"imagej": True, "metadata": {"axes": "TZYX"}},
            "axes TZYX .*one time point",
        ),
    ],
)
def test_channels_and_time_are_refused(tmp_path, array, settings, message):
    tifffile.imwrite(tmp_path / "a.tif", array, **settings)
    with pytest.raises(ValueError, match=message):
        open_stack(tmp_path / "a.tif")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.tif is not there; give a TIFF file"):
        open_stack(tmp_path / "nothing.tif")
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(ValueError, match=r"text.tif is no TIFF file.*; give a whole TIFF"):
        open_stack(tmp_path / "text.tif")
    tifffile.imwrite(tmp_path / "packed.tif", grey(), compression="zlib")
    with tifffile.TiffFile(tmp_path / "packed.tif", mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(34712)
    with pytest.raises(ValueError, match=re.escape("page 0 cannot be decoded") + ".*pip install imagecodecs"):
        open_stack(tmp_path / "packed.tif")


def test_an_ome_tiff_of_several_files_is_refused(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.ome.tif", grey(), metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        longer = [*tiff.series[0].pages, None]
        monkeypatch.setattr(type(tiff.series[0]), "pages", longer, raising=False)
        with pytest.raises(ValueError, match=r"one of several files of an OME-TIFF with 8 pages; save"):
            tiff_stacks._listed_pages(tiff, tmp_path / "a.ome.tif")


@pytest.mark.parametrize("settings", [{}, {"compression": "zlib"}, {"metadata": None}, {"bigtiff": True}], ids=str)
def test_a_file_that_is_cut_off_is_named_before_it_is_read(tmp_path, settings):
    tifffile.imwrite(tmp_path / "a.tif", grey((7, 60, 50)), photometric="minisblack", **settings)
    content = (tmp_path / "a.tif").read_bytes()
    for share in (0.0005, 0.3, 0.95):
        (tmp_path / "a.tif").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"a.tif (is cut off|is no TIFF file, or a damaged one)"):
            open_stack(tmp_path / "a.tif")


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey((7, 60, 50)), photometric="minisblack")
    stack = open_stack(tmp_path / "a.tif")
    os.truncate(tmp_path / "a.tif", 15000)
    with pytest.raises(ValueError, match=r"a.tif ended within page 4; copy or export it anew"):
        stack.read(Box((4, 30, 0), (6, 60, 50)))


@pytest.mark.parametrize("storage", [{"rowsperstrip": 16}, {"rowsperstrip": 60}, {"tile": (16, 32)}], ids=str)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_only_the_wanted_box_is_returned(tmp_path, compression, storage):
    array = grey((4, 60, 50), "uint16")
    settings = {"compression": compression, "predictor": compression is not None, "byteorder": ">"} | storage
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "ZYX"}, **settings)
    stack = open_stack(tmp_path / "a.ome.tif")
    assert (stack.pages[0].first_byte is None) == (compression is not None or "tile" in storage)
    box = Box((1, 13, 7), (3, 51, 20))
    found = stack.read(box)
    assert (stack.dtype, found.dtype, stack.chunk_shape) == (np.dtype("uint16"), np.dtype("uint16"), (1, 60, 50))
    np.testing.assert_array_equal(found, array[box.slices])
