import numpy as np
import pytest
from scipy import ndimage

from asem_jax.measurement import metrics
from asem_jax.measurement.baseline import (
    baseline_counts,
    best_baseline,
    best_threshold_baseline,
    smoothed,
    sweep_grey_values,
)
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.volume import create_volume

SHAPE = (20, 22, 24)


def _volume(folder, name, array):
    volume = create_volume(
        str(folder / "cell.zarr" / name),
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(5, 5, 5),
        chunk_shape=(16, 16, 16),
    )
    volume.write(volume.box, array)
    return volume


@pytest.fixture
def pair(tmp_path):
    """Dark objects under noise as strong as the contrast."""
    rng = np.random.default_rng(0)
    labels = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3) > 0.03
    raw = np.clip(150 - 60 * labels + 60 * rng.standard_normal(SHAPE), 0, 255).astype(np.uint8)
    return _volume(tmp_path, "raw", raw), _volume(tmp_path, "labels", labels.astype(np.uint8))


def test_smoothing_in_blocks_is_smoothing_of_the_whole(pair):
    raw = pair[0]
    whole = np.rint(ndimage.gaussian_filter(raw.read(raw.box).astype(float), 1.5)).astype(np.uint8)
    for block in tiles(raw.box, (9, 22, 10)):
        np.testing.assert_array_equal(smoothed(raw, block, 1.5), whole[block.slices])


def test_no_smoothing_is_the_raw_itself(pair):
    box = Box((1, 2, 3), (5, 6, 7))
    np.testing.assert_array_equal(smoothed(pair[0], box, 0), pair[0].read(box))


def test_baseline_beats_every_threshold_tried_by_hand(pair):
    raw, labels = (volume.read(volume.box) for volume in pair)
    sigmas = (0, 1.0, 2.0)
    best = best_threshold_baseline(
        *pair, box=pair[1].box, sigmas=sigmas, exclude_inwards=0, exclude_outwards=0, block_shape=(8, 22, 24)
    )
    scores = {
        (sigma, polarity, t): metrics.f1(metrics.count(grey <= t if polarity == "dark" else grey >= t, labels))
        for sigma in sigmas
        for grey in [smoothed(pair[0], pair[0].box, sigma)]
        for polarity in ("dark", "bright")
        for t in range(256)
    }
    assert raw.shape == labels.shape
    assert best.scores.f1 == max(scores.values())
    assert scores[best.sigma, best.polarity, best.threshold] == best.scores.f1
    assert (best.polarity, best.sigma > 0) == ("dark", True)


def test_baseline_of_two_regions_is_chosen_on_both(pair):
    boxes = [Box((0, 0, 0), (10, 22, 24)), Box((10, 0, 0), (20, 22, 24))]
    parts = [sweep_grey_values(*pair, box=box, sigma=1, exclude_inwards=1, exclude_outwards=1) for box in boxes]
    best = best_baseline({1.0: parts[0] + parts[1]})
    counts = [baseline_counts(part, best.polarity, best.threshold) for part in parts]
    assert counts[0] + counts[1] == best.scores.counts


def test_baseline_needs_a_smoothing():
    with pytest.raises(ValueError, match=r"baseline_sigmas=\(\) .* give at least one sigma"):
        best_baseline({})


def test_baseline_needs_grey_values_of_one_byte(pair, tmp_path):
    raw = _volume(tmp_path, "raw16", np.zeros(SHAPE, np.uint16))
    with pytest.raises(ValueError, match=r"raw16 has dtype uint16, not uint8; convert it"):
        smoothed(raw, raw.box, 1)
    with pytest.raises(ValueError, match=r"sigma=-1 is no smoothing"):
        smoothed(pair[0], raw.box, -1)
