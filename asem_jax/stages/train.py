"""Stage train: labelled regions to a model in the run folder; goes on from the last checkpoint."""

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.interruption import Interruption, deferred
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints, load_model, load_state
from asem_jax.models.model import Model, ModelCard, Params
from asem_jax.prediction.validation import Validation, common_thresholds, validate
from asem_jax.progress import progress
from asem_jax.stages.recipe import make_card, make_recipe, make_sampling, open_regions, predicted_shape
from asem_jax.training.crops import Batch, read_batches, region_shares
from asem_jax.training.logbook import FILE, Logbook, whole_lines
from asem_jax.training.optimizer import matches, moments_of, name_of, with_moments
from asem_jax.training.regions import TrainingRegion
from asem_jax.training.step import Recipe, TrainState, init_state, parallel_train_step, preview, start_average
from asem_jax.training.transfer import take_over
from asem_jax.volumes.geometry import int3

logger = logging.getLogger(__name__)

# Between two runs in one folder; init_optimizer matters at the first step only.
MAY_CHANGE = ("validation_regions", "batches_ahead", "reader_threads", "images_every", "init_optimizer")


def run(config: ConfigDict, workdir: Path) -> None:
    """Trains until `num_train_steps`, from the last checkpoint in `workdir` if there is one.

    Args:
      config: the section described in `settings.SETTINGS["train"]`.
      workdir: receives checkpoints/, metrics.jsonl and TensorBoard events.

    Raises:
      ValueError: the settings do not fit together, the volumes or the checkpoint there.
    """
    _check_intervals(config)
    predicted_shape(config)  # raises where input_shape does not fit the network
    regions = open_regions("regions", config.regions, config)
    region_shares(regions, config.favoured, config.favoured_probability)  # raises where they do not fit
    validation_regions = open_regions("validation_regions", config.validation_regions, config)
    card = make_card(config, regions)
    mesh = devices.make_mesh()
    _check_batch(config, mesh.size)
    with Checkpoints(workdir, _several(card.organelles)) as checkpoints:
        first_step = checkpoints.latest_step or 0
        if first_step:
            _check_same_settings(checkpoints.read_config(), config)
        scores = _validated_scores(workdir, first_step)
        if first_step >= config.num_train_steps or _is_plateau(scores, config.stop_after):
            logger.info("trained already: %d of %d steps", first_step, config.num_train_steps)
            return
        recipe = make_recipe(config, card)
        state = devices.replicate(mesh, _first_state(config, recipe))
        if first_step:
            state = checkpoints.restore(state)
        with Logbook(workdir, first_step) if devices.is_speaker() else _Silence() as logbook:
            training = _Training(config, card, recipe, validation_regions, checkpoints, logbook, scores)
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
    scores: list[float]  # of all validations so far
    losses: list[jax.Array] = field(default_factory=list)  # of the steps since the last record
    addresses: list[Sequence[str]] = field(default_factory=list)  # of their crops
    skipped_in_a_row: int = 0
    waited_s: float = 0.0
    since_s: float = field(default_factory=time.monotonic)

    def run(self, state: TrainState, regions: Sequence[TrainingRegion], mesh: jax.sharding.Mesh) -> None:
        """Makes the steps that are left; logs, validates and saves at their intervals."""
        config, first_step = self.config, int(state.step)
        update = parallel_train_step(self.recipe, mesh)
        batches = self._batches(regions, first_step)
        self.since_s = time.monotonic()
        with (
            deferred() as requested,
            progress(config.num_train_steps, label="train", unit="steps", initial=first_step) as bar,
        ):
            for step in range(first_step + 1, config.num_train_steps + 1):
                batch, addresses = self._next(batches)
                state, loss = update(state, {k: devices.place_batch(mesh, v) for k, v in batch.items()})
                self.losses.append(loss)
                self.addresses.append(addresses)
                if jax.default_backend() == "cpu":
                    # Simulated devices share a small thread pool: queued collectives can starve each other.
                    loss.block_until_ready()
                bar.update(1)
                last = step == config.num_train_steps
                if step % config.log_every == 0 or last:
                    self._log(step)
                    if config.images_every is not None and step % config.images_every == 0:
                        self._draw(step, state.params, batch)
                    # Only here, so that a continued run logs what an uninterrupted one does.
                    stops = devices.in_any_process(requested()) and not last
                    if step % config.checkpoint_every == 0 or last or stops:
                        params = state.params if state.averaged is None else state.averaged
                        score, score_of, thresholds = self._validate(step, params, last=last)
                        card = replace(self.card, thresholds=thresholds)
                        self.checkpoints.save(
                            step, state, config=config.to_dict(), card=card, score=score, score_of=score_of
                        )
                    if _is_plateau(self.scores, config.stop_after):
                        logger.info("step %d: no better F1 in %d validations, it ends", step, config.stop_after)
                        break
                    if stops:
                        raise Interruption(f"asked to stop; step {step} is saved, the same command goes on from there.")
        batches.close()

    def _batches(self, regions: Sequence[TrainingRegion], first_step: int) -> Any:
        """Starts reading the batches of this process."""
        config = self.config
        share = config.batch_size // jax.process_count()
        begin = jax.process_index() * share
        return read_batches(
            regions,
            make_sampling(config, self.recipe.augmentation),
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

    def _log(self, step: int) -> None:
        """Records the mean loss since the last record, and how fast the steps are."""
        losses = np.asarray(jnp.stack(self.losses))
        self._check_skipped(step, losses)
        made = losses[np.isfinite(losses)]
        mean = float(made.mean()) if made.size else None
        elapsed = time.monotonic() - self.since_s
        rate = len(self.losses) / elapsed
        predicted = math.prod(predicted_shape(self.config)) * self.config.batch_size
        self.logbook.write(
            step,
            {
                "loss": mean,
                **({"skipped_steps": len(losses) - len(made)} if len(made) < len(losses) else {}),
                "steps_per_s": rate,
                "mvoxel_per_s": rate * predicted / 1e6,
                "waiting_share": self.waited_s / elapsed,
                "time": time.time(),
            },
        )
        self.losses, self.addresses, self.waited_s, self.since_s = [], [], 0.0, time.monotonic()

    def _draw(self, step: int, params: Params, batch: Batch) -> None:
        """Records what the first crop of the last batch looks like, and what the network says of it."""
        if devices.is_speaker():
            crop = {name: array[:1] for name, array in batch.items()}
            key = jax.random.fold_in(jax.random.key(self.recipe.seed), step)
            self.logbook.draw(step, jax.device_get(preview(self.recipe, jax.device_get(params), crop, key)))

    def _check_skipped(self, step: int, losses: npt.NDArray[np.floating]) -> None:
        """Reports steps that made no update; raises when there are too many in a row."""
        first = step - len(losses) + 1
        for number, (finite, addresses) in enumerate(zip(np.isfinite(losses), self.addresses, strict=True), first):
            self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
            if finite:
                continue
            crops = ", ".join(addresses)
            if self.skipped_in_a_row > self.config.max_skipped_steps:
                raise ValueError(
                    f"at step {number} the loss or its gradient is not finite, as in {self.skipped_in_a_row - 1} steps "
                    f"before it (max_skipped_steps={self.config.max_skipped_steps}; crops {crops}); look at raw and "
                    "labels there, or lower learning_rate."
                )
            logger.warning("step %d is skipped: its loss or gradient is not finite (crops %s)", number, crops)

    def _validate(
        self, step: int, params: Params, *, last: bool
    ) -> tuple[float, dict[str, float], tuple[float | None, ...]]:
        """Returns the mean F1 over the validation regions, that of each organelle, and its threshold, if it is time."""
        if not self.validation_regions or not (step % self.config.validate_every == 0 or last):
            return NOT_VALIDATED, {}, ()
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
        score = _mean_known([validation.f1 for validation in found.values()])
        score_of = {
            name: _mean_known([validation.scores[name].f1 for validation in found.values()])
            for name in _several(self.card.organelles)
        }
        values = {name.rpartition(".")[2]: validation.as_json() for name, validation in found.items()}
        self.logbook.write(step, {"validation": values, "f1": None if score == NOT_VALIDATED else score})
        losses = sum(validation.loss for validation in found.values()) / len(found)
        logger.info("step %d: validation loss %.4f, F1 %.4f", step, losses, score)
        self.since_s = time.monotonic()
        self.scores.append(score)
        return score, score_of, common_thresholds(list(found.values()), self.card.organelles)


def _several(organelles: Sequence[str]) -> Sequence[str]:
    """Returns the organelles that a mean over them hides."""
    return organelles if len(organelles) > 1 else ()


def _mean_known(scores: Sequence[float]) -> float:
    """Returns the mean of those that are known, `NOT_VALIDATED` where none is."""
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else NOT_VALIDATED


class _Silence:
    """Stands for the logbook in processes that do not speak for the job."""

    def __enter__(self) -> "_Silence":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def draw(self, step: int, pictures: Mapping[str, Any]) -> None:
        """Draws nothing."""


def _validated_scores(workdir: Path, last_step: int) -> list[float]:
    """Returns the scores that an earlier run here recorded up to a step."""
    path = workdir / FILE
    lines = [json.loads(line) for line in whole_lines(path)] if path.exists() else []
    found = [line["f1"] for line in lines if "validation" in line and line["step"] <= last_step]
    return [NOT_VALIDATED if score is None else score for score in found]


def _is_plateau(scores: Sequence[float], stop_after: int | None) -> bool:
    """Says whether the best score lies at least `stop_after` validations back."""
    if stop_after is None or not scores:
        return False
    return len(scores) - 1 - int(np.argmax(scores)) >= stop_after


def _check_intervals(config: ConfigDict) -> None:
    pairs = [("log_every", "checkpoint_every"), ("checkpoint_every", "validate_every")]
    pairs += [] if config.images_every is None else [("log_every", "images_every")]
    for shorter, longer in pairs:
        if config[shorter] < 1 or config[longer] % config[shorter]:
            raise ValueError(
                f"{longer}={config[longer]} is not a multiple of {shorter}={config[shorter]}; make it one, so "
                "that a continued run logs what an uninterrupted one does and each validated model is saved."
            )


def _check_batch(config: ConfigDict, num_devices: int) -> None:
    share, rest = divmod(config.batch_size, num_devices)
    if rest:
        raise ValueError(
            f"batch_size={config.batch_size} does not divide among {num_devices} devices; "
            f"nearest: {max(1, round(config.batch_size / num_devices)) * num_devices}."
        )
    at_once = share if config.crops_at_once is None else config.crops_at_once
    if at_once < 1 or share % at_once:
        divisors = ", ".join(str(n) for n in range(1, share + 1) if share % n == 0)
        raise ValueError(
            f"crops_at_once={at_once} does not divide the {share} crops of a device; give one of {divisors}."
        )


def _check_same_settings(saved: Mapping[str, Any], config: ConfigDict) -> None:
    """Raises if the checkpoint was trained with settings that a continued run may not change."""
    wanted = json.loads(json.dumps(config.to_dict()))
    # What is None may be missing: it was added since, and switches nothing on.
    before, after = dict(_leaves(saved)), dict(_leaves(wanted))
    keys = [key for key in {**after, **before} if key.split(".")[0] in wanted.keys() - set(MAY_CHANGE)]
    changed = [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)]
    if changed:
        raise ValueError(
            f"the checkpoint here was trained with other settings ({'; '.join(changed)}); restore them to "
            "continue, or give a new --workdir (init_from can start from this model)."
        )


