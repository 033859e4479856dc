"""Golgi stacks: as many cisternae as said, within their radius."""

import numpy as np

from asem_jax.simulation import golgi
from asem_jax.simulation.tubes import tube_field
from asem_jax.volumes.geometry import Box
from tests.simulation.whole_cells import FINE

VOXEL = (4.0, 4.0, 4.0)


def _stack(seed):
    tube = golgi.draw_golgi(np.random.default_rng(seed), np.zeros(3), 0.5, FINE)
    field = tube_field(tube, Box((-70, -70, -70), (70, 70, 70)), voxel_size_nm=VOXEL, margin_nm=10.0)
    return tube, field


def test_a_stack_shows_its_cisternae_and_its_radius():
    tube, field = _stack(1)
    distance = golgi.golgi_distance(FINE, field)
    grey = golgi.golgi_grey(FINE, field, np.zeros(field.box.shape, np.float32), 4.0)
    axes = [np.arange(a, b) * 4.0 for a, b in zip(field.box.start, field.box.stop, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    height = places @ tube.side
    off = np.sqrt(np.maximum((places**2).sum(-1) - height**2, 0))
    assert abs(off[distance <= 0].max() - golgi.golgi_radius_nm(FINE, tube)) < 6
    profile = [grey[(off < 12) & (np.abs(height - h) < 2.1)].mean() for h in np.arange(-120, 120, 4.0)]
    dark = np.array(profile) < 125
    walls = int((np.diff(dark.astype(int)) == 1).sum())
    assert walls in (2 * golgi.num_cisternae(FINE, tube), 2 * golgi.num_cisternae(FINE, tube) - 1)


def test_the_room_of_a_stack_holds_it():
    tube, field = _stack(2)
    assert (field.distance[golgi.golgi_distance(FINE, field) < -20] < 60).all()
    assert tube.reach_nm <= golgi.golgi_radius_nm(FINE, tube) + golgi.half_height_nm(FINE)
