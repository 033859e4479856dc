"""The results of a prediction in formats of other programs, in containers beside that of the volumes.

What lies in cell.zarr/predictions/mito/probability goes to cell.n5/predictions/mito/probability, to
cell.precomputed/predictions/mito/probability and to cell_tiff/predictions/mito/probability.tif, byte for byte: what a
byte means (`program.organelle_bytes`) is what COSEM's volumes have. The ledger of each export lies beside the result.
"""

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.prediction.job import Job, Result
from asem_jax.prediction.results import VOLUMES, Prediction
from asem_jax.volumes.exports import check_target, is_begun, write_export
from asem_jax.volumes.ledger import Ledger, alone, lock_path
from asem_jax.volumes.pyramid import level_shapes
from asem_jax.volumes.serving import container

FORMATS = ("n5", "precomputed", "tiff")
THREADS = 2  # chunks that are written at a time, as of the coarser levels

logger = logging.getLogger(__name__)


def export_address(address: str, format: str) -> str:
    """Returns where a volume goes in another format, of `FORMATS`.

    Example:
      >>> [export_address("runs/cell.zarr/mito/probability", format) for format in ("n5", "tiff")]
      ['runs/cell.n5/mito/probability', 'runs/cell_tiff/mito/probability.tif']
    """
    root = container(address)
    inner = Path(address).relative_to(root)
    if format == "tiff":
        return f"{root.with_suffix('')}_tiff/{inner}.tif"
    return f"{root.with_suffix(f'.{format}')}/{inner}"


def check_exports(job: Job, formats: Sequence[str]) -> None:
    """Raises unless the results of a job can be exported, before any work is done.

    Args:
      job: the prediction.
      formats: of `FORMATS`.

    Raises:
      ValueError: a format is not known or cannot hold the place of a result, or something else lies at a target.
    """
    fingerprint = job.fingerprint() if formats else {}
    for format in formats:
        if format not in FORMATS:
            near = difflib.get_close_matches(format, FORMATS, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"exports={tuple(formats)}: {format!r} is no format; {meant}There is: {FORMATS}.")
    for result, name, format in _all(job, formats):
        place = job.plan.plans[result.model].result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
        target = export_address(f"{result.folder}/{name}", format)
        check_target(target, np.dtype(np.uint8), *place)
        path = _ledger_path(result, name, format)
        if is_begun(target) and not path.exists():
            raise ValueError(f"exports={tuple(formats)}: {target} exists already; remove it or leave the format out.")
        if is_begun(target):
            _ledger(path, target, fingerprint)  # raises if it was made of another prediction


def exported_bytes(job: Job, formats: Sequence[str]) -> int:
    """Returns an upper bound of what the exports of a job take: one byte per voxel of each level and whole chunk."""
    total = 0
    for result, _, format in _all(job, formats):
        plan = job.plan.plans[result.model]
        size, _ = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
        levels = level_shapes(plan.result_box(plan.box).shape, size, plan.chunk_shape)
        for shape in levels[: 1 if format == "tiff" else None]:
            total += prod(ceil(n / c) * c for n, c in zip(shape, plan.chunk_shape, strict=True))
    return total


def export_results(job: Job, results: Mapping[str, Prediction], formats: Sequence[str]) -> None:
    """Writes what is not yet exported; killed and called again, it goes on (a TIFF file begins anew).

    Only one process at a time does it: to others it is done.

    Args:
      job: the prediction, all of it finished.
      results: as `sweep_volume` returned them.
      formats: of `FORMATS`.

    Raises:
      RuntimeError: chunks could not be written.
    """
    with alone(lock_path(Path(job.address) / "ledger.jsonl", "export"), wait=False) as is_mine:
        if not is_mine:
            logger.info("%s: another process exports it", job.address)
            return
        fingerprint = job.fingerprint()
        for result, name, format in _all(job, formats):
            volume = getattr(results[result.name], name)
            target, path = export_address(volume.address, format), _ledger_path(result, name, format)
            if not is_begun(target):
                path.unlink(missing_ok=True)
            ledger = _ledger(path, target, fingerprint)
            if not ledger.is_complete:
                write_export(volume, target, labels=name == "segmentation", ledger=ledger, num_threads=THREADS)
                ledger.mark_complete()
            logger.info("%s is in %s", volume.address, target)


def _all(job: Job, formats: Sequence[str]) -> Iterator[tuple[Result, str, str]]:
    """Yields the results, their volumes and the formats."""
    for result in job.results:
        for name in VOLUMES:
            for format in formats:
                yield result, name, format


def _ledger(path: Path, target: str, fingerprint: Mapping[str, Any]) -> Ledger:
    return Ledger(path, {"target": target, "prediction": fingerprint})


def _ledger_path(result: Result, name: str, format: str) -> Path:
    return Path(result.folder) / f"ledger.export-{format}-{name}.jsonl"
