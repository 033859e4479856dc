"""Candidates around a place: none is missed, all chunks agree, and cytoplasm is where they are."""

from itertools import product

import numpy as np
import pytest

from asem_jax.simulation.candidates import Crowd, bare_limit, bare_values, crowd_near, home
from asem_jax.simulation.populations import populations
from asem_jax.simulation.surfaces import Surface, level
from tests.simulation.cells import CELL, CELLS, mitochondria_only

LOW, HIGH = np.full(3, -900.0), np.full(3, 1300.0)


def _names(crowd):
    return {(one.index, one.rank) for one in crowd.members}


@pytest.mark.parametrize("cell", [CELL, CELLS])
def test_parts_of_a_box_hold_what_the_box_holds(cell):
    for kind in range(len(populations(cell))):
        whole, parts = _names(crowd_near(cell, kind, LOW, HIGH)), set()
        for shares in product((0, 1), repeat=3):
            low = LOW + np.array(shares) * (HIGH - LOW) / 2
            parts |= _names(crowd_near(cell, kind, low, low + (HIGH - LOW) / 2))
        assert parts == whole and whole


def test_a_crowd_near_a_box_is_who_may_touch_it():
    crowd = crowd_near(CELL, 0, LOW, HIGH)
    near = crowd.near(np.zeros(3), np.full(3, 100.0))
    assert 0 < len(near.members) < len(crowd.members)
    for one in crowd.members:
        tube = one.tube
        assert tube.reach_nm <= one.reach_nm
        touches = (tube.low_nm < 100).all() and (tube.high_nm > 0).all()
        assert touches <= (one in near.members)


def test_as_many_are_tried_as_asked_for():
    cell = mitochondria_only(mitochondria_per_um3=5.0)
    crowd = crowd_near(cell, 0, np.zeros(3), np.full(3, 8000.0))
    inside = ((crowd.centres_nm > 0) & (crowd.centres_nm < 8000)).all(1).sum()
    assert inside == pytest.approx(5 * 8**3, rel=0.1)
    assert len(crowd_near(cell, 1, np.zeros(3), np.full(3, 8000.0)).members) == 0


def test_centres_lie_in_cytoplasm_and_in_no_bare_region():
    assert CELLS.whole is not None
    for kind, population in enumerate(populations(CELLS)):
        for one in crowd_near(CELLS, kind, LOW, HIGH).members:
            place, centre = home(CELLS, CELLS.whole, one.centre), np.array([one.centre])
            assert level(CELLS, Surface.PLASMA, place, centre)[0] < 1e-3
            assert level(CELLS, Surface.ENVELOPE, place, centre)[0] > -1e-3
            assert not population.can_be_bare or bare_values(CELLS, centre)[0] < bare_limit(CELLS.whole) + 1e-3


def test_crowds_are_joined_in_order():
    crowd = crowd_near(CELL, 1, LOW, HIGH)
    again = Crowd.joined([Crowd.of([one]) for one in crowd.members])
    assert again.members.tolist() == crowd.members.tolist()
    for name in ("centres_nm", "reaches_nm", "orders"):
        np.testing.assert_array_equal(getattr(again, name), getattr(crowd, name))
    assert Crowd.joined([]).centres_nm.shape == (0, 3)
