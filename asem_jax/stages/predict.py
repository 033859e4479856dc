"""Stage predict: models over whole volumes; goes on at the first block that was not written.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart --config.predict.dry_run=True

It says first what it will cost. A dry run ends there, after timing a few blocks.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.models.checkpoint import load_model
from asem_jax.prediction.appearance import missing_equalisation, warn_of_appearance
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.exports import check_exports, export_results
from asem_jax.prediction.forecast import check_disk, forecast
from asem_jax.prediction.job import Job, make_job, validated_threshold
from asem_jax.prediction.predictor import is_finished, num_finished, sweep_volume
from asem_jax.prediction.results import Prediction
from asem_jax.prediction.seams import Seams, measure_seams
from asem_jax.prediction.waiting import Waiting
from asem_jax.prediction.workers import Order, running_on
from asem_jax.reporting.scenery import COLORS, Layer, link, state
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Box, int3, nm_from_voxels
from asem_jax.volumes.ledger import Shard
from asem_jax.volumes.remote import is_remote
from asem_jax.volumes.serving import container, name_folders, url_of
from asem_jax.volumes.volume import Volume, open_volume

CLIENT = "https://neuroglancer-demo.appspot.com"
SERVER = "http://127.0.0.1:8000"
"""Where the link at the end expects the volumes."""

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Predicts every volume of the section; the ledgers lie beside what is written.

    Args:
      config: the section described in `settings.SETTINGS["predict"]`.
      workdir: receives forecast.json (of a shard: forecast.2-of-4.json), if asked for seams.json, and a link to look
        at each volume.

    Raises:
      ValueError: a volume does not fit the model, was begun with other settings, or the disk may be too small.
      RuntimeError: blocks failed every time; all others are finished.
    """
    shard = None if config.shard is None else Shard.parse(config.shard)
    if config.tiling == "incasem" and (shard is not None or config.cluster is not None):
        raise ValueError(
            f"predict.tiling='incasem' with shard={config.shard!r} or a cluster: blocks of that tiling meet within "
            "files, which two processes may not write at one time; set both to None, or use tiling='seamless'."
        )
    models = _models(config)
    volumes = {name: open_volume(section.raw) for name, section in config.volumes.items()}
    boxes = {name: _box(raw, config.volumes[name], f"volumes.{name}") for name, raw in volumes.items()}
    jobs = {name: _job(config, name, models, raw, boxes[name]) for name, raw in volumes.items()}
    for job in jobs.values():
        check_exports(job, config.exports)
        for model in job.ensembles:
            warn_of_appearance(model, job.raw, job.plan.box, job.equalisation)
    costs, forecasts = _costs(config, jobs, shard), workdir / _forecasts(shard)
    if costs:
        write_json(forecasts, costs)
    if config.seams is not None:
        write_json(workdir / "seams.json", {name: asdict(_seams(config, name, job)) for name, job in jobs.items()})
    if config.dry_run:
        return
    notes = {"config": json.loads(json.dumps(config.to_dict()))}
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        for name, job in jobs.items():
            on_workers = {"retries": config.retries, "shard": shard}
            run_blocks = None if workers is None else running_on(workers, _order(config, name, job), **on_workers)
            waiting = Waiting()
            results = sweep_volume(job, notes, retries=config.retries, shard=shard, run=run_blocks, waiting=waiting)
            if waiting.voxels:
                costs[name]["run"] = waiting.to_dict()
                write_json(forecasts, costs)
            for organelle, prediction in results.items():
                logger.info("%s: %s is in %s", name, organelle, prediction.probability.address)
            _export(config, name, job, results, shard)
            seen, file = viewer_link(job, results), workdir / f"neuroglancer_{name}.txt"
            file.write_text(seen + "\n")
            logger.info("%s: in neuroglancer (%s; docs/prediction.md): %s", name, file, seen)


def viewer_link(job: Job, results: Mapping[str, Prediction]) -> str:
    """Returns a link to neuroglancer with raw and all results, for a server of this machine at `SERVER`.

    It answers with the folders that `volumes.serving.FolderServer` is given: the containers, in this order.
    """
    parts = {"raw": (job.raw.address, "raw", True)}
    for name, prediction in results.items():
        parts[name] = (prediction.probability.address, "probability", True)
        parts[f"{name} segmentation"] = (prediction.segmentation.address, "labels", False)
    local = {name: part for name, part in parts.items() if not is_remote(part[0])}
    named = name_folders([container(address) for address, *_ in local.values()])

    def url(address: str) -> str:
        if is_remote(address):
            return address
        path = Path(address).resolve()
        return next(url_of(path, key, folder, SERVER) for key, folder in named.items() if path.is_relative_to(folder))

    layers = [
        Layer(name, url(address), kind, COLORS[number % len(COLORS)], is_visible)
        for number, (name, (address, kind, is_visible)) in enumerate(parts.items())
    ]
    box, size = job.plan.box, job.raw.voxel_size_nm
    middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    width = max(side * step for side, step in zip(box.shape[1:], size[1:], strict=True))
    position = nm_from_voxels(middle, size, job.raw.offset_nm)
    return link(state(layers, position_nm=position, voxel_size_nm=size, width_nm=width), CLIENT)


