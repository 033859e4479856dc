"""Preparations: each number alone, and that the two differ by more than a change of contrast."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asem_jax.simulation import Cell, Microscope, Preparation, simulate_block
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.preparation import (
    cytosol,
    faded,
    ruffles,
    tissue_voxel_nm,
)
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, LIVING, PERFECT, mitochondria_only

BOX = Box((-8, 8, 0), (24, 56, 48))
AXES = axes_of(BOX, (10.0, 10.0, 10.0))
EVEN = np.full(BOX.shape, 160, np.float32)
NO_GRAIN = np.zeros(BOX.shape, np.float32)
CONFIGS = Path(__file__).parents[2] / "configs"


def _cytosol(grain=NO_GRAIN, **numbers):
    return cytosol(replace(LIVING, **numbers), EVEN, grain, seed=3, axes=AXES)


def _prepared(name):
    """Returns the cell of a config, at the voxel size of `BOX`."""
    config = runpy.run_path(str(CONFIGS / f"simulate_{name}.py"))["get_config"]()
    return Cell(
        seed=3,
        voxel_size_nm=(10.0, 10.0, 10.0),
        whole=None,
        preparation=Preparation(**config.preparation),
        microscope=Microscope(**config.microscope),
        **config.cell,
    )


def test_living_tissue_is_left_as_it_is():
    assert tissue_voxel_nm(LIVING, (10.0, 7.0, 5.0)) == (10.0, 7.0, 5.0)
    assert ruffles(LIVING, 3, AXES) is None
    assert _cytosol() is EVEN
    assert faded(LIVING, EVEN, 200.0, seed=3, axes=AXES) is EVEN


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_holes_take_their_share(share):
    seen = _cytosol(hole_share=share, hole_nm=30.0, hole_grey=210.0)
    assert (seen > 185).mean() == pytest.approx(share, rel=0.25)
    assert seen.min() >= 160 and seen.max() == 210


def test_strands_are_thin_and_all_of_one_kind():
    seen = _cytosol(strand_grey=-20.0, strand_nm=30.0) - 160
    assert seen.min() < -19 and seen.max() == 0
    assert 0.3 < (seen < 0).mean() < 0.45  # what a normal number within half a deviation of 0 takes


def test_ribosomes_lie_where_grain_peaks():
    grain = NO_GRAIN.copy()
    grain[1, 2, 3], grain[4, 5, 6], grain[7, 8, 9] = 1.2, 1.55, 4.0
    seen = _cytosol(grain, ribosome_grey=-30.0) - 160
    assert seen[1, 2, 3] == 0 and seen[4, 5, 6] == pytest.approx(-15, abs=1e-3) and seen[7, 8, 9] == -30
    assert (seen != 0).sum() == 2


def test_stain_fades_in_patches_and_only_where_there_is_some():
    def fade(grey):
        return faded(replace(LIVING, fade=0.5, fade_nm=40.0), EVEN - 160 + grey, 160.0, seed=3, axes=AXES) - grey

    assert (fade(160.0) == 0).all() and (fade(200.0) == 0).all()
    change = fade(60.0)
    assert change.min() == 0 and 35 < change.max() <= 50
    assert 0.4 < (change == 0).mean() < 0.6


def test_ruffles_have_their_deviation():
    moved = ruffles(replace(LIVING, ruffle_nm=6.0, ruffle_pitch_nm=20.0), 3, AXES)
    assert moved.std() == pytest.approx(6, rel=0.1) and abs(moved.mean()) < 0.5


def test_arguments_are_not_modified():
    chemical = _prepared("cf").preparation
    grey = EVEN.copy()
    cytosol(chemical, grey, NO_GRAIN, seed=3, axes=AXES)
    faded(chemical, grey, 200.0, seed=3, axes=AXES)
    np.testing.assert_array_equal(grey, EVEN)


def test_shrunken_tissue_is_smaller_but_all_there():
    size = 20.0
    living = simulate_block(mitochondria_only(voxel_size_nm=(size,) * 3), Box.of_shape((40, 40, 40))).labels("mito")
    shrunken = mitochondria_only(voxel_size_nm=(size,) * 3, preparation=replace(LIVING, shrinkage=0.8))
    small = simulate_block(shrunken, Box.of_shape((32, 32, 32))).labels("mito")
    assert living.sum() > 1000
    assert small.sum() == pytest.approx(living.sum() * 0.8**3, rel=0.03)
    assert tissue_voxel_nm(shrunken.preparation, shrunken.voxel_size_nm) == (25.0, 25.0, 25.0)


def test_ruffles_move_labels_and_membranes():
    cell = mitochondria_only()
    ruffled = replace(cell, preparation=replace(LIVING, ruffle_nm=12.0))
    smooth, moved = (simulate_block(one, BOX).labels("mito") for one in (cell, ruffled))
    assert 0.005 < (smooth != moved).mean() < 0.2
    one, other = (
        simulate_block(replace(CELL, microscope=PERFECT, preparation=replace(LIVING, ruffle_nm=nm)), BOX).raw
        for nm in (0.0, 12.0)
    )
    assert (np.abs(one.astype(int) - other) > 30).mean() > 0.1


def test_plasma_membranes_part_where_there_is_space_between_them():
    bare = mitochondria_only(mitochondria_per_um3=0.0, process_nm=400.0, process_tone_grey=(0.0, 0.0))
    fine = replace(bare, voxel_size_nm=(5.0, 5.0, 5.0), membrane_nm=15.0)
    space = replace(fine, preparation=replace(LIVING, extracellular_nm=30.0, extracellular_grey=220.0))
    together, apart = (simulate_block(cell, Box.of_shape((24, 96, 96))).raw for cell in (fine, space))
    dark = [(raw < 100).mean() for raw in (together, apart)]
    assert dark[1] / dark[0] == pytest.approx(2 / 1.3, rel=0.25)
    assert together.max() <= 165
    # Two membranes of 15 nm beside a space of 30 nm.
    assert (apart > 210).mean() / dark[1] == pytest.approx(1, rel=0.35)


@pytest.mark.parametrize("name", ["cf", "hpf"])
def test_a_prepared_block_does_not_depend_on_its_tiling(name):
    cell = _prepared(name)
    cell = replace(cell, microscope=replace(cell.microscope, depth_samples=3, shift_nm=15.0, charging=0.5))
    box = Box((-3, 8, 0), (5, 32, 32))
    whole = simulate_block(cell, box)
    for tile in tiles(box, (5, 24, 16)):
        part, cut = simulate_block(cell, tile), tile.shift([-a for a in box.start]).slices
        np.testing.assert_array_equal(part.raw, whole.raw[cut])
        np.testing.assert_array_equal(part.labels("mito"), whole.labels("mito")[cut])


def _texture(raw):
    """How correlated the ranks of grey values 2 voxels apart are: no monotonous change of grey alters it."""
    ranks = np.argsort(np.argsort(raw, axis=None, kind="stable"), kind="stable").reshape(raw.shape)
    return np.corrcoef(ranks[..., 2:].ravel(), ranks[..., :-2].ravel())[0, 1]


def test_the_two_differ_by_more_than_contrast():
    box = Box.of_shape((24, 64, 64))
    cf, hpf = (simulate_block(replace(_prepared(name), microscope=PERFECT), box).raw for name in ("cf", "hpf"))
    assert abs(_texture(cf) - _texture(hpf)) > 0.1
    assert (cf > 195).any() and not (hpf > 195).any()  # extracted holes


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"shrinkage=0 leaves no tissue; give the share of a length, 1 = all"):
        replace(LIVING, shrinkage=0)
    with pytest.raises(ValueError, match=r"hole_share=1.5 is no share; give 0 \(none\) to 1"):
        replace(LIVING, hole_share=1.5)
    with pytest.raises(ValueError, match=r"ruffle_nm=-1 is negative; give 0 \(none\) or more"):
        replace(LIVING, ruffle_nm=-1)
    with pytest.raises(ValueError, match=r"fade_nm=0 is no length; fade needs one above 0 nm"):
        replace(LIVING, fade=0.5, fade_nm=0)
