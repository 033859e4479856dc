"""How much more a supervoxel looks like those under object strokes than like those under background strokes.

A logistic regression on the looks of supervoxels, their squares and products, fitted anew to each set of strokes. It is
what histograms under the strokes are for a single grey value, for many kinds of looks together.
"""

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.adjacency import Graph

Floats = npt.NDArray[np.float32]
Odds = npt.NDArray[np.float64]

# Newton's method is at its end long before.
_MOST_STEPS = 50
_SMALL_CHANGE = 1e-6
# Rows whose products are held at a time.
_ROWS = 2**13
# Odds beyond this say nothing more: one supervoxel must not outweigh all its surroundings.
_MOST_ODDS = 8.0


def with_surroundings(graph: Graph, steps: int) -> Floats:
    """Returns the looks of supervoxels, and beside them the mean looks around each.

    Args:
      graph: of n supervoxels with k looks each.
      steps: how often a supervoxel takes the mean of those that touch it, weighted by the area of contact, 1 or more.

    Returns:
      float32 [n, 2 * k].
    """
    around: Floats = graph.looks
    total = _around(graph, np.ones((len(around), 1), np.float32))
    for _ in range(steps):
        around = (_around(graph, around) / np.maximum(total, np.float32(1e-12))).astype(np.float32)
    return np.concatenate([graph.looks, around], 1)


def stroke_odds(looks: Floats, kinds: npt.NDArray[np.uint8], *, ridge: float) -> Odds:
    """Returns the natural logarithm of object : background for each supervoxel, from -8 to 8.

    The share of object strokes among all strokes counts as the share of the object.

    Args:
      looks: float32 [n, k].
      kinds: uint8 [n], 1 = under object strokes, 2 = under background strokes; others are not learned from.
      ridge: penalty on the coefficients of looks that vary by 1 on average; larger = simpler, above 0.

    Raises:
      ValueError: strokes of one kind are missing, or `ridge` is not positive.
    """
    if ridge <= 0:
        raise ValueError(f"ridge={ridge} lets single strokes decide everything; give a number above 0, e.g. 3.")
    learned = (kinds == 1) | (kinds == 2)
    numbers = {name: int((kinds == kind).sum()) for kind, name in ((1, "object"), (2, "background"))}
    if min(numbers.values()) == 0:
        raise ValueError(
            f"{numbers['object']} supervoxels lie under object strokes alone, {numbers['background']} under background "
            "strokes alone; both kinds are needed: add strokes, or make the supervoxels smaller."
        )
    middle, spread = looks.mean(0, dtype=np.float64), looks.std(0, dtype=np.float64) + 1e-9

    def rows(part: npt.NDArray[np.bool_] | slice) -> npt.NDArray[np.float64]:
        return _products((looks[part] - middle) / spread)

    coefficients = _fitted(rows(learned), kinds[learned] == 1, ridge)
    parts = [rows(slice(first, first + _ROWS)) @ coefficients for first in range(0, len(looks), _ROWS)]
    return np.clip(np.concatenate(parts), -_MOST_ODDS, _MOST_ODDS)


def _fitted(rows: npt.NDArray[np.float64], is_object: npt.NDArray[np.bool_], ridge: float) -> npt.NDArray[np.float64]:
    """Returns the coefficients of a logistic regression; the first, of the constant column, is not penalised."""
    penalty = np.full(rows.shape[1], ridge)
    penalty[0] = 1e-9
    coefficients = np.zeros(rows.shape[1])
    for _ in range(_MOST_STEPS):
        share = 1 / (1 + np.exp(-np.clip(rows @ coefficients, -30, 30)))
        slope = rows.T @ (is_object - share) - penalty * coefficients
        curvature = rows.T @ (rows * (share * (1 - share))[:, None]) + np.diag(penalty)
        change = np.linalg.solve(curvature, slope)
        # Far from the answer Newton's method may leap beyond it.
        coefficients = coefficients + change / max(1.0, float(np.abs(change).max()))
        if np.abs(change).max() < _SMALL_CHANGE:
            break
    return coefficients


def _products(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns 1, each column, and each product of two columns."""
    one, other = np.triu_indices(values.shape[1])
    return np.concatenate([np.ones((len(values), 1)), values, values[:, one] * values[:, other]], 1)


def _around(graph: Graph, values: Floats) -> Floats:
    """Returns for each supervoxel the values of those that touch it, [n, k], added up by area of contact."""
    one, other = graph.pairs.astype(np.int64).T
    columns = [
        np.bincount(one, graph.area_nm2 * column[other], minlength=len(column))
        + np.bincount(other, graph.area_nm2 * column[one], minlength=len(column))
        for column in values.T
    ]
    return np.stack(columns, 1).astype(np.float32)
