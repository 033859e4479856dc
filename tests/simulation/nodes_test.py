"""Values at every few voxels: straight lines come back, whatever the box; nodes themselves are not touched."""

import numpy as np
import pytest

from asem_jax.simulation.nodes import Nodes
from asem_jax.volumes.geometry import Box, tiles

NODES = Nodes((1, 2, 3))
BOX = Box((-5, -7, 2), (4, 6, 12))


def test_nodes_are_as_close_as_asked_for():
    assert Nodes.within(12.0, (30.0, 10.0, 4.0)) == Nodes((1, 1, 3))
    assert Nodes((1, 1, 3)).apart_nm((30.0, 10.0, 4.0)) == (30.0, 10.0, 12.0)


@pytest.mark.parametrize(
    ("start", "stop", "nodes"), [(-5, 4, (-2, 2)), (-6, 4, (-2, 2)), (-6, 5, (-2, 3)), (3, 4, (1, 2))]
)
def test_the_nodes_around_voxels(start, stop, nodes):
    box = Nodes((3, 3, 3)).around(Box((start,) * 3, (stop,) * 3))
    assert (box.start[0], box.stop[0]) == nodes


def test_what_is_straight_is_read_as_it_is():
    around = NODES.around(BOX)
    z, y, x = np.meshgrid(*[np.arange(a, b) for a, b in zip(around.start, around.stop, strict=True)], indexing="ij")
    values = (z + 10 * 2 * y + 100 * 3 * x).astype(np.float32)
    read = NODES.read(values, around, BOX)
    z, y, x = np.meshgrid(*[np.arange(a, b) for a, b in zip(BOX.start, BOX.stop, strict=True)], indexing="ij")
    np.testing.assert_allclose(read, z + 10 * y + 100 * x, atol=1e-3)


def test_what_is_read_does_not_depend_on_the_box():
    around = NODES.around(BOX)
    values = np.random.default_rng(0).random(around.shape).astype(np.float32)
    whole = NODES.read(values, around, BOX)
    for tile in tiles(BOX, (4, 5, 3)):
        near = NODES.around(tile)
        part = NODES.read(values[near.shift([-a for a in around.start]).slices], near, tile)
        np.testing.assert_array_equal(part, whole[tile.shift([-a for a in BOX.start]).slices])
    at_nodes = whole[:, 1::2, 1::3]
    np.testing.assert_array_equal(at_nodes, values[:, 1:, 1:-1][:, : at_nodes.shape[1], : at_nodes.shape[2]])
