"""Supervoxels: one per cell, the same in blocks as in the whole, along edges."""

import numpy as np
import pytest
from scipy import ndimage

from asem_jax.segmentation.supervoxels import Lattice, grow_supervoxels, halo, lattice_pitch, slope, smoothed
from asem_jax.volumes.geometry import Box, tiles

SIZE = (20.0, 10.0, 10.0)
SIGMA = 8.0


def _raw(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.clip(128 + 300 * noise, 0, 255).astype(np.uint8)


def _supervoxels(smooth, gradient, lattice, box=None, grey_step=None, gradient_step=0.6, size=SIZE):
    box = box or Box.of_shape(gradient.shape)
    steps = {"grey_step": grey_step, "gradient_step": gradient_step}
    return grow_supervoxels(smooth, gradient, box, lattice=lattice, voxel_size_nm=size, **steps)


def _grown(raw, box, lattice, around=None):
    """Supervoxels of a box of a region that is all of raw, from what the box needs and no more."""
    around = around or lattice.around(box)
    read = around.grow(halo((SIGMA,), SIZE)).intersect(Box.of_shape(raw.shape))
    smooth = smoothed(raw[read.slices], SIGMA, SIZE)
    part = around.shift([-a for a in read.start]).slices
    ids = _supervoxels(smooth[part], slope(smooth, SIZE)[part], lattice, around, grey_step=4.0)
    return ids[box.shift([-a for a in around.start]).slices]


def test_blocks_equal_the_whole_bit_for_bit():
    raw = _raw((22, 45, 50))
    lattice = Lattice(raw.shape, (2, 4, 4))
    whole = _grown(raw, Box.of_shape(raw.shape), lattice)
    for block in tiles(Box.of_shape(raw.shape), (11, 20, 17)):
        np.testing.assert_array_equal(_grown(raw, block, lattice), whole[block.slices])


def test_a_look_less_far_than_around_is_not_enough():
    raw = _raw((1, 60, 60))
    lattice = Lattice(raw.shape, (1, 5, 5))
    box = Box((0, 20, 20), (1, 40, 40))
    whole = _grown(raw, Box.of_shape(raw.shape), lattice)[box.slices]
    assert (_grown(raw, box, lattice) == whole).all()
    assert (_grown(raw, box, lattice, around=box) != whole).any()


def test_each_cell_gives_one_supervoxel_that_holds_its_seed():
    raw = _raw((7, 13, 11))
    lattice = Lattice(raw.shape, (2, 5, 4))
    assert (lattice.cells, lattice.count) == ((4, 3, 3), 36)
    ids = _grown(raw, Box.of_shape(raw.shape), lattice)
    assert ids.dtype == np.uint32 and set(np.unique(ids)) == set(range(36))
    for number in range(36):
        reached = np.argwhere(ids == number)
        assert (np.ptp(reached, axis=0) <= 2 * lattice.reach).all()


def test_a_flat_row_is_shared_by_the_seeds_halfway():
    gradient = np.zeros((1, 1, 8), np.float32)
    gradient[0, 0, [1, 6]] = -1e-6  # the seeds
    ids = _supervoxels(np.zeros_like(gradient), gradient, Lattice((1, 1, 8), (1, 1, 4)))
    np.testing.assert_array_equal(ids.ravel(), [0, 0, 0, 0, 1, 1, 1, 1])


def test_a_step_in_the_gradient_or_in_grey_is_a_border_where_it_counts():
    values = np.array([0, 1, 1, 5, 5, 5, 5, 4], np.float32).reshape(1, 1, 8)
    seeds = np.array([0, 1, 1, 1, 1, 1, 1, 0], np.float32).reshape(1, 1, 8) * 1e-6
    lattice = Lattice((1, 1, 8), (1, 1, 4))
    along = [[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]]
    for step, expected in zip((0.5, 1e3), along, strict=True):
        # With 1e3 distance decides: voxel 3 is 3 steps from seed 0, 4 from seed 7.
        ids = _supervoxels(values, values, lattice, gradient_step=step)
        np.testing.assert_array_equal(ids.ravel(), expected)
        ids = _supervoxels(values, seeds, lattice, grey_step=step, gradient_step=None)
        np.testing.assert_array_equal(ids.ravel(), expected)


def test_a_longer_voxel_is_a_longer_step():
    gradient = np.zeros((5, 1, 5), np.float32)
    gradient[0, 0, 0] = gradient[4, 0, 4] = -1e-6
    lattice = Lattice((5, 1, 5), (4, 1, 5))  # cells z 0-3 and z 4
    cube, flat = (
        _supervoxels(np.zeros_like(gradient), gradient, lattice, size=size)
        for size in ((10.0, 10.0, 10.0), (30.0, 10.0, 10.0))
    )
    # Voxel (1, 0, 4): 1 + 4 and 3 + 0 steps; with sections of 30 nm 3 + 4 and 9 + 0.
    assert cube[1, 0, 4] == 1 and flat[1, 0, 4] == 0


def test_the_slope_of_a_ramp_is_per_finest_side():
    ramp = np.zeros((4, 6, 6), np.float32) + 6 * np.arange(4, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(slope(ramp, SIZE)[1:3], 3.0)  # 6 per section of 20 nm


def test_numbers_that_make_no_lattice_are_refused():
    assert lattice_pitch(12.0, SIZE) == (1, 1, 1) and halo((10.0, 20.0), SIZE) == (4, 7, 7)
    with pytest.raises(ValueError, match=r"pitch_nm=0 is no distance; give nm above 0"):
        lattice_pitch(0, SIZE)
    with pytest.raises(ValueError, match=r"sigmas_nm=\(\) smooth nothing; give one or more"):
        halo((), SIZE)
    one = np.zeros((1, 1, 1), np.float32)
    for name in ("grey_step", "gradient_step"):
        with pytest.raises(ValueError, match=rf"{name}=0 is no difference; give grey values above 0, .* or None"):
            _supervoxels(one, one, Lattice((1, 1, 1), (1, 1, 1)), **{name: 0})
