"""Placed tubes: none overlap, none is lost, density is what it says."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from asem_jax.simulation import placement
from asem_jax.simulation.candidates import Candidate, crowd_near
from asem_jax.simulation.placement import survivors, tubes_near
from asem_jax.simulation.populations import populations
from asem_jax.simulation.tubes import overlaps
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, mitochondria_only

# The cube within 500 nm of the origin.
MIDDLE = Box((-50, -50, -50), (51, 51, 51))
BOX = Box.of_shape((80, 80, 80))


def _all_tubes(cell):
    return [(kind, tube) for kind in range(3) for tube in tubes_near(cell, kind, BOX, 50.0)]


def test_no_two_tubes_overlap():
    tubes = _all_tubes(CELL)
    assert len({kind for kind, _ in tubes}) == 3
    for (_, one), (kind, other) in combinations(tubes, 2):
        # Later kinds come later in the list, and keep their own gap.
        assert not overlaps(one, other, populations(CELL)[kind].gap_nm)


def test_a_tube_is_found_from_every_box_that_it_touches():
    tubes = [tube for _, tube in _all_tubes(CELL)]
    for tile in tiles(BOX, (40, 40, 40)):
        found = [tube for kind in range(3) for tube in tubes_near(CELL, kind, tile, 50.0)]
        for tube in tubes:
            touches = all(cut.start < cut.stop for cut in tube.slices(tile, CELL.voxel_size_nm, 25.0))
            assert touches <= (tube.centre in {other.centre for other in found})


def test_who_survives_does_not_depend_on_who_is_asked_first():
    indices = list(product(range(-1, 1), repeat=3))
    placement._survives.cache_clear()
    forwards = {index: survivors(CELL, 0, index) for index in indices}
    placement._survives.cache_clear()
    backwards = {index: survivors(CELL, 0, index) for index in reversed(indices)}
    centres = [{i: [tube.centre for tube in found] for i, found in one.items()} for one in (forwards, backwards)]
    assert centres[0] == centres[1] and any(centres[0].values())


@pytest.mark.parametrize("per_um3", [0.0, 2.0])
def test_sparse_tubes_are_as_many_as_asked_for(per_um3):
    cell = mitochondria_only(
        mitochondria_per_um3=0.0, bodies_per_um3=per_um3, body_radius_nm=(10.0, 10.0), membrane_nm=1.0
    )
    pitch_um = populations(cell)[1].pitch_nm / 1000
    num = sum(len(survivors(cell, 1, index)) for index in product(range(24), repeat=3))
    assert num == pytest.approx(per_um3 * (24 * pitch_um) ** 3, rel=0.15)


def test_a_later_kind_gives_way():
    alone = replace(CELL, bodies_per_um3=0.0, vesicles_per_um3=0.0)
    among = replace(CELL, bodies_per_um3=60.0)
    centres = [sorted(tube.centre for tube in tubes_near(cell, 0, BOX, 0.0)) for cell in (alone, among)]
    assert centres[0] == centres[1]


def _has_room(one, placed, gap_nm):
    if not placed:
        return True
    points, radii = (
        np.concatenate([getattr(other.tube, name) for other in placed]) for name in ("points_nm", "radii_nm")
    )
    apart = np.linalg.norm(one.tube.points_nm[:, None] - points, axis=-1)
    return (apart >= one.tube.radii_nm[:, None] + radii + gap_nm).all()


def test_they_survive_who_overlap_no_survivor_with_precedence():
    # As if all were placed one after the other: kind after kind, each kind in its order.
    low, high = np.full(3, -1800.0), np.full(3, 1800.0)
    placed: list[tuple[int, Candidate]] = []
    for kind, population in enumerate(populations(CELL)):
        for one in sorted(crowd_near(CELL, kind, low, high).members, key=lambda one: one.order):
            if _has_room(one, [other for _, other in placed], population.gap_nm):
                placed.append((kind, one))
    middle = [(kind, one.index, one.rank) for kind, one in placed if max(map(abs, one.centre)) < 500]
    found = [
        (kind, one.index, one.rank)
        for kind in range(3)
        for one in tubes_near(CELL, kind, MIDDLE, 0.0)
        if max(map(abs, one.centre)) < 500
    ]
    assert sorted(found) == sorted(middle) and len({kind for kind, *_ in found}) == 3
