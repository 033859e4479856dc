"""Axes in any order: the same voxels, one channel, and messages that say which letters are needed."""

from itertools import permutations

import numpy as np
import pytest

from asem_jax.volumes.axes import find_axes
from asem_jax.volumes.geometry import Box

ARRAY = np.arange(3 * 4 * 5).reshape(3, 4, 5)


@pytest.mark.parametrize("axes", ["".join(order) for order in permutations("zyx")])
def test_every_order_gives_the_same_array(axes):
    stored = ARRAY.transpose(["zyx".index(axis) for axis in axes])
    order = find_axes(axes, stored.shape, None, "a")
    box = Box((1, 0, 2), (3, 3, 5))
    assert order.shape == ARRAY.shape
    np.testing.assert_array_equal(order.arrange(stored[order.index(box)]), ARRAY[box.slices])


def test_a_channel_is_read_and_axes_of_one_element_are_left_out():
    stored = np.stack([ARRAY, ARRAY + 100], axis=-1)[np.newaxis]
    order = find_axes("TZYXC", stored.shape, 1, "a")
    box = Box.of_shape(order.shape)
    np.testing.assert_array_equal(order.arrange(stored[order.index(box)]), ARRAY + 100)
    assert order.of_zyx((1, 2, 3, 4, 5)) == [2, 3, 4]
    unnamed = find_axes("", (1, 3, 4, 5, 1), None, "a")
    assert unnamed.index(Box.of_shape(unnamed.shape))[::4] == (0, 0)


@pytest.mark.parametrize(
    ("axes", "shape", "channel", "message"),
    [
        ("zyq", (3, 4, 5), None, r"a is an array of shape \(3, 4, 5\) with the axes 'zyq'; .* give axes"),
        ("zyxx", (3, 4, 5, 5), None, "one letter stands for each axis"),
        ("zyx", (3, 4, 5, 2), None, "one letter stands for each axis"),
        ("", (3, 4, 5, 2), None, r"shape \(3, 4, 5, 2\) that does not name its axes.*give axes"),
        ("", (4, 5), None, "that does not name its axes"),
        ("zyxc", (3, 4, 5, 2), None, "has 2 elements along c, .*give the channel to read"),
        ("zyxc", (3, 4, 5, 2), 2, "has no channel 2; give one of 0 to 1"),
        ("tzyx", (2, 3, 4, 5), 0, "has 2 elements along t, .*save one of them"),
    ],
)
def test_what_is_not_one_volume_is_refused(axes, shape, channel, message):
    with pytest.raises(ValueError, match=message):
        find_axes(axes, shape, channel, "a")
