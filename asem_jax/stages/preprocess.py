"""Stage `preprocess`: volumes at the voxel size of a model.

    python -m asem_jax.main --config configs/train_lucchi_mito.py --workdir runs/lucchi

Grey values by mean or linear interpolation, labels by their most frequent or nearest value, each with its
pyramid. Every entry is checked before the first is written, and a run that was killed continues with the
missing blocks.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.resample import ratios, resample_volume
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Resamples the volumes that `config` (section "preprocess") names.

    Args:
      config: the section described in `settings.SETTINGS["preprocess"]`.
      workdir: gets the ledgers.

    Raises:
      FileNotFoundError: a source is not there.
      ValueError: a voxel size is no whole ratio of another, or two entries write to one place.
    """
    sources = {name: open_volume(section.source) for name, section in config.volumes.items()}
    taken = {source.address: f"the source of {name}" for name, source in sources.items()}
    for name, section in config.volumes.items():
        ratios(sources[name], section.voxel_size_nm)
        target = section.target.rstrip("/")
        if target in taken:
            raise ValueError(
                f"preprocess.volumes.{name}.target={target!r} is {taken[target]} too; give another address."
            )
        taken[target] = f"the target of {name}"
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        speed = {"num_threads": config.num_threads, "retries": config.retries, "workers": workers}
        for name, section in config.volumes.items():
            _resample(sources[name], name, section, workdir, speed)


def _resample(source: Volume, name: str, section: ConfigDict, workdir: Path, speed: Mapping[str, Any]) -> None:
    """Writes one volume and its pyramid, or what is left of them to write."""
    path = workdir / "ledgers" / f"preprocess-{name}.jsonl"
    if not Path(section.target).exists():
        path.unlink(missing_ok=True)
    ledger = Ledger(path, json.loads(section.to_json()) | {"shape": source.shape})
    if ledger.is_complete:
        logger.info("%s is resampled already; nothing to do", section.target)
        return
    target = resample_volume(
        source,
        section.target,
        voxel_size_nm=section.voxel_size_nm,
        labels=section.labels,
        chunk_shape=section.chunk_shape,
        shard_shape=section.shard_shape,
        zarr_format=section.zarr_format,
        attributes={"made_by": "asem_jax preprocess", "source": source.address},
        ledger=ledger,
        **speed,
    )
    write_pyramid(target, labels=section.labels, num_threads=speed["num_threads"])
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", target.address, target.shape, target.voxel_size_nm)
