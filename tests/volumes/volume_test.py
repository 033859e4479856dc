"""Volumes: round trips, bounds, resume of creation, metadata (independent validator), messages."""

import json
import pickle
import re

import numpy as np
import pytest
from ome_zarr_models import open_ome_zarr

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume

LAYOUTS = {
    "zarr2": {"zarr_format": 2},
    "zarr3": {"zarr_format": 3},
    "shards": {"zarr_format": 3, "shard_shape": (16, 16, 16)},
}


def make(address, *, shape=(20, 18, 17), dtype="uint8", **settings):
    settings = {"voxel_size_nm": (4.56, 4.0, 5.25), "chunk_shape": (8, 8, 8)} | settings
    return create_volume(address, shape=shape, dtype=dtype, **settings)


def grey(shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32", "bool"])
def test_what_is_written_is_read_back(tmp_path, layout, dtype):
    volume = make(tmp_path / "cell.zarr/raw", dtype=dtype, offset_nm=(1.5, -2, 3e4), **LAYOUTS[layout])
    array = grey(volume.shape, dtype)
    volume.write(volume.box, array)
    again = open_volume(tmp_path / "cell.zarr/raw")
    assert again.dtype == np.dtype(dtype)
    assert (again.voxel_size_nm, again.offset_nm) == ((4.56, 4.0, 5.25), (1.5, -2.0, 3e4))
    np.testing.assert_array_equal(again.read(again.box), array)
    box = Box((3, 7, 8), (17, 9, 17))
    np.testing.assert_array_equal(again.read(box), array[box.slices])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metadata_is_valid_ome_zarr(tmp_path, layout):
    make(tmp_path / "cell.zarr/labels/mito", attributes={"seed": 3}, **LAYOUTS[layout])
    zarr = pytest.importorskip("zarr")
    group = open_ome_zarr(zarr.open_group(str(tmp_path / "cell.zarr/labels/mito"), mode="r"))
    multiscale = group.attributes.model_dump()
    multiscale = multiscale.get("ome", multiscale)["multiscales"][0]
    assert [(axis["name"], axis["unit"]) for axis in multiscale["axes"]] == [(n, "nanometer") for n in "zyx"]
    assert group.ome_zarr_version == {2: "0.4", 3: "0.5"}[LAYOUTS[layout]["zarr_format"]]
    assert open_volume(tmp_path / "cell.zarr/labels/mito").attributes == {"seed": 3}
    assert zarr.open_group(str(tmp_path / "cell.zarr"), mode="r")["labels/mito/0"].shape == (20, 18, 17)


def test_chunk_shape_is_what_one_file_holds(tmp_path):
    assert make(tmp_path / "a.zarr/raw").chunk_shape == (8, 8, 8)
    assert make(tmp_path / "b.zarr/raw", **LAYOUTS["shards"]).chunk_shape == (16, 16, 16)


def test_several_boxes_in_flight(tmp_path):
    volume = make(tmp_path / "cell.zarr/raw")
    array = grey(volume.shape)
    for write in [volume.write_async(box, array[box.slices]) for box in [Box((0, 0, 0), (16, 18, 17))]]:
        assert write.result() is None
    boxes = [Box.of_shape((3, 4, 5), (z, z, z)) for z in range(10)]
    for box, read in zip(boxes, [volume.read_async(box) for box in boxes], strict=True):
        np.testing.assert_array_equal(read.result(), array[box.slices])


def test_an_empty_box_reads_as_an_empty_array(tmp_path):
    assert make(tmp_path / "cell.zarr/raw").read(Box((2, 2, 2), (2, 5, 5))).shape == (0, 3, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_chunks_raise_and_zeros_are_stored(tmp_path, layout):
    volume = make(tmp_path / "cell.zarr/raw", **LAYOUTS[layout])
    written = Box.of_shape(volume.chunk_shape)
    volume.write(written, np.zeros(written.shape, np.uint8))
    assert volume.read(written).sum() == 0
    beyond = Box(written.start, (written.stop[0] + 1, 8, 8))
    with pytest.raises(ValueError, match=r"cell.zarr/raw box .* never written .*missing_as_zero=True"):
        volume.read(beyond)
    zeros = open_volume(tmp_path / "cell.zarr/raw", missing_as_zero=True)
    assert zeros.read(beyond).sum() == 0


@pytest.mark.parametrize("box", [Box((0, 0, 0), (21, 2, 2)), Box((-1, 0, 0), (2, 2, 2))])
def test_a_box_that_leaves_the_volume_raises_at_once(tmp_path, box):
    volume = make(tmp_path / "cell.zarr/raw")
    what = re.escape(str(box.start)) + ".*cell.zarr/raw.*" + re.escape("(20, 18, 17)")
    with pytest.raises(ValueError, match=f"cannot read .*{what}"):
        volume.read_async(box)
    with pytest.raises(ValueError, match=r"cannot write .*give a box inside it"):
        volume.write_async(box, np.zeros(box.shape, np.uint8))


@pytest.mark.parametrize("array", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 2), np.int64)])
def test_writing_another_shape_or_dtype_raises(tmp_path, array):
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) and dtype uint8 are needed"):
        make(tmp_path / "cell.zarr/raw").write(Box.of_shape((2, 2, 2)), array)


