"""Whole blocks: the laws of the simulator, and that its mitochondria cannot be had by a threshold."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.simulation import Cell, Microscope, microscope, scene, simulate_block
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.preparation import Preparation
from asem_jax.volumes.geometry import Box, tiles
from tests.simulation.cells import CELL, mitochondria_only

QUICKSTART = Path(__file__).parent.parent.parent / "configs" / "quickstart.py"
BOX = Box((-16, 8, 0), (16, 48, 56))


def _tiled(cell, box, tile_shape):
    raw, mito = np.zeros(box.shape, np.uint8), np.zeros(box.shape, np.uint8)
    for tile in tiles(box, tile_shape):
        cut = tile.shift([-a for a in box.start]).slices
        block = simulate_block(cell, tile)
        raw[cut], mito[cut] = block.raw, block.labels("mito")
    return raw, mito


def test_a_block_does_not_depend_on_its_tiling():
    whole = simulate_block(CELL, BOX)
    assert 0 < whole.labels("mito").mean() < 1
    for tile_shape in ((16, 40, 28), (11, 17, 56)):
        raw, mito = _tiled(CELL, BOX, tile_shape)
        np.testing.assert_array_equal(raw, whole.raw)
        np.testing.assert_array_equal(mito, whole.labels("mito"))


def test_anisotropic_blocks_do_not_depend_on_their_tiling_either():
    cell = replace(CELL, voxel_size_nm=(30.0, 8.0, 8.0))
    raw, mito = _tiled(cell, BOX, (16, 20, 28))
    whole = simulate_block(cell, BOX)
    np.testing.assert_array_equal(raw, whole.raw)
    np.testing.assert_array_equal(mito, whole.labels("mito"))


def test_blocks_with_charge_depend_neither_on_tiling_nor_on_bricks_nor_on_slabs(monkeypatch):
    look = replace(CELL.microscope, charging=0.5, charging_greys=(110.0, 150.0), shift_nm=10.0)
    cell = replace(CELL, microscope=look, voxel_size_nm=(6.0, 6.0, 6.0))
    whole, plain = simulate_block(cell, BOX), simulate_block(replace(cell, microscope=replace(look, charging=0.0)), BOX)
    assert (whole.raw != plain.raw).mean() > 0.3
    monkeypatch.setattr(scene, "_BRICK", 21)
    monkeypatch.setattr(microscope, "_SLAB", (7, 16, 20))
    raw, mito = _tiled(cell, BOX, (20, 40, 30))
    np.testing.assert_array_equal(raw, whole.raw)
    np.testing.assert_array_equal(mito, whole.labels("mito"))


def test_the_seed_decides():
    small = Box.of_shape((8, 24, 24))
    first, again = simulate_block(CELL, small), simulate_block(CELL, small)
    other = simulate_block(replace(CELL, seed=2), small)
    np.testing.assert_array_equal(first.raw, again.raw)
    assert (first.raw != other.raw).mean() > 0.8


def test_the_quickstart_is_what_it_was():
    # Recorded results depend on it; the numbers are those of the recorded volume.
    numbers = runpy.run_path(str(QUICKSTART))["simulate"]()
    own = {name: numbers[name] for name in ("seed", "voxel_size_nm")}
    cell = Cell(
        **own,
        microscope=Microscope(**numbers["microscope"]),
        whole=None,
        preparation=Preparation(**numbers["preparation"]),
        **numbers["cell"],
    )
    block = simulate_block(cell, Box((0, 0, 0), (24, 48, 48)))
    # Other processors may round otherwise, which moves single grey values by 1.
    assert abs(block.raw.mean() - 135.08822) < 1e-3
    assert abs(block.raw.std() - 48.78468) < 1e-3
    assert abs(int(block.labels("mito").sum()) - 18510) <= 2


def test_types():
    block = simulate_block(CELL, Box.of_shape((4, 5, 6)))
    assert block.raw.shape == block.labels("mito").shape == (4, 5, 6)
    assert block.raw.dtype == block.labels("mito").dtype == np.uint8


def test_labels_are_where_the_tubes_are():
    cell = mitochondria_only()
    block = simulate_block(cell, BOX)
    grid = np.meshgrid(*[np.arange(a, b) * 10.0 for a, b in zip(BOX.start, BOX.stop, strict=True)], indexing="ij")
    places = np.stack(grid, -1)
    distance = np.full(BOX.shape, np.inf)
    for tube in tubes_near(cell, 0, BOX, 0.0):
        for a, b in tube.links:
            for share in np.linspace(0, 1, 40):
                centre = tube.points_nm[a] * (1 - share) + tube.points_nm[b] * share
                radius = tube.radii_nm[a] * (1 - share) + tube.radii_nm[b] * share
                distance = np.minimum(distance, np.linalg.norm(places - centre, axis=-1) - radius)
    # Sampled balls bulge less than the cones between them, by less than 2 nm.
    certain = np.abs(distance) > 2
    assert certain.mean() > 0.9 and (distance < -2).sum() > 1000
    np.testing.assert_array_equal(block.labels("mito")[certain], distance[certain] < 0)


def test_outside_of_everything_is_even_cytosol():
    block = simulate_block(mitochondria_only(mitochondria_per_um3=0.0), BOX)
    assert not block.labels("mito").any()
    assert (block.raw == 165).all()


def test_volumes_in_nm_do_not_depend_on_the_voxel_size():
    coarse = simulate_block(mitochondria_only(), Box.of_shape((48, 48, 48)))
    fine = simulate_block(mitochondria_only(voxel_size_nm=(5.0, 5.0, 5.0)), Box.of_shape((96, 96, 96)))
    volumes = [block.labels("mito").sum() * size**3 for block, size in ((coarse, 10.0), (fine, 5.0))]
    assert volumes[0] > 1e6
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


def test_objects_stay_in_place_when_the_voxel_size_changes():
    coarse = simulate_block(CELL, Box.of_shape((32, 48, 48))).labels("mito")
    fine = simulate_block(replace(CELL, voxel_size_nm=(5.0, 5.0, 5.0)), Box.of_shape((64, 96, 96))).labels("mito")
    np.testing.assert_array_equal(fine[::2, ::2, ::2], coarse)


@pytest.fixture(scope="module")
def large():
    # Coarse voxels: 6 cubic micrometres hold enough mitochondria that their mean brightness is not luck.
    block = simulate_block(replace(CELL, voxel_size_nm=(20.0, 20.0, 20.0)), Box.of_shape((64, 96, 128)))
    return block.raw, block.labels("mito") > 0


def test_mitochondria_are_as_many_and_as_bright_as_promised(large):
    raw, labels = large
    assert 0.07 < labels.mean() < 0.15
    assert 120 < raw.mean() < 155
    low, high = np.percentile(raw[labels], [10, 90])
    assert low < np.percentile(raw[~labels], 40) and high > np.percentile(raw[~labels], 60)


@pytest.mark.parametrize("sigma", [0, 0.5, 1, 2, 3])
def test_no_threshold_finds_the_mitochondria(large, sigma):
    raw, labels = large
    cross = ndimage.generate_binary_structure(3, 1)
    inner = ndimage.binary_erosion(labels, cross, 2, border_value=1)
    scored = ~ndimage.binary_dilation(labels, cross, 2) | inner
    grey = ndimage.gaussian_filter(raw.astype(np.float32), sigma)[scored]
    assert max(_best_f1(sign * grey, labels[scored]) for sign in (1, -1)) < 0.6


def _best_f1(grey, labels):
    order = np.argsort(grey)
    hits = np.cumsum(labels[order])
    return float((2 * hits / (np.arange(1, len(grey) + 1) + labels.sum())).max())
