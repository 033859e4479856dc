"""Open membranes: the plasma membranes between processes, and the endoplasmic reticulum.

Both are level sets of smooth fields. Plasma membranes are bent around the tubes, so that each tube lies in
one process; the reticulum keeps off both. Where a tube is too far away to matter its distance is not asked for, which
changes no bit.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from asem_jax.simulation.cell import Cell
from asem_jax.simulation.organelles import Grey
from asem_jax.simulation.texture import Axes, Stream, generator, smooth_field, smooth_value
from asem_jax.simulation.tubes import FAR_NM, Tube, TubeDistance, tube_distance
from asem_jax.volumes.geometry import Box, Float3

# Plasma membranes keep `_CLEARANCE_NM` from tubes, and give way within `BEND_NM`.
BEND_NM = 150.0
_CLEARANCE_NM = 45.0
# How many processes lie between places one standard deviation apart in the field that divides them.
_PROCESSES_PER_DEVIATION = 0.9
# A bent field gives way by this many processes at most.
_MOST_GIVE = 4.0
# Mean slope of `smooth_field`, times its pitch.
_SLOPE = 2.0
# The reticulum keeps these distances from tubes and from plasma membranes.
_RETICULUM_FROM_TUBES_NM = 25.0
_RETICULUM_FROM_PLASMA_NM = 35.0
_INNER = (slice(1, -1),) * 3


def process_level(cell: Cell, axes: Axes, ruffled: Grey | None) -> Grey:
    """Returns a field whose whole numbers are plasma membranes, still straight.

    Args:
      cell: its numbers; `process_nm` above 0.
      axes: places of the voxels in nm.
      ruffled: how far surfaces lie from where they were, nm; None = nowhere.
    """
    level = _level(cell, axes)
    if ruffled is not None:
        level += ruffled * np.float32(_level_slope(cell))
    return level


def keep_off(
    cell: Cell, box: Box, tubes: Iterable[Tube], *, wobble: Grey, level: Grey | None, least_nm: float
) -> tuple[Grey, list[TubeDistance]]:
    """Bends `level`, in place, so that each tube lies in one process, and returns how far the tubes are.

    Args:
      cell: its numbers.
      box: voxels.
      tubes: all that come within `BEND_NM` and the wobble of the box; the last has precedence.
      wobble: how far surfaces lie from where they would be without it, nm, over the box.
      level: see `process_level`; None = there are no plasma membranes.
      least_nm: distances from here on need not be right.

    Returns:
      The distance to the nearest tube, nm, over the box; and that to each, in order, where it is near.
    """
    found = []
    clear = np.full(box.shape, FAR_NM)
    deepest = float(wobble.min())
    for tube in tubes:
        part = tube.slices(box, cell.voxel_size_nm, max(BEND_NM, least_nm) - deepest)
        if any(cut.start >= cut.stop for cut in part):
            continue
        bends = _bends_within(cell, tube, level[part]) if level is not None else 0.0
        reach = max(least_nm, bends)
        near = tube_distance(tube, box, voxel_size_nm=cell.voxel_size_nm, margin_nm=reach - deepest)
        if near.box.num_voxels == 0:
            continue
        part = near.slices(box)
        np.add(near.distance, wobble[part], out=near.distance)
        np.minimum(clear[part], near.distance, out=clear[part])
        found.append(near)
        if level is not None and bends > 0:
            _bend(cell, tube, level[part], near.distance)
    return clear, found


def sheet_distance(level: Grey, steep: Grey) -> Grey:
    """Returns the distance to the nearest plasma membrane in nm; `steep` is the steepness of `level`.

    The tissue is cut where a smooth field crosses whole numbers, so processes never cross each other.
    """
    sheet = np.rint(level)
    np.subtract(level, sheet, out=sheet)
    np.abs(sheet, out=sheet)
    sheet /= steep
    return sheet


def level_steepness(cell: Cell, level: Grey) -> Grey:
    """Returns the slope of `level` per nm where it is not too flat for a distance, smaller by a voxel at both ends."""
    steep = steepness(level, cell.voxel_size_nm)
    return np.maximum(steep, np.float32(0.15 * _level_slope(cell)), out=steep)


def process_tone(cell: Cell, level: Grey) -> Grey:
    """Returns the tone of the process in each voxel, grey values."""
    first, last = math.floor(level.min()), math.floor(level.max())
    tones = np.array([_tone(cell, number) for number in range(first, last + 1)], np.float32)
    if first == last:
        return np.full(level.shape, tones[0])
    return tones[(np.floor(level) - np.float32(first)).astype(np.intp)]


def reticulum_shape(cell: Cell, axes: Axes, ruffled: Grey | None) -> Grey:
    """Returns about the distance to the endoplasmic reticulum in nm, were it alone; negative in its lumen.

    Sheets that end, and tubules where two fields vanish together.

    Args:
      cell: its numbers; `er_nm` above 0.
      axes: places of the voxels in nm.
      ruffled: how far surfaces lie from where they were, nm; None = nowhere.
    """
    one, other = (_scaled(cell, stream, cell.er_nm, axes) for stream in (Stream.ER_SHEET, Stream.ER_TUBULE))
    gate = _scaled(cell, Stream.ER_GATE, 1.5 * cell.er_nm, axes)
    half = np.float32(1.4 * cell.membrane_nm)
    sheet = np.abs(one) - half
    np.maximum(sheet, np.float32(0.6 * cell.er_nm) - gate, out=sheet)
    one *= one
    other *= other
    one += other
    tubule = np.sqrt(one, out=one)
    tubule -= np.float32(1.2) * half
    np.maximum(tubule, np.float32(-0.5 * cell.er_nm) - gate, out=tubule)
    shape = np.minimum(sheet, tubule, out=sheet)
    if ruffled is not None:
        shape += ruffled
    return shape


def clearance_needed(shape: Grey) -> float:
    """Returns the distance from tubes, nm, from which on they change nothing of the reticulum."""
    return _RETICULUM_FROM_TUBES_NM + max(-float(shape.min()), 0.0) + 1.0


def reticulum(cell: Cell, shape: Grey, clear: Grey, plasma: Grey | None) -> Grey:
    """Returns the signed distance to the endoplasmic reticulum in nm, negative in its lumen.

    It is smaller than the arguments by one voxel at both ends.

    Args:
      cell: its numbers.
      shape: see `reticulum_shape`.
      clear: distance to the nearest tube.
      plasma: distance to the nearest plasma membrane; None = there is none.
    """
    joined = np.maximum(shape, np.float32(_RETICULUM_FROM_TUBES_NM) - clear)
    if plasma is not None:
        np.maximum(joined, np.float32(_RETICULUM_FROM_PLASMA_NM) - plasma, out=joined)
    steep = steepness(joined, cell.voxel_size_nm)
    return np.divide(joined[_INNER], np.maximum(steep, np.float32(0.3), out=steep), out=steep)


def steepness(values: Grey, voxel_size_nm: Float3) -> Grey:
    """Returns the length of the gradient per nm, smaller by one voxel at both ends."""
    total = np.zeros([n - 2 for n in values.shape], np.float32)
    for axis, size in enumerate(voxel_size_nm):
        after, before = (
            values[
                tuple(
                    slice(2 * end, n - 2 + 2 * end) if other == axis else slice(1, -1)
                    for other, n in enumerate(values.shape)
                )
            ]
            for end in (1, 0)
        )
        slope = after - before
        slope *= np.float32(0.5 / size)
        slope *= slope
        total += slope
    return np.sqrt(total, out=total)


def _level(cell: Cell, axes: Axes) -> Grey:
    field = smooth_field(cell.seed, Stream.PROCESS, (cell.process_nm,) * 3, axes)
    field *= np.float32(_PROCESSES_PER_DEVIATION)
    return field


def _level_slope(cell: Cell) -> float:
    return _SLOPE * _PROCESSES_PER_DEVIATION / cell.process_nm


@lru_cache(maxsize=2**12)
def _home(seed: int, process_nm: float, centre: Float3) -> float:
    """Returns the process in which the centre of a tube lies, whatever the voxels."""
    level = np.float32(smooth_value(seed, Stream.PROCESS, process_nm, centre)) * np.float32(_PROCESSES_PER_DEVIATION)
    return math.floor(level)


@lru_cache(maxsize=2**12)
def _tone(cell: Cell, number: int) -> float:
    return generator(cell.seed, Stream.PROCESS_GREY, (number, 0, 0)).uniform(*cell.process_tone_grey)


def _bends_within(cell: Cell, tube: Tube, level: Grey) -> float:
    """Returns the distance from a tube, nm, from which on it leaves `level` as it is; see `_bend`."""
    if level.size == 0:
        return 0.0
    home = _home(cell.seed, cell.process_nm, tube.centre)
    excess = max(home - float(level.min()), float(level.max()) - home - 1)
    if excess <= -0.5:
        return 0.0
    square, slope = _MOST_GIVE / (BEND_NM - _CLEARANCE_NM) ** 2, _level_slope(cell)
    beyond = excess / slope if excess < 0 else (math.sqrt(slope**2 + 4 * square * excess) - slope) / (2 * square)
    # A nanometre more than that, for rounding.
    return min(max(_CLEARANCE_NM + beyond + 1.0, 0.0), BEND_NM)


def _bend(cell: Cell, tube: Tube, level: Grey, distance: Grey) -> None:
    """Bends `level`, in place, so that a tube at `distance` lies in the process of its centre."""
    home = _home(cell.seed, cell.process_nm, tube.centre)
    beyond = distance - np.float32(_CLEARANCE_NM)
    give = np.maximum(beyond, 0)
    give *= give
    give *= np.float32(_MOST_GIVE / (BEND_NM - _CLEARANCE_NM) ** 2)
    beyond *= np.float32(_level_slope(cell))
    give += beyond
    np.maximum(give, np.float32(-0.5), out=give)
    # Farther away nothing bends.
    give[distance >= np.float32(BEND_NM)] = np.inf
    np.maximum(level, np.subtract(np.float32(home), give, out=beyond), out=level)
    give += np.float32(home + 1)
    np.minimum(level, give, out=level)


def _scaled(cell: Cell, stream: Stream, pitch_nm: float, axes: Axes) -> Grey:
    """Returns a smooth field with a slope of about 1 per nm, so that near 0 it is like a distance."""
    field = smooth_field(cell.seed, stream, (pitch_nm,) * 3, axes)
    field *= np.float32(pitch_nm / _SLOPE)
    return field
