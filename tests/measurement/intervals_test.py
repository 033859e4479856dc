import numpy as np
import pytest

from asem_jax.measurement import metrics
from asem_jax.measurement.intervals import MIN_CELLS, Resampling, interval, spread
from asem_jax.measurement.metrics import Counts
from asem_jax.volumes.geometry import Box, tiles

RESAMPLING = Resampling(num_samples=400, seed=3, cell_shape=(4, 5, 6))


def test_parts_of_blocks_in_cells_cover_the_region_once():
    region = Box((3, 1, 2), (14, 13, 21))
    for block_shape in ((4, 12, 7), (64, 64, 64)):
        seen = np.zeros(region.stop, int)
        cells = np.full(region.stop, -1)
        for block in tiles(region, block_shape):
            for cell, part in RESAMPLING.cells(region, block):
                assert block.contains(part)
                seen[part.slices] += 1
                cells[part.slices] = np.ravel_multi_index(cell, (99, 99, 99))
        assert (seen[region.slices] == 1).all()
        z, y, x = np.indices(region.shape)
        expected = np.ravel_multi_index((z // 4, y // 5, x // 6), (99, 99, 99))
        np.testing.assert_array_equal(cells[region.slices], expected)
        assert len(np.unique(expected)) == RESAMPLING.num_cells(region)


def test_weights_belong_to_seed_region_and_cell():
    weights = RESAMPLING.weights("a", (0, 1, 2))
    np.testing.assert_array_equal(weights, RESAMPLING.weights("a", (0, 1, 2)))
    others = [
        RESAMPLING.weights("b", (0, 1, 2)),
        RESAMPLING.weights("a", (1, 0, 2)),
        Resampling(400, 4, (4, 5, 6)).weights("a", (0, 1, 2)),
    ]
    for other in others:
        assert abs(np.corrcoef(weights, other)[0, 1]) < 0.2
    assert weights.mean() == pytest.approx(1, abs=0.15)
    assert weights.var() == pytest.approx(1, abs=0.3)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Precision of cells of voxels that are right together with probability 0.7."""
    rng = np.random.default_rng(0)
    num_cells, covered = 40, 0
    resampling = Resampling(num_samples=200, seed=0, cell_shape=(1, 1, 1))
    weights = np.stack([resampling.weights("a", (0, 0, i)) for i in range(num_cells)])
    for _ in range(200):
        right = rng.random(num_cells) < 0.7
        sums = [weights.T @ (50 * right), weights.T @ (50 * ~right)]
        scores = [metrics.precision(Counts(int(t), int(f))) for t, f in zip(*sums, strict=True)]
        low, high = interval(scores, num_cells)
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_resamples_without_a_score_are_left_out():
    assert interval([0.1] * 60 + [float("nan")] * 40, 99) == (0.1, 0.1)
    assert interval([0.1] * 40 + [float("nan")] * 60, 99) is None
    assert interval([0.1] * 99, MIN_CELLS - 1) is None
    assert interval([], 99) is None


def test_interval_leaves_out_both_ends():
    assert interval(np.arange(1001).tolist(), 99) == pytest.approx((25, 975))


def test_spread_is_that_of_the_known_scores():
    assert spread([0.2, float("nan"), 0.6]) == {
        "regions": 2,
        "mean": pytest.approx(0.4),
        "sd": pytest.approx(np.std([0.2, 0.6], ddof=1)),
        "min": 0.2,
        "max": 0.6,
    }
    assert spread([0.2])["sd"] is None
    assert spread([float("nan")])["mean"] is None


@pytest.mark.parametrize("words", [(-1, 0, (1, 1, 1)), (5, -1, (1, 1, 1)), (5, 0, (1, 0, 1))])
def test_resampling_that_cannot_be_is_refused(words):
    with pytest.raises(ValueError, match=r"bootstrap_samples=.*: give 0 or more samples and seed, and sides"):
        Resampling(*words)
