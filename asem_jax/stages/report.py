"""Stage `report`: what was run and what came out, on one HTML page.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

Reads what the other stages left in the run folder (config.json, metrics.jsonl, postprocess.json, scores.json,
superimpose.json, the folder analysis) and the volumes, and writes `report.html`: one file, no scripts, nothing loaded
from elsewhere. What the run does not have is said on the page. It is written anew each time.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import asem_jax
from asem_jax import devices
from asem_jax.measurement.scoring import Region, open_region, voxel_shift
from asem_jax.reporting import page, planes, provenance, scores, sections, studies
from asem_jax.reporting.colouring import colouring_section
from asem_jax.reporting.runs import Run, comparison_section
from asem_jax.volumes.files import write_text
from asem_jax.volumes.geometry import int3
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the page that `config` (section "report") describes; see `asem_jax.settings`.

    Args:
      config: the section described in `settings.SETTINGS["report"]`.
      workdir: read for what other stages left there; receives report.html.

    Raises:
      FileNotFoundError: a run to compare with, or a picture, is not there.
      ValueError: regions or objects without the volumes to show with them, or volumes that do not fit each other.
    """
    if not devices.is_speaker():
        return
    raw, segmentation = (None if a is None else open_volume(a) for a in (config.raw, config.segmentation))
    regions = [open_region(name, **region) for name, region in config.regions.items()]
    objects = {name: open_volume(address) for name, address in config.objects.items()}
    _check(raw, segmentation, regions, objects)
    others = [_run(name, _folder(name, folder)) for name, folder in config.runs.items()]
    parts = [
        page.paragraph(f"asem_jax {asem_jax.__version__}, JAX {version('jax')}, NumPy {np.__version__}", "lead"),
        *score_parts(workdir),
        *comparison_section([_run("this run", workdir), *others]),
        *picture_parts(config, raw, segmentation, regions),
        *([] if raw is None else colouring_section(raw, objects, int3(config.picture_shape, "report.picture_shape"))),
        *run_parts(workdir),
        *sections.pictures_section(config.pictures),
        *provenance.data_section(_named(raw, segmentation, regions, objects)),
        *provenance.run_section(_read_json(workdir / "config.json")),
        *sections.missing_section(workdir),
    ]
    write_text(workdir / "report.html", page.page(config.title, parts))
    logger.info("the report is %s", workdir / "report.html")


def score_parts(workdir: Path) -> list[str]:
    """Returns all that stage evaluate found, but for the thresholds."""
    found = _read_json(workdir / "scores.json")
    return [
        *scores.scores_section(found),
        *scores.predictions_section(found),
        *scores.distances_section(found),
        *scores.objects_section(found),
    ]


def picture_parts(
    config: ConfigDict, raw: Volume | None, segmentation: Volume | None, regions: Sequence[Region]
) -> list[str]:
    """Returns planes of the regions and their worst blocks; nothing without regions."""
    if raw is None or segmentation is None or not regions:
        return []
    zone = {"exclude_inwards": config.exclude_inwards, "exclude_outwards": config.exclude_outwards}
    shown = {"planes_per_axis": config.planes_per_axis, "picture_shape": config.picture_shape, **zone}
    ranked = {"block_shape": config.block_shape, "num_worst_blocks": config.num_worst_blocks, **zone}
    return [
        *planes.overlay_section(raw, segmentation, regions, **shown),
        *planes.worst_blocks_section(raw, segmentation, regions, **ranked),
    ]


def run_parts(workdir: Path) -> list[str]:
    """Returns what the other stages found."""
    sweeps = scores.sweeps_part(_read_json(workdir / "scores.json"))
    return [
        *sections.training_section(_read_lines(workdir / "metrics.jsonl")),
        *sections.threshold_section(_read_json(workdir / "postprocess.json"), sweeps),
        *studies.superimposed_section(_read_json(workdir / "superimpose.json")),
        *studies.measured_section(_read_json(workdir / "analysis" / "summary.json"), workdir / "analysis"),
    ]


def _check(
    raw: Volume | None, segmentation: Volume | None, regions: Sequence[Region], objects: Mapping[str, Volume]
) -> None:
    """Raises if what shall be shown is not all there, or not in one place."""
    if regions and (raw is None or segmentation is None):
        raise ValueError(
            f"report.regions names {', '.join(region.name for region in regions)}, but raw or segmentation is None; "
            "name both, or leave regions empty."
        )
    if objects and raw is None:
        raise ValueError(
            f"report.objects names {', '.join(objects)}, but report.raw is None; name the grey values to show them on."
        )
    for volume in (raw, segmentation):
        if volume is not None:
            for region in regions:
                voxel_shift(volume, region.labels, region.box)


def _named(
    raw: Volume | None, segmentation: Volume | None, regions: Sequence[Region], objects: Mapping[str, Volume]
) -> dict[str, Volume]:
    """Returns all volumes of the page by name."""
    named = {"raw": raw, "segmentation": segmentation}
    named |= {f"labels of {region.name}": region.labels for region in regions} | dict(objects)
    return {name: volume for name, volume in named.items() if volume is not None}


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
