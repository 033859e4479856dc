"""Painting without a window: paint, cut, correct, save; and what a viewer reads of it."""

import numpy as np
import pytest

from asem_jax.segmentation.annotation import cut_region
from asem_jax.segmentation.painting import Painting, Sections
from asem_jax.segmentation.strokes import Sheet
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume
from tests.phantoms import divided_balls

SETTINGS = {"smoothness": 2.0, "ridge": 3.0, "surroundings": 2, "bias": 0.0}


def _sheet(folder, like):
    place = {"shape": like.shape, "voxel_size_nm": like.voxel_size_nm, "offset_nm": like.offset_nm}
    create_volume(folder / "cell.zarr/painted", dtype=np.uint8, chunk_shape=(8, 16, 16), **place)
    return Sheet(open_volume(folder / "cell.zarr/painted", missing_as_zero=True))


def _painting(folder, given=None, saved=None):
    raw, region, truth = divided_balls(folder / "cell.zarr")
    painting = Painting(
        _sheet(folder, raw),
        given,
        cut=lambda strokes: cut_region(region, strokes, name="mito", **SETTINGS),
        save=lambda cut: saved.append(cut.labels(region.ids.box)),
    )
    return painting, region, truth


def _paint(painted):
    painted[6, 8:11, 6:14] = 1
    painted[6, 1:3, 2:30] = painted[6, 25:28, 2:12] = 2


def _f1(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_cut_correct_cut_again_and_save(tmp_path):
    saved = []
    painting, region, truth = _painting(tmp_path, saved=saved)
    whole = region.ids.box
    assert not painting.found(whole).any()
    _paint(painting.sheet.painted)
    assert "of the voxels are object" in painting.cut()
    first = painting.found(whole)
    assert _f1(first, truth) > 0.8
    # The first ball is none after all.
    painting.sheet.painted[6, 8:11, 6:14] = 2
    painting.sheet.painted[6, 20:23, 19:26] = 1
    assert painting.save().startswith("saved; ")
    (second,) = saved
    np.testing.assert_array_equal(second, painting.found(whole))
    assert not second[6, 8:11, 6:14].any() and second[6, 20:23, 19:26].all()
    section = Sections(whole.shape, np.uint8, painting.found)[6]
    np.testing.assert_array_equal(section, second[6])


def test_strokes_are_kept_before_a_cut_that_fails(tmp_path):
    painting, region, _ = _painting(tmp_path)
    painting.sheet.painted[6, 8:11, 6:14] = 1
    with pytest.raises(ValueError, match="both kinds are needed: add strokes"):
        painting.cut()
    assert painting.last is None
    assert (_sheet(tmp_path, region.ids).painted == painting.sheet.painted).all()


def test_what_is_painted_counts_over_what_was_given(tmp_path):
    given = np.zeros((12, 30, 32), np.uint8)
    _paint(given)
    painting, region, truth = _painting(tmp_path, given=lambda box: given[box.slices])
    painting.cut()
    assert _f1(painting.found(region.ids.box), truth) > 0.8
    painting.sheet.painted[6, 8:11, 6:14] = 2
    painting.sheet.painted[6, 20:23, 19:26] = 1
    painting.cut()
    assert not painting.found(region.ids.box)[6, 8:11, 6:14].any() and given[6, 8, 6] == 1


@pytest.mark.parametrize(
    "index",
    [1, (1,), (slice(None), 2), (0, slice(1, 3), slice(None)), (..., 3), (1, ...), (slice(None),) * 3, (-1, 1, 2), ...],
)
def test_sections_are_indexed_like_an_array(index):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    read = []

    def reading(box):
        read.append(box)
        return array[box.slices]

    sections = Sections(array.shape, np.uint8, reading)
    np.testing.assert_array_equal(sections[index], array[index])
    assert len(read) == 1 and read[0].num_voxels == array[index].size
    np.testing.assert_array_equal(np.asarray(sections), array)
    assert (sections.shape, sections.ndim, sections.dtype) == (array.shape, 3, np.uint8)
    assert Box.of_shape(array.shape).contains(read[0])
