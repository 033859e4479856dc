"""Plots of measured objects, as PNG: histograms of sizes and shapes, quantiles of pores, shapes of pits."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from asem_jax.reporting.curves import COLOURS, STYLE

_DPI = 150
_MARKERS = ("o", "s", "^", "D", "v", "P")

Table = Mapping[str, npt.NDArray[Any]]


def draw_objects(objects: Table) -> bytes:
    """Returns histograms of size, sphericity, elongation and, where it was measured, grey value of objects.

    Args:
      objects: columns volume_nm3, sphericity, major_nm, minor_nm and perhaps grey_mean, one row per object.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        elongation = objects["major_nm"] / objects["minor_nm"]
    shown = [
        (np.cbrt(6 / np.pi * objects["volume_nm3"]), "diameter of the ball of that volume (nm)"),
        (objects["sphericity"], "sphericity, 1 = a ball"),
        (np.where(np.isfinite(elongation), elongation, np.nan), "longest over shortest axis"),
    ]
    if "grey_mean" in objects:
        shown.append((objects["grey_mean"], "mean grey value"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.9), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (values, across) in zip(panels, shown, strict=True):
            _histogram(axes, values, across, "objects")
        return _png(figure)


def draw_pores(pores: Table) -> bytes:
    """Returns histograms of diameters and of neighbour distances, and the quantiles of diameters beside normal ones.

    The normal curve and the normal quantiles are those of mean and deviation of the diameters.

    Args:
      pores: columns diameter_nm and neighbour_arc_nm, in nm; NaN are left out.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _histogram(left, pores["diameter_nm"], "diameter of the pore (nm)", "pores", with_curve=True)
        _quantiles(middle, pores["diameter_nm"], "diameter (nm)")
        _histogram(right, pores["neighbour_arc_nm"], "to the nearest, along the envelope (nm)", "pores")
        return _png(figure)


def draw_pits(pits: Table) -> bytes:
    """Returns eccentricity against stage, and depth against width, a colour and marker per kind.

    Args:
      pits: columns stage, eccentricity, depth_nm, width_nm, and kind (text).
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _scatter(left, pits, ("stage", "eccentricity"), ("share below the membrane (stage)", "eccentricity"))
        left.set_xlim(0, 1.02)
        left.set_ylim(-0.02, 1)
        _scatter(right, pits, ("width_nm", "depth_nm"), ("width (nm)", "depth (nm)"))
        right.set_xlim(left=0)
        right.set_ylim(bottom=0)
        left.legend(fontsize=9)
        return _png(figure)


def _histogram(axes: Axes, values: npt.NDArray[Any], across: str, counted: str, *, with_curve: bool = False) -> None:
    known = values[~np.isnan(values)]
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(counted)
    if not known.size:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    axes.set_axisbelow(True)
    edges = np.histogram_bin_edges(known, "auto" if known.size < 5000 else 50)
    axes.hist(known, edges.tolist(), color=COLOURS[0], alpha=0.75, edgecolor="white")
    mean, spread = _mean_and_spread(known)
    axes.axvline(float(np.median(known)), color="#555555", linewidth=1, linestyle="--")
    if with_curve and spread > 0:
        places = np.linspace(mean - 3.5 * spread, mean + 3.5 * spread, 200)
        height = known.size * (edges[1] - edges[0]) / (spread * np.sqrt(2 * np.pi))
        curve = height * np.exp(-0.5 * ((places - mean) / spread) ** 2)
        axes.plot(places, curve, color=COLOURS[1], label=f"normal, {mean:.1f} ± {spread:.1f}")
        _legend_above(axes)
    axes.set_title(f"n = {known.size}, median {np.median(known):.4g}", fontsize=9)


def _quantiles(axes: Axes, values: npt.NDArray[Any], name: str) -> None:
    """Draws sorted values over those that a normal distribution of their mean and deviation would have."""
    known = np.sort(values[~np.isnan(values)])
    axes.set_xlabel(f"normal {name}", fontsize=9)
    axes.set_ylabel(f"measured {name}")
    mean, spread = _mean_and_spread(known) if known.size else (0.0, 0.0)
    if spread <= 0:
        axes.text(0.5, 0.5, "too few", ha="center", transform=axes.transAxes)
        return
    expected = mean + spread * ndtri((np.arange(known.size) + 0.5) / known.size)
    axes.scatter(expected, known, s=12, alpha=0.8, color=COLOURS[0])
    ends = [min(expected[0], known[0]), max(expected[-1], known[-1])]
    axes.plot(ends, ends, color=COLOURS[1], linewidth=1.2, label="equal")
    axes.set_axisbelow(True)
    axes.set_title("quantiles", fontsize=9)
    _legend_above(axes)


def _mean_and_spread(known: npt.NDArray[Any]) -> tuple[float, float]:
    return float(known.mean()), float(known.std(ddof=1)) if known.size > 1 else 0.0


def _legend_above(axes: Axes) -> None:
    """Draws the legend, and leaves room for it above what is drawn."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
    axes.legend(fontsize=8, loc="upper left")


def _scatter(axes: Axes, table: Table, columns: Sequence[str], labels: Sequence[str]) -> None:
    for number, kind in enumerate(np.unique(table["kind"]).tolist()):
        mine = table["kind"] == kind
        across, up = (table[name][mine] for name in columns)
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        axes.scatter(across, up, s=18, alpha=0.8, color=colour, marker=marker, label=f"{kind} ({int(mine.sum())})")
    axes.set_axisbelow(True)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Nothing that changes from run to run: the same numbers give the same file.
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
