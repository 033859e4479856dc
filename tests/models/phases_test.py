"""Cells and phases; the values of the convolution are tested in convolution_test."""

import numpy as np
import pytest

from asem_jax.models.phases import Window, _blocks, _spread


@pytest.mark.parametrize("factor", [2, 3])
def test_each_tap_falls_on_the_coarse_voxel_that_was_repeated_there(factor: int) -> None:
    repeated = np.repeat(np.array([5.0, 7.0]), factor)
    taps = np.array([1.0, 10.0, 100.0])
    for phase, spread in enumerate(_spread(factor)):
        seen = np.append(repeated, 0)[phase : phase + 3]
        if phase + 3 <= len(repeated):
            assert np.array([5.0, 7.0]) @ spread @ taps == seen @ taps
        np.testing.assert_array_equal(spread.sum(0), 1)


def test_a_window_counts_the_cells_that_its_output_lies_in() -> None:
    window = Window(factor=(2, 2, 3), start=(4, 3, 5), shape=(6, 6, 2))
    assert window.first_cell == (2, 1, 1)
    assert window.margin == (0, 1, 2)
    assert window.cells == (3, 4, 2)


@pytest.mark.parametrize("shape", [(4, 6, 8), (20, 226, 226)])
def test_blocks_less_what_is_done_cover_each_row_once(shape: tuple[int, int, int]) -> None:
    window = Window((2, 2, 2), (1, 0, 0), shape)
    rows, places = _blocks(2, window, values=768)
    covered = np.zeros((2, *window.cells[:2]), int)
    for b, z, y, _, _, done in places:
        assert y + rows <= window.cells[1]
        covered[b, z, y + done : y + rows] += 1
    np.testing.assert_array_equal(covered, 1)
