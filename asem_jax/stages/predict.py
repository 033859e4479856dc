"""Stage predict: a model over whole volumes; goes on at the first block that was not written."""

import logging
from pathlib import Path

from ml_collections import ConfigDict

from asem_jax.models.checkpoint import load_model
from asem_jax.prediction.appearance import warn_of_appearance
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.predictor import check_raw, sweep_volume
from asem_jax.prediction.workers import Order, running_on
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.geometry import Box, int3
from asem_jax.volumes.ledger import Shard
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Predicts every volume of the section; the ledgers lie beside what is written.

    Args:
      config: the section described in `settings.SETTINGS["predict"]`.
      workdir: not written to.

    Raises:
      ValueError: a volume does not fit the model, or was begun with other settings.
      RuntimeError: blocks failed every time; all others are finished.
    """
    shard = None if config.shard is None else Shard.parse(config.shard)
    addresses = (config.model,) if isinstance(config.model, str) else tuple(config.model)
    model = Ensemble(tuple(load_model(address) for address in addresses), config.symmetries)
    names = ", ".join(model.card.organelles)
    logger.info("model %s: %s at %s nm", " and ".join(addresses), names, model.card.voxel_size_nm)
    volumes = {name: open_volume(section.raw) for name, section in config.volumes.items()}
    boxes = {name: _box(raw, config.volumes[name], f"volumes.{name}") for name, raw in volumes.items()}
    for name, raw in volumes.items():
        check_raw(model, raw, boxes[name])
        warn_of_appearance(model, raw, boxes[name])
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        for name, raw in volumes.items():
            target, retries = config.volumes[name].target, config.retries
            order = Order(addresses, config.symmetries, raw.address, target, boxes[name])
            run = None if workers is None else running_on(workers, order, retries=retries, shard=shard)
            results = sweep_volume(
                model, raw, target, boxes[name], config.write_shape, retries=retries, shard=shard, run=run
            )
            for organelle, prediction in results.items():
                logger.info("%s: %s is in %s", name, organelle, prediction.probability.address)


def _box(raw: Volume, section: ConfigDict, label: str) -> Box:
    start = raw.box.start if section.start is None else int3(section.start, f"{label}.start")
    stop = raw.box.stop if section.stop is None else int3(section.stop, f"{label}.stop")
    return Box(start, stop)
