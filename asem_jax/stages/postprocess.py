"""Stage `postprocess`: probabilities become a segmentation, and objects.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

In this order, each step only where the config asks for it: resample the probability, smooth it, choose the threshold
on regions, threshold, fill holes, find objects (split where they touch), leave small ones out. Writes `segmentation`
(uint8, 0 or 1) and `objects` (one number each) with their pyramids into `target` block by block, and
`postprocess.json` into the run folder. Run again it continues with the blocks that are missing.
"""

import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.measurement import metrics
from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.measurement.scoring import Region, open_region, sweep_thresholds
from asem_jax.segmentation.components import find_components, id_dtype
from asem_jax.segmentation.holes import fill_holes
from asem_jax.segmentation.labels import threshold as apply_threshold
from asem_jax.segmentation.parts import MakeVolume, Parts, parts_of, write_objects
from asem_jax.segmentation.smoothing import smooth_volume
from asem_jax.segmentation.splitting import split_objects
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Box, float3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.resample import resample_volume
from asem_jax.volumes.volume import Volume, create_like, open_volume

_SPEED = ("num_threads", "retries", "cluster", "workers")

logger = logging.getLogger(__name__)

STEPS = "steps"
"""Group in the target for what is in between; removed at the end."""


def run(config: ConfigDict, workdir: Path) -> None:
    """Segments the volume that `config` (section "postprocess") names; see `asem_jax.settings`."""
    if not devices.is_speaker():
        return
    ledger = Ledger(workdir / "ledgers" / "postprocess-segmentation.jsonl", _without_speed(config.to_dict()))
    notes = workdir / "postprocess.json"
    if ledger.is_complete and notes.exists():
        logger.info("%s is segmented already; nothing to do", config.probability)
        return
    probability = open_volume(config.probability)
    other = None if config.threshold_probability is None else open_volume(config.threshold_probability)
    regions = [open_region(name, **region) for name, region in config.threshold_regions.items()]
    _check(probability, config.threshold, regions)
    if other is not None:
        _check_other(other, config)
    _check_block_shape(config)
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        job = _job(config, workdir, workers, begun=bool(ledger.finished))
        probability = prepare_probability(probability, config, workdir, job)
        if not (ledger.finished and notes.exists()):
            choice = choose_threshold(
                other or probability,
                regions,
                threshold=config.threshold,
                exclude_inwards=config.exclude_inwards,
                exclude_outwards=config.exclude_outwards,
            )
            write_json(notes, choice)
        if ledger.is_complete:
            return
        choice = json.loads(notes.read_text())
        later = config.fill_holes_nm3 is not None or config.objects is not None
        mask = segment_volume(
            probability,
            f"{config.target}/{STEPS}/thresholded" if later else f"{config.target}/segmentation",
            threshold=choice["threshold"],
            ledger=ledger,
            **_storage(config, job),
        )
        if later:
            write_json(notes, choice | {"steps": refine(mask, config, job)})
        else:
            _finish(mask, ledger, labels=True)
        ledger.mark_complete()
    for folder in (Path(f"{config.target}/{STEPS}"), job.folder):
        shutil.rmtree(folder, ignore_errors=True)


def prepare_probability(probability: Volume, config: ConfigDict, workdir: Path, job: BlockJob) -> Volume:
    """Returns the probability at the voxel size and as smooth as the config wants it, written if it has to be.

    Args:
      probability: uint8, 255 = 1.
      config: the section "postprocess".
      workdir: for the ledger of what is resampled.
      job: of what follows.
    """
    if config.voxel_size_nm is not None:
        probability = resample_probability(
            probability,
            f"{config.target}/probability_resampled",
            voxel_size_nm=config.voxel_size_nm,
            ledger_path=workdir / "ledgers" / "postprocess-probability.jsonl",
            **_storage(config, job),
        )
    if config.smoothing_nm is None:
        return probability
    smooth = _make(config, probability, "probability_smoothed", np.dtype(np.uint8))
    smooth_volume(probability, smooth, sigma_nm=config.smoothing_nm, job=job.part("smoothing"))
    return smooth


def refine(mask: Volume, config: ConfigDict, job: BlockJob) -> dict[str, Any]:
    """Writes segmentation and objects of a thresholded volume; returns what each step did, as JSON.

    Args:
      mask: nonzero = from the threshold on.
      config: the section "postprocess".
      job: of these steps.
    """

    def make(name: str, dtype: np.dtype[Any]) -> Volume:
        return _make(config, mask, name, dtype)

    steps: dict[str, Any] = {}
    byte = np.dtype(np.uint8)
    if config.fill_holes_nm3 is not None:
        filled = make("segmentation" if config.objects is None else f"{STEPS}/filled", byte)
        steps["filled"] = fill_holes(mask, filled, max_nm3=config.fill_holes_nm3, job=job.part("holes"))
        mask = filled
    finished = [mask]
    if config.objects is not None:
        parts = find_parts(mask, config.objects, make, job.part("objects"))
        min_voxels = (config.objects.min_nm3 or 0.0) / math.prod(mask.voxel_size_nm)
        kept = parts.sizes >= min_voxels
        steps["objects"] = {
            "found": len(kept),
            "kept": int(kept.sum()),
            "voxels": int(parts.sizes[kept].sum()),
            "dropped_voxels": int(parts.sizes[~kept].sum()),
        }
        finished = [make("objects", id_dtype(int(kept.sum()))), make("segmentation", byte)]
        write_objects(parts, *finished, min_voxels=min_voxels, job=job.part("objects"))
    for volume in finished:
        write_pyramid(volume, labels=True, num_threads=config.num_threads)
    logger.info("%s: %s", config.target, steps)
    return steps


