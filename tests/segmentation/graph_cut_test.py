"""Cuts against every labelling of small graphs, strokes that hold, and the original's case."""

from itertools import product

import numpy as np
import pytest

from asem_jax.segmentation.adjacency import Graph, contacts, join, piece_of
from asem_jax.segmentation.graph_cut import (
    BACKGROUND,
    BOTH,
    FREE,
    OBJECT,
    contact_costs,
    cut,
    energy,
    kinds_of,
    label_supervoxels,
    paint,
    stroked_ids,
)
from asem_jax.segmentation.supervoxels import Lattice, grow_supervoxels, lattice_pitch, slope, smoothed
from asem_jax.volumes.geometry import Box

SIZE = (1.0, 1.0, 1.0)


def _graph(count, pairs, area=None, gradient=None, looks=None):
    ones = np.ones(len(pairs))
    return Graph(
        np.ones(count),
        np.zeros((count, 1), np.float32) if looks is None else looks,
        np.array(pairs, np.uint32).reshape(-1, 2),
        ones if area is None else np.array(area, float),
        ones if gradient is None else np.array(gradient, float),
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_labelling_costs_less(seed):
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(9) for b in range(a + 1, 9) if rng.random() < 0.5]
    graph = _graph(9, pairs)
    odds, costs = rng.normal(0, 2, 9), rng.random(len(pairs)) * 2
    kinds = np.array([OBJECT, BACKGROUND, *[FREE] * 7], np.uint8)
    found = cut(graph, odds, costs, kinds)
    assert found[0] and not found[1]
    others = [energy(graph, np.array((1, 0, *rest), bool), odds, costs) for rest in product((0, 1), repeat=7)]
    assert energy(graph, found, odds, costs) == pytest.approx(min(others), rel=1e-6)
    assert min(others) < max(others)


def test_a_row_is_cut_at_its_cheapest_contact():
    graph = _graph(5, [(i, i + 1) for i in range(4)])
    kinds = np.array([OBJECT, FREE, FREE, FREE, BACKGROUND], np.uint8)
    found = cut(graph, np.zeros(5), np.array([3.0, 3.0, 1.0, 3.0]), kinds)
    assert found.tolist() == [True, True, True, False, False]
    # Odds of 1.5 against the object on voxel 1 are less than the 3 of the contact that they would have to cut.
    found = cut(graph, np.array([0, -1.5, 0, 0, 0]), np.array([3.0, 3.0, 1.0, 3.0]), kinds)
    assert found.tolist() == [True, True, True, False, False]
    found = cut(graph, np.array([0, -2.5, 0, 0, 0]), np.array([3.0, 3.0, 1.0, 3.0]), kinds)
    assert found.tolist() == [True, False, False, False, False]


def test_strokes_hold_against_all_odds():
    graph = _graph(3, [(0, 1), (1, 2)])
    kinds = np.array([BACKGROUND, OBJECT, BACKGROUND], np.uint8)
    assert cut(graph, np.array([1e6, -1e6, 1e6]), np.full(2, 1e6), kinds).tolist() == [False, True, False]


def test_a_supervoxel_of_both_kinds_draws_to_neither_side():
    graph = _graph(3, [(0, 1), (1, 2)])
    kinds = np.array([BOTH, FREE, BOTH], np.uint8)
    for odd in (-0.01, 0.01):
        assert cut(graph, np.array([0, odd, 0]), np.full(2, 5.0), kinds).tolist() == [False, odd > 0, False]


def test_without_free_supervoxels_or_costs_there_is_still_an_answer():
    graph = _graph(2, [])
    assert cut(graph, np.zeros(2), np.zeros(0), np.array([OBJECT, BACKGROUND], np.uint8)).tolist() == [True, False]
    assert cut(graph, np.zeros(2), contact_costs(graph, 1.0), np.zeros(2, np.uint8)).tolist() == [False, False]


def test_a_contact_costs_by_area_and_less_on_an_edge_whatever_the_contrast():
    graph = _graph(4, [(0, 1), (1, 2), (2, 3)], area=[1, 1, 4], gradient=[0, 2, 1])
    typical = (0 * 1 + 4 * 1 + 1 * 4) / 6
    expected = 3 * np.array([0.5, 0.5 * np.exp(-4 / 2 / typical), 2 * np.exp(-1 / 2 / typical)])
    np.testing.assert_allclose(contact_costs(graph, 3.0), expected)
    brighter = _graph(4, [(0, 1), (1, 2), (2, 3)], area=[1, 1, 4], gradient=[0, 20, 10])
    np.testing.assert_allclose(contact_costs(brighter, 3.0), expected)
    with pytest.raises(ValueError, match=r"smoothness=-1 would reward borders; give 0 \(none\) or more"):
        contact_costs(graph, -1)


def test_kinds_of_blocks_add_up():
    ids = np.array([[[0, 0, 1, 1, 2, 3]]], np.uint32)
    strokes = np.array([[[1, 0, 1, 0, 2, 0]]], np.uint8)
    other = (np.array([3]), np.array([1]))
    assert kinds_of([stroked_ids(ids, strokes), other], 5).tolist() == [OBJECT, BOTH, BACKGROUND, OBJECT, FREE]


