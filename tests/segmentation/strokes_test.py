"""Strokes of label volumes and of sheets: what they mean, where they lie, that they are kept."""

import numpy as np
import pytest

from asem_jax.segmentation.strokes import Sheet, open_strokes, overlaid, place_in, read_inside
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume
from tests.phantoms import write_volume

SHAPE, CHUNKS = (4, 6, 8), (2, 4, 4)
WHOLE = Box.of_shape(SHAPE)


@pytest.fixture
def raw(tmp_path):
    return write_volume(tmp_path / "cell.zarr/raw", np.zeros(SHAPE, np.uint8), chunk_shape=CHUNKS)


def _labels(tmp_path, name, values, **place):
    array = np.zeros(SHAPE, np.uint16)
    for voxel, value in values.items():
        array[voxel] = value
    return write_volume(tmp_path / f"cell.zarr/{name}", array, chunk_shape=CHUNKS, **place)


def test_ids_say_what_a_label_means(tmp_path, raw):
    labels = _labels(tmp_path, "strokes", {(1, 2, 3): 7, (1, 2, 4): 9, (3, 5, 7): 8})
    given = open_strokes("mito", (labels, None), raw, WHOLE, object_ids=(7, 8), background_ids=(9,))
    found = given(WHOLE)
    assert (found[1, 2, 3], found[1, 2, 4], found[3, 5, 7], np.count_nonzero(found)) == (1, 2, 1, 3)
    rest = open_strokes("mito", (labels, None), raw, WHOLE, object_ids=None, background_ids=(9,))
    np.testing.assert_array_equal(rest(WHOLE), found)


def test_a_mask_makes_zero_a_stroke(tmp_path, raw):
    labels, mask = (_labels(tmp_path, name, {(1, 2, 3): 5}) for name in ("labels", "mask"))
    mask.write(Box((0, 0, 0), (1, 1, 2)), np.ones((1, 1, 2), np.uint16))
    given = open_strokes("mito", (labels, mask), raw, WHOLE, object_ids=None, background_ids=(0,))
    found = given(WHOLE)
    assert found[1, 2, 3] == 1 and found[0, 0, :3].tolist() == [2, 2, 0] and np.count_nonzero(found) == 3


def test_strokes_of_a_part_are_found_by_their_place_in_the_region(tmp_path, raw):
    part = np.zeros((2, 3, 4), np.uint8)
    part[1, 2, 3] = 1
    volume = write_volume(tmp_path / "part.zarr/s", part, offset_nm=(10.0, 20.0, 30.0), chunk_shape=CHUNKS)
    region = Box((1, 1, 1), (4, 6, 8))
    given = open_strokes("mito", (volume, None), raw, region, object_ids=(1,), background_ids=(2,))
    found = given(Box.of_shape(region.shape))
    assert np.argwhere(found).tolist() == [[1, 3, 5]]
    assert read_inside(volume, Box((-1, -1, -1), (0, 0, 0))).tolist() == [[[0]]]


def test_what_cannot_be_read_is_refused(tmp_path, raw):
    labels = _labels(tmp_path, "strokes", {(1, 2, 3): 7})
    words = {"object_ids": (7,), "background_ids": (2,)}
    with pytest.raises(ValueError, match=r"mito: labels \[2\] are in object_ids and in background_ids; leave them"):
        open_strokes("mito", (labels, None), raw, WHOLE, object_ids=(2,), background_ids=(2,))
    with pytest.raises(ValueError, match=r"mito: label 0 is a stroke only where a mask says so, .* name the mask"):
        open_strokes("mito", (labels, None), raw, WHOLE, object_ids=(7,), background_ids=(0,))
    with pytest.raises(ValueError, match=r"has strokes of label \[7\], which are in neither .*; add them to one"):
        open_strokes("mito", (labels, None), raw, WHOLE, object_ids=(1,), background_ids=(2,))(WHOLE)
    far = _labels(tmp_path, "far", {}, offset_nm=(10.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"mito: strokes .* cover voxels \(1, 0, 0\)-\(5, 6, 8\) of raw, .* crop them"):
        open_strokes("mito", (far, None), raw, WHOLE, **words)
    assert place_in(labels, raw, Box((1, 2, 3), (4, 6, 8)), "mito") == (1, 2, 3)


def _sheet_volume(tmp_path):
    place = {"shape": SHAPE, "dtype": np.uint8, "voxel_size_nm": (10.0,) * 3, "chunk_shape": CHUNKS}
    create_volume(tmp_path / "cell.zarr/painted", **place)
    return open_volume(tmp_path / "cell.zarr/painted", missing_as_zero=True)


def test_a_sheet_keeps_what_is_painted_and_shows_it_again(tmp_path):
    sheet = Sheet(_sheet_volume(tmp_path))
    assert sheet.keep() == 0
    sheet.painted[1, 2:4, 3] = 1
    sheet.painted[3, 5, 7] = 2
    assert sheet.keep() == 3
    again = Sheet(_sheet_volume(tmp_path))
    np.testing.assert_array_equal(again.painted, sheet.painted)
    # Erased again, and written only where something has changed.
    again.painted[3, 5, 7] = 0
    written = []
    again.volume = _Watched(again.volume, written)
    assert again.keep() == 2 and written == [Box((2, 4, 4), (4, 6, 8))]
    assert Sheet(_sheet_volume(tmp_path))(WHOLE)[3, 5, 7] == 0


class _Watched:
    """A volume that notes which boxes are written."""

    def __init__(self, volume, written):
        self.volume, self.written = volume, written

    def __getattr__(self, name):
        return getattr(self.volume, name)

    def write(self, box, array):
        self.written.append(box)
        self.volume.write(box, array)


def test_a_sheet_gives_copies(tmp_path):
    sheet = Sheet(_sheet_volume(tmp_path))
    sheet(WHOLE)[:] = 1
    assert not sheet.painted.any()


def test_what_is_above_counts():
    below, above = np.array([[[1, 2, 1, 0]]], np.uint8), np.array([[[0, 1, 2, 2]]], np.uint8)
    found = overlaid(lambda box: below, lambda box: above)(Box.of_shape((1, 1, 4)))
    assert found.tolist() == [[[1, 1, 2, 2]]] and found.dtype == np.uint8