def find_parts(mask: Volume, settings: ConfigDict, make: MakeVolume, job: BlockJob) -> Parts:
    """Returns the objects of a mask: its components, split at necks if that is asked for.

    Args:
      mask: nonzero = object.
      settings: the section "objects" of "postprocess".
      make: creates a volume on the grid of `mask`, for what splitting needs.
      job: of this step.
    """

    def read(box: Box) -> npt.NDArray[np.bool_]:
        return mask.read(box) != 0

    if settings.split_depth_nm is None:
        components = find_components(
            read, mask.shape, connectivity=settings.connectivity, job=job, label=f"objects of {mask.address}"
        )
        return parts_of(components, read)
    return split_objects(
        mask,
        connectivity=settings.connectivity,
        depth_nm=settings.split_depth_nm,
        reach_nm=settings.split_reach_nm,
        make=lambda name, dtype: make(f"{STEPS}/{name}", dtype),
        job=job,
    )


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
      **storage: chunk_shape, shard_shape, zarr_format, num_threads, retries and workers, as for `segment_volume`.
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
            mask=region.mask,
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
    workers: Workers | None = None,
) -> Volume:
    """Writes where `probability` is at least `threshold`; continues where it stopped. Returns that volume.

    The pyramid is left to the caller.

    Args:
      probability: uint8, 255 = 1.
      address: of the segmentation: uint8, 1 = foreground.
      threshold: probability, 0 to 1.
      chunk_shape: unit of compression, voxels z y x; also what is read and written at a time.
      shard_shape: unit of a file, voxels z y x; None = each chunk is a file.
      zarr_format: 2 or 3.
      ledger: of this job.
      num_threads: blocks at a time.
      retries: how many times a block that fails is tried again.
      workers: do the blocks instead of threads of this process.
    """
    storage: dict[str, Any] = {"chunk_shape": chunk_shape, "shard_shape": shard_shape, "zarr_format": zarr_format}
    notes = {"made_from": probability.address, "threshold": threshold}
    segmentation = create_like(probability, address, np.uint8, attributes=notes, **storage)

    def segment(block: Box) -> None:
        segmentation.write(block, apply_threshold(probability.read(block), threshold).astype(np.uint8))

    blocks = tiles(segmentation.box, segmentation.chunk_shape)
    run_blocks(
        segment,
        blocks,
        label=f"segment {address}",
        ledger=ledger,
        num_threads=num_threads,
        retries=retries,
        workers=workers,
    )
    return segmentation


def _finish(volume: Volume, ledger: Ledger, *, labels: bool) -> None:
    """Writes the pyramid of a volume whose blocks are written; the mark after the last one says so."""
    num_blocks = len(tiles(volume.box, volume.chunk_shape))
    if num_blocks in ledger.finished:
        logger.info("%s is finished already", volume.address)
        return
    write_pyramid(volume, labels=labels)
    ledger.mark(num_blocks)


def _storage(config: ConfigDict, job: BlockJob) -> dict[str, Any]:
    """Returns how volumes are stored, and who writes them."""
    words = {name: config[name] for name in ("chunk_shape", "shard_shape", "zarr_format", "num_threads", "retries")}
    return {**words, "workers": job.workers}


def _make(config: ConfigDict, like: Volume, name: str, dtype: np.dtype[Any]) -> Volume:
    """Creates a volume in the target on the grid of another one, or opens the one that is there."""
    storage = {key: config[key] for key in ("chunk_shape", "shard_shape", "zarr_format")}
    notes = {"made_from": config.probability, **_kept(like, "threshold")}
    return create_like(like, f"{config.target}/{name}", dtype, attributes=notes, **storage)


def _kept(volume: Volume, *names: str) -> dict[str, Any]:
    """Returns those of the provenance of a volume that hold for what is made of it."""
    return {name: value for name, value in volume.attributes.items() if name in names}


def _job(config: ConfigDict, workdir: Path, workers: Workers | None, *, begun: bool) -> BlockJob:
    """Returns the job of the steps around the threshold; what an earlier one left is removed."""
    folder = workdir / "ledgers" / "postprocess-steps"
    if not begun and not Path(config.target).exists():
        shutil.rmtree(folder, ignore_errors=True)
    block_shape = config.block_shape or config.shard_shape or config.chunk_shape
    settings = _without_speed(config.to_dict())
    return BlockJob(folder, int3(block_shape, "block_shape"), config.num_threads, settings, workers)


def _check_other(other: Volume, config: ConfigDict) -> None:
    """Raises if a threshold chosen on another volume would not be one for this one."""
    changes = {name: config[name] for name in ("voxel_size_nm", "smoothing_nm") if config[name] is not None}
    if changes or other.dtype != np.uint8:
        raise ValueError(
            f"postprocess.threshold_probability={other.address} has dtype {other.dtype}, and {changes or 'nothing'} "
            "would change the volume that is segmented, not this one; give what stage predict wrote (uint8), and None "
            "for voxel_size_nm and smoothing_nm."
        )


def _check_block_shape(config: ConfigDict) -> None:
    """Raises if two blocks would write to one file."""
    file = config.shard_shape or config.chunk_shape
    if config.block_shape and any(b % f for b, f in zip(config.block_shape, file, strict=True)):
        raise ValueError(
            f"postprocess.block_shape={tuple(config.block_shape)} is not a multiple of {tuple(file)}, what a file "
            "holds (shard_shape or chunk_shape); make it one, or give None for one file at a time."
        )


def _without_speed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that decide what is written; a job may go on with other threads or workers."""
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
