import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.labels import exclusion_zone, grey_level, threshold
from asem_jax.volumes.geometry import Box, tiles


def _objects(seed, shape=(18, 20, 22)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return ndimage.label(noise > 0.1)[0].astype(np.uint32)


def test_exclusion_zone_of_one_voxel_is_a_cross():
    labels = np.zeros((3, 3, 3), int)
    labels[1, 1, 1] = 5
    zone = exclusion_zone(labels, inwards=0, outwards=1)
    assert zone.sum() == 6
    assert not zone[1, 1, 1]


def test_exclusion_zone_of_zero_and_zero_is_empty():
    assert not exclusion_zone(_objects(0), inwards=0, outwards=0).any()


@pytest.mark.parametrize(("inwards", "outwards"), [(1, 0), (0, 2), (3, 1)])
def test_exclusion_zone_splits_into_its_two_sides(inwards, outwards):
    labels = _objects(1)
    zone = exclusion_zone(labels, inwards=inwards, outwards=outwards)
    np.testing.assert_array_equal(zone & (labels != 0), exclusion_zone(labels, inwards=inwards, outwards=0))
    np.testing.assert_array_equal(zone & (labels == 0), exclusion_zone(labels, inwards=0, outwards=outwards))


@pytest.mark.parametrize("seed", range(3))
def test_exclusion_zone_holds_what_is_near_in_steps(seed):
    labels = _objects(seed)
    to_object = ndimage.distance_transform_cdt(labels == 0, "taxicab")
    to_background = ndimage.distance_transform_cdt(labels != 0, "taxicab")
    expected = (to_object <= 3) & (to_background <= 2)
    np.testing.assert_array_equal(exclusion_zone(labels, inwards=2, outwards=3), expected)


def test_object_cut_by_the_border_gets_a_rim_only_when_told_that_it_ends_there():
    labels = np.ones((1, 1, 5), int)
    assert not exclusion_zone(labels, inwards=1, outwards=1).any()
    assert exclusion_zone(labels, inwards=1, outwards=1, objects_end_at_border=True).all()


@pytest.mark.parametrize(("inwards", "outwards"), [(4, 2), (1, 3)])
def test_blocks_with_a_halo_equal_the_whole(inwards, outwards):
    labels = _objects(2)
    whole = exclusion_zone(labels, inwards=inwards, outwards=outwards)
    for block in tiles(Box.of_shape(labels.shape), (7, 9, 22)):
        read_box = block.grow(max(inwards, outwards)).intersect(Box.of_shape(labels.shape))
        zone = exclusion_zone(labels[read_box.slices], inwards=inwards, outwards=outwards)
        inside = block.shift([-a for a in read_box.start])
        np.testing.assert_array_equal(zone[inside.slices], whole[block.slices])


def test_exclusion_zone_leaves_its_argument_alone():
    labels = _objects(3)
    before = labels.copy()
    exclusion_zone(labels, inwards=2, outwards=2)
    np.testing.assert_array_equal(labels, before)


def test_exclusion_zone_equals_the_authors_script(cases_dir):
    case = np.load(cases_dir / "metric_mask" / "cases.npz")
    names = [name for name in case if name.startswith("mask_out") and "0" not in name]
    assert len(names) == 5
    for name in names:
        outwards, inwards = (int(digit) for digit in name if digit.isdigit())
        zone = exclusion_zone(case["labels"], inwards=inwards, outwards=outwards, objects_end_at_border=True)
        np.testing.assert_array_equal(zone, case[name] == 0, err_msg=name)


def test_exclusion_zone_names_the_negative_side():
    with pytest.raises(ValueError, match=r"outwards=-1 is not a thickness; give voxels"):
        exclusion_zone(np.zeros((2, 2, 2), int), inwards=1, outwards=-1)


def test_threshold_of_a_stored_level_keeps_that_level():
    assert [grey_level(level / 255) for level in range(256)] == list(range(256))


def test_threshold_on_stored_values_is_that_of_the_probability():
    stored = np.arange(256, dtype=np.uint8)
    for value in (0.0, 0.3, 0.5, 0.999, 1.0):
        np.testing.assert_array_equal(threshold(stored, value), stored / 255 >= value)


def test_threshold_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"threshold=128 is not a probability; give a number from 0 to 1"):
        threshold(np.zeros(2, np.uint8), 128)
    with pytest.raises(ValueError, match=r"dtype float64, not uint8 with 255 = 1; store it as"):
        threshold(np.zeros(2), 0.5)