def test_a_pickled_volume_opens_the_same_array(tmp_path):
    volume = make(tmp_path / "cell.zarr/raw")
    volume.write(volume.box, grey(volume.shape))
    again = pickle.loads(pickle.dumps(volume))
    assert again == volume and hash(again) == hash(volume)
    np.testing.assert_array_equal(again.read(again.box), grey(volume.shape))


def test_storage_that_fails_names_the_volume(tmp_path):
    volume = make(tmp_path / "cell.zarr/raw")
    volume.write(volume.box, grey(volume.shape))
    (tmp_path / "cell.zarr/raw/0/0/0/0").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"reading .*cell.zarr/raw box .* failed"):
        open_volume(tmp_path / "cell.zarr/raw").read(volume.box)


def test_creating_again_reopens_and_keeps_the_voxels(tmp_path):
    volume = make(tmp_path / "cell.zarr/raw", attributes={"a": (1, 2)})
    volume.write(volume.box, grey(volume.shape))
    again = make(tmp_path / "cell.zarr/raw", attributes={"a": (1, 2)})
    np.testing.assert_array_equal(again.read(again.box), grey(volume.shape))
    assert make(tmp_path / "cell.zarr/raw") == volume


def test_creation_killed_before_its_metadata_is_finished_by_the_next(tmp_path):
    volume = make(tmp_path / "cell.zarr/raw")
    (tmp_path / "cell.zarr/raw/.zattrs").unlink()
    assert make(tmp_path / "cell.zarr/raw") == volume


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (20, 18, 16)}, r"shape is \(20, 18, 17\), asked for \(20, 18, 16\)"),
        ({"dtype": "uint16"}, "dtype is uint8, asked for uint16"),
        ({"voxel_size_nm": (4, 4, 4)}, "voxel_size_nm is .*4.56"),
        ({"offset_nm": (0, 0, 1)}, "offset_nm is"),
        ({"chunk_shape": (8, 8, 4)}, "chunk_shape is"),
        ({"zarr_format": 3}, "zarr_format is 2, asked for 3"),
        ({"attributes": {"seed": 2}}, "attributes is {'seed': 1}, asked for"),
    ],
)
def test_creating_over_another_volume_says_what_differs(tmp_path, change, message):
    make(tmp_path / "cell.zarr/raw", attributes={"seed": 1})
    with pytest.raises(ValueError, match=f"exists already and differs: {message}.*remove it"):
        make(tmp_path / "cell.zarr/raw", **{"attributes": {"seed": 1}} | change)


@pytest.mark.parametrize(
    ("address", "change", "message"),
    [
        ("cell/raw", {}, "one folder must end in .zarr"),
        ("cell.zarr/raw", {"zarr_format": 4}, "zarr_format=4 is unknown; give 2"),
        ("cell.zarr/raw", {"shape": (0, 1, 1)}, r"shape=\(0, 1, 1\).*at least 1 voxel"),
        ("cell.zarr/raw", {"voxel_size_nm": (5, 5, 0)}, "must be positive"),
        ("cell.zarr/raw", {"shard_shape": (16, 16, 16)}, "needs zarr_format=3"),
        ("cell.zarr/raw", {"zarr_format": 3, "shard_shape": (12, 8, 8)}, "not a multiple of chunk_shape"),
        (
            "cell.zarr/raw",
            {"dtype": "complex64", "zarr_format": 2, "chunk_shape": (1 << 40, 8, 8)},
            "cannot open",
        ),
    ],
)
def test_impossible_volumes_are_refused(tmp_path, address, change, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / address, **change)


