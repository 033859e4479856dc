"""Labels of a region from strokes: two balls, read in boxes of any shape."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.annotation import cut_region, stroked_counts
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.geometry import Box, tiles
from tests.phantoms import divided_balls

SETTINGS = {"smoothness": 2.0, "ridge": 3.0, "surroundings": 2, "bias": 0.0}


@pytest.fixture
def balls(tmp_path):
    return divided_balls(tmp_path / "cell.zarr")


def _strokes(shape):
    strokes = np.zeros(shape, np.uint8)
    strokes[3:10:3, 8:11, 6:14] = 1
    strokes[3:10:3, 1:3, 2:30] = strokes[3:10:3, 25:28, 2:12] = 2
    return strokes


def _cut(region, strokes, **changes):
    return cut_region(region, lambda box: strokes[box.slices], name="mito", **(SETTINGS | changes))


def test_a_few_strokes_find_both_balls_and_hold(balls):
    _, region, truth = balls
    strokes = _strokes(truth.shape)
    cut = _cut(region, strokes)
    found = cut.labels(region.ids.box)
    assert found.dtype == np.uint8 and (found[strokes > 0] == (strokes == 1)[strokes > 0]).all()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
    row = cut.row()
    assert row["supervoxels"] == region.lattice.count and row["stroked"] == stroked_counts(cut.kinds)
    assert row["object_voxels_share"] == pytest.approx(found.mean(), abs=0.01)


@pytest.mark.parametrize("box_shape", [(1, 30, 32), (5, 7, 11)])
def test_boxes_do_not_show(balls, box_shape):
    _, region, truth = balls
    strokes = _strokes(truth.shape)
    # Side by side within supervoxels, so that some are divided.
    strokes[6, 20, 2:20], strokes[6, 21, 2:20] = 1, 2
    cut = _cut(region, strokes)
    assert stroked_counts(cut.kinds)["both"] > 0
    border = {"border_inwards": 1, "border_outwards": 2}
    whole = cut.labels_and_mask(region.ids.box, **border)
    np.testing.assert_array_equal(cut.labels(region.ids.box), whole[0])
    for box in tiles(region.ids.box, box_shape):
        for part, all_of_it in zip(cut.labels_and_mask(box, **border), whole, strict=True):
            np.testing.assert_array_equal(part, all_of_it[box.slices])


def test_the_mask_leaves_the_border_out_unless_there_is_a_stroke(balls):
    _, region, truth = balls
    strokes = _strokes(truth.shape)
    labels, mask = _cut(region, strokes).labels_and_mask(region.ids.box, border_inwards=1, border_outwards=1)
    band = exclusion_zone(labels, inwards=1, outwards=1)
    assert band.any() and (mask == (~band | (strokes > 0))).all()
    grown = ndimage.binary_dilation(labels == 1) & ~ndimage.binary_erosion(labels == 1, border_value=1)
    np.testing.assert_array_equal(band, grown)


def test_strokes_of_one_kind_and_none_are_refused(balls):
    _, region, truth = balls
    strokes = _strokes(truth.shape)
    with pytest.raises(ValueError, match="mito has no strokes in the region; draw some there"):
        _cut(region, np.zeros_like(strokes))
    with pytest.raises(ValueError, match="and 0 under background strokes alone, both kinds are needed: add strokes"):
        _cut(region, np.where(strokes == 1, strokes, 0))


def test_more_strokes_need_no_new_region(balls):
    _, region, truth = balls
    strokes = _strokes(truth.shape)
    first = _cut(region, strokes).labels(region.ids.box)
    strokes[6, 18:24, 19:25] = 2  # a wrong correction on purpose
    second = _cut(region, strokes).labels(Box((6, 18, 19), (7, 24, 25)))
    assert first[6, 18:24, 19:25].any() and not second.any()
