"""Tubes that are tried, and which of them lie close together.

Candidates are drawn in lattice cells and remembered in larger chunks, as arrays, so that those around a place are
found at once. A candidate that no surface of a whole cell leaves room for is not even tried.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import SWING, Cell, WholeCell
from asem_jax.simulation.populations import Population, populations
from asem_jax.simulation.surfaces import Site, Surface, level, site
from asem_jax.simulation.texture import Stream, generator, smooth_values
from asem_jax.simulation.tubes import Tube
from asem_jax.volumes.geometry import Float3, Int3

_BARE_NM = 900.0
# Edge of a chunk, at most, where a lattice cell is not larger.
_CHUNK_NM = 800.0
# What decides whether a candidate is tried is computed in another order than what decides whether it survives.
_ROUNDING = 1e-6
_CHUNKS, _CROWDS = 2**12, 2**8

Places = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tube that is tried; its shape is drawn only where it matters, and mostly it does not.

    Attributes:
      cell: its numbers.
      population: of what kind it is.
      index: the lattice cell that it was drawn in.
      rank: its number there.
      order: uniform in 0..1; of two of a kind the smaller one takes precedence.
      size: uniform in 0..1, see `Population`.
      centre: nm, z y x.
    """

    cell: Cell
    population: Population
    index: Int3
    rank: int
    order: float
    size: float
    centre: Float3

    @cached_property
    def tube(self) -> Tube:
        """Its shape."""
        rng = generator(self.cell.seed, self.population.stream, self.index, 1 + self.rank)
        drawn = self.population.draw(rng, np.array(self.centre), self.size, self.cell)
        return replace(drawn, index=self.index, rank=self.rank)

    @property
    def reach_nm(self) -> float:
        """No part of it is farther from its centre."""
        least, most = self.population.least_reach_nm, self.population.reach_nm
        return least + (most - least) * self.size


@dataclass(frozen=True, eq=False)
class Crowd:
    """Candidates of one kind.

    Attributes:
      members: they, an array of objects, [n].
      centres_nm: float64 [n, 3].
      reaches_nm: no part of one is farther from its centre, float64 [n].
      orders: see `Candidate`, float64 [n].
    """

    members: npt.NDArray[np.object_]
    centres_nm: Places
    reaches_nm: Places
    orders: Places

    @classmethod
    def of(cls, members: Sequence[Candidate]) -> "Crowd":
        """Returns candidates with their arrays."""
        centres = np.array([one.centre for one in members]).reshape(-1, 3)
        reaches, orders = ([getattr(one, name) for one in members] for name in ("reach_nm", "order"))
        objects = np.empty(len(members), object)
        objects[:] = members
        return cls(objects, centres, np.array(reaches), np.array(orders))

    @classmethod
    def joined(cls, crowds: Sequence["Crowd"]) -> "Crowd":
        """Returns the candidates of all."""
        if not crowds:
            return cls.of([])
        parts = zip(*((one.members, one.centres_nm, one.reaches_nm, one.orders) for one in crowds), strict=True)
        return cls(*(np.concatenate(part) for part in parts))

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Crowd":
        """Returns some of them."""
        return Crowd(self.members[chosen], self.centres_nm[chosen], self.reaches_nm[chosen], self.orders[chosen])

    def near(self, low_nm: Places, high_nm: Places) -> "Crowd":
        """Returns those that may touch the box low..high."""
        reaches = self.reaches_nm[:, None]
        touches = (self.centres_nm + reaches > low_nm) & (self.centres_nm - reaches < high_nm)
        return self.where(np.asarray(touches.all(1)))


def crowd_near(cell: Cell, kind: int, low_nm: Places, high_nm: Places) -> Crowd:
    """Returns the candidates of population `kind` that may touch the box low..high."""
    return crowd_around(cell, kind, low_nm, high_nm).near(low_nm, high_nm)


def crowd_around(cell: Cell, kind: int, low_nm: Places, high_nm: Places) -> Crowd:
    """Returns candidates of population `kind`, among them all that may touch the box low..high."""
    own = populations(cell)[kind]
    if own.per_um3 == 0:
        return Crowd.joined([])
    edge = own.pitch_nm * _per_edge(own)
    first, last = ((end / edge).tolist() for end in (low_nm - own.reach_nm, high_nm + own.reach_nm))
    numbers = tuple((math.floor(a), math.floor(b)) for a, b in zip(first, last, strict=True))
    return _crowd(cell, kind, numbers)


