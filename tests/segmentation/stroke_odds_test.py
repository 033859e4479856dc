"""Odds of supervoxels: what can be separated is, by products too; surroundings are weighted by area."""

import numpy as np
import pytest
from scipy import optimize

from asem_jax.segmentation.adjacency import Graph
from asem_jax.segmentation.stroke_odds import stroke_odds, with_surroundings


def _graph(looks, pairs, area):
    looks = np.array(looks, np.float32)
    return Graph(np.ones(len(looks)), looks, np.array(pairs, np.uint32), np.array(area, float), np.zeros(len(area)))


def test_surroundings_are_the_mean_by_area_of_contact():
    graph = _graph([[0.0], [3.0], [9.0]], [(0, 1), (0, 2)], [2.0, 1.0])
    np.testing.assert_allclose(with_surroundings(graph, 1), [[0, 5], [3, 0], [9, 0]])
    np.testing.assert_allclose(with_surroundings(graph, 2), [[0, 0], [3, 5], [9, 5]])


def test_odds_follow_the_strokes_and_a_ring_needs_squares():
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((600, 2)).astype(np.float32)
    inside = np.square(looks).sum(1) < 1
    kinds = np.where(inside, 1, 2).astype(np.uint8)
    kinds[300:] = 0
    odds = stroke_odds(looks, kinds, ridge=1.0)
    assert ((odds > 0) == inside)[300:].mean() > 0.95
    assert np.abs(odds).max() <= 8


def test_the_fit_is_the_penalised_maximum():
    rng = np.random.default_rng(1)
    looks = rng.standard_normal((40, 1)).astype(np.float32)
    kinds = np.where(rng.random(40) < 1 / (1 + np.exp(-2 * looks[:, 0])), 1, 2).astype(np.uint8)
    z = (looks[:, 0].astype(float) - looks.mean(dtype=float)) / (looks.std(dtype=float) + 1e-9)
    rows, y = np.stack([np.ones(40), z, z * z], 1), kinds == 1

    def cost(c):
        t = rows @ c
        return (np.logaddexp(0, t) - y * t).sum() + (c[1] ** 2 + c[2] ** 2) * 0.5 / 2

    best = optimize.minimize(cost, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(stroke_odds(looks, kinds, ridge=0.5), np.clip(rows @ best, -8, 8), atol=1e-3)


def test_two_kinds_of_strokes_and_a_penalty_are_needed():
    looks = np.zeros((3, 1), np.float32)
    with pytest.raises(ValueError, match=r"2 supervoxels lie under object strokes alone, 0 under .*: add strokes"):
        stroke_odds(looks, np.array([1, 1, 3], np.uint8), ridge=1.0)
    with pytest.raises(ValueError, match=r"ridge=0 lets single strokes .*; give a number above 0"):
        stroke_odds(looks, np.array([1, 2, 0], np.uint8), ridge=0)
