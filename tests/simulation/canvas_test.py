"""The canvas: coordinates around a patch, the cubes of cells, and exact mixtures."""

from dataclasses import replace

import numpy as np

from asem_jax.simulation.canvas import Canvas, blend
from asem_jax.simulation.nucleus import pore_spread
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.surfaces import patches
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELLS, WHOLE
from tests.simulation.whole_cells import box_around


def test_coordinates_around_a_patch_are_along_its_axes():
    patch = patches(CELLS, pore_spread(WHOLE), (0, 0, 0))[0]
    canvas = Canvas.over(CELLS, box_around(patch.centre_nm, 60.0, CELLS), {})
    part, (height, side, other) = canvas.around(patch, 40.0)
    z, y, x = (axis[cut] for axis, cut in zip(canvas.axes, part, strict=True))
    assert len(z) in (7, 8, 9) and abs(z - patch.centre_nm[0]).max() <= 40
    place = np.array([z[1], y[2], x[3]]) - patch.centre_nm
    expected = (place @ patch.normal, place @ patch.side, place @ patch.other)
    np.testing.assert_allclose((height[1, 2, 3], side[1, 2, 3], other[1, 2, 3]), expected, atol=1e-3)
    assert Canvas.over(CELLS, Box.of_shape((4, 4, 4)), {}).around(patch, 40.0) is None


def test_cubes_share_the_voxels():
    canvas = Canvas.over(replace(CELLS, voxel_size_nm=(100.0,) * 3), Box((20, -3, 0), (30, 3, 5)), {})
    count = np.zeros(canvas.box.shape, int)
    for _, part in canvas.cubes():
        count[part] += 1
    assert (count == 1).all() and len(list(canvas.cubes())) == 4


def test_bricks_of_a_block_share_their_keys():
    keys, key = {}, ObjectKey("mito", (0, 0, 0), 0)
    first, second = (Canvas.over(CELLS, Box.of_shape((2, 2, 2), (start, 0, 0)), keys) for start in (0, 2))
    assert first.add(key) == 1 and first.add(key._replace(rank=1)) == 2 and second.add(key) == 1
    assert list(keys) == [key, key._replace(rank=1)]


def test_a_mixture_is_exact_at_both_ends():
    below, above = np.float32([0.1, 7.3]), np.float32([123.4, -5.6])
    np.testing.assert_array_equal(blend(below, above, np.float32([0, 0])), below)
    np.testing.assert_array_equal(blend(below, above, np.float32([1, 1])), above)
