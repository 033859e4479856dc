"""What the page says of a training, of thresholds and of other pictures, and what this run does not have.

A section whose numbers are not there is left out; `missing_section` says so at the end, with how to get them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asem_jax.reporting import curves, page

_MISSING = {
    "scores.json": "scores: stage evaluate compares segmentations with labels",
    "metrics.jsonl": "a training: see the run folder of the model",
    "postprocess.json": "the choice of a threshold: stage postprocess",
    "analysis/summary.json": "measured objects: stage analyse",
    "superimpose.json": "organelles superimposed: stage superimpose",
    "config.json": "a config: the stage was called by itself",
}


def training_section(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the curves of the training; nothing without one.

    Args:
      records: the lines of metrics.jsonl, () without a training.
    """
    if not records:
        return []
    validated = [record for record in records if "validation" in record]
    known = [record for record in validated if record["f1"] is not None]
    alt = f"Loss and validation F1 over {records[-1]['step']} steps"
    caption = "Loss (grey: training crops) and F1 of the validation regions over the training steps."
    if known:
        best = max(known, key=lambda record: record["f1"])
        alt += f"; the best mean F1 is {best['f1']:.3f}"
        caption += f" Best mean F1 {best['f1']:.3f} at step {best['step']}."
    return [page.heading("Training"), page.picture(curves.draw_training(records), alt=alt, caption=caption)]


def threshold_section(notes: Mapping[str, Any] | None, sweeps: Sequence[str]) -> list[str]:
    """Returns the threshold that was used and the scores at all others; nothing where nobody looked.

    Args:
      notes: the content of postprocess.json, None without one.
      sweeps: plots of predictions that stage evaluate scored at every threshold.
    """
    parts: list[str] = []
    if notes is not None:
        origin = "was given" if notes["fixed"] else f"has the best F1 on {', '.join(notes['regions'])}"
        parts.append(page.paragraph(f"The threshold {notes['threshold']:.3f} {origin}."))
        if notes["sweep"] is None:
            text = "It was not compared with others: postprocess.threshold_regions names no region."
            parts.append(page.paragraph(text, "missing"))
        else:
            where = ", ".join(notes["regions"])
            svg = curves.draw_sweep(notes["sweep"], notes["threshold"])
            alt = f"F1, precision and recall over the threshold on {where}"
            caption = f"Scores on {where}, outside the exclusion zone, at every threshold."
            parts.append(page.picture(svg, alt=alt, caption=caption))
    parts += sweeps
    return [page.heading("Threshold"), *parts] if parts else []


def pictures_section(files: Sequence[str]) -> list[str]:
    """Returns pictures from elsewhere; nothing without any.

    Args:
      files: PNG files.

    Raises:
      FileNotFoundError: one is not there.
    """
    parts = []
    for file in map(Path, files):
        if not file.is_file():
            raise FileNotFoundError(f"report.pictures names {file}, which is not there; run what makes it.")
        title = file.stem.replace("_", " ")
        parts.append(page.picture(file.read_bytes(), alt=title, caption=title))
    return [page.heading("More pictures"), *parts] if parts else []


def missing_section(folder: Path) -> list[str]:
    """Returns a list of what a run folder does not hold, and which stage makes it; nothing where all is there.

    Args:
      folder: of the run.
    """
    missing = [f"no {name} ({meaning})" for name, meaning in _MISSING.items() if not (folder / name).exists()]
    if not missing:
        return []
    return [page.heading("Not in this run"), page.paragraph(f"{'; '.join(missing)}.".capitalize(), "missing")]
