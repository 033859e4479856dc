"""Crossings make areas: of balls exactly in the mean, of planes within the stated bias."""

import numpy as np
import pytest

from asem_jax.measurement.crossings import STEPS, area_per_crossing, crossed, neighbours
from asem_jax.volumes.geometry import Box


def area_nm2(mask, size):
    """Surface of an object away from the border of its array."""
    whole = Box.of_shape(mask.shape)
    return sum(area_per_crossing(size)[n] * len(own) for n, own, _ in crossed(mask, whole))


def ball(radius_nm, size, centre=(0.3, 0.1, 0.4)):
    side = [int(np.ceil(radius_nm / s)) + 3 for s in size]
    axes = np.meshgrid(*(np.arange(-n, n + 1) * s for n, s in zip(side, size, strict=True)), indexing="ij")
    return sum((a - c * s) ** 2 for a, c, s in zip(axes, centre, size, strict=True)) <= radius_nm**2


@pytest.mark.parametrize(
    ("size", "radius"), [((4.0, 4.0, 4.0), 20.0), ((4.0, 4.0, 4.0), 60.0), ((8.0, 4.0, 4.0), 60.0)]
)
def test_the_area_of_a_ball_is_right_to_one_and_a_half_percent(size, radius):
    assert area_nm2(ball(radius, size).astype(np.uint8), size) == pytest.approx(4 * np.pi * radius**2, rel=0.015)


def test_the_bias_of_planes_is_as_stated():
    size = (5.0, 5.0, 5.0)
    steps = np.array(STEPS) * 5.0
    ways = np.random.default_rng(0).standard_normal((20000, 3))
    ways = np.concatenate([ways / np.linalg.norm(ways, axis=1)[:, None], np.eye(3)])
    # Crossings per nm^2 of a plane, in each direction.
    found = np.abs(ways @ steps.T) / 125 @ area_per_crossing(size)
    assert found.min() == pytest.approx(1 - 0.073, abs=5e-4)
    assert found.max() == pytest.approx(1 + 0.023, abs=5e-4)
    assert found[:-3].mean() == pytest.approx(1, abs=1e-3)


def test_crossings_of_blocks_add_up_to_those_of_the_whole():
    ids = np.random.default_rng(1).integers(0, 3, (9, 10, 11))
    whole = [len(own) for _, own, _ in crossed(ids, Box.of_shape(ids.shape))]
    halves = np.zeros(13, int)
    for box in (Box((0, 0, 0), (5, 10, 11)), Box((5, 0, 0), (9, 10, 11))):
        read = box.grow(1).intersect(Box.of_shape(ids.shape))
        halves += [len(own) for _, own, _ in crossed(ids[read.slices], box.shift((-read.start[0], 0, 0)))]
    assert halves.tolist() == whole


def test_neighbours_beyond_the_array_are_left_out():
    own, other = neighbours(np.zeros((2, 3, 4)), Box.of_shape((2, 3, 4)), (0, -1, 1))
    assert own == (slice(0, 2), slice(1, 3), slice(0, 3))
    assert other == (slice(0, 2), slice(0, 2), slice(1, 4))
