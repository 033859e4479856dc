"""Stage train: labelled regions to a model in the run folder; goes on from the last checkpoint."""

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from asem_jax import __version__, devices
from asem_jax.models.architecture import Architecture, symmetric
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints, load_model, load_state
from asem_jax.models.model import Model, ModelCard, Params
from asem_jax.models.shapes import output_shape
from asem_jax.prediction.validation import Validation, validate
from asem_jax.progress import progress
from asem_jax.training.augment import Augmentation, allowed_transpositions
from asem_jax.training.crops import Batch, Sampling, TrainingRegion, read_batches
from asem_jax.training.logbook import Logbook
from asem_jax.training.step import (
    Recipe,
    TrainState,
    init_state,
    make_optimizer,
    moments_of,
    parallel_train_step,
    with_moments,
)
from asem_jax.volumes.geometry import Box, float3, int3
from asem_jax.volumes.grey_values import percentiles, sample_blocks
from asem_jax.volumes.volume import open_volume

logger = logging.getLogger(__name__)

# Between two runs in one folder; init_optimizer matters at the first step only.
MAY_CHANGE = ("validation_regions", "batches_ahead", "reader_threads", "init_optimizer")


def run(config: ConfigDict, workdir: Path) -> None:
    """Trains until `num_train_steps`, from the last checkpoint in `workdir` if there is one.

    Args:
      config: the section described in `settings.SETTINGS["train"]`.
      workdir: receives checkpoints/, metrics.jsonl and TensorBoard events.

    Raises:
      ValueError: the settings do not fit together, the volumes or the checkpoint there.
    """
    _check_intervals(config)
    _output_shape(config)  # raises where input_shape does not fit the network
    regions = open_regions("regions", config.regions, config)
    validation_regions = open_regions("validation_regions", config.validation_regions, config)
    card = _make_card(config, regions)
    mesh = devices.make_mesh()
    _check_batch(config.batch_size, mesh.size)
    with Checkpoints(workdir) as checkpoints:
        first_step = checkpoints.latest_step or 0
        if first_step:
            _check_same_settings(checkpoints.read_config(), config)
        if first_step >= config.num_train_steps:
            logger.info("trained already: %d of %d steps", first_step, config.num_train_steps)
            return
        recipe = _make_recipe(config, card)
        state = devices.replicate(mesh, _first_state(config, card, recipe))
        if first_step:
            state = checkpoints.restore(state)
        with Logbook(workdir, first_step) if devices.is_speaker() else _Silence() as logbook:
            training = _Training(config, card, recipe, validation_regions, checkpoints, logbook)
            training.run(state, regions, mesh)