def test_one_container_has_one_zarr_format(tmp_path):
    make(tmp_path / "cell.zarr/raw")
    with pytest.raises(ValueError, match=r"already is a zarr 2 group.*give zarr_format=2"):
        make(tmp_path / "cell.zarr/labels", zarr_format=3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere/raw", r'nor is a .zarr folder above it.*"cell.zarr/raw"'),
        ("cell.zarr/labels/mitoo", "did you mean .*cell.zarr/labels/mito[?]"),
        ("cell.zarr", "without NGFF image metadata; .*holds the images: .*labels/mito, .*cell.zarr/raw"),
    ],
)
def test_a_wrong_address_is_answered_with_what_is_there(tmp_path, address, message):
    make(tmp_path / "cell.zarr/raw")
    make(tmp_path / "cell.zarr/labels/mito")
    with pytest.raises(FileNotFoundError, match=message):
        open_volume(tmp_path / address)


def test_levels_are_opened_through_their_image(tmp_path):
    make(tmp_path / "cell.zarr/raw")
    with pytest.raises(ValueError, match=r"has no level 1; it has 1"):
        open_volume(tmp_path / "cell.zarr/raw", level=1)
    with pytest.raises(ValueError, match=r"is one level of the image .*raw; open that"):
        open_volume(tmp_path / "cell.zarr/raw/0")


def write_array(folder, shape=(4, 4, 4), attributes=None):
    """Writes a zarr 2 array as a program of another lab would."""
    folder.mkdir(parents=True)
    metadata = {"shape": shape, "chunks": shape, "dtype": "|u1", "compressor": None, "fill_value": 0}
    metadata |= {"order": "C", "filters": None, "zarr_format": 2}
    (folder / ".zarray").write_text(json.dumps(metadata))
    (folder / ".".join("0" * len(shape))).write_bytes(bytes(range(int(np.prod(shape)))))
    if attributes is not None:
        (folder / ".zattrs").write_text(json.dumps(attributes))


def test_an_array_with_resolution_and_offset_opens_read_only(tmp_path):
    write_array(tmp_path / "cell.zarr/volumes/raw", (4, 3, 2), {"resolution": [5, 5, 6.5], "offset": [50, 0, 650]})
    volume = open_volume(tmp_path / "cell.zarr/volumes/raw")
    assert (volume.voxel_size_nm, volume.offset_nm) == ((5.0, 5.0, 6.5), (50.0, 0.0, 650.0))
    np.testing.assert_array_equal(volume.read(volume.box).ravel(), np.arange(24))
    with pytest.raises(ValueError, match=r"open for reading only; write into a volume of create_volume"):
        volume.write(volume.box, volume.read(volume.box))
    with pytest.raises(ValueError, match=r"has no level 1; a plain array"):
        open_volume(tmp_path / "cell.zarr/volumes/raw", level=1)


@pytest.mark.parametrize(
    ("shape", "attributes", "message"),
    [
        ((4, 4, 4), None, 'plain zarr array without a voxel size.*"resolution"'),
        ((4, 4), {"resolution": [5, 5, 5]}, r"shape \(4, 4\) .*; a volume has three axes"),
    ],
)
def test_a_plain_array_needs_a_voxel_size_and_three_axes(tmp_path, shape, attributes, message):
    write_array(tmp_path / "cell.zarr/raw", shape, attributes)
    with pytest.raises(ValueError, match=message):
        open_volume(tmp_path / "cell.zarr/raw")


@pytest.mark.parametrize("entry", ["er_only", "er_and_mito"])
def test_incasem_volumes_are_read_where_incasem_reads_them(cases_dir, entry):
    folder = cases_dir / "incasem_zarr"
    region = json.loads((folder / "data_config.json").read_text())[entry]
    expected = np.load(folder / "expected.npz")

    def read(path):
        volume = open_volume(folder / region["file"] / path)
        origin = [round(o / s) for o, s in zip(volume.offset_nm, volume.voxel_size_nm, strict=True)]
        return volume.read(Box.of_shape(region["shape"], region["offset"]).shift([-o for o in origin]))

    raw = read(region["raw"]) / 255
    np.testing.assert_allclose(raw[len(raw) // 2], expected[f"{entry}/no_context/RAW_zmid"], atol=1e-6)
    labels = [(path, read(path) > 0) for path in region["labels"]]
    alone = sum(there.astype(int) for _, there in labels) == 1
    merged = sum(region["labels"][path] * (there & alone) for path, there in labels)
    np.testing.assert_array_equal(merged, expected[f"{entry}/no_context/LABELS"])


def test_a_relative_address_with_dots_is_opened(tmp_path, monkeypatch):
    array = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    volume = create_volume("../data/cell.zarr/raw", shape=(2, 2, 2), dtype=np.uint8, voxel_size_nm=(4, 4, 4))
    volume.write(volume.box, array)
    np.testing.assert_array_equal(open_volume(tmp_path / "data/cell.zarr/raw").read(volume.box), array)