def test_voxels_under_strokes_have_their_label_and_a_divided_supervoxel_goes_by_distance():
    ids = np.array([[[0, 0, 0, 0, 0, 1, 1, 2]]], np.uint32)
    strokes = np.array([[[1, 0, 0, 0, 2, 0, 0, 0]]], np.uint8)
    kinds = kinds_of([stroked_ids(ids, strokes)], 3)
    before = strokes.copy()
    painted = paint(np.array([False, True, False]), kinds, ids, strokes, voxel_size_nm=SIZE)
    assert painted.ravel()[[0, 1, 3, 4, 5, 6, 7]].tolist() == [1, 1, 0, 0, 1, 1, 0]
    assert painted.dtype == np.uint8 and (strokes == before).all()


def test_odds_are_learned_from_strokes_and_smoothed():
    looks = np.where(np.arange(20) < 10, 0.0, 1.0)
    looks[5] = 1.5
    graph = _graph(20, [(i, i + 1) for i in range(19)], looks=looks[:, None].astype(np.float32))
    kinds = np.zeros(20, np.uint8)
    kinds[[0, 1, 2]], kinds[[17, 18, 19]] = OBJECT, BACKGROUND
    settings = {"ridge": 0.1, "surroundings": 1}
    expected = np.arange(20) < 10
    rough = label_supervoxels(graph, kinds, smoothness=0.0, bias=0.0, **settings)
    assert not rough[5] and (rough == expected)[[0, 1, 2, 3, 7, 8, *range(11, 20)]].all()
    assert (label_supervoxels(graph, kinds, smoothness=4.0, bias=0.0, **settings) == expected).all()
    assert label_supervoxels(graph, kinds, smoothness=0.0, bias=100.0, **settings).tolist() == (kinds != 2).tolist()


def _originals(case):
    """The original's graph, with its own capacities: the cost of object and of background per supervoxel."""
    graph = _graph(len(case["sv_grey"]), case["edges"])
    return graph, case["capacity_sink"] - case["capacity_source"], 2.0 * case["pairwise_cost"]


def test_the_cut_of_the_originals_graph_costs_what_its_own_did(cases_dir):
    case = np.load(cases_dir / "gc_segment" / "case.npz")
    graph, odds, costs = _originals(case)
    found = cut(graph, odds, costs, np.zeros(len(odds), np.uint8))
    own = case["node_is_object"].astype(bool)
    shared = np.minimum(case["capacity_sink"], case["capacity_source"]).sum()
    assert energy(graph, own, odds, costs) + shared == pytest.approx(1739.563478471, rel=1e-6)
    assert energy(graph, found, odds, costs) + shared == pytest.approx(1739.563478471, rel=1e-6)
    assert (found == own).mean() > 0.99


def test_half_of_the_originals_neighbours_do_not_touch(cases_dir):
    case = np.load(cases_dir / "gc_segment" / "case.npz")
    ids = case["supervoxels"].astype(np.uint32)
    pairs, _, _ = contacts(ids, np.zeros(ids.shape, np.float32), ids.shape, SIZE)
    own, touching = ({tuple(pair) for pair in both.tolist()} for both in (case["edges"], pairs))
    assert len(own) == 6119 and len(touching) == 3135 and touching < own


@pytest.mark.parametrize(("pitch_nm", "at_least"), [(30.0, 0.90), (20.0, 0.92)])
def test_the_originals_strokes_find_more_than_it_did(cases_dir, pitch_nm, at_least):
    case = np.load(cases_dir / "gc_segment" / "case.npz")
    raw, truth, size, looks = case["raw"], case["ground_truth"] != 0, (5.0, 5.0, 5.0), (7.0, 15.0, 30.0)
    strokes = np.where(case["object_strokes"] != 0, 1, np.where(case["background_strokes"] != 0, 2, 0)).astype(np.uint8)
    whole, lattice = Box.of_shape(raw.shape), Lattice(raw.shape, lattice_pitch(pitch_nm, size))
    smooth = smoothed(raw, 7.0, size)
    gradient = slope(smooth, size)
    steps = {"grey_step": None, "gradient_step": 0.6}
    ids = grow_supervoxels(smooth, gradient, whole, lattice=lattice, voxel_size_nm=size, **steps)
    graph = join([piece_of(raw, whole, ids, gradient, sigmas_nm=looks, voxel_size_nm=size)], lattice.count)
    kinds = kinds_of([stroked_ids(ids, strokes)], lattice.count)
    labels = label_supervoxels(graph, kinds, smoothness=2.0, ridge=3.0, surroundings=2, bias=0.0)
    found, own = paint(labels, kinds, ids, strokes, voxel_size_nm=size) == 1, case["mask"] != 0
    dice, theirs = (2 * (one & truth).sum() / (one.sum() + truth.sum()) for one in (found, own))
    assert theirs == pytest.approx(0.8283, abs=1e-4) and dice > at_least
