"""Plots are pictures, the same for the same numbers, and differ with them."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from asem_jax.reporting.plots import draw_objects, draw_pits, draw_pores

RNG = np.random.default_rng(0)
PORES = {"diameter_nm": RNG.normal(90, 8, 40), "neighbour_arc_nm": RNG.gamma(9, 25, 40)}
OBJECTS = {name: RNG.random(30) + 1 for name in ("volume_nm3", "sphericity", "major_nm", "minor_nm", "grey_mean")}
PITS = {
    **{name: RNG.random(30) for name in ("stage", "eccentricity")},
    **{name: 100 * RNG.random(30) for name in ("depth_nm", "width_nm")},
    "kind": np.array(["caveolae", "other pits"])[RNG.integers(0, 2, 30)],
}


@pytest.mark.parametrize(
    ("draw", "table", "column"),
    [
        (draw_pores, PORES, "diameter_nm"),
        (draw_pits, PITS, "depth_nm"),
        (draw_objects, OBJECTS, "minor_nm"),
        (draw_objects, {**OBJECTS, "grey_mean": OBJECTS["sphericity"]}, "grey_mean"),
    ],
)
def test_pictures_show_the_numbers_and_repeat(draw, table, column):
    png = draw(table)
    assert imread(io.BytesIO(png)).shape[1] == 1440 and draw(table) == png
    assert draw({**table, column: table[column] ** 2 / 2}) != png


def test_numbers_that_are_missing_are_left_out():
    some = np.where(np.arange(40) < 1, PORES["diameter_nm"], np.nan)
    none = np.full(40, np.nan)
    one = draw_pores({"diameter_nm": some, "neighbour_arc_nm": none})
    assert one == draw_pores({"diameter_nm": some[:1], "neighbour_arc_nm": none[:1]})


def test_both_kinds_are_drawn():
    renamed = np.where(PITS["kind"] == "caveolae", "other pits", "caveolae")
    assert draw_pits(PITS) != draw_pits({**PITS, "kind": renamed})


def test_objects_of_one_voxel_and_none_are_drawn():
    thin = {**OBJECTS, "minor_nm": np.zeros(30)}
    assert draw_objects(thin) != draw_objects(OBJECTS)
    none = {name: column[:0] for name, column in OBJECTS.items() if name != "grey_mean"}
    assert draw_objects(none) != draw_objects({**none, "grey_mean": np.zeros(0)})
