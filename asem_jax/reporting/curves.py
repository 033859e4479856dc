"""Line plots of a training and of a threshold sweep, as SVG text with nothing outside it."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, in the order in which lines get them; line styles differ too, for print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    # The same numbers give the same file.
    "svg.hashsalt": "asem_jax",
    "svg.fonttype": "path",
}


def draw_training(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns the loss and the validation F1 over the steps, as SVG.

    Args:
      records: the lines of metrics.jsonl; those with "loss" are training, those with "validation" hold
        numbers per region.
    """
    validated = [record for record in records if "validation" in record]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        loss, score = figure.subplots(1, 2)
        trained = [(record["step"], record["loss"]) for record in records if "loss" in record]
        if trained:
            loss.plot(*zip(*trained, strict=True), color="#999999", linewidth=1.2, label="training")
        _draw_regions(loss, validated, "loss")
        _draw_regions(score, validated, "f1")
        _label(loss, "step", "loss")
        _label(score, "step", "F1")
        score.set_ylim(0, 1)
        return _svg(figure)


def draw_runs(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the loss and the mean validation F1 of several trainings over their steps, as SVG.

    Args:
      runs: by name, the lines of metrics.jsonl.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        loss, score = figure.subplots(1, 2)
        for place, (name, records) in enumerate(runs.items()):
            color, style = COLOURS[place % len(COLOURS)], _STYLES[place // len(COLOURS) % len(_STYLES)]
            for axes, key in ((loss, "loss"), (score, "f1")):
                known = [(record["step"], record[key]) for record in records if record.get(key) is not None]
                if known:
                    steps, values = zip(*known, strict=True)
                    axes.plot(steps, values, color=color, linestyle=style, linewidth=1.2, label=name)
        _label(loss, "step", "loss")
        _label(score, "step", "F1")
        score.set_ylim(0, 1)
        return _svg(figure)


def _draw_regions(axes: Axes, records: Sequence[Mapping[str, Any]], key: str) -> None:
    """Draws one line per validation region; None becomes a gap."""
    names = list(dict.fromkeys(name for record in records for name in record["validation"]))
    for number, name in enumerate(names):
        steps = [record["step"] for record in records if name in record["validation"]]
        values = [record["validation"][name].get(key) for record in records if name in record["validation"]]
        axes.plot(
            steps,
            [np.nan if value is None else value for value in values],
            color=COLOURS[number % len(COLOURS)],
            linestyle=_STYLES[number // len(COLOURS) % len(_STYLES)],
            marker="o",
            markersize=3,
            label=name,
        )


def draw_sweep(sweep: Mapping[str, Sequence[float | None]], threshold: float) -> str:
    """Returns F1, precision and recall over the threshold, as SVG; the threshold used is marked.

    Args:
      sweep: lists "threshold" (0 to 1), "f1", "precision" and "recall", None where a score is 0/0.
      threshold: the one used, 0 to 1.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for number, (key, name) in enumerate((("f1", "F1"), ("precision", "precision"), ("recall", "recall"))):
            values = [np.nan if value is None else value for value in sweep[key]]
            thresholds = [float(t or 0) for t in sweep["threshold"]]
            axes.plot(thresholds, values, _STYLES[number], color=COLOURS[number], label=name)
        axes.axvline(threshold, color="#555555", linewidth=1, label=f"used: {threshold:.3f}")
        _label(axes, "threshold on the probability", "score")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        return _svg(figure)


def _label(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)


def _svg(figure: Figure) -> str:
    """Returns the figure as an <svg> element without the metadata and declarations that point elsewhere."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
