"""Contacts that can be counted, and graphs made of pieces."""

from itertools import product

import numpy as np
import pytest

from asem_jax.segmentation.adjacency import contacts, join, piece_of
from asem_jax.segmentation.supervoxels import halo
from asem_jax.volumes.geometry import Box, tiles

SIZE = (4.0, 2.0, 1.0)
SIGMAS = (2.0, 4.0)


def _blocks(shape=(5, 9, 14), seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 12, [-(-n // 3) for n in shape]).astype(np.uint32)
    ids = small.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)]
    numbers = np.unique(ids, return_inverse=True)[1].reshape(shape).astype(np.uint32)
    return rng.integers(0, 256, shape).astype(np.uint8), numbers


def test_contacts_of_three_that_meet_can_be_counted():
    ids = np.array([[[0, 0, 1], [0, 2, 1]], [[0, 2, 1], [0, 2, 2]]], np.uint32)
    gradient = ids.astype(np.float32)
    pairs, area, mean = contacts(ids, gradient, ids.shape, SIZE)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    # Faces across z are 2 x 1 nm2, across y 4 x 1, across x 4 x 2.
    assert area.tolist() == [8.0, 2 + 4 + 3 * 8, 2 + 4 + 2 * 8]
    assert mean.tolist() == [0.5, 1.0, 1.5]


def test_every_touching_pair_is_found_and_no_other():
    _, ids = _blocks()
    expected = {}
    for axis, side in enumerate(SIZE):
        for place in product(*map(range, ids.shape)):
            behind = tuple(p + (a == axis) for a, p in enumerate(place))
            if behind[axis] < ids.shape[axis] and ids[place] != ids[behind]:
                pair = tuple(sorted((int(ids[place]), int(ids[behind]))))
                expected[pair] = expected.get(pair, 0) + 8.0 / side
    pairs, area, _ = contacts(ids, np.zeros(ids.shape, np.float32), ids.shape, SIZE)
    assert dict(zip(map(tuple, pairs.tolist()), area.tolist(), strict=True)) == expected


def _graph(raw, ids, shape):
    whole, pieces = Box.of_shape(raw.shape), []
    gradient = raw.astype(np.float32)
    for block in tiles(whole, shape):
        read = block.grow(halo(SIGMAS, SIZE)).intersect(whole)
        behind = Box(block.start, tuple(min(n, b + 1) for n, b in zip(raw.shape, block.stop, strict=True)))
        pieces.append(
            piece_of(
                raw[read.slices],
                block.shift([-a for a in read.start]),
                ids[behind.slices],
                gradient[behind.slices],
                sigmas_nm=SIGMAS,
                voxel_size_nm=SIZE,
            )
        )
    return join(pieces, int(ids.max()) + 1)


def test_pieces_of_blocks_make_the_graph_of_the_whole():
    raw, ids = _blocks()
    whole, parts = _graph(raw, ids, raw.shape), _graph(raw, ids, (2, 4, 5))
    np.testing.assert_array_equal(parts.pairs, whole.pairs)
    for name in ("sizes", "area_nm2", "gradient"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_allclose(parts.looks, whole.looks, rtol=2e-5, atol=1e-4)


def test_looks_are_means_over_the_supervoxel_and_its_spread():
    raw, ids = _blocks()
    graph = _graph(raw, ids, raw.shape)
    assert graph.looks.shape == (ids.max() + 1, 3 * len(SIGMAS) + 1)
    for number in (0, 5):
        assert graph.sizes[number] == (ids == number).sum()
        assert graph.looks[number, -1] == pytest.approx(raw[ids == number].std(), rel=1e-5)
    flat = _graph(np.full(raw.shape, 90, np.uint8), ids, raw.shape).looks
    np.testing.assert_allclose(flat, np.tile([90, 0, 0, 90, 0, 0, 0], (len(flat), 1)), atol=1e-3)
