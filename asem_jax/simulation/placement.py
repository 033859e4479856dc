"""Where organelles are: candidates on a lattice, of which those survive that find room.

Whether a candidate survives depends on its neighbours alone, so a block can be made without the rest of
the tissue. Laws that hold (and are tested): a tube is found from every box that it touches, and two survivors
never overlap.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import organelles
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.objects import Lattice, ObjectKey
from asem_jax.simulation.texture import Stream, generator
from asem_jax.simulation.tubes import Tube, TubeField, overlap
from asem_jax.volumes.geometry import Box, Float3, Int3, float3

Draw = Callable[[np.random.Generator, npt.NDArray[np.float64], float, Cell], Tube]
Looks = Callable[[Cell, TubeField, organelles.Grey, float], organelles.Grey]

# Lattice cells whose tubes are remembered: a few kB each.
_REMEMBERED = 2**14


@dataclass(frozen=True)
class Population:
    """One kind of organelle.

    Attributes:
      organelle: its name in labels and tables.
      stream: its random numbers.
      draw: its shape, from (generator, centre in nm, size, cell); `size` is uniform in 0..1.
      looks: its grey values, from (cell, field, grain, edge in nm).
      per_um3: candidates per cubic micrometre.
      least_reach_nm: no part of a tube of size 0 is farther from its centre.
      reach_nm: the same for size 1; in between it grows in proportion.
      gap_nm: distance kept from all tubes placed before.
    """

    organelle: str
    stream: Stream
    draw: Draw
    looks: Looks
    per_um3: float
    least_reach_nm: float
    reach_nm: float
    gap_nm: float

    @cached_property
    def pitch_nm(self) -> float:
        """Edge of a lattice cell: about half a tube, so that few are drawn in vain."""
        return max(250.0, self.reach_nm)

    @cached_property
    def lattice(self) -> Lattice:
        """Where its tubes are drawn."""
        return Lattice(self.pitch_nm, self.reach_nm, int(self._per_lattice_cell) + 1)

    @property
    def _per_lattice_cell(self) -> float:
        return self.per_um3 * self.pitch_nm**3 * 1e-9

    def key(self, tube: Tube) -> ObjectKey:
        """Returns the name of one of its tubes."""
        return ObjectKey(self.organelle, tube.index, tube.rank)


@lru_cache(maxsize=16)
def populations(cell: Cell) -> tuple[Population, ...]:
    """Returns the kinds of tubes in `cell`; an earlier one takes precedence where two would overlap."""
    swell = 1 + organelles.RADIUS_SWELL
    thickest = swell * cell.mitochondrion_radius_nm[1]
    return (
        Population(
            "mito",
            Stream.MITOCHONDRION,
            organelles.draw_mitochondrion,
            organelles.mitochondrion_grey,
            cell.mitochondria_per_um3,
            cell.mitochondrion_length_nm[0] / 2 + thickest,
            cell.mitochondrion_length_nm[1] / 2 + thickest,
            4 * cell.membrane_nm,
        ),
        Population(
            "lysosomes",
            Stream.BODY,
            organelles.draw_body,
            organelles.body_grey,
            cell.bodies_per_um3,
            (1 + swell) * cell.body_radius_nm[0],
            (1 + swell) * cell.body_radius_nm[1],
            2 * cell.membrane_nm,
        ),
        Population(
            "vesicles",
            Stream.VESICLE,
            organelles.draw_vesicle,
            organelles.vesicle_grey,
            cell.vesicles_per_um3,
            cell.vesicle_radius_nm[0],
            cell.vesicle_radius_nm[1],
            0.5 * cell.membrane_nm,
        ),
    )


def tubes_near(cell: Cell, kind: int, box: Box, margin_nm: float) -> Iterator[Tube]:
    """Yields the tubes of population `kind` that come within `margin_nm` of the voxels of `box`."""
    low = np.multiply(box.start, cell.voxel_size_nm) - margin_nm
    high = np.multiply(box.stop, cell.voxel_size_nm) + margin_nm
    if populations(cell)[kind].per_um3 == 0:
        return
    for index in _lattice(populations(cell)[kind], low, high):
        for tube in survivors(cell, kind, index):
            if (tube.low_nm < high).all() and (tube.high_nm > low).all():
                yield tube


@lru_cache(maxsize=_REMEMBERED)
def survivors(cell: Cell, kind: int, index: Int3) -> tuple[Tube, ...]:
    """Returns the tubes with their centre in lattice cell `index` that no tube with precedence overlaps.

    They are those that remain when all tubes of the tissue are placed one after the other in their order,
    kind after kind, each where there is room. To know whether one remains, only those it overlaps are asked.
    """
    return tuple(one.tube for one in _candidates(cell, kind, index) if _survives(cell, kind, one))


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A tube that is tried; its shape is drawn only where it matters, and mostly it does not."""

    cell: Cell
    population: Population
    index: Int3
    rank: int
    order: float
    size: float
    centre: Float3

    @cached_property
    def tube(self) -> Tube:
        rng = generator(self.cell.seed, self.population.stream, self.index, 1 + self.rank)
        drawn = self.population.draw(rng, np.array(self.centre), self.size, self.cell)
        return replace(drawn, index=self.index, rank=self.rank)

    @cached_property
    def reach_nm(self) -> float:
        least, most = self.population.least_reach_nm, self.population.reach_nm
        return least + (most - least) * self.size


