"""Stage import_weights: a checkpoint of the original program to a run folder that the other stages read."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from asem_jax.models.catalogue import PublishedModel, find_model, recognise
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints
from asem_jax.models.download import check_address, fetch
from asem_jax.models.torch_import import Facts, Imported, facts_of, import_checkpoint
from asem_jax.training.optimizer import make_optimizer, with_moments
from asem_jax.training.step import TrainState
from asem_jax.volumes.geometry import float3, int3

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Fetches a checkpoint and writes it to `config.target`, with the optimiser's moments if it has them.

    Args:
      config: the section described in `settings.SETTINGS["import_weights"]`.
      workdir: not written to.

    Raises:
      FileNotFoundError: there is no such file or address.
      ConnectionError: the download broke; the stage, run again, goes on with it.
      ValueError: it is no checkpoint of the original, what it does not say is not given, or `target` holds another.
    """
    published = _published(config.source)
    address = _address(config.source, published)
    facts = _facts(config, published)
    settings = json.loads(json.dumps({key: value for key, value in config.items() if key != "downloads"}))
    with Checkpoints(config.target) as checkpoints:
        if checkpoints.latest_step is not None:
            there = {key: value for key, value in checkpoints.read_config().items() if key != "downloads"}
            if there != settings:
                raise ValueError(
                    f"target={config.target} holds a checkpoint made with other settings ({there}); give another one."
                )
            logger.info("%s is imported already", config.source)
            return
        imported = import_checkpoint(fetch(address, config.downloads), facts, config.compute_dtype)
        state = _make_state(imported)
        card = imported.model.card
        checkpoints.save(int(state.step), state, config=config.to_dict(), card=card, score=NOT_VALIDATED)
    logger.info(
        "%s: %s at %s nm, %d parameters, optimiser with %d updates; is in %s",
        *(address, ", ".join(card.organelles), card.voxel_size_nm),
        *(sum(leaf.size for leaf in jax.tree.leaves(state.params)), int(state.step), config.target),
    )


def _published(source: str) -> PublishedModel | None:
    """Returns the catalogue's entry of an id or a file name; None where it has none."""
    return find_model(source) if str(source).isdecimal() else recognise(source)


def _address(source: str, published: PublishedModel | None) -> str:
    """Returns the path or address of what `source` names."""
    if published is None or not str(source).isdecimal():
        return source
    if published.address is None:
        raise ValueError(
            f"source={source} is a published model whose file name is not documented; look it up in the folder that "
            "docs/published_models.md names, download it, and give its path."
        )
    return published.address


def _facts(config: ConfigDict, published: PublishedModel | None) -> Facts:
    """Returns what the config says of the checkpoint, and for the rest what the catalogue says."""
    if published is None:
        missing = [key for key in ("organelles", "voxel_size_nm") if config[key] is None]
        if missing:
            check_address(config.source)
            raise ValueError(
                f"source={config.source} is in no catalogue, and its file does not say {' and '.join(missing)}; "
                "give them, as they were in its training."
            )
        known = Facts((), (0.0, 0.0, 0.0), "unknown", None, None, ())
    else:
        known = facts_of(published)
        if published.voxel_size_doubt and config.voxel_size_nm is None:
            logger.warning("voxel size %s nm: %s", published.voxel_size_nm, published.voxel_size_doubt)
    given = {key: config[key] for key in ("polarity", "equalised") if config[key] is not None}
    if config.organelles is not None:
        given["organelles"] = tuple(config.organelles)
    if config.voxel_size_nm is not None:
        given["voxel_size_nm"] = float3(config.voxel_size_nm, "voxel_size_nm")
    if config.pool_factors is not None:
        given["pool_factors"] = tuple(int3(factor, "pool_factors") for factor in config.pool_factors)
    return replace(known, **given)


def _make_state(imported: Imported) -> TrainState:
    """Returns the state of a training that has come as far as the checkpoint."""
    # A checkpoint keeps no settings of the optimiser, only its state: any values of them do.
    optimizer = make_optimizer(
        learning_rate=1.0, final_learning_rate=1.0, num_steps=1, weight_decay=0.0, max_gradient_norm=None
    )
    params, moments = imported.model.params, imported.moments
    opt_state = optimizer.init(params)
    if moments is None:
        return TrainState(jnp.int32(0), params, opt_state)
    step = jnp.int32(moments.step)
    return TrainState(step, params, with_moments(opt_state, step, moments.first, moments.second))
