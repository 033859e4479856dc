"""Several runs beside each other: what each scored, and how it learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asem_jax.reporting import curves, page
from asem_jax.reporting.page import number
from asem_jax.reporting.scores import ALL, ZONES, with_interval


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
      name: under which it is shown.
      scores: the content of scores.json; None without one.
      records: the lines of metrics.jsonl; () without a training.
    """

    name: str
    scores: Mapping[str, Any] | None
    records: Sequence[Mapping[str, Any]]


def comparison_section(runs: Sequence[Run]) -> list[str]:
    """Returns the table of the runs' scores and the curves of their trainings; nothing for fewer than two.

    A score is the one over all regions together. Where two runs were not scored on the same voxels, the page says so.
    """
    if len(runs) < 2:
        return []
    parts = [page.heading("Runs beside each other"), _table(runs)]
    if unlike := _unlike(runs):
        parts.append(page.paragraph(unlike, "missing"))
    trained = {run.name: run.records for run in runs if run.records}
    if trained:
        caption = "Loss of the training crops, and mean F1 of the validation regions, over the training steps."
        alt = f"Loss and validation F1 of {', '.join(trained)}"
        parts.append(page.picture(curves.draw_runs(trained), alt=alt, caption=caption))
    return parts


def _table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        scores = run.scores or {}
        more = scores.get("predictions", {}).get("segmentation", {}).get("total", {})
        for zone, zone_name in ZONES.items():
            found, intervals = scores.get("total", {}).get(zone, {}), more.get(zone, {}).get("intervals", {})
            cells = [with_interval(found.get(key), intervals.get(key)) for key in ("f1", "iou", "precision", "recall")]
            counts = found.get("counts")
            voxels = "-" if counts is None else f"{sum(counts.values()) / 1e6:.2f}"
            rows.append([run.name, zone_name, *cells, *_distances(more, zone), voxels, _steps(run)])
    head = ["run", "scored on", "F1", "IoU", "precision", "recall", "mean false distance, nm", "surface 95 %, nm"]
    return page.table([*head, "million voxels", "steps trained"], rows, numbers_from=2)


def _distances(more: Mapping[str, Any], zone: str) -> list[str]:
    """Returns the distances of a run, which are measured on all voxels only."""
    found = (more.get("distances") or {}) if zone == ALL else {}
    return [number(found.get(name), 1) for name in ("mean_false_distance_nm", "surface_distance_95_nm")]


def _steps(run: Run) -> str:
    return str(run.records[-1]["step"]) if run.records else "-"


def _unlike(runs: Sequence[Run]) -> str:
    """Returns a warning for runs that were scored on other voxels than the first one; empty if there are none."""
    scored = [run for run in runs if run.scores is not None]
    missing = [run.name for run in runs if run.scores is None]
    others = [run.name for run in scored[1:] if _voxels(run) != _voxels(scored[0])]
    texts = []
    if missing:
        texts.append(f"No scores.json: {', '.join(missing)}; run stage evaluate there.")
    if others:
        texts.append(
            f"Not scored on the voxels of {scored[0].name}: {', '.join(others)}. These scores cannot be compared with "
            "it."
        )
    return " ".join(texts)


def _voxels(run: Run) -> dict[str, tuple[int, int]]:
    """Returns how many voxels were scored in all, and how many of them are labelled."""
    assert run.scores is not None
    found = {}
    for zone in ZONES:
        counts = run.scores["total"][zone]["counts"]
        found[zone] = sum(counts.values()), counts["true_positive"] + counts["false_negative"]
    return found
