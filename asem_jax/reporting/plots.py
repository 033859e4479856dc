"""Plots of measured objects, as PNG: histograms of pores, shapes of pits."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asem_jax.reporting.curves import COLOURS, STYLE

_DPI = 150
_MARKERS = ("o", "s", "^", "D", "v", "P")

Table = Mapping[str, npt.NDArray[Any]]


def draw_pores(pores: Table) -> bytes:
    """Returns histograms of diameters, with the normal curve of their mean and deviation, and of neighbour distances.

    Args:
      pores: columns diameter_nm and neighbour_arc_nm, in nm; NaN are left out.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _histogram(left, pores["diameter_nm"], "diameter of the pore (nm)", with_curve=True)
        _histogram(right, pores["neighbour_arc_nm"], "to the nearest pore, along the envelope (nm)", with_curve=False)
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


def _histogram(axes: Axes, values: npt.NDArray[Any], across: str, *, with_curve: bool) -> None:
    known = values[~np.isnan(values)]
    axes.set_xlabel(across)
    axes.set_ylabel("pores")
    if not known.size:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    axes.set_axisbelow(True)
    edges = np.histogram_bin_edges(known, "auto" if known.size < 5000 else 50)
    axes.hist(known, edges.tolist(), color=COLOURS[0], alpha=0.75, edgecolor="white")
    mean, spread = known.mean(), known.std(ddof=1) if known.size > 1 else 0.0
    axes.axvline(float(np.median(known)), color="#555555", linewidth=1, label=f"median {np.median(known):.1f} nm")
    if with_curve and spread > 0:
        places = np.linspace(mean - 3.5 * spread, mean + 3.5 * spread, 200)
        height = known.size * (edges[1] - edges[0]) / (spread * np.sqrt(2 * np.pi))
        curve = height * np.exp(-0.5 * ((places - mean) / spread) ** 2)
        axes.plot(places, curve, color=COLOURS[1], label=f"normal, {mean:.1f} ± {spread:.1f} nm")
    axes.set_title(f"n = {known.size}", fontsize=10)
    axes.legend(fontsize=8)


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
