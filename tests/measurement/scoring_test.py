import json

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.measurement import metrics
from asem_jax.measurement.metrics import Counts
from asem_jax.measurement.scoring import (
    Scores,
    count_blocks,
    evaluate_volumes,
    open_region,
    sweep_thresholds,
)
from asem_jax.segmentation.labels import exclusion_zone, threshold
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (20, 24, 28)
SIZE_NM = (8.0, 4.0, 4.0)


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
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 2)
    labels = (noise > 0.05).astype(np.uint32)
    probability = np.clip(128 + 900 * np.roll(noise, 1, 0), 0, 255).astype(np.uint8)
    return labels, probability


@pytest.fixture
def pair(tmp_path):
    labels, probability = _arrays()
    segmentation = (probability > 140).astype(np.uint8)
    return _volume(tmp_path, "segmentation", segmentation), _volume(tmp_path, "labels", labels)


@pytest.mark.parametrize("block_shape", [(5, 24, 9), (64, 64, 64)])
@pytest.mark.parametrize(("inwards", "outwards"), [(0, 0), (1, 3)])
def test_blocks_of_any_shape_give_the_counts_of_the_whole(pair, block_shape, inwards, outwards):
    segmentation, labels = (volume.read(volume.box) for volume in pair)
    used = ~exclusion_zone(labels, inwards=inwards, outwards=outwards)
    scores = evaluate_volumes(*pair, exclude_inwards=inwards, exclude_outwards=outwards, block_shape=block_shape)
    assert scores == Scores.of(metrics.count(segmentation, labels, used))
    assert 0 < scores.f1 < 1


def test_exclusion_zone_knows_the_labels_around_the_box(pair):
    box = Box((4, 5, 6), (12, 20, 22))
    segmentation, labels = (volume.read(volume.box) for volume in pair)
    used = ~exclusion_zone(labels, inwards=2, outwards=2)
    expected = metrics.count(segmentation[box.slices], labels[box.slices], used[box.slices])
    assert evaluate_volumes(*pair, exclude_inwards=2, exclude_outwards=2, box=box).counts == expected


def test_volumes_meet_in_nanometres(tmp_path, pair):
    segmentation, labels = pair
    cut = labels.read(Box((3, 2, 1), (13, 12, 21)))
    moved = _volume(tmp_path, "moved", cut, offset_nm=(24.0, 8.0, 4.0))
    inside = evaluate_volumes(segmentation, moved, exclude_inwards=0, exclude_outwards=0)
    same = Box((3, 2, 1), (13, 12, 21))
    assert inside == evaluate_volumes(segmentation, labels, exclude_inwards=0, exclude_outwards=0, box=same)


def test_mask_leaves_voxels_out(tmp_path, pair):
    used = np.zeros(SHAPE, np.uint8)
    used[5:] = 1
    mask = _volume(tmp_path, "mask", used)
    masked = evaluate_volumes(*pair, exclude_inwards=0, exclude_outwards=0, mask=mask)
    box = Box((5, 0, 0), SHAPE)
    assert masked == evaluate_volumes(*pair, exclude_inwards=0, exclude_outwards=0, box=box)


def test_counts_of_blocks_come_with_their_place(pair):
    counted = dict(count_blocks(*pair, exclude_inwards=1, exclude_outwards=1, block_shape=(10, 24, 28)))
    assert list(counted) == [Box((0, 0, 0), (10, 24, 28)), Box((10, 0, 0), (20, 24, 28))]
    whole = evaluate_volumes(*pair, exclude_inwards=1, exclude_outwards=1)
    assert sum(counted.values(), Counts()) == whole.counts


def test_swept_threshold_scores_what_the_segmentation_scores(tmp_path, pair):
    labels, probability = _arrays()
    sweep = sweep_thresholds(
        _volume(tmp_path, "probability", probability),
        pair[1],
        exclude_inwards=1,
        exclude_outwards=2,
        block_shape=(7, 7, 28),
    )
    used = ~exclusion_zone(labels, inwards=1, outwards=2)
    assert sweep.counts_at(160) == metrics.count(threshold(probability, 160 / 255), labels, used)


def test_scores_become_json_without_nan():
    written = json.loads(json.dumps(Scores.of(Counts(true_negative=3)).as_json(), allow_nan=False))
    assert written["f1"] is None
    assert written["counts"]["true_negative"] == 3


def test_region_without_a_box_is_all_there_is(pair):
    assert open_region("val", labels=pair[1].address, mask=None, start=None, stop=None).box == pair[1].box
    assert open_region("val", labels=pair[1].address, mask=None, start=(1, 2, 3), stop=None).box.start == (1, 2, 3)


def test_mask_of_a_region_has_to_cover_it(pair, tmp_path):
    small = _volume(tmp_path, "small", np.ones((4, 4, 4), np.uint8))
    words = {"labels": pair[1].address, "mask": small.address, "start": (0, 0, 0)}
    assert open_region("val", **words, stop=(4, 4, 4)).mask.address == small.address
    with pytest.raises(ValueError, match=r"has shape \(4, 4, 4\); give a box that both contain"):
        open_region("val", **words, stop=(4, 4, 5))


@pytest.mark.parametrize("stop", [(21, 24, 28), (0, 24, 28)])
def test_region_outside_its_labels_is_named(pair, stop):
    with pytest.raises(ValueError, match=r"regions.val: start=\(0, 0, 0\), .* give voxels of the labels"):
        open_region("val", labels=pair[1].address, mask=None, start=(0, 0, 0), stop=stop)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            {"voxel_size_nm": (8.0, 4.0, 5.0)},
            r"voxel size \(8.0, 4.0, 5.0\) nm.*labels.*resample one of them",
        ),
        ({"offset_nm": (4.0, 0.0, 0.0)}, r"\(-0.5, 0.0, 0.0\) voxels apart, not whole voxels; resample one"),
        (
            {"offset_nm": (16.0, 0.0, -8.0)},
            r"give a box that both contain, at most \(2, 0, 0\) to \(20, 24, 26\)",
        ),
        (
            {"offset_nm": (0.0, 96.0, 0.0)},
            r"they do not meet anywhere \(offsets \(0.0, 0.0, 0.0\) and \(0.0, 96.0, 0.0\) nm\): correct one",
        ),
    ],
)
def test_volumes_that_do_not_fit_are_both_named(tmp_path, pair, place, message):
    other = _volume(tmp_path, "other", np.zeros(SHAPE, np.uint8), **place)
    with pytest.raises(ValueError, match=message) as failure:
        evaluate_volumes(other, pair[1], exclude_inwards=0, exclude_outwards=0)
    assert other.address in str(failure.value)
    assert pair[1].address in str(failure.value)
