"""Outlines by hand: exact where there is no error, smooth where there is, and their length."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.simulation.annotation import (
    Effort,
    Outlines,
    Pace,
    objects_on_sections,
    outline_um,
    outlined,
    read_box,
    sections_of,
)
from asem_jax.volumes.geometry import Box, tiles

EXACT = Outlines(section_step=1, missed_share=0.0, offset_nm=0.0, offset_pitch_nm=120.0)
LOOSE = Outlines(section_step=1, missed_share=0.0, offset_nm=15.0, offset_pitch_nm=120.0)
VOXEL = (20.0, 10.0, 10.0)
VOLUME = Box((0, 0, 0), (5, 60, 70))


def _discs():
    """Two discs that touch and one alone, the same on all sections; ids 3, 4 and 700."""
    y, x = np.mgrid[:60, :70]
    labels = np.zeros(VOLUME.shape, np.uint16)
    for one, centre, radius in ((3, (20, 18), 14), (4, (20, 45), 14), (700, (48, 60), 6)):
        labels[:, np.hypot(y - centre[0], x - centre[1]) <= radius] = one
    return labels


def _outlined(outlines, box=VOLUME, labels=None, seed=1):
    labels = _discs() if labels is None else labels
    around = read_box(box, outlines.halo(VOXEL), VOLUME)
    return outlined(outlines, labels[around.slices], box, labels_box=around, voxel_size_nm=VOXEL, seed=seed)


def test_without_error_outlines_are_the_labels():
    drawn, mask = _outlined(EXACT)
    np.testing.assert_array_equal(drawn, _discs())
    assert drawn.dtype == np.uint16 and (mask == 1).all()


@pytest.mark.parametrize("missed_share", [0.0, 0.4])
def test_a_voxel_does_not_depend_on_the_box(missed_share):
    outlines = replace(LOOSE, section_step=2, missed_share=missed_share, offset_nm=40.0)
    drawn, mask = _outlined(outlines)
    assert drawn.any() and (drawn[mask == 1] != _discs()[mask == 1]).any()
    for tile in tiles(VOLUME, (3, 7, 9)):
        part, masked = _outlined(outlines, tile)
        np.testing.assert_array_equal(part, drawn[tile.slices])
        np.testing.assert_array_equal(masked, mask[tile.slices])


def test_loose_outlines_are_off_by_their_deviation_and_smooth():
    # A straight edge: the number of voxels in a row tells how far the outline is off.
    labels = np.zeros(VOLUME.shape, np.uint8)
    labels[:, :, 35:] = 1
    drawn, _ = _outlined(replace(LOOSE, offset_nm=25.0, offset_pitch_nm=60.0), labels=labels)
    off = drawn.sum(2).astype(float) - 35
    assert 1.5 < off.std() < 3.5 and abs(off.mean()) < 1.5
    assert np.abs(np.diff(off, axis=1)).mean() < 0.7 < off.std()
    assert (_outlined(LOOSE, labels=labels, seed=2)[0] != drawn).any()


def test_objects_keep_to_themselves():
    drawn, _ = _outlined(LOOSE)
    exact = _discs()
    assert (drawn != exact).any() and not ((drawn != exact) & (drawn > 0) & (exact > 0)).any()
    # A voxel that was added belongs to the object next to it.
    for one in (3, 4, 700):
        near = ndimage.binary_dilation(exact == one, np.ones((1, 3, 3)), iterations=6)
        assert not (drawn == one)[~near].any()


def test_a_voxel_between_two_goes_to_the_nearer_and_of_equals_to_the_first():
    labels = np.zeros(VOLUME.shape, np.uint8)
    labels[:, :, :30], labels[:, :, 33:] = 2, 1
    steady = replace(LOOSE, offset_nm=100.0, offset_pitch_nm=1e9)
    drawn, _ = _outlined(steady, labels=labels, seed=_seed_that_grows(steady, labels))
    assert drawn[0, 5, 28:36].tolist() == [2, 2, 2, 2, 1, 1, 1, 1]


def _seed_that_grows(outlines, labels):
    return next(seed for seed in range(20) if _outlined(outlines, labels=labels, seed=seed)[0][0, 5, 31])


def test_missed_objects_are_missing_everywhere_and_others_stay():
    labels = np.arange(1, 5 * 60 * 70 + 1, dtype=np.uint32).reshape(VOLUME.shape)
    drawn, _ = _outlined(replace(EXACT, missed_share=0.3), labels=labels)
    assert (drawn == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert set(np.unique(_outlined(replace(EXACT, missed_share=0.5))[0])) < {0, 3, 4, 700}
    assert not _outlined(replace(EXACT, missed_share=1.0))[0].any()


def test_only_some_sections_are_annotated():
    drawn, mask = _outlined(replace(EXACT, section_step=3))
    assert mask.any((1, 2)).tolist() == mask.all((1, 2)).tolist() == [True, False, False, True, False]
    assert (drawn[mask == 0] == 0).all() and (drawn[mask == 1] == _discs()[mask == 1]).all()
    assert sections_of(Box((-4, 0, 0), (3, 1, 1)), 3) == [1, 4]


def test_the_outline_of_a_voxel_a_pair_and_an_edge():
    def length(row, before=0):
        labels = np.array(row, np.uint8).reshape(1, 1, -1)
        box, labels_box = Box((0, 0, 0), (1, 1, 3)), Box((0, 0, -before), (1, 1, 3))
        return outline_um(labels, box, labels_box=labels_box, voxel_size_nm=(1.0, 100.0, 100.0)) * 40 / math.pi

    assert length([0, 1, 0]) == pytest.approx(2)
    assert length([1, 1, 1]) == 0  # at the end of the volume there is no outline
    assert length([1, 2, 2]) == pytest.approx(2)
    assert length([0, 1, 1, 1], before=1) == pytest.approx(1)


def test_the_outline_of_a_disc_is_its_circumference():
    y, x = np.mgrid[:400, :400]
    disc = (np.hypot(y - 200, x - 200) < 150)[None].astype(np.uint8)
    box = Box.of_shape(disc.shape)
    length = outline_um(disc, box, labels_box=box, voxel_size_nm=(10.0, 5.0, 5.0))
    assert length == pytest.approx(2 * math.pi * 150 * 5 / 1000, rel=0.01)


def test_outlines_and_objects_of_parts_add_up():
    labels = _discs()
    whole = outline_um(labels, VOLUME, labels_box=VOLUME, voxel_size_nm=VOXEL)
    total, objects = 0.0, set()
    for tile in tiles(VOLUME, (2, 13, 29)):
        grown = Box((tile.start[0], *(a - 1 for a in tile.start[1:])), tile.stop).intersect(VOLUME)
        total += outline_um(labels[grown.slices], tile, labels_box=grown, voxel_size_nm=VOXEL)
        objects |= objects_on_sections(labels[tile.slices], tile.start[0])
    assert total == pytest.approx(whole) and whole > 5
    assert objects == {(section, one) for section in range(5) for one in (3, 4, 700)}


def test_effort_adds_up_and_takes_time():
    effort = Effort(2, 3, 1.5) + Effort(strokes=4, stroke_um=0.5)
    assert effort == Effort(2, 3, 1.5, 4, 0.5)
    assert Pace(10, 1, 4, 2, 6).seconds(effort) == 20 + 3 + 6 + 8 + 3


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"section_step=0 annotates nothing; give 1"):
        replace(EXACT, section_step=0)
    with pytest.raises(ValueError, match=r"missed_share=2 is no share; give 0"):
        replace(EXACT, missed_share=2)
    with pytest.raises(ValueError, match=r"offset_nm=-1 is negative; give 0"):
        replace(EXACT, offset_nm=-1)
    with pytest.raises(ValueError, match=r"offset_pitch_nm=0 is no length; give nm above 0"):
        replace(LOOSE, offset_pitch_nm=0)
    with pytest.raises(ValueError, match=r"object_s=-1 is negative; give seconds"):
        Pace(1, -1, 1, 1, 1)
