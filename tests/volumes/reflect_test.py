"""Reading beyond the edge equals NumPy's reflecting pad of the whole."""

from pathlib import Path

import numpy as np
import pytest

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected, reflect_block, reflected_indices
from tests.phantoms import write_volume


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(("start", "stop"), [(-9, 11), (0, 3), (4, 20), (-7, -2)])
def test_indices_equal_a_reflecting_pad(size: int, start: int, stop: int) -> None:
    padded = np.pad(np.arange(size), 20, mode="reflect")
    np.testing.assert_array_equal(reflected_indices(start, stop, size), padded[start + 20 : stop + 20])


@pytest.mark.parametrize("box", [Box((1, 1, 1), (4, 5, 6)), Box((-3, -2, -9), (9, 9, 20)), Box((5, -1, 0), (12, 7, 2))])
def test_a_box_equals_that_of_the_padded_volume(tmp_path: Path, box: Box) -> None:
    array = np.random.default_rng(0).integers(0, 255, (6, 7, 8), np.uint8)
    expected = np.pad(array, 12, mode="reflect")[box.shift((12, 12, 12)).slices]
    volume = write_volume(tmp_path / "cell.zarr/raw", array)
    np.testing.assert_array_equal(read_reflected(volume, box), expected)
    whole = Box.of_shape(array.shape)
    np.testing.assert_array_equal(reflect_block(array, whole, box, whole), expected)
