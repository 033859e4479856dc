import json

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.measurement.surfaces import (
    FOUND,
    FOUND_SURFACE,
    STEP_NM,
    THERE,
    TRUE_SURFACE,
    DistanceCounts,
    DistanceScores,
    measure_distances,
)
from asem_jax.segmentation.labels import grey_level
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (20, 24, 28)
SIZE_NM = (8.0, 4.0, 5.0)
CAP_NM = 14.0


def _volume(folder, name, array, *, voxel_size_nm=SIZE_NM, offset_nm=(0, 0, 0)):
    volume = create_volume(
        str(folder / "cell.zarr" / name),
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=voxel_size_nm,
        offset_nm=offset_nm,
        chunk_shape=(16, 16, 16),
    )
    volume.write(volume.box, array)
    return volume


def _arrays(seed=0):
    """Objects that disagree near and far, some cut by the end of the volume; two components to the labels."""
    rng = np.random.default_rng(seed)
    labels = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) > 0.08
    found = np.roll(labels, 2, 1) & (ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) > -0.05)
    return found.astype(np.uint8), labels.astype(np.uint32) * 7


@pytest.fixture
def pair(tmp_path):
    found, labels = _arrays()
    return _volume(tmp_path, "found", found), _volume(tmp_path, "labels", labels)


def _surface(objects):
    """Voxels with a background neighbour, by SciPy."""
    return objects & ~ndimage.binary_erosion(objects, border_value=1)


def _distances(found, labels, box):
    """The four lists of distances by distance transforms of the whole volume."""
    found, there = found != 0, labels != 0
    lists = []
    for members, others in (
        (found, there),
        (there, found),
        (_surface(found), _surface(there)),
        (_surface(there), _surface(found)),
    ):
        nm = ndimage.distance_transform_edt(~others, sampling=SIZE_NM) if others.any() else np.full(SHAPE, np.inf)
        lists.append(np.minimum(nm, CAP_NM)[box.slices][members[box.slices]])
    return lists


@pytest.mark.parametrize("box", [Box.of_shape(SHAPE), Box((1, 2, 0), (18, 23, 27))])
def test_distances_are_those_of_a_transform_of_the_whole_volume(pair, box):
    lists = _distances(*(volume.read(volume.box) for volume in pair), box)
    counts = measure_distances(*pair, cap_nm=CAP_NM, box=box, block_shape=(7, 9, 28))
    for row, distances in enumerate(lists):
        steps = np.floor(distances / STEP_NM + 0.5 + 1e-4).astype(int)
        np.testing.assert_array_equal(counts.steps[row], np.bincount(steps, minlength=counts.steps.shape[1]))
    assert counts.steps[:, -1].any()  # some are beyond the cap
    scores = DistanceScores.of(counts, (0.0, 8.0))
    both = np.concatenate(lists[2:])
    assert scores.false_positive_distance_nm == pytest.approx(lists[0].mean(), abs=STEP_NM)
    assert scores.mean_false_distance_nm == pytest.approx((lists[0].mean() + lists[1].mean()) / 2, abs=STEP_NM)
    assert scores.surface_distance_nm == pytest.approx(both.mean(), abs=STEP_NM)
    most = [np.quantile(distances, 0.95, method="inverted_cdf") for distances in lists[2:]]
    assert scores.surface_distance_95_nm == pytest.approx(max(most), abs=STEP_NM)
    assert scores.surface_distance_max_nm == pytest.approx(both.max(), abs=STEP_NM)
    assert (scores.precision[8.0], scores.recall[8.0]) == (np.mean(lists[0] <= 8), np.mean(lists[1] <= 8))
    assert scores.surface_f1[8.0] == np.mean(both <= 8)


@pytest.mark.parametrize("block_shape", [(5, 24, 9), (1, 3, 28), (64, 64, 64)])
def test_blocks_of_any_shape_give_the_same_bits(pair, block_shape):
    whole = measure_distances(*pair, cap_nm=CAP_NM, block_shape=SHAPE)
    parts = measure_distances(*pair, cap_nm=CAP_NM, block_shape=block_shape)
    np.testing.assert_array_equal(parts.steps, whole.steps)


def test_without_tolerance_the_scores_are_those_of_voxels(pair):
    found, labels = (volume.read(volume.box) != 0 for volume in pair)
    scores = DistanceScores.of(measure_distances(*pair, cap_nm=CAP_NM), (0.0,))
    both = (found & labels).sum()
    assert scores.precision[0.0] == both / found.sum()
    assert scores.f1[0.0] == pytest.approx(2 * both / (found.sum() + labels.sum()), abs=1e-12)


