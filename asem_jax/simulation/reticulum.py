"""The endoplasmic reticulum of whole cells: sheets and tubules that run into the nuclear envelope, with ribosomes.

It is evaluated on the coarse grid. Law that holds (and is tested): it has voxels side by side with the envelope,
and keeps off everything else.
"""

from statistics import NormalDist

import numpy as np

from asem_jax.simulation.canvas import Canvas
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.grid import Grid, Values, slopes
from asem_jax.simulation.organelles import mix
from asem_jax.simulation.texture import Stream, random_words, smooth_field, smooth_values
from asem_jax.volumes.geometry import Box, int3

# Mean slope of `smooth_field`, times its pitch.
_SLOPE = 2.0
_FROM_TUBES_NM, _FROM_PLASMA_NM, _FROM_ENVELOPE_NM = 25.0, 70.0, 45.0
_JUNCTION_NM, _ROUGH_NM = 260.0, 700.0
RIBOSOME_NM = 12.0
_PLACES_NM = 28.0
# A bound ribosome's centre lies at this distance from the middle of the membrane's outer face, give or take half of it.
_BOUND_NM = 12.0


def reticulum(cell: Cell, grid: Grid, plasma: Values, envelope: Values, clear: Values) -> Values:
    """Returns the signed distance to the reticulum at the nodes, nm, negative in it; large where there is none.

    Args:
      cell: its numbers, with whole cells.
      grid: the nodes.
      plasma: distance to the plasma membrane, negative in the cell.
      envelope: distance to the middle of the nuclear envelope, negative in the nucleus.
      clear: distance to the nearest organelle that it keeps off.
    """
    assert cell.whole is not None
    mesh = cell.whole.er_mesh_nm
    if not mesh or float(plasma.min()) > 0 or float(envelope.max()) < -_FROM_PLASMA_NM:
        return np.full(grid.box.shape, np.float32(1e4))
    one, other, gate, junction = (
        smooth_field(cell.seed, stream, (pitch,) * 3, grid.axes) * np.float32(pitch / _SLOPE)
        for stream, pitch in (
            (Stream.ER_SHEET, mesh),
            (Stream.ER_TUBULE, mesh),
            (Stream.ER_GATE, 1.5 * mesh),
            (Stream.JUNCTION, _JUNCTION_NM),
        )
    )
    half = np.float32(1.4 * cell.membrane_nm)
    sheet = np.maximum(np.abs(one) - half, np.float32(0.45 * mesh) - gate)
    tubule = np.maximum(np.sqrt(one * one + other * other) - np.float32(1.2) * half, np.float32(-0.6 * mesh) - gate)
    # It keeps off the envelope but where the two are joined, and ends in the middle of it.
    outer = envelope - np.float32(cell.whole.envelope_nm / 2)
    off = np.minimum(np.float32(_FROM_ENVELOPE_NM) - outer, np.float32(20) - junction)
    found = np.minimum(sheet, tubule)
    for limit in (
        np.float32(_FROM_TUBES_NM) - clear,
        np.float32(_FROM_PLASMA_NM) + plasma,
        np.maximum(off, -envelope),
    ):
        np.maximum(found, limit, out=found)
    return found / np.maximum(slopes(found), np.float32(0.4))


