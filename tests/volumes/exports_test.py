"""Exports to every format: bit-equal round trips with their place, coarser levels, interruption, targets refused."""

import json

import numpy as np
import pytest

from asem_jax.volumes import exports
from asem_jax.volumes.exports import check_target, is_begun, write_export
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, open_volume
from tests.phantoms import write_volume

SIZE, OFFSET = (8.0, 4.56, 4.0), (16.0, -4.56, 12.0)
TARGETS = ("a.tif", "sections/", "a.h5/volumes/raw", "a.n5/em/raw", "a.precomputed/raw")


def volume_of(tmp_path, dtype="uint8", **settings):
    array = np.random.default_rng(0).integers(0, 200, (9, 10, 11)).astype(dtype)
    place = {"voxel_size_nm": SIZE, "offset_nm": OFFSET, "chunk_shape": (4, 4, 8)} | settings
    return array, write_volume(tmp_path / "cell.zarr/raw", array, **place)


def write(volume, target, ledger, labels=False):
    write_export(volume, str(target), labels=labels, ledger=Ledger(ledger, {}), num_threads=2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "float32"])
def test_every_format_gives_back_the_voxels_and_their_place(tmp_path, target, dtype):
    array, volume = volume_of(tmp_path, dtype)
    check_target(target, volume.dtype, volume.voxel_size_nm, volume.offset_nm)
    target = f"{tmp_path}/out/{target}"
    write(volume, target, tmp_path / "ledger.jsonl", labels=dtype == "uint64")
    back = open_source(target)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back.read(Box.of_shape(back.shape)), array)
    assert back.voxel_size_nm == SIZE
    assert back.offset_nm == (None if "tif" in target or "sections" in target else pytest.approx(OFFSET, abs=1e-12))
    assert is_begun(target) and not list((tmp_path / "out").rglob("*.unfinished"))


@pytest.mark.parametrize("target", ["a.n5/raw", "a.precomputed/raw"])
def test_coarser_levels_go_along(tmp_path, target):
    _, volume = volume_of(tmp_path, offset_nm=(16.0, 0.0, 32.0))
    write_pyramid(volume, labels=False)
    write(volume, tmp_path / target, tmp_path / "ledger.jsonl")
    for level in (0, 1, 2):
        expected, found = open_volume(volume.address, level=level), open_volume(tmp_path / target, level=level)
        assert found.voxel_size_nm == pytest.approx(expected.voxel_size_nm)
        assert found.offset_nm == pytest.approx(expected.offset_nm, abs=1e-9)
        np.testing.assert_array_equal(found.read(found.box), expected.read(expected.box))


def test_a_level_between_the_voxels_of_precomputed_is_left_out(tmp_path):
    _, volume = volume_of(tmp_path)
    write_pyramid(volume, labels=False)
    write(volume, tmp_path / "a.precomputed/raw", tmp_path / "ledger.jsonl")
    assert len(json.loads((tmp_path / "a.precomputed/raw/info").read_text())["scales"]) == 1


def test_labels_become_a_segmentation_and_n5_says_what_it_is(tmp_path):
    _, volume = volume_of(tmp_path, "uint32")
    write(volume, tmp_path / "a.precomputed/mito", tmp_path / "one.jsonl", labels=True)
    info = json.loads((tmp_path / "a.precomputed/mito/info").read_text())
    assert (info["type"], info["scales"][0]["encoding"]) == ("segmentation", "compressed_segmentation")
    write(volume, tmp_path / "a.n5/em/raw", tmp_path / "two.jsonl")
    assert "n5" in json.loads((tmp_path / "a.n5/attributes.json").read_text())
    array = json.loads((tmp_path / "a.n5/em/raw/s0/attributes.json").read_text())
    assert (array["dimensions"], array["pixelResolution"]) == ([11, 10, 9], {"dimensions": [4, 4.56, 8], "unit": "nm"})


@pytest.mark.parametrize("target", ["a.n5/raw", "a.precomputed/raw"])
def test_a_killed_export_goes_on_and_never_looks_finished(tmp_path, monkeypatch, target):
    array, volume = volume_of(tmp_path)
    original, written = exports._write_piece, []

    def write_piece(piece):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(piece.box)
        original(piece)

    monkeypatch.setattr(exports, "_write_piece", write_piece)
    with pytest.raises(KeyboardInterrupt):
        write(volume, tmp_path / target, tmp_path / "ledger.jsonl")
    assert is_begun(str(tmp_path / target)) and not (tmp_path / target).exists()
    monkeypatch.setattr(exports, "_write_piece", lambda piece: written.append(piece.box) or original(piece))
    write(volume, tmp_path / target, tmp_path / "ledger.jsonl")
    assert len(written) == len(set(written))
    back = open_volume(tmp_path / target)
    np.testing.assert_array_equal(back.read(back.box), array)
    write(volume, tmp_path / target, tmp_path / "anew.jsonl")  # what is there is replaced
    assert open_volume(tmp_path / target).shape == array.shape


def test_an_export_killed_after_its_last_step_is_not_lost(tmp_path):
    array, volume = volume_of(tmp_path)
    for _ in range(2):  # the second time with a ledger whose blocks are all marked
        write(volume, tmp_path / "a.n5/raw", tmp_path / "ledger.jsonl")
    back = open_volume(tmp_path / "a.n5/raw")
    np.testing.assert_array_equal(back.read(back.box), array)


def test_sections_have_their_folder_when_all_are_there(tmp_path, monkeypatch):
    array, volume = volume_of(tmp_path)
    original, written = Volume.read, []

    def read(self, box):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(box)
        return original(self, box)

    monkeypatch.setattr(Volume, "read", read)
    with pytest.raises(KeyboardInterrupt):
        write_export(
            volume, f"{tmp_path}/out/", labels=False, ledger=Ledger(tmp_path / "ledger.jsonl", {}), num_threads=1
        )
    assert is_begun(f"{tmp_path}/out/") and not (tmp_path / "out").exists()
    monkeypatch.setattr(Volume, "read", original)
    write(volume, f"{tmp_path}/out/", tmp_path / "ledger.jsonl")
    np.testing.assert_array_equal(open_source(f"{tmp_path}/out/").read(Box.of_shape(array.shape)), array)
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out holds notes.txt, which no export wrote; move it away"):
        write(volume, f"{tmp_path}/out/", tmp_path / "ledger.jsonl")


@pytest.mark.parametrize(
    ("target", "dtype", "offset_nm", "message"),
    [
        ("out", "uint8", OFFSET, "'out' is no place for an export; give a name ending in .tif, .*n5/image"),
        ("a.h5", "uint8", OFFSET, "'a.h5' names no dataset; give one behind the file, e.g. a.h5/raw"),
        ("a.precomputed/raw", "bool", OFFSET, "voxels of type bool do not fit; precomputed has uint8"),
        ("a.precomputed/raw", "uint8", (1.0, 0, 0), "begins at .* no whole number of voxels .*another format"),
    ],
)
def test_targets_that_cannot_hold_the_volume_are_refused(target, dtype, offset_nm, message):
    with pytest.raises(ValueError, match=message):
        check_target(target, np.dtype(dtype), SIZE, offset_nm)
