"""The kinds of tubes: their names, their precedence, and that none is larger than it says."""

import numpy as np
import pytest

from asem_jax.simulation.populations import populations
from asem_jax.simulation.texture import generator
from tests.simulation.cells import CELL, CELLS


def test_names_in_their_precedence():
    assert [one.organelle for one in populations(CELL)] == ["mito", "lysosomes", "vesicles"]
    names = ["golgi", "mito", "lipid_droplets", "lysosomes", "vesicles", "microtubules"]
    assert [one.organelle for one in populations(CELLS)] == names


@pytest.mark.parametrize("kind", range(6))
def test_no_tube_reaches_farther_than_its_kind_says(kind):
    population = populations(CELLS)[kind]
    for size in (0.0, 0.3, 1.0):
        reach = population.least_reach_nm + (population.reach_nm - population.least_reach_nm) * size
        for rank in range(10):
            tube = population.draw(generator(1, population.stream, (0, 0, 0), rank), np.zeros(3), size, CELLS)
            assert 0 < tube.reach_nm <= reach + 1e-9


def test_a_lattice_cell_has_as_many_ranks_as_it_may_hold():
    population = populations(CELL)[2]
    assert population.lattice.ranks == int(population.per_lattice_cell) + 1
    assert population.per_lattice_cell == pytest.approx(40 * 0.25**3)
