"""Stage `postprocess`: probabilities become a segmentation.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

Resamples the probability if asked, chooses the threshold on regions if none is given, writes `segmentation`
(uint8, 0 or 1, with a pyramid) into `target` block by block, and `postprocess.json` into the run folder. Run
again it continues with the blocks that are missing.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.measurement import metrics
from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.measurement.scoring import Region, open_region, sweep_thresholds
from asem_jax.segmentation.labels import threshold as apply_threshold
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.geometry import Box, float3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.resample import resample_volume
from asem_jax.volumes.volume import Volume, create_volume, open_volume

_SPEED = ("num_threads", "retries", "cluster", "workers")

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Segments the volume that `config` (section "postprocess") names; see `asem_jax.stages.settings`."""
    if not devices.is_speaker():
        return
    ledger = Ledger(workdir / "ledgers" / "postprocess-segmentation.jsonl", _without_speed(config.to_dict()))
    probability = open_volume(config.probability)
    regions = [open_region(name, **region) for name, region in config.threshold_regions.items()]
    _check(probability, config.threshold, regions)
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        _segment(config, probability, regions, workdir, ledger=ledger, workers=workers)


def _segment(
    config: ConfigDict,
    probability: Volume,
    regions: Sequence[Region],
    workdir: Path,
    *,
    ledger: Ledger,
    workers: Workers | None,
) -> None:
    storage = {name: config[name] for name in ("chunk_shape", "shard_shape", "zarr_format", "num_threads", "retries")}
    storage["workers"] = workers
    if config.voxel_size_nm is not None:
        probability = resample_probability(
            probability,
            f"{config.target}/probability_resampled",
            voxel_size_nm=config.voxel_size_nm,
            ledger_path=workdir / "ledgers" / "postprocess-probability.jsonl",
            **storage,
        )
    notes = workdir / "postprocess.json"
    if not (ledger.finished and notes.exists()):
        choice = choose_threshold(
            probability,
            regions,
            threshold=config.threshold,
            exclude_inwards=config.exclude_inwards,
            exclude_outwards=config.exclude_outwards,
        )
        _write_json(notes, choice)
    threshold = json.loads(notes.read_text())["threshold"]
    address = f"{config.target}/segmentation"
    segment_volume(probability, address, threshold=threshold, ledger=ledger, **storage)


def resample_probability(
    probability: Volume,
    address: str,
    *,
    voxel_size_nm: Sequence[float],
    ledger_path: Path,
    **storage: Any,
) -> Volume:
    """Returns `probability` at `voxel_size_nm`, interpolated into `address` unless it has that size already.

    Args:
      probability: uint8, 255 = 1.
      address: where the resampled one is written.
      voxel_size_nm: wanted, z y x; whole multiples or fractions of the present one.
      ledger_path: of the blocks written.
      **storage: chunk_shape, shard_shape, zarr_format, num_threads, retries, workers, as for `segment_volume`.
    """
    wanted = float3(voxel_size_nm, "postprocess.voxel_size_nm")
    if np.allclose(wanted, probability.voxel_size_nm, rtol=1e-6):
        return probability
    job = {"probability": probability.address, "address": address, "voxel_size_nm": wanted, **storage}
    ledger = Ledger(ledger_path, _without_speed(job))
    finer = resample_volume(probability, address, voxel_size_nm=wanted, labels=False, ledger=ledger, **storage)
    _finish(finer, ledger, labels=False)
    return finer


def choose_threshold(
    probability: Volume,
    regions: Sequence[Region],
    *,
    threshold: float | None,
    exclude_inwards: int,
    exclude_outwards: int,
) -> dict[str, Any]:
    """Returns the threshold, where it was chosen, and the scores of all others, as JSON.

    Args:
      probability: uint8, 255 = 1.
      regions: whose labels the thresholds are scored on.
      threshold: fixed, 0 to 1; None = the one with the best F1 on all regions together.
      exclude_inwards: voxels inside the objects' border that are not scored.
      exclude_outwards: voxels outside it that are not scored.
    """
    sweep = ProbabilityHistogram.empty()
    for region in regions:
        sweep += sweep_thresholds(
            probability,
            region.labels,
            box=region.box,
            exclude_inwards=exclude_inwards,
            exclude_outwards=exclude_outwards,
        )
    chosen = sweep.best_threshold() if threshold is None else float(threshold)
    names = [region.name for region in regions]
    origin = f"the best F1 on {', '.join(names)}" if threshold is None else "as given"
    logger.info("threshold %.3f, %s", chosen, origin)
    return {
        "threshold": chosen,
        "fixed": threshold is not None,
        "regions": names,
        "exclude_inwards": exclude_inwards,
        "exclude_outwards": exclude_outwards,
        "sweep": _curve(sweep) if regions else None,
    }