def _leaves(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted key and value of everything in nested settings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield where + key, value


def _first_state(config: ConfigDict, recipe: Recipe) -> TrainState:
    """Returns the state before the first step: random parameters, or those of `init_from`."""
    state = init_state(recipe.network, recipe.optimizer, int3(config.input_shape, "input_shape"), config.seed)
    _check_patterns(config, state.params)
    if config.init_from is not None:
        state = _begin_from(config, state)
    return state if config.ema_decay is None else start_average(state)


def _begin_from(config: ConfigDict, state: TrainState) -> TrainState:
    """Returns the state with the parameters of `init_from`, and perhaps with what its optimiser carried."""
    try:
        params, fresh, unused = take_over(state.params, load_model(config.init_from).params, new=config.init_new)
    except ValueError as error:
        raise ValueError(f"init_from={config.init_from}: {error}") from error
    for names, what in ((fresh, "begin anew (init_new)"), (unused, "of it are not used")):
        if names:
            logger.info("init_from=%s: %d parameters %s: %s", config.init_from, len(names), what, ", ".join(names))
    if not config.init_optimizer:
        return state._replace(params=params)
    adam = moments_of(load_state(config.init_from, state).opt_state)
    logger.info("the optimiser goes on from the %d updates of %s", int(adam.count), config.init_from)
    return state._replace(params=params, opt_state=with_moments(state.opt_state, adam.count, adam.mu, adam.nu))


def _check_patterns(config: ConfigDict, params: Params) -> None:
    """Raises if a pattern of names fits no parameter, most likely for a typing mistake."""
    for key in ("frozen", "init_new"):
        for pattern in config[key]:
            if not any(jax.tree.leaves(matches(params, [pattern]))):
                names = [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
                near = get_close_matches(pattern, names, n=1, cutoff=0.0)[0]
                raise ValueError(f"{key}={pattern!r} fits no parameter; there are {len(names)}, such as {near}.")
