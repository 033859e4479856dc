"""Coated pits and caveolae measure what they are said to."""

import numpy as np
import pytest

from asem_jax.simulation.pits import ellipsoid, pit_balls, pits, pits_near
from tests.simulation.whole_cells import FINE, view

PITS = pits(FINE, (0, 0, 0))
COATED = [pit for pit in PITS if pit.organelle == "coated_pits"]
CAVEOLAE = [pit for pit in PITS if pit.organelle == "caveolae"]


@pytest.mark.parametrize("pit", [COATED[0], COATED[1], CAVEOLAE[0]], ids=lambda pit: pit.organelle)
def test_a_pit_measures_its_depth_width_and_eccentricity(pit):
    block, places = view(pit.patch.centre_nm, 130.0)
    off = np.abs(places - -pit.patch.normal * pit.depth_nm / 2).max(-1)
    mine = (block.labels(pit.organelle) > 0) & (off < pit.reach_nm)
    height, side, other = (places[mine] @ axis for axis in (pit.patch.normal, pit.patch.side, pit.patch.other))
    assert abs(-height.min() - pit.depth_nm) < 4
    assert abs(np.ptp(side) + 4 - pit.width_nm) < 6
    level = max(pit.centre_nm, 0.0)
    section = np.abs(-height - level) < 6
    spread = np.cov(side[section], other[section])
    short, long = np.linalg.eigvalsh(spread)
    assert abs(np.sqrt(1 - short / long) - pit.eccentricity) < (0.12 if pit.eccentricity > 0.4 else 0.35)


def test_the_coat_is_on_the_side_of_the_cytosol_and_caveolae_have_none():
    assert all(pit.coat_nm == 18 for pit in COATED) and all(pit.coat_nm == 0 for pit in CAVEOLAE)
    pit = max(COATED, key=lambda pit: pit.depth_nm)
    block, places = view(pit.patch.centre_nm, 130.0)
    height, side, other = (places @ axis for axis in (pit.patch.normal, pit.patch.side, pit.patch.other))
    away = ellipsoid(*(v.astype(np.float32) for v in (-height - pit.centre_nm, side, other)), pit.semi_axes_nm)
    below = -height > pit.centre_nm
    assert block.raw[below & (away > 10) & (away < 20)].mean() < 125
    assert block.raw[below & (away > 40) & (away < 50)].mean() > 135
    assert block.raw[below & (away < -15)].mean() > 180


def test_stages_differ_and_caveolae_are_smaller():
    depths = [pit.depth_nm / pit.semi_axes_nm[0] for pit in COATED]
    assert min(depths) < 0.9 < 1.3 < max(depths)
    assert max(pit.width_nm for pit in CAVEOLAE) < min(2 * pit.semi_axes_nm[1] for pit in COATED)


def test_pits_near_a_box_and_the_balls_around_them():
    centre = tuple(COATED[0].patch.centre_nm.tolist())
    assert COATED[0] in pits_near(FINE, centre, centre, 0.0)
    centres, radii = pit_balls(FINE, (0, 0, 0))
    assert centres.shape == (len(PITS), 3) and (radii > 0).all()
