"""Surfaces of tubes between nodes: where they would be at voxels, the same in every part, and no thin tube is read."""

from dataclasses import replace

import numpy as np
import pytest

from asem_jax.simulation import tissue
from asem_jax.simulation.canvas import Canvas
from asem_jax.simulation.outlines import reach_nm
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.tubes import tube_distance
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, CELLS

FINE = replace(CELL, voxel_size_nm=(5.0, 5.0, 5.0))
BOX = Box((-7, 3, 0), (41, 60, 64))


def _kinds(cell, box):
    return [list(tubes_near(cell, kind, box, 150.0)) for kind in range(3)]


def _distances(seen, cell, box):
    """Returns the distance to the surface of each tube over `box`, as far as an edge; else an edge."""
    canvas = Canvas.over(cell, box, {})
    found = {}
    for population, one in seen.over(canvas):
        whole = np.full(box.shape, np.float32(canvas.edge_nm))
        whole[one.slices(box)] = np.minimum(one.distance, np.float32(canvas.edge_nm))
        found[population.key(one.tube)] = whole
    return found


@pytest.mark.parametrize("size", [10.0, 5.0, 4.0])
def test_surfaces_do_not_depend_on_the_part(size):
    cell = replace(CELL, voxel_size_nm=(size, 5.0, size))
    whole = _distances(tissue.shaken(cell, BOX, _kinds(cell, BOX)), cell, BOX)
    assert len(whole) >= 3
    for part in tiles(BOX, (17, 30, 64)):
        seen, cut = tissue.shaken(cell, part, _kinds(cell, part)), part.shift([-a for a in BOX.start]).slices
        for key, distance in _distances(seen, cell, part).items():
            np.testing.assert_array_equal(distance, whole[key][cut])


def test_membranes_and_tubes_are_surveyed_alike():
    alone, together = tissue.shaken(FINE, BOX, _kinds(FINE, BOX)), tissue.survey(FINE, BOX, _kinds(FINE, BOX)).outlines
    expected, found = (_distances(seen, FINE, BOX) for seen in (alone, together))
    assert expected.keys() == found.keys()
    for key, distance in expected.items():
        np.testing.assert_array_equal(found[key], distance)


def test_what_is_read_is_what_voxels_would_have():
    cell = replace(FINE, wobble_nm=0.0)
    kinds = _kinds(cell, BOX)
    edge = 5.0
    found = _distances(tissue.shaken(cell, BOX, kinds), cell, BOX)
    tubes = {(tube.index, tube.rank): tube for tubes in kinds for tube in tubes}
    assert any(key.organelle == "vesicles" for key in found)
    for key, distance in found.items():
        true = tube_distance(tubes[key.place, key.rank], BOX, voxel_size_nm=cell.voxel_size_nm, margin_nm=edge)
        near = np.full(BOX.shape, np.float32(edge))
        near[true.slices(BOX)] = np.minimum(true.distance, np.float32(edge))
        shell = np.abs(near) < edge
        assert np.abs(distance - near)[shell].max() < 1.5
        assert np.abs(distance - near)[shell].mean() < 0.5


def test_thin_tubes_are_not_read_between_nodes():
    cell = replace(CELLS, voxel_size_nm=(5.0, 5.0, 5.0), wobble_nm=0.0)
    box = Box.of_shape((40, 80, 80), (260, 100, 200))
    kinds = [list(tubes_near(cell, kind, box, 150.0)) for kind in range(6)]
    seen = tissue.shaken(cell, box, kinds).over(Canvas.over(cell, box, {}))
    thin = [one for population, one in seen if population.organelle == "microtubules"]
    assert thin
    for one in thin:
        true = tube_distance(one.tube, one.box, voxel_size_nm=cell.voxel_size_nm, margin_nm=5.0)
        close = one.distance < 5
        np.testing.assert_array_equal(one.distance[close], true.distance[close])


def test_distances_reach_beyond_the_nodes_around_a_voxel():
    assert reach_nm(CELL) == 10.0
    assert reach_nm(FINE) == 25.0
