"""Where organelles are: candidates on a lattice, of which those survive that find room.

Whether a candidate survives depends on its neighbours alone, so a block can be made without the rest of
the tissue. Laws that hold (and are tested): a tube is found from every box that it touches, and two survivors
never overlap.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from asem_jax.simulation import golgi, organelles
from asem_jax.simulation.cell import SWING, Cell, WholeCell
from asem_jax.simulation.objects import Lattice, ObjectKey
from asem_jax.simulation.pits import pit_balls
from asem_jax.simulation.surfaces import Site, Surface, level, site
from asem_jax.simulation.texture import Stream, generator, smooth_values
from asem_jax.simulation.tubes import Tube, TubeField, overlap
from asem_jax.volumes.geometry import Box, Float3, Int3, float3

Draw = Callable[[np.random.Generator, npt.NDArray[np.float64], float, Cell], Tube]
Shape = Callable[[Cell, TubeField], organelles.Grey]
Looks = Callable[[Cell, TubeField, organelles.Grey, float], organelles.Grey]

# Levels of the surfaces of a cell rise by no more than this per nm.
_STEEPEST = 1.25
_FROM_PLASMA_NM = 30.0
_BARE_NM = 900.0

# Lattice cells whose tubes are remembered: a few kB each.
_REMEMBERED = 2**14


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
    tried = [
        _Candidate(cell, own, index, rank, order, size, _place(index, shares, own.pitch_nm))
        for rank, (order, size, *shares) in enumerate(drawn)
    ]
    return tuple(tried if cell.whole is None else (one for one in tried if _is_in_cytoplasm(cell, cell.whole, one)))


def _home(cell: Cell, whole: WholeCell, one: _Candidate) -> Site:
    """Returns the cell whose cube holds the centre of a candidate."""
    z, y, x = (math.floor(c / whole.pitch_nm) for c in one.centre)
    return site(cell, (z, y, x))


def _is_in_cytoplasm(cell: Cell, whole: WholeCell, one: _Candidate) -> bool:
    """Says whether the centre can lie in cytoplasm; what the bumps of the surfaces decide counts as yes."""
    home, swing = _home(cell, whole, one), SWING * whole.roughness_nm
    outer, inner = (math.dist(one.centre, home.centres_nm[s]) - home.radii_nm[s] for s in Surface)
    return outer < swing and inner > -swing / 2


def _is_free(cell: Cell, whole: WholeCell, one: _Candidate) -> bool:
    """Says whether a tube lies in the cytoplasm of a cell, away from its surfaces, pits and bare regions."""
    home, gap = _home(cell, whole, one), one.population.gap_nm
    centres, reaches = pit_balls(cell, home.index)
    points, radii = one.tube.points_nm, one.tube.radii_nm
    room = _STEEPEST * (radii + gap)
    if not _keeps_off(cell, home, Surface.PLASMA, points, room + _FROM_PLASMA_NM):
        return False
    if not _keeps_off(cell, home, Surface.ENVELOPE, points, room + whole.envelope_nm / 2):
        return False
    apart = np.sqrt(np.square(points[:, None] - centres[None]).sum(-1))
    if (apart < radii[:, None] + reaches[None] + gap).any():
        return False
    if not (whole.bare_share and one.population.can_be_bare):
        return True
    limit = NormalDist().inv_cdf(min(max(1 - whole.bare_share, 1e-6), 1 - 1e-6))
    return bool(smooth_values(cell.seed, Stream.BARE, _BARE_NM, points[:1])[0] < limit)


def _keeps_off(
    cell: Cell, home: Site, surface: Surface, points: npt.NDArray[np.float64], room: npt.NDArray[np.float64]
) -> bool:
    """Says whether points keep their `room` to a surface, on the side of the cytoplasm; bumps count where they can."""
    assert cell.whole is not None
    sign = 1 if surface is Surface.PLASMA else -1
    swing = SWING * cell.whole.roughness_nm * surface.value[2]
    off = np.sqrt(np.square(points - home.centres_nm[surface]).sum(1)) - home.radii_nm[surface]
    if (sign * off + room > swing).any():
        return False
    if (sign * off + room < -swing).all():
        return True
    return bool((sign * level(cell, surface, home, points) + room < 0).all())


@lru_cache(maxsize=_REMEMBERED)
def _survives(cell: Cell, kind: int, one: _Candidate) -> bool:
    gap = one.population.gap_nm
    if cell.whole is not None and not _is_free(cell, cell.whole, one):
        return False
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
