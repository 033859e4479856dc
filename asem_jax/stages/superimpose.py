"""Stage `superimpose`: organelles that were segmented one by one, in one volume in which no voxel belongs to two.

    python -m asem_jax.main --config configs/superimpose_cell.py --workdir runs/superimpose

Writes `labels`, `conflicts` and a segmentation (and objects) per organelle into `target`, each with its pyramid, and
`superimpose.json` and `superimpose.csv` into the run folder: how many voxels each rule took from whom, and who has
them. Run again it continues with the blocks that are missing.
"""

import csv
import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.segmentation.superimpose import Claim, Rule, check, superimpose
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import int3
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, create_like, open_volume

logger = logging.getLogger(__name__)

FILE = "superimpose"
COLUMNS = ("step", "from", "to", "voxels")


def run(config: ConfigDict, workdir: Path) -> None:
    """Superimposes the volumes of the section.

    Args:
      config: the section described in `settings.SETTINGS["superimpose"]`.
      workdir: gets the ledger and the table.

    Raises:
      ValueError: the settings leave something open or contradict each other, or the volumes lie on different grids.
    """
    if not devices.is_speaker():
        return
    claims = {name: _claim(section) for name, section in config.volumes.items()}
    rules = [Rule(name, **config.rules[name]) for name in sorted(config.rules)]
    check(claims, rules, config.priority)
    reference = claims[min(claims)].segmentation
    _check_grids(claims, reference)
    settings = {name: value for name, value in config.to_dict().items() if name not in ("num_threads", "cluster")}
    ledger = Ledger(workdir / "ledgers" / f"{FILE}.jsonl", settings)
    table = workdir / f"{FILE}.json"
    if ledger.is_complete and table.exists():
        logger.info("%s is superimposed already; nothing to do", config.target)
        return
    job = _job(config, workdir, settings)
    made: list[Volume] = []

    def make(name: str, dtype: np.dtype[Any]) -> Volume:
        notes: dict[str, Any] = {"made_by": "asem_jax superimpose"}
        if name == "labels":  # elsewhere 1, 2, ... are no organelles
            notes["labels"] = {organelle: i for i, organelle in enumerate(sorted(claims), 1)}
        made.append(create_like(reference, f"{config.target}/{name}", dtype, attributes=notes, **_storage(config)))
        return made[-1]

    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        job = replace(job, workers=workers)
        result = superimpose(claims, rules=rules, priority=config.priority, make=make, job=job)
    for volume in made:
        write_pyramid(volume, labels=True, num_threads=config.num_threads)
    write_table(workdir, result)
    ledger.mark_complete()
    shutil.rmtree(job.folder, ignore_errors=True)
    logger.info("%s:\n%s", table, text_of(result))


def write_table(workdir: Path, result: Mapping[str, Any]) -> None:
    """Writes the table as JSON, and its rows as CSV.

    Args:
      workdir: gets superimpose.json and superimpose.csv.
      result: what `superimpose` returned.
    """
    with (workdir / f"{FILE}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "to": row["to"] or ""} for row in result["moved"])
    write_json(workdir / f"{FILE}.json", result)


def text_of(result: Mapping[str, Any]) -> str:
    """Returns the table as lines of text.

    Args:
      result: what `superimpose` returned.
    """
    lines = [f"{'organelle':<20} {'claimed voxels':>16} {'kept':>16}"]
    for name, counts in result["organelles"].items():
        lines.append(f"{name:<20} {counts['claimed_voxels']:>16} {counts['kept_voxels']:>16}")
    lines.append(f"voxels that several claimed: {result['conflict_voxels']}")
    for row in result["moved"]:
        lines.append(f"{row['step']:<20} {row['voxels']:>16} from {row['from']} to {row['to'] or 'nobody'}")
    return "\n".join(lines)


def _claim(section: ConfigDict) -> Claim:
    """Opens the volumes of one organelle."""
    probability, objects = (None if a is None else open_volume(a) for a in (section.probability, section.objects))
    return Claim(open_volume(section.segmentation), probability, objects)


def _check_grids(claims: Mapping[str, Claim], reference: Volume) -> None:
    """Raises before any work if a volume lies on another grid, or is no probability."""
    for name, claim in claims.items():
        for volume in (claim.segmentation, claim.probability, claim.objects):
            if volume is not None:
                grid_shift(volume, reference)
        if claim.probability is not None and claim.probability.dtype != np.uint8:
            raise ValueError(
                f"superimpose.volumes.{name}.probability={claim.probability.address} has dtype "
                f"{claim.probability.dtype}, not uint8 with 255 = 1; give what stage predict wrote."
            )


def _job(config: ConfigDict, workdir: Path, settings: Mapping[str, Any]) -> BlockJob:
    """Returns the job; what an earlier one left is removed where its volumes are gone."""
    folder = workdir / "ledgers" / f"{FILE}-blocks"
    if not Path(config.target).exists():
        shutil.rmtree(folder, ignore_errors=True)
    file = int3(config.shard_shape or config.chunk_shape, "chunk_shape")
    shape = int3(config.block_shape or file, "block_shape")
    if any(math.remainder(b, f) for b, f in zip(shape, file, strict=True)):
        raise ValueError(
            f"superimpose.block_shape={shape} is not a multiple of {file}, what a file holds (shard_shape or "
            "chunk_shape); make it one, or give None for one file at a time."
        )
    return BlockJob(folder, shape, config.num_threads, settings)


def _storage(config: ConfigDict) -> dict[str, Any]:
    """Returns how volumes are stored."""
    return {name: config[name] for name in ("chunk_shape", "shard_shape", "zarr_format")}