@lru_cache(maxsize=_REMEMBERED)
def _candidates(cell: Cell, kind: int, index: Int3) -> tuple[_Candidate, ...]:
    own = populations(cell)[kind]
    rng = generator(cell.seed, own.stream, index)
    number = int(own._per_lattice_cell + rng.random())
    drawn = rng.random((number, 5)).tolist()
    return tuple(
        _Candidate(cell, own, index, rank, order, size, _place(index, shares, own.pitch_nm))
        for rank, (order, size, *shares) in enumerate(drawn)
    )


@lru_cache(maxsize=_REMEMBERED)
def _survives(cell: Cell, kind: int, one: _Candidate) -> bool:
    gap = one.population.gap_nm
    for earlier in range(kind):
        for rival in _rivals(cell, earlier, one, gap):
            if overlap(one.tube, rival.tube, gap) and _survives(cell, earlier, rival):
                return False
    # The first in the order is the one most likely to stand, and the one with the fewest rivals to ask about.
    rivals = [rival for rival in _rivals(cell, kind, one, gap) if rival.order < one.order]
    return not any(
        overlap(one.tube, rival.tube, gap) and _survives(cell, kind, rival)
        for rival in sorted(rivals, key=lambda rival: rival.order)
    )


def _rivals(cell: Cell, kind: int, one: _Candidate, gap_nm: float) -> Iterator[_Candidate]:
    """Yields the candidates of a kind that `one` may overlap."""
    population, reach, centre = populations(cell)[kind], one.reach_nm + gap_nm, one.centre
    if population.per_um3 == 0:
        return
    low, high = ((z - sign * reach, y - sign * reach, x - sign * reach) for sign in (1, -1) for z, y, x in [centre])
    for index in population.lattice.cells(low, high):
        for other in _candidates(cell, kind, index):
            if math.dist(centre, other.centre) < reach + other.reach_nm:
                yield other


def _place(index: Int3, shares: Sequence[float], pitch_nm: float) -> Float3:
    z, y, x = ((i + share) * pitch_nm for i, share in zip(index, shares, strict=True))
    return z, y, x


def _lattice(
    population: Population, low_nm: npt.NDArray[np.float64], high_nm: npt.NDArray[np.float64]
) -> Iterator[Int3]:
    """Returns the lattice cells that may hold the centre of a tube that touches the box low..high."""
    return population.lattice.cells(float3(low_nm.tolist(), "low_nm"), float3(high_nm.tolist(), "high_nm"))