def paint_ribosomes(
    canvas: Canvas, grid: Grid, *, walls: Values, envelope: Values, plasma: Values, clear: Values
) -> None:
    """Paints ribosomes: on the reticulum and the envelope where these are rough, and some in the cytosol.

    Args:
      canvas: holds cytosol, envelope and reticulum.
      grid: the nodes; they reach beyond the canvas by more than a ribosome.
      walls: distance to the surface of the reticulum and the envelope, nm, at the nodes.
      envelope: distance to the middle of the nuclear envelope.
      plasma: distance to the plasma membrane.
      clear: distance to the nearest other organelle.
    """
    places, chance = _places(canvas)
    if len(places) == 0:
        return
    away = grid.at(walls, places)
    allowed = (grid.at(plasma, places) < -20) & (grid.at(clear, places) > RIBOSOME_NM) & (grid.at(envelope, places) > 0)
    bound = np.abs(away - np.float32(_BOUND_NM)) < 6
    free = (away > 2 * _BOUND_NM) & (chance < 0.1 * canvas.whole.ribosome_share)
    chosen = np.flatnonzero(allowed & (bound | free))
    if len(chosen) == 0:
        return
    limit = NormalDist().inv_cdf(float(np.clip(1 - canvas.whole.rough_share, 1e-6, 1 - 1e-6)))
    rough = smooth_values(canvas.cell.seed, Stream.ROUGH, _ROUGH_NM, places[chosen]) > limit
    near_nucleus = grid.at(envelope, places[chosen]) < canvas.whole.envelope_nm / 2 + 2 * _BOUND_NM
    chosen = chosen[free[chosen] | rough | near_nucleus]
    mix(canvas.grey, canvas.cell.membrane_grey + 5, _balls(canvas, places[chosen], RIBOSOME_NM))


def _places(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Returns where ribosomes may be, nm [n, 3], and a uniform number for each; only those that can be chosen."""
    reach = RIBOSOME_NM + canvas.edge_nm
    start = [int(np.floor((a[0] - reach) / _PLACES_NM)) for a in canvas.axes]
    stop = [int(np.floor((a[-1] + reach) / _PLACES_NM)) + 1 for a in canvas.axes]
    box = Box(int3(start, "start"), int3(stop, "stop"))
    words = random_words(canvas.cell.seed, Stream.RIBOSOME, box).ravel()
    chance = (words >> np.uint64(48)).astype(np.float64) / 2**16
    tried = np.flatnonzero(chance < canvas.whole.ribosome_share)
    index = np.stack(np.unravel_index(tried, box.shape), 1) + np.array(box.start)
    shifts = [(words[tried] >> np.uint64(16 * part)) & np.uint64(0xFFFF) for part in range(3)]
    places = (index + np.stack(shifts, 1).astype(np.float64) / 2**16) * _PLACES_NM
    low, high = np.array(canvas.low_nm) - reach, np.array(canvas.high_nm) + reach
    near = ((places > low) & (places < high)).all(1)
    return places[near], chance[tried][near]


def _balls(canvas: Canvas, places: np.ndarray, radius: float) -> Values:
    """Returns which share of each voxel lies in balls, the largest where several meet, so order does not matter."""
    share = np.zeros(canvas.box.shape, np.float32)
    squares, voxels, inside = [], [], []
    for axis, size in enumerate(canvas.cell.voxel_size_nm):
        steps = np.arange(-np.ceil((radius + canvas.edge_nm) / size), np.ceil((radius + canvas.edge_nm) / size) + 1)
        voxel = np.rint(places[:, axis] / size)[:, None] + steps
        squares.append(_along(np.square(voxel * size - places[:, axis, None]), axis))
        local = voxel.astype(int) - canvas.box.start[axis]
        voxels.append(_along(local, axis))
        inside.append(_along((local >= 0) & (local < canvas.box.shape[axis]), axis))
    apart = np.sqrt(squares[0] + squares[1] + squares[2])
    covered = np.clip(0.5 - (apart - radius) / canvas.edge_nm, 0, 1).astype(np.float32)
    used = (covered > 0) & inside[0] & inside[1] & inside[2]
    _, rows, columns = canvas.box.shape
    index = (voxels[0] * rows + voxels[1]) * columns + voxels[2]
    np.maximum.at(share.reshape(-1), index[used], covered[used])
    return share


def _along(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns `[n, m]` as `[n, m, 1, 1]`, `[n, 1, m, 1]` or `[n, 1, 1, m]`."""
    return np.expand_dims(values, [1 + other for other in range(3) if other != axis])
