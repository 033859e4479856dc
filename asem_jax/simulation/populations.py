"""The kinds of organelles that are placed as tubes: how many, how large, how they look, and which gives way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import golgi, organelles
from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.objects import Lattice, ObjectKey
from asem_jax.simulation.texture import Stream
from asem_jax.simulation.tubes import Tube, TubeDistance

Draw = Callable[[np.random.Generator, npt.NDArray[np.float64], float, Cell], Tube]
Shape = Callable[[Cell, TubeDistance], organelles.Grey]
Looks = Callable[[Cell, TubeDistance, organelles.Grey, float], organelles.Grey]


@dataclass(frozen=True)
class Population:
    """One kind of organelle.

    Attributes:
      organelle: its name in labels and tables.
      stream: its random numbers.
      draw: its shape, from (generator, centre in nm, size, cell); `size` is uniform in 0..1.
      surface: distance to its surface, from (cell, field).
      looks: its grey values, from (cell, field, grain, edge in nm).
      per_um3: candidates per cubic micrometre.
      least_reach_nm: no part of a tube of size 0 is farther from its centre.
      reach_nm: the same for size 1; in between it grows in proportion.
      gap_nm: distance kept from all tubes placed before.
      can_be_bare: whether it is missing from the bare regions of whole cells.
    """

    organelle: str
    stream: Stream
    draw: Draw
    surface: Shape
    looks: Looks
    per_um3: float
    least_reach_nm: float
    reach_nm: float
    gap_nm: float
    can_be_bare: bool

    @cached_property
    def pitch_nm(self) -> float:
        """Edge of a lattice cell: about half a tube, so that few are drawn in vain."""
        return max(250.0, self.reach_nm)

    @cached_property
    def lattice(self) -> Lattice:
        """Where its tubes are drawn."""
        return Lattice(self.pitch_nm, self.reach_nm, int(self.per_lattice_cell) + 1)

    @property
    def per_lattice_cell(self) -> float:
        """Candidates per lattice cell, on average."""
        return self.per_um3 * self.pitch_nm**3 * 1e-9

    def key(self, tube: Tube) -> ObjectKey:
        """Returns the name of one of its tubes."""
        return ObjectKey(self.organelle, tube.index, tube.rank)


@lru_cache(maxsize=16)
def populations(cell: Cell) -> tuple[Population, ...]:
    """Returns the kinds of tubes in `cell`; an earlier one takes precedence where two would overlap."""
    tissue = _of_tissue(cell)
    return tissue if cell.whole is None else _of_cells(cell, cell.whole, tissue)


def _of_cells(cell: Cell, whole: WholeCell, tissue: tuple[Population, ...]) -> tuple[Population, ...]:
    """Returns the kinds of tubes in whole cells, among those of tissue."""
    thick = golgi.half_height_nm(cell)
    stacks = Population(
        "golgi",
        Stream.GOLGI,
        golgi.draw_golgi,
        golgi.golgi_distance,
        golgi.golgi_grey,
        whole.golgi_per_um3,
        whole.golgi_radius_nm[0] + thick,
        whole.golgi_radius_nm[1] + thick,
        cell.membrane_nm,
        True,
    )
    droplets = Population(
        "lipid_droplets",
        Stream.DROPLET,
        organelles.draw_droplet,
        organelles.tube_surface,
        organelles.droplet_grey,
        whole.droplets_per_um3,
        *whole.droplet_radius_nm,
        2 * cell.membrane_nm,
        True,
    )
    half = organelles.MICROTUBULE_NM / 2
    microtubules = Population(
        "microtubules",
        Stream.MICROTUBULE,
        organelles.draw_microtubule,
        organelles.tube_surface,
        organelles.microtubule_grey,
        whole.microtubules_per_um3,
        whole.microtubule_length_nm[0] / 2 + half,
        whole.microtubule_length_nm[1] / 2 + half,
        organelles.MICROTUBULE_NM,
        False,
    )
    return (stacks, tissue[0], droplets, *tissue[1:], microtubules)


def _of_tissue(cell: Cell) -> tuple[Population, ...]:
    """Returns the kinds of tubes that tissue has."""
    swell = 1 + organelles.RADIUS_SWELL
    thickest = swell * cell.mitochondrion_radius_nm[1]
    return (
        Population(
            "mito",
            Stream.MITOCHONDRION,
            organelles.draw_mitochondrion,
            organelles.tube_surface,
            organelles.mitochondrion_grey,
            cell.mitochondria_per_um3,
            cell.mitochondrion_length_nm[0] / 2 + thickest,
            cell.mitochondrion_length_nm[1] / 2 + thickest,
            4 * cell.membrane_nm,
            True,
        ),
        Population(
            "lysosomes",
            Stream.BODY,
            organelles.draw_body,
            organelles.tube_surface,
            organelles.body_grey,
            cell.bodies_per_um3,
            (1 + swell) * cell.body_radius_nm[0],
            (1 + swell) * cell.body_radius_nm[1],
            2 * cell.membrane_nm,
            True,
        ),
        Population(
            "vesicles",
            Stream.VESICLE,
            organelles.draw_vesicle,
            organelles.tube_surface,
            organelles.vesicle_grey,
            cell.vesicles_per_um3,
            cell.vesicle_radius_nm[0],
            cell.vesicle_radius_nm[1],
            0.5 * cell.membrane_nm,
            False,
        ),
    )