@dataclass
class _Training:
    """The loop and what it writes to."""

    config: ConfigDict
    card: ModelCard
    recipe: Recipe
    validation_regions: Sequence[TrainingRegion]
    checkpoints: Checkpoints
    logbook: "Logbook | _Silence"
    losses: list[jax.Array] = field(default_factory=list)
    waited_s: float = 0.0
    since_s: float = field(default_factory=time.monotonic)

    def run(self, state: TrainState, regions: Sequence[TrainingRegion], mesh: jax.sharding.Mesh) -> None:
        """Makes the steps that are left; logs, validates and saves at their intervals."""
        config, first_step = self.config, int(state.step)
        update = parallel_train_step(self.recipe, mesh)
        batches = self._batches(regions, first_step)
        self.since_s = time.monotonic()
        with progress(config.num_train_steps, label="train", unit="steps", initial=first_step) as bar:
            for step in range(first_step + 1, config.num_train_steps + 1):
                batch, addresses = self._next(batches)
                state, loss = update(state, {k: devices.place_batch(mesh, v) for k, v in batch.items()})
                self.losses.append(loss)
                if jax.default_backend() == "cpu":
                    # Simulated devices share a small thread pool: queued collectives can starve each other.
                    loss.block_until_ready()
                bar.update(1)
                last = step == config.num_train_steps
                if step % config.log_every == 0 or last:
                    self._log(step, addresses)
                if step % config.checkpoint_every == 0 or last:
                    score = self._validate(step, state.params, last=last)
                    self.checkpoints.save(step, state, config=config.to_dict(), card=self.card, score=score)
        batches.close()

    def _batches(self, regions: Sequence[TrainingRegion], first_step: int) -> Any:
        """Starts reading the batches of this process."""
        config = self.config
        share = config.batch_size // jax.process_count()
        begin = jax.process_index() * share
        return read_batches(
            regions,
            _make_sampling(config),
            first_step=first_step,
            slots=range(begin, begin + share),
            batch_size=config.batch_size,
            batches_ahead=config.batches_ahead,
            num_threads=config.reader_threads,
        )

    def _next(self, batches: Iterator[tuple[Batch, list[str]]]) -> tuple[Batch, list[str]]:
        """Returns the next batch and counts the time that the devices wait for it."""
        begin = time.monotonic()
        batch = next(batches)
        self.waited_s += time.monotonic() - begin
        return batch

    def _log(self, step: int, addresses: Sequence[str]) -> None:
        """Records the mean loss since the last record, and how fast the steps are."""
        mean = float(jnp.stack(self.losses).mean())
        if not math.isfinite(mean):
            raise ValueError(
                f"the loss is {mean} at step {step} (crops {', '.join(addresses)}); look at raw and labels there, "
                "or lower learning_rate."
            )
        elapsed = time.monotonic() - self.since_s
        rate = len(self.losses) / elapsed
        predicted = math.prod(_output_shape(self.config)) * self.config.batch_size
        self.logbook.write(
            step,
            {
                "loss": mean,
                "steps_per_s": rate,
                "mvoxel_per_s": rate * predicted / 1e6,
                "waiting_share": self.waited_s / elapsed,
                "time": time.time(),
            },
        )
        self.losses, self.waited_s, self.since_s = [], 0.0, time.monotonic()

    def _validate(self, step: int, params: Params, *, last: bool) -> float:
        """Returns the mean F1 over the validation regions, if it is time for it."""
        if not self.validation_regions or not (step % self.config.validate_every == 0 or last):
            return NOT_VALIDATED
        model = Model(jax.device_get(params), self.card)
        found: dict[str, Validation] = {
            region.name: validate(
                model,
                region,
                exclude_inwards=self.config.exclude_inwards,
                exclude_outwards=self.config.exclude_outwards,
                min_fraction=self.config.min_class_fraction,
                max_fraction=self.config.max_class_fraction,
            )
            for region in self.validation_regions
        }
        known = [validation.f1 for validation in found.values() if not math.isnan(validation.f1)]
        score = sum(known) / len(known) if known else NOT_VALIDATED
        values = {name.rpartition(".")[2]: validation.as_json() for name, validation in found.items()}
        self.logbook.write(step, {"validation": values, "f1": score if known else None})
        losses = sum(validation.loss for validation in found.values()) / len(found)
        logger.info("step %d: validation loss %.4f, F1 %.4f", step, losses, score)
        self.since_s = time.monotonic()
        return score