def _curve(sweep: ProbabilityHistogram) -> dict[str, list[float | None]]:
    """Returns the scores at every threshold, None where a score is 0/0."""
    counts = sweep.counts()
    curve: dict[str, list[float | None]] = {"threshold": [level / 255 for level in range(256)]}
    for score in (metrics.f1, metrics.precision, metrics.recall):
        values = [score(c) for c in counts]
        curve[score.__name__] = [None if np.isnan(v) else v for v in values]
    return curve


def segment_volume(
    probability: Volume,
    address: str,
    *,
    threshold: float,
    chunk_shape: Sequence[int],
    shard_shape: Sequence[int] | None,
    zarr_format: int,
    ledger: Ledger,
    num_threads: int,
    retries: int,
    workers: Workers | None,
) -> Volume:
    """Writes where `probability` is at least `threshold`; continues where it stopped. Returns that volume.

    Args:
      probability: uint8, 255 = 1.
      address: of the segmentation: uint8, 1 = foreground, with a pyramid.
      threshold: probability, 0 to 1.
      chunk_shape: unit of compression, voxels z y x; also what is read and written at a time.
      shard_shape: unit of a file, voxels z y x; None = each chunk is a file.
      zarr_format: 2 or 3.
      ledger: of this job; the mark after the last block says that the pyramid is written too.
      num_threads: blocks at a time.
      retries: how many times a block that fails is tried again.
      workers: do the blocks instead of threads of this process.
    """
    segmentation = create_volume(
        address,
        shape=probability.shape,
        dtype=np.uint8,
        voxel_size_nm=probability.voxel_size_nm,
        offset_nm=probability.offset_nm,
        chunk_shape=chunk_shape,
        shard_shape=shard_shape,
        zarr_format=zarr_format,
        attributes={"made_from": probability.address, "threshold": threshold},
    )
    run_blocks(
        partial(_segment_block, probability, segmentation, threshold),
        tiles(segmentation.box, segmentation.chunk_shape),
        label=f"segment {address}",
        ledger=ledger,
        num_threads=num_threads,
        retries=retries,
        workers=workers,
    )
    _finish(segmentation, ledger, labels=True)
    return segmentation


def _segment_block(probability: Volume, segmentation: Volume, threshold: float, block: Box) -> None:
    segmentation.write(block, apply_threshold(probability.read(block), threshold).astype(np.uint8))


def _finish(volume: Volume, ledger: Ledger, *, labels: bool) -> None:
    """Writes the pyramid of a volume whose blocks are written; the mark after the last one says so."""
    num_blocks = len(tiles(volume.box, volume.chunk_shape))
    if num_blocks in ledger.finished:
        logger.info("%s is finished already", volume.address)
        return
    write_pyramid(volume, labels=labels)
    ledger.mark(num_blocks)


def _without_speed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that decide what is written; a job may go on with another number of threads."""
    return {name: value for name, value in settings.items() if name not in _SPEED}


def _check(probability: Volume, threshold: float | None, regions: Sequence[Region]) -> None:
    """Raises before any work if the probability cannot be thresholded, or the threshold cannot be known."""
    if probability.dtype != np.uint8:
        raise ValueError(
            f"postprocess.probability={probability.address} has dtype {probability.dtype}, not uint8 with "
            "255 = 1; give what stage predict wrote."
        )
    if threshold is None and not regions:
        raise ValueError(
            "postprocess.threshold=None needs postprocess.threshold_regions to choose on; name a labelled "
            "region (best one that was not trained on), or give a threshold such as 0.5."
        )
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"postprocess.threshold={threshold} is not a probability; give 0 to 1, or None to choose.")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` in one step, so that a crash leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, allow_nan=False))
    os.replace(part, path)
