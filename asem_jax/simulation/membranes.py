"""Open membranes: the plasma membranes between processes, and the endoplasmic reticulum.

Both are level sets of smooth fields. Plasma membranes are bent around the tubes, so that each tube lies in
one process; the reticulum keeps off both.
"""

from collections.abc import Sequence

import numpy as np

from asem_jax.simulation.cell import Cell
from asem_jax.simulation.organelles import Grey
from asem_jax.simulation.preparation import ruffles
from asem_jax.simulation.texture import Axes, Stream, generator, smooth_field
from asem_jax.simulation.tubes import TubeDistance
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


def processes(cell: Cell, box: Box, axes: Axes, tubes: Sequence[TubeDistance]) -> tuple[Grey, Grey]:
    """Returns the distance to the nearest plasma membrane in nm, and the tone of the process, grey values.

    The tissue is cut where a smooth field crosses whole numbers, so processes never cross each other.
    Needs one voxel around what is used.

    Args:
      cell: its numbers; `process_nm` above 0.
      box: voxels.
      axes: their places in nm.
      tubes: all that come within `BEND_NM` of the box.
    """
    level = _level(cell, axes)
    slope = _SLOPE * _PROCESSES_PER_DEVIATION / cell.process_nm
    if (ruffled := ruffles(cell.preparation, cell.seed, axes)) is not None:
        level += ruffled * np.float32(slope)
    for tube in tubes:
        _bend(cell, level, tube, box)
    steep = np.maximum(steepness(level, cell.voxel_size_nm), np.float32(0.15 * slope))
    number = np.floor(level).astype(np.int64)
    first, last = int(number.min()), int(number.max())
    tones = [
        generator(cell.seed, Stream.PROCESS_GREY, (i, 0, 0)).uniform(*cell.process_tone_grey)
        for i in range(first, last + 1)
    ]
    sheet = (np.abs(level - np.rint(level)) / steep).astype(np.float32, copy=False)
    return sheet, np.array(tones, np.float32)[number - first]


def reticulum(cell: Cell, axes: Axes, clear: Grey, plasma: Grey | None) -> Grey:
    """Returns the signed distance to the endoplasmic reticulum in nm, negative in its lumen.

    Sheets that end, and tubules where two fields vanish together. Needs one voxel around what is used.

    Args:
      cell: its numbers; `er_nm` above 0.
      axes: places of the voxels in nm.
      clear: distance to the nearest tube.
      plasma: distance to the nearest plasma membrane; None = there is none.
    """
    one, other = (_scaled(cell, stream, cell.er_nm, axes) for stream in (Stream.ER_SHEET, Stream.ER_TUBULE))
    gate = _scaled(cell, Stream.ER_GATE, 1.5 * cell.er_nm, axes)
    half = np.float32(1.4 * cell.membrane_nm)
    sheet = np.maximum(np.abs(one) - half, np.float32(0.6 * cell.er_nm) - gate)
    tubule = np.sqrt(one * one + other * other) - np.float32(1.2) * half
    tubule = np.maximum(tubule, np.float32(-0.5 * cell.er_nm) - gate)
    shape = np.minimum(sheet, tubule)
    if (ruffled := ruffles(cell.preparation, cell.seed, axes)) is not None:
        shape += ruffled
    joined = np.maximum(shape, np.float32(_RETICULUM_FROM_TUBES_NM) - clear)
    if plasma is not None:
        joined = np.maximum(joined, np.float32(_RETICULUM_FROM_PLASMA_NM) - plasma)
    return joined / np.maximum(steepness(joined, cell.voxel_size_nm), np.float32(0.3))


def steepness(values: Grey, voxel_size_nm: Float3) -> Grey:
    """Returns the length of the gradient per nm; at the outermost voxels it is one-sided."""
    z, y, x = np.gradient(values, *[np.float32(size) for size in voxel_size_nm])
    return np.sqrt(z * z + y * y + x * x)


def _level(cell: Cell, axes: Axes) -> Grey:
    field = smooth_field(cell.seed, Stream.PROCESS, (cell.process_nm,) * 3, axes)
    return field * np.float32(_PROCESSES_PER_DEVIATION)


def _bend(cell: Cell, level: Grey, tube: TubeDistance, box: Box) -> None:
    """Bends `level`, in place, so that the tube lies in the process of its centre."""
    z, y, x = (np.array([c]) for c in tube.tube.centre)
    home = np.floor(_level(cell, (z, y, x))[0, 0, 0])
    beyond = tube.distance - np.float32(_CLEARANCE_NM)
    far = np.maximum(beyond, 0) * np.float32(1 / (BEND_NM - _CLEARANCE_NM))
    slope = np.float32(_SLOPE * _PROCESSES_PER_DEVIATION / cell.process_nm)
    give = np.maximum(beyond * slope + np.float32(_MOST_GIVE) * far * far, np.float32(-0.5))
    part = level[tube.slices(box)]
    bent = np.clip(part, home - give, home + np.float32(1) + give)
    np.copyto(part, bent, where=tube.distance < np.float32(BEND_NM))


def _scaled(cell: Cell, stream: Stream, pitch_nm: float, axes: Axes) -> Grey:
    """Returns a smooth field with a slope of about 1 per nm, so that near 0 it is like a distance."""
    return smooth_field(cell.seed, stream, (pitch_nm,) * 3, axes) * np.float32(pitch_nm / _SLOPE)