def _addresses(config: ConfigDict) -> dict[str, tuple[str, ...]]:
    """Returns the addresses of each model by its name; one that has none is called ""."""
    given = config.model.to_dict() if isinstance(config.model, ConfigDict) else {"": config.model}
    return {name: (found,) if isinstance(found, str) else tuple(found) for name, found in given.items()}


def _order(config: ConfigDict, name: str, job: Job) -> Order:
    """Returns what the workers of a cluster are told of a job."""
    return Order(
        models=tuple(_addresses(config).items()),
        symmetries=config.symmetries,
        raw=job.raw.address,
        target=job.address,
        box=job.plan.box,
        mask=config.volumes[name].mask,
        thresholds=tuple(job.thresholds.items()),
        tiling=config.tiling,
        equalisation=job.equalisation,
    )


def _models(config: ConfigDict) -> dict[str, Ensemble]:
    """Returns the models by name."""
    models = {}
    for name, addresses in _addresses(config).items():
        models[name] = model = Ensemble(tuple(load_model(address) for address in addresses), config.symmetries)
        organelles = ", ".join(model.card.organelles)
        logger.info("model %s: %s at %s nm", " and ".join(addresses), organelles, model.card.voxel_size_nm)
    return models


def _job(config: ConfigDict, name: str, models: Mapping[str, Ensemble], raw: Volume, box: Box) -> Job:
    section = config.volumes[name]
    equalisation = missing_equalisation(models, raw, box) if config.equalise else None
    if equalisation is not None:
        logger.info("%s: %s is equalised as it is read, as the model learned it: %s", name, raw.address, equalisation)
    return make_job(
        models,
        raw,
        section.target,
        box=box,
        write_shape=config.write_shape,
        mask=None if section.mask is None else open_volume(section.mask, missing_as_zero=True),
        thresholds=_thresholds(config, models),
        tiling=config.tiling,
        equalisation=equalisation,
    )


def _costs(config: ConfigDict, jobs: Mapping[str, Job], shard: Shard | None) -> dict[str, dict[str, Any]]:
    """Says what each volume will cost of which blocks are left, and returns it as JSON."""
    costs = {}
    for name, job in jobs.items():
        finished = num_finished(job, shard)
        if finished == len(job.write_boxes) and not config.dry_run:
            logger.info("%s: all %d blocks are predicted already", name, finished)
            continue
        cost = forecast(job, finished, timed=config.dry_run, exports=config.exports)
        for line in cost.describe(job):
            logger.info("%s: %s", name, line)
        check_disk(job, cost)
        costs[name] = asdict(cost)
    return costs


def _forecasts(shard: Shard | None) -> str:
    """Returns the name of the file of the forecasts; shards of one run folder have one each."""
    return "forecast.json" if shard is None else f"forecast.{shard.number}-of-{shard.of}.json"


def _export(config: ConfigDict, name: str, job: Job, results: Mapping[str, Prediction], shard: Shard | None) -> None:
    """Writes the results in the other formats that are asked for, if all of them are there."""
    if config.exports and is_finished(job, shard):
        export_results(job, results, config.exports)
    elif config.exports:
        logger.info("%s: blocks are left to other shards; the one that ends last exports", name)


def _thresholds(config: ConfigDict, models: Mapping[str, Ensemble]) -> dict[str, float]:
    """Returns the thresholds that are given, with those of model cards and of runs looked up."""
    found = {}
    for name, given in config.thresholds.items():
        if isinstance(given, str):
            level = validated_threshold(models, name) if given == "card" else _chosen_threshold(name, given)
            logger.info("threshold of %s: %.3f, from %s", name, level, given)
        found[name] = level if isinstance(given, str) else given
    return found


def _chosen_threshold(name: str, path: str) -> float:
    """Returns the threshold that stage postprocess chose, from the file that says so."""
    try:
        return float(json.loads(Path(path).read_text())["threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"thresholds.{name}={path!r} is no file with a threshold ({error}); give a number from 0 to 1, 'card', or "
            "the postprocess.json of a run."
        ) from error


def _seams(config: ConfigDict, name: str, job: Job) -> Seams:
    start, stop = config.seams
    found = measure_seams(job, Box(int3(start, "seams start"), int3(stop, "seams stop")))
    logger.log(
        logging.INFO if found.has_none else logging.WARNING,
        "%s: %d blocks of %s voxels differ from the region at once by at most %.3g (bound %.3g), by order by %.3g",
        name,
        found.num_blocks,
        found.write_shape,
        found.whole_to_blocks,
        found.bound,
        found.order,
    )
    return found


def _box(raw: Volume, section: ConfigDict, label: str) -> Box:
    start = raw.box.start if section.start is None else int3(section.start, f"{label}.start")
    stop = raw.box.stop if section.stop is None else int3(section.stop, f"{label}.stop")
    return Box(start, stop)