class _Silence:
    """Stands for the logbook in processes that do not speak for the job."""

    def __enter__(self) -> "_Silence":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes nothing."""


def open_regions(key: str, sections: ConfigDict, config: ConfigDict) -> tuple[TrainingRegion, ...]:
    """Opens the volumes of a config's regions and checks them against its voxel size and organelles.

    Args:
      key: what the config calls the group, for messages.
      sections: one per region.
      config: the section of the stage.

    Raises:
      ValueError: a voxel size or the organelles differ from what the config says.
    """
    regions = []
    for name, section in sections.items():
        label = f"{key}.{name}"
        if tuple(sorted(section.labels)) != tuple(sorted(config.organelles)):
            raise ValueError(
                f"{label}.labels has {', '.join(section.labels) or 'nothing'}, config.organelles is "
                f"{', '.join(config.organelles)}; give labels of each organelle."
            )
        raw = open_volume(section.raw)
        size = float3(config.voxel_size_nm, "voxel_size_nm")
        if max(abs(a / b - 1) for a, b in zip(raw.voxel_size_nm, size, strict=True)) > 0.01:
            raise ValueError(
                f"{label}: raw has voxel size {raw.voxel_size_nm} nm, config.voxel_size_nm is {size}; "
                "resample it (stage preprocess) or train one model per voxel size."
            )
        labels = tuple(open_volume(section.labels[organelle]) for organelle in config.organelles)
        mask = None if section.mask is None else open_volume(section.mask)
        start = raw.box.start if section.start is None else int3(section.start, f"{label}.start")
        stop = raw.box.stop if section.stop is None else int3(section.stop, f"{label}.stop")
        regions.append(TrainingRegion(label, raw, labels, mask, Box(start, stop)))
    return tuple(regions)


def _check_intervals(config: ConfigDict) -> None:
    for shorter, longer in (("log_every", "checkpoint_every"), ("checkpoint_every", "validate_every")):
        if config[shorter] < 1 or config[longer] % config[shorter]:
            raise ValueError(
                f"{longer}={config[longer]} is not a multiple of {shorter}={config[shorter]}; make it one, so "
                "that a continued run logs what an uninterrupted one does and each validated model is saved."
            )


def _check_batch(batch_size: int, num_devices: int) -> None:
    if batch_size % num_devices:
        raise ValueError(
            f"batch_size={batch_size} does not divide among {num_devices} devices; "
            f"nearest: {max(1, round(batch_size / num_devices)) * num_devices}."
        )


def _check_same_settings(saved: Mapping[str, Any], config: ConfigDict) -> None:
    """Raises if the checkpoint was trained with settings that a continued run may not change."""
    present = json.loads(json.dumps(config.to_dict()))
    changed = [
        f"{key}: {saved.get(key)} -> {present[key]}"
        for key in present
        if key not in MAY_CHANGE and saved.get(key) != present[key]
    ]
    if changed:
        raise ValueError(
            f"the checkpoint here was trained with other settings ({'; '.join(changed)}); restore them to "
            "continue, or give a new --workdir (init_from can start from this model)."
        )


def _make_card(config: ConfigDict, regions: Sequence[TrainingRegion]) -> ModelCard:
    return ModelCard(
        organelles=tuple(config.organelles),
        voxel_size_nm=float3(config.voxel_size_nm, "voxel_size_nm"),
        architecture=read_architecture(config.network, len(config.organelles) + 1),
        compute_dtype=config.compute_dtype,
        polarity=config.polarity,
        training_regions=tuple(f"{region.raw.address} {region.box.start} to {region.box.stop}" for region in regions),
        version=__version__,
        grey_percentiles=percentiles(
            region.raw.read(block) for region in regions for block in sample_blocks(region.box)
        ),
    )


def _output_shape(config: ConfigDict) -> tuple[int, int, int]:
    return output_shape(config.input_shape, read_architecture(config.network, len(config.organelles) + 1))


def read_architecture(network: ConfigDict, num_channels: int) -> Architecture:
    """Returns the architecture that the section `network` describes.

    Args:
      network: see `settings.SETTINGS["train"]["network"]`.
      num_channels: background and organelles.

    Raises:
      ValueError: its values do not fit each other, or a word is not known.
    """
    try:
        sizes = tuple(network.kernel_sizes)
        of_all_levels = all(isinstance(size, int) for size in sizes)
        return symmetric(
            num_channels=num_channels,
            num_maps=network.num_maps,
            map_growth=network.map_growth,
            pool_factors=tuple(network.pool_factors),
            kernel_sizes=(sizes,) * (len(network.pool_factors) + 1) if of_all_levels else sizes,
            padding=network.padding,
            upsampling=network.upsampling,
            head_kernel_size=network.head_kernel_size,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"config.network={network.to_dict()} describes no network: {error}") from error


def _make_recipe(config: ConfigDict, card: ModelCard) -> Recipe:
    input_shape = int3(config.input_shape, "input_shape")
    return Recipe(
        network=card.network(config.kernel_gain, rematerialize=config.network.rematerialize),
        optimizer=make_optimizer(
            learning_rate=config.learning_rate,
            final_learning_rate=config.final_learning_rate,
            num_steps=config.num_train_steps,
            weight_decay=config.weight_decay,
            max_gradient_norm=config.max_gradient_norm,
        ),
        augmentation=Augmentation(
            mirror_axes=tuple(config.mirror_axes),
            transpositions=allowed_transpositions(input_shape, card.voxel_size_nm),
            intensity_scale=config.intensity_scale,
            intensity_shift=config.intensity_shift,
        ),
        min_fraction=config.min_class_fraction,
        max_fraction=config.max_class_fraction,
        class_weights=tuple(config.class_weights),
        seed=config.seed,
    )


def _make_sampling(config: ConfigDict) -> Sampling:
    return Sampling(
        seed=config.seed,
        input_shape=int3(config.input_shape, "input_shape"),
        output_shape=_output_shape(config),
        min_foreground=config.min_foreground,
        reject_probability=config.reject_probability,
    )


def _first_state(config: ConfigDict, card: ModelCard, recipe: Recipe) -> TrainState:
    """Returns the state before the first step: random parameters, or those of `init_from`."""
    state = init_state(recipe.network, recipe.optimizer, int3(config.input_shape, "input_shape"), config.seed)
    if config.init_from is None:
        return state
    params = load_model(config.init_from).params
    wanted, found = jax.tree.map(jnp.shape, state.params), jax.tree.map(jnp.shape, params)
    if wanted != found:
        raise ValueError(
            f"init_from={config.init_from} holds another network than config.network and config.organelles "
            f"({', '.join(card.channels)}) describe; make config.network that of its training."
        )
    if not config.init_optimizer:
        return state._replace(params=params)
    adam = moments_of(load_state(config.init_from, state).opt_state)
    logger.info("the optimiser goes on from the %d updates of %s", int(adam.count), config.init_from)
    return state._replace(params=params, opt_state=with_moments(state.opt_state, adam.count, adam.mu, adam.nu))
