"""Boxes, tiles and nanometres: the laws of the module, and what is refused."""

import itertools

import numpy as np
import pytest

from asem_jax.volumes.geometry import Box, float3, int3, nm_from_voxels, tiles, voxels_from_nm

BOX = Box((-3, 0, 5), (4, 6, 9))


@pytest.mark.parametrize("tile", [(1, 1, 1), (2, 3, 4), (7, 6, 4), (100, 5, 3)])
def test_tiles_cover_each_voxel_exactly_once(tile):
    counts = np.zeros(BOX.shape, int)
    for piece in tiles(BOX, tile):
        assert BOX.contains(piece) and all(n <= t for n, t in zip(piece.shape, tile, strict=True))
        counts[piece.shift([-a for a in BOX.start]).slices] += 1
    assert (counts == 1).all()


def test_a_tile_is_made_when_it_is_asked_for():
    pieces = tiles(BOX, (2, 3, 4))
    assert len(pieces) == len(list(pieces)) and [pieces[i] for i in range(len(pieces))] == list(pieces)
    assert pieces[1:-1:2] == list(pieces)[1:-1:2] and pieces[-1] == list(pieces)[-1]
    many = tiles(Box.of_shape((10**5,) * 3), (10, 10, 10))
    assert len(many) == 10**12 and many[10**12 - 1].stop == (10**5,) * 3
    with pytest.raises(IndexError):
        many[10**12]


def test_tiles_of_nothing_are_none():
    assert list(tiles(Box((1, 1, 1), (1, 5, 5)), (2, 2, 2))) == []


@pytest.mark.parametrize("by", [0, 3, (1, 0, 2)])
def test_growing_and_shrinking_return_the_box(by):
    back = -by if isinstance(by, int) else tuple(-n for n in by)
    assert BOX.grow(by).grow(back) == BOX


def test_intersection_and_containment_agree_with_voxels():
    def voxels(box):
        return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))

    rng = np.random.default_rng(0)
    for _ in range(200):
        ends = np.sort(rng.integers(0, 5, (2, 2, 3)), axis=1)
        a, b = (Box(tuple(start), tuple(stop)) for start, stop in ends)
        assert voxels(a.intersect(b)) == voxels(a) & voxels(b)
        assert a.contains(b) == (voxels(b) <= voxels(a))
        assert a.num_voxels == len(voxels(a))


def test_a_place_survives_the_way_to_nanometres_and_back():
    place = ((1.5, -2, 7), (4.56, 5, 8), (100.25, 0, -3))
    assert voxels_from_nm(nm_from_voxels(*place), *place[1:]) == pytest.approx(place[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box((0, 0, 2), (1, 1, 1)), r"stop=\(1, 1, 1\)\) ends before it starts; give start <= stop"),
        (lambda: Box((0, 0), (1, 1)), r"Box.start=\(0, 0\) is not three whole numbers"),
        (lambda: int3((1, 2, 2.5), "shape"), r"shape=\(1, 2, 2.5\) is not three whole numbers; give z, y, x"),
        (lambda: float3((5, 5), "voxel_size_nm"), r"voxel_size_nm=\(5, 5\) is not three numbers; give z, y"),
        (lambda: list(tiles(BOX, (1, 0, 1))), r"tile_shape=\(1, 0, 1\) has an empty side; give at least 1"),
    ],
)
def test_numbers_that_are_no_geometry_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
