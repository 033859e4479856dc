"""The coarse grid: what is read does not depend on its box, and lines are read exactly."""

import numpy as np

from asem_jax.simulation.grid import GRID_NM, Grid, slopes
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.texture import Stream, smooth_field
from asem_jax.volumes.geometry import Box

AXES = axes_of(Box((-9, 4, 0), (12, 20, 18)), (10.0, 5.0, 7.0))


def _ramp(grid):
    z, y, x = np.meshgrid(*grid.axes, indexing="ij")
    return (2 * z - y + 0.5 * x).astype(np.float32)


def test_a_ramp_is_read_as_it_is():
    grid = Grid.around(AXES, 0)
    z, y, x = np.meshgrid(*AXES, indexing="ij")
    np.testing.assert_allclose(grid.read(_ramp(grid), AXES), 2 * z - y + 0.5 * x, atol=1e-3)
    places = np.array([[-81.0, 33.0, 5.0], [16.0, 48.0, 64.0]])
    np.testing.assert_allclose(grid.at(_ramp(grid), places), places @ (2, -1, 0.5), atol=1e-3)
    np.testing.assert_allclose(slopes(_ramp(grid)), np.sqrt(5.25), rtol=1e-5)


def test_a_value_does_not_depend_on_the_box():
    small, large = Grid.around(AXES, 0), Grid.around(AXES, 3)
    assert large.box.contains(small.box) and small.voxel_size_nm == (GRID_NM,) * 3
    read = [grid.read(smooth_field(1, Stream.PLASMA, (90.0,) * 3, grid.axes), AXES) for grid in (small, large)]
    np.testing.assert_array_equal(*read)