def bare_limit(whole: WholeCell) -> float:
    """Returns the value of the field `bare_values` from which on regions are bare."""
    return NormalDist().inv_cdf(min(max(1 - whole.bare_share, 1e-6), 1 - 1e-6))


def bare_values(cell: Cell, places_nm: Places) -> Places:
    """Returns the field whose peaks are the bare regions, at scattered places, [n]."""
    return smooth_values(cell.seed, Stream.BARE, _BARE_NM, places_nm)


def home(cell: Cell, whole: WholeCell, centre: Sequence[float]) -> Site:
    """Returns the cell whose cube holds a place."""
    z, y, x = (math.floor(c / whole.pitch_nm) for c in centre)
    return site(cell, (z, y, x))


@lru_cache(maxsize=_CROWDS)
def _crowd(cell: Cell, kind: int, numbers: tuple[tuple[int, int], ...]) -> Crowd:
    """Returns the candidates of chunks, of which the first and the last along each axis are given."""
    chunks = product(*(range(first, last + 1) for first, last in numbers))
    return Crowd.joined([_chunk(cell, kind, (z, y, x)) for z, y, x in chunks])


def _per_edge(population: Population) -> int:
    """Returns how many lattice cells lie along an edge of a chunk."""
    return max(1, int(_CHUNK_NM // population.pitch_nm))


@lru_cache(maxsize=_CHUNKS)
def _chunk(cell: Cell, kind: int, index: Int3) -> Crowd:
    own = populations(cell)[kind]
    steps = _per_edge(own)
    indices = product(*(range(i * steps, (i + 1) * steps) for i in index))
    drawn = Crowd.of([one for z, y, x in indices for one in _drawn(cell, own, (z, y, x))])
    return drawn if cell.whole is None else _in_cytoplasm(cell, cell.whole, drawn)


def _drawn(cell: Cell, own: Population, index: Int3) -> list[Candidate]:
    """Returns what is tried in a lattice cell."""
    rng = generator(cell.seed, own.stream, index)
    number = int(own.per_lattice_cell + rng.random())
    drawn = rng.random((number, 5)).tolist()
    return [
        Candidate(cell, own, index, rank, order, size, _place(index, shares, own.pitch_nm))
        for rank, (order, size, *shares) in enumerate(drawn)
    ]


def _in_cytoplasm(cell: Cell, whole: WholeCell, crowd: Crowd) -> Crowd:
    """Returns those whose centres lie in cytoplasm, and in no bare region if their kind is missing from these."""
    allowed = np.zeros(len(crowd.members), bool)
    cubes = np.floor(crowd.centres_nm / whole.pitch_nm).astype(int)
    for z, y, x in {tuple(cube) for cube in cubes.tolist()}:
        mine = np.flatnonzero((cubes == (z, y, x)).all(1))
        allowed[mine] = _within(cell, site(cell, (z, y, x)), crowd.centres_nm[mine])
    crowd = crowd.where(allowed)
    if not (len(crowd.members) and whole.bare_share and crowd.members[0].population.can_be_bare):
        return crowd
    return crowd.where(bare_values(cell, crowd.centres_nm) < bare_limit(whole) + _ROUNDING)


def _within(cell: Cell, one: Site, places_nm: Places) -> npt.NDArray[np.bool_]:
    """Says which places lie in the cytoplasm of a cell; what the bumps cannot decide is not asked of them."""
    assert cell.whole is not None
    inside = np.ones(len(places_nm), bool)
    for surface, sign in ((Surface.PLASMA, 1), (Surface.ENVELOPE, -1)):
        swing = SWING * cell.whole.roughness_nm * surface.value[2]
        away = np.sqrt(np.square(places_nm - one.centres_nm[surface]).sum(1)) - one.radii_nm[surface]
        inside &= sign * away < swing
        unsure = np.flatnonzero(inside & (sign * away > -swing))
        if len(unsure):
            inside[unsure] = sign * level(cell, surface, one, places_nm[unsure]) < _ROUNDING
    return inside


def _place(index: Int3, shares: Sequence[float], pitch_nm: float) -> Float3:
    z, y, x = ((i + share) * pitch_nm for i, share in zip(index, shares, strict=True))
    return z, y, x
