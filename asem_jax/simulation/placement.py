"""Where organelles are: candidates on a lattice, of which those survive that find room.

Whether a candidate survives depends on its neighbours alone, so a block can be made without the rest of
the tissue. Laws that hold (and are tested): a tube is found from every box that it touches, and two survivors
never overlap.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from asem_jax.simulation.candidates import Candidate, bare_limit, bare_values, crowd_around, crowd_near, home
from asem_jax.simulation.cell import SWING, Cell, WholeCell
from asem_jax.simulation.pits import pit_balls
from asem_jax.simulation.populations import populations
from asem_jax.simulation.surfaces import Site, Surface, level
from asem_jax.simulation.tubes import Tube, overlaps
from asem_jax.volumes.geometry import Box, Int3

# Levels of the surfaces of a cell rise by no more than this per nm.
_STEEPEST = 1.25
_FROM_PLASMA_NM = 30.0
# Candidates of which is remembered whether they survive.
_REMEMBERED = 2**15


def tubes_near(cell: Cell, kind: int, box: Box, margin_nm: float) -> Iterator[Tube]:
    """Yields the tubes of population `kind` that come within `margin_nm` of the voxels of `box`.

    They are those that remain when all tubes of the tissue are placed one after the other in their order,
    kind after kind, each where there is room. To know whether one remains, only those it overlaps are asked.
    """
    low = np.multiply(box.start, cell.voxel_size_nm) - margin_nm
    high = np.multiply(box.stop, cell.voxel_size_nm) + margin_nm
    cell = _unseen(cell)
    tried = crowd_near(cell, kind, low, high).members
    for one in sorted(tried, key=lambda one: (one.index, one.rank)):
        if (one.tube.low_nm < high).all() and (one.tube.high_nm > low).all() and _survives(cell, kind, one):
            yield one.tube


def survivors(cell: Cell, kind: int, index: Int3) -> tuple[Tube, ...]:
    """Returns the tubes with their centre in lattice cell `index` that no tube with precedence overlaps."""
    cell = _unseen(cell)
    low = np.array(index) * populations(cell)[kind].pitch_nm
    tried = crowd_near(cell, kind, low, low + populations(cell)[kind].pitch_nm).members
    mine = sorted((one for one in tried if one.index == index), key=lambda one: one.rank)
    return tuple(one.tube for one in mine if _survives(cell, kind, one))


@lru_cache(maxsize=16)
def _unseen(cell: Cell) -> Cell:
    """Returns `cell` with voxels of 1 nm: places do not depend on them, so what is remembered should not."""
    return replace(cell, voxel_size_nm=(1.0, 1.0, 1.0))


@lru_cache(maxsize=_REMEMBERED)
def _survives(cell: Cell, kind: int, one: Candidate) -> bool:
    if cell.whole is not None and not _is_free(cell, cell.whole, one):
        return False
    return not any(_survives(cell, k, rival) for k in range(kind + 1) for rival in _rivals(cell, k, kind, one))


def _rivals(cell: Cell, kind: int, own: int, one: Candidate) -> Iterator[Candidate]:
    """Yields the candidates of a kind that overlap `one`, of kind `own`, and take precedence, the strongest first."""
    gap = one.population.gap_nm
    crowd = crowd_around(cell, kind, one.tube.low_nm - gap, one.tube.high_nm + gap)
    apart = cdist(crowd.centres_nm, one.tube.points_nm[:1], "sqeuclidean")[:, 0]
    near = apart < np.square(crowd.reaches_nm + (one.tube.reach_nm + gap))
    if kind == own:
        near &= crowd.orders < one.order
    found = np.flatnonzero(near)
    # A long tube is far from being a ball.
    apart = cdist(crowd.centres_nm[found], one.tube.points_nm, "sqeuclidean")
    near = (apart < np.square(crowd.reaches_nm[found, None] + (one.tube.radii_nm + gap))).any(1)
    # The first in the order is the one most likely to stand, and the one with the fewest rivals to ask about: where it
    # stands, the shapes of the others are not even drawn.
    for rival in sorted(crowd.members[found[near]].tolist(), key=lambda rival: rival.order):
        if overlaps(one.tube, rival.tube, gap):
            yield rival


def _is_free(cell: Cell, whole: WholeCell, one: Candidate) -> bool:
    """Says whether a tube lies in the cytoplasm of a cell, away from its surfaces, pits and bare regions."""
    place, gap = home(cell, whole, one.centre), one.population.gap_nm
    centres, reaches = pit_balls(cell, place.index)
    points, radii = one.tube.points_nm, one.tube.radii_nm
    room = _STEEPEST * (radii + gap)
    if not _keeps_off(cell, place, Surface.PLASMA, points, room + _FROM_PLASMA_NM):
        return False
    if not _keeps_off(cell, place, Surface.ENVELOPE, points, room + whole.envelope_nm / 2):
        return False
    apart = cdist(points, centres, "sqeuclidean")
    if (np.sqrt(apart) < radii[:, None] + reaches[None] + gap).any():
        return False
    if not (whole.bare_share and one.population.can_be_bare):
        return True
    return bool(bare_values(cell, points[:1])[0] < bare_limit(whole))


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
