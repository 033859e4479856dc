"""Numbers of objects: hand-counted, unique, bounded, and the same from every block."""

from itertools import product

import numpy as np
import pytest

from asem_jax.simulation.objects import Lattice, Numbering, ObjectKey, extent_nm, table_of
from asem_jax.volumes.geometry import Box

LATTICE = Lattice(pitch_nm=100.0, reach_nm=30.0, ranks=3)
VOXEL = (10.0, 10.0, 10.0)
BOX = Box((-2, 0, 5), (12, 10, 25))


def test_lattice_cells_that_can_reach_a_box():
    assert LATTICE.bounds((-25.0, -5.0, 45.0), (115.0, 95.0, 245.0)) == ((-1, -1, 0), (1, 1, 2))
    assert len(list(LATTICE.cells((-25.0, -5.0, 45.0), (115.0, 95.0, 245.0)))) == 27


def test_one_lattice_cell_for_all():
    assert Lattice(float("inf"), 0.0, 1).bounds((-25.0,) * 3, (25.0,) * 3) == ((0, 0, 0), (0, 0, 0))


def test_numbers_are_unique_from_1_and_bounded():
    numbering = Numbering({"mito": LATTICE}, BOX, VOXEL)
    indices = product(range(-1, 2), range(-1, 2), range(3))
    numbers = [numbering.number(ObjectKey("mito", index, rank)) for index in indices for rank in range(3)]
    assert numbers == list(range(1, 82))


def test_what_lies_outside_has_no_number():
    with pytest.raises(ValueError, match=r"place=\(9, 0, 0\).* lies outside of the volume; number only"):
        Numbering({"mito": LATTICE}, BOX, VOXEL).number(ObjectKey("mito", (9, 0, 0), 0))


def test_more_than_32_bits_are_refused():
    with pytest.raises(ValueError, match=r"may hold \d+ objects of 'mito', more than 32 bits number; make it smaller"):
        Numbering({"mito": LATTICE}, Box.of_shape((30000,) * 3), VOXEL)


def test_the_extent_reaches_half_a_voxel_beyond_the_centres():
    assert extent_nm(BOX, (10.0, 4.0, 4.0)) == ((-25.0, -2.0, 18.0), (115.0, 38.0, 98.0))


def test_a_table_translates():
    np.testing.assert_array_equal(table_of({2: 7, 1: 5}, 4, "uint32")[[0, 1, 2, 3]], [0, 5, 7, 0])
