"""Open membranes: they keep off the tubes, and slopes are slopes."""

import numpy as np

from asem_jax.simulation import membranes
from asem_jax.simulation.microscope import axes_of
from asem_jax.simulation.placement import tubes_near
from asem_jax.simulation.tubes import tube_field
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELL

BOX = Box.of_shape((40, 64, 64))
INNER = (slice(2, -2),) * 3


def _seen():
    axes = axes_of(BOX, CELL.voxel_size_nm)
    fields = [
        tube_field(tube, BOX, voxel_size_nm=CELL.voxel_size_nm, margin_nm=membranes.BEND_NM)
        for kind in range(3)
        for tube in tubes_near(CELL, kind, BOX, membranes.BEND_NM)
    ]
    clear = np.full(BOX.shape, np.float32(1e6))
    for field in fields:
        part = field.slices(BOX)
        clear[part] = np.minimum(clear[part], field.distance)
    return axes, fields, clear


def test_steepness_of_a_ramp_is_per_nm():
    z = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    ramp = np.broadcast_to(z, (5, 4, 4)) * np.float32(3)
    np.testing.assert_allclose(membranes.steepness(ramp, (6.0, 1.0, 1.0)), 0.5)


def test_plasma_membranes_run_around_tubes():
    axes, fields, clear = _seen()
    bent, _ = membranes.processes(CELL, BOX, axes, fields)
    straight, _ = membranes.processes(CELL, BOX, axes, [])
    inside = clear[INNER] < -10
    assert ((straight[INNER] < 10) & inside).mean() > 0.001
    assert ((bent[INNER] < 10) & inside).sum() < 0.02 * ((straight[INNER] < 10) & inside).sum()
    assert (bent[INNER] < 10).mean() > 0.01


def test_tones_are_in_their_range_and_change_only_at_membranes():
    axes, fields, _ = _seen()
    distance, tone = membranes.processes(CELL, BOX, axes, fields)
    assert tone.min() >= -40 and tone.max() <= 10
    changes = (np.diff(tone, axis=2) != 0)[INNER]
    assert changes.any()
    near = np.minimum(distance[..., 1:], distance[..., :-1])[INNER]
    assert near[changes].max() < 15


def test_the_reticulum_keeps_off_tubes_and_plasma_membranes():
    axes, fields, clear = _seen()
    plasma, _ = membranes.processes(CELL, BOX, axes, fields)
    free = membranes.reticulum(CELL, axes, np.full_like(clear, 1e6), None)[INNER] < 0
    kept = membranes.reticulum(CELL, axes, clear, plasma)[INNER] < 0
    assert 0.01 < kept.mean() < free.mean() < 0.4
    assert clear[INNER][kept].min() >= 25
    assert plasma[INNER][kept].min() >= 35
