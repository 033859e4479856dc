"""Brush strokes: inside what they mark, of a brush's width, the same for every box."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation.annotation import Effort, read_box
from asem_jax.simulation.strokes import Strokes, stroke_effort, stroked, strokes_near
from asem_jax.volumes.geometry import Box, tiles

STROKES = Strokes(section_step=2, foreground_pitch_nm=120.0, background_pitch_nm=200.0, length_nm=150.0, radius_nm=12.0)
VOXEL = (20.0, 10.0, 10.0)
VOLUME = Box((0, 0, 0), (5, 60, 70))


def _discs():
    y, x = np.mgrid[:60, :70]
    labels = np.zeros(VOLUME.shape, np.uint16)
    for one, centre, radius in ((3, (20, 18), 14), (4, (20, 45), 14), (700, (48, 60), 6)):
        labels[:, np.hypot(y - centre[0], x - centre[1]) <= radius] = one
    return labels


def _around(strokes, box, labels):
    around = read_box(box, strokes.halo(VOXEL), VOLUME)
    return labels[around.slices], box, {"labels_box": around, "voxel_size_nm": VOXEL, "seed": 1}


def _stroked(strokes, box=VOLUME, labels=None):
    part, box, rest = _around(strokes, box, _discs() if labels is None else labels)
    return stroked(strokes, part, box, **rest)


def _all(strokes, labels):
    part, box, rest = _around(strokes, VOLUME, labels)
    return list(strokes_near(strokes, part, box, **rest))


def test_strokes_lie_on_their_own_label_and_on_some_sections():
    drawn, mask = _stroked(STROKES)
    exact = _discs()
    np.testing.assert_array_equal(drawn, np.where(mask == 1, exact, 0))
    assert mask.any((1, 2)).tolist() == [True, False, True, False, True]
    assert drawn.dtype == np.uint16 and set(np.unique(drawn)) >= {0, 3, 4}
    assert ((mask == 1) & (exact == 0)).any() and mask.mean() < 0.2


def test_a_voxel_does_not_depend_on_the_box():
    drawn, mask = _stroked(STROKES)
    for tile in tiles(VOLUME, (3, 17, 31)):
        part, masked = _stroked(STROKES, tile)
        np.testing.assert_array_equal(part, drawn[tile.slices])
        np.testing.assert_array_equal(masked, mask[tile.slices])


def test_a_stroke_is_as_long_and_wide_as_asked_where_nothing_ends_it():
    labels = np.ones(VOLUME.shape, np.uint8)
    strokes = replace(STROKES, section_step=9, foreground_pitch_nm=5000.0, length_nm=200.0)
    (stroke,) = _all(strokes, labels)
    assert stroke.label == 1 and stroke.section == 0
    assert (np.abs(stroke.points_nm - [300, 350]) < [270, 320]).all()  # nothing ends this one
    assert stroke.length_nm == pytest.approx(200)
    _, mask = _stroked(strokes, labels=labels)
    # A sausage: a strip of two radii and half a disc at both ends.
    area = stroke.length_nm * 24 + np.pi * 12**2
    assert mask.sum() * 100 == pytest.approx(area, rel=0.15)
    assert mask.any((1, 2)).tolist() == [True, False, False, False, False]


def test_a_brush_that_fits_nowhere_draws_nothing():
    assert not (_stroked(replace(STROKES, radius_nm=80.0))[0] == 700).any()
    assert not _stroked(replace(STROKES, radius_nm=600.0))[1].any()


def test_effort_of_parts_adds_up():
    labels = _discs()
    total, objects = Effort(), set()
    for tile in tiles(VOLUME, (3, 17, 31)):
        part, box, rest = _around(STROKES, tile, labels)
        effort, found = stroke_effort(STROKES, part, box, **rest)
        total, objects = total + effort, objects | found
    strokes = _all(STROKES, labels)
    assert total.strokes == len(strokes) > 10
    assert total.stroke_um == pytest.approx(sum(stroke.length_nm for stroke in strokes) / 1000)
    assert objects == {(stroke.section, stroke.label) for stroke in strokes if stroke.label}


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"radius_nm=0 is no length; give nm above 0"):
        replace(STROKES, radius_nm=0)
    with pytest.raises(ValueError, match=r"section_step=0 annotates nothing"):
        replace(STROKES, section_step=0)
