"""Stage `report`: scores, curves and overlay pictures on one HTML page.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

Reads what the other stages left in the run folder (config.json, metrics.jsonl, postprocess.json,
scores.json) and the volumes, and writes `report.html`: one file, no scripts, nothing loaded from elsewhere.
What the run does not have is said on the page. It is written anew each time.
"""

import json
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import asem_jax
from asem_jax import devices
from asem_jax.measurement.scoring import open_region, voxel_shift
from asem_jax.reporting import page, sections
from asem_jax.reporting.runs import Run, comparison_section
from asem_jax.volumes.volume import open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the page that `config` (section "report") describes; see `asem_jax.settings`.

    Args:
      config: the section described in `settings.SETTINGS["report"]`.
      workdir: read for what other stages left there; receives report.html.

    Raises:
      FileNotFoundError: a run to compare with, or a picture, is not there.
      ValueError: there is no region, or the volumes do not fit each other.
    """
    if not devices.is_speaker():
        return
    raw, segmentation = open_volume(config.raw), open_volume(config.segmentation)
    regions = [open_region(name, **region) for name, region in config.regions.items()]
    if not regions:
        raise ValueError("report.regions={} leaves nothing to show; name at least one region with labels.")
    for region in regions:
        for volume in (raw, segmentation):
            voxel_shift(volume, region.labels, region.box)
    others = [_run(name, _folder(name, folder)) for name, folder in config.runs.items()]
    zone = {"exclude_inwards": config.exclude_inwards, "exclude_outwards": config.exclude_outwards}
    parts = [
        page.paragraph(f"asem_jax {asem_jax.__version__}, JAX {version('jax')}, NumPy {np.__version__}", "lead"),
        *sections.scores_section(_read_json(workdir / "scores.json")),
        *comparison_section([_run("this run", workdir), *others]),
        *sections.overlay_section(
            raw,
            segmentation,
            regions,
            planes_per_axis=config.planes_per_axis,
            picture_shape=config.picture_shape,
            **zone,
        ),
        *sections.worst_blocks_section(
            raw,
            segmentation,
            regions,
            block_shape=config.block_shape,
            num_worst_blocks=config.num_worst_blocks,
            **zone,
        ),
        *sections.training_section(_read_lines(workdir / "metrics.jsonl")),
        *sections.threshold_section(_read_json(workdir / "postprocess.json")),
        *sections.pictures_section(config.pictures),
        *sections.run_section(raw, segmentation, _read_json(workdir / "config.json")),
    ]
    _write(workdir / "report.html", page.page(config.title, parts))
    logger.info("the report is %s", workdir / "report.html")


def _run(name: str, folder: Path) -> Run:
    """Returns what a run folder holds."""
    return Run(name, _read_json(folder / "scores.json"), _read_lines(folder / "metrics.jsonl"))


def _folder(name: str, folder: str) -> Path:
    """Returns the folder of a run to compare with."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"report.runs.{name}={folder!r} is no folder; give the --workdir of a run.")
    return Path(folder)


def _read_json(path: Path) -> Any:
    """Returns what a file holds, None where it does not exist."""
    return json.loads(path.read_text()) if path.exists() else None


def _read_lines(path: Path) -> list[Any]:
    """Returns the records of a .jsonl file; none where it does not exist. A torn last line is left out."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _write(path: Path, text: str) -> None:
    """Writes a file in one step, so that a browser never shows half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