def test_two_plates_are_as_far_apart_as_they_were_put(tmp_path):
    there, found = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    there[4], found[7] = 1, 1  # each cut by four ends of the volume: surface are its two faces, here the same voxels
    pair = _volume(tmp_path, "a", found), _volume(tmp_path, "b", there)
    scores = DistanceScores.of(measure_distances(*pair, cap_nm=100.0), (23.9, 24.0))
    assert (scores.mean_false_distance_nm, scores.surface_distance_max_nm) == (24.0, 24.0)
    assert (scores.f1[23.9], scores.f1[24.0], scores.surface_f1[24.0]) == (0.0, 1.0, 1.0)


def test_an_object_has_no_surface_where_the_volume_ends(tmp_path):
    array = np.zeros(SHAPE, np.uint8)
    array[:10] = 1
    volume = _volume(tmp_path, "half", array)
    counts = measure_distances(volume, volume, cap_nm=20.0)
    assert counts.steps[TRUE_SURFACE].sum() == SHAPE[1] * SHAPE[2]
    assert counts.steps[:, 1:].sum() == 0


def test_volumes_meet_in_nanometres_and_are_read_beyond_the_box(tmp_path, pair):
    found, labels = pair
    cut = found.read(Box((2, 1, 3), (18, 22, 26)))
    moved = _volume(tmp_path, "moved", cut, offset_nm=(16.0, 4.0, 15.0))
    box = Box((6, 9, 8), (12, 14, 20))
    assert np.array_equal(
        measure_distances(moved, labels, cap_nm=12.0, box=box).steps,
        measure_distances(found, labels, cap_nm=12.0, box=box).steps,
    )


def test_mask_leaves_voxels_out_but_distances_go_there(tmp_path, pair):
    used = np.zeros(SHAPE, np.uint8)
    used[6:] = 1
    mask = _volume(tmp_path, "mask", used)
    masked = measure_distances(*pair, cap_nm=CAP_NM, mask=mask)
    below = measure_distances(*pair, cap_nm=CAP_NM, box=Box((6, 0, 0), SHAPE))
    np.testing.assert_array_equal(masked.steps, below.steps)


def test_probability_is_found_from_a_level_on(tmp_path, pair):
    found = pair[0].read(pair[0].box)
    grey = _volume(tmp_path, "probability", np.where(found, 128, 127).astype(np.uint8))
    of_grey = measure_distances(grey, pair[1], cap_nm=CAP_NM, least=grey_level(0.5))
    np.testing.assert_array_equal(of_grey.steps, measure_distances(*pair, cap_nm=CAP_NM).steps)


def test_nothing_found_or_there_is_said_as_stated(tmp_path, pair):
    nothing = _volume(tmp_path, "nothing", np.zeros(SHAPE, np.uint8))
    missed = DistanceScores.of(measure_distances(nothing, pair[1], cap_nm=CAP_NM), (8.0,)).as_json()
    assert (missed["precision"], missed["recall"], missed["f1"]) == ({"8": 0.0}, {"8": 0.0}, {"8": 0.0})
    assert (missed["mean_false_distance_nm"], missed["false_positive_distance_nm"]) == (None, None)
    assert missed["false_negative_distance_nm"] == missed["surface_distance_nm"] == CAP_NM
    assert missed["surface_distance_95_nm"] == missed["surface_distance_max_nm"] == CAP_NM
    empty = DistanceScores.of(measure_distances(nothing, nothing, cap_nm=CAP_NM), (8.0,)).as_json()
    assert empty["f1"] == {"8": None}
    assert empty["precision"] == {"8": 0.0}
    assert empty["surface_distance_max_nm"] is None
    json.dumps(empty, allow_nan=False)


def test_rows_are_in_the_stated_order(pair):
    found, labels = (volume.read(volume.box) != 0 for volume in pair)
    numbers = measure_distances(*pair, cap_nm=CAP_NM).sums(())[:, 0]
    assert numbers[FOUND] == found.sum()
    assert numbers[THERE] == labels.sum()
    assert numbers[FOUND_SURFACE] == _surface(found).sum()


@pytest.mark.parametrize("cap_nm", [0.0, -3.0, float("inf"), float("nan")])
def test_cap_has_to_be_a_distance(pair, cap_nm):
    with pytest.raises(ValueError, match=r"distance_cap_nm=.* is no distance; give nm above 0"):
        measure_distances(*pair, cap_nm=cap_nm)


@pytest.mark.parametrize("tolerance", [-1.0, CAP_NM])
def test_tolerance_has_to_lie_below_the_cap(tolerance):
    with pytest.raises(ValueError, match=r"tolerances_nm=\(.*not below the cap of 14 nm; raise distance_cap_nm"):
        DistanceCounts.empty(CAP_NM).sums((tolerance,))
