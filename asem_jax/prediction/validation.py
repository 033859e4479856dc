"""A model against labelled regions, with the predictor that users run.

The loss is that of training, balanced over the whole region instead of per crop, so it does not depend on blocks: the
cross-entropy of the softmax and of each sigmoid or affinity, the squared difference of each distance. What else a
training adds to its loss is left out. Scores are those at the threshold that suits the organelle best: a balanced loss
moves probabilities away from 0.5, and a threshold is chosen before a volume is segmented.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.measurement.scoring import Scores
from asem_jax.models.channels import Channel, num_softmax, output_names
from asem_jax.models.model import Model
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.predictor import make_plan, predict_blocks
from asem_jax.prediction.program import all_outputs
from asem_jax.segmentation.labels import exclusion_zone, grey_level
from asem_jax.training.regions import TrainingRegion
from asem_jax.training.targets import Targets, label_padding, make_targets
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected

LEAST_PROBABILITY = 1e-7  # below it float32 softmax is rounding; bounds the loss of a voxel at 16

SOFTMAX = "softmax"  # name of the loss that exclusive organelles share

_targets = jax.jit(make_targets, static_argnums=0, static_argnames=("voxel_size_nm", "padding"))


@dataclass(frozen=True)
class Validation:
    """What a model is worth on one region.

    Attributes:
      loss: sum of `losses`.
      scores: per organelle, outside the exclusion zone, at the threshold of `thresholds`.
      thresholds: per organelle, the probability, 0 to 1, with the highest F1; 0.5 where the organelle is not there.
      losses: balanced over the region, of the softmax under this name, and of each channel that is judged alone.
      sweeps: per organelle, what the scores at all thresholds are made of.
    """

    loss: float
    scores: dict[str, Scores]
    thresholds: dict[str, float]
    losses: dict[str, float] = field(default_factory=dict)
    sweeps: dict[str, ProbabilityHistogram] = field(default_factory=dict)

    @property
    def f1(self) -> float:
        """Mean F1 of the organelles that can be scored; NaN where none can."""
        return _mean([scores.f1 for scores in self.scores.values()])

    def as_json(self) -> dict[str, Any]:
        """Returns the loss, the means over organelles, and of each the threshold, F1 and loss; None = cannot be scored.

        With organelles of one softmax alone, there is one loss.
        """
        names = ("f1", "iou", "precision", "recall")
        means = {name: _known(_mean([getattr(scores, name) for scores in self.scores.values()])) for name in names}
        details: dict[str, Any] = {"thresholds": self.thresholds}
        if len(self.scores) > 1:
            details["f1_of"] = {name: _known(scores.f1) for name, scores in self.scores.items()}
        if set(self.losses) - {SOFTMAX}:
            details["losses"] = self.losses
        return {"loss": self.loss, **means, **details}


def validate(
    model: Model | Ensemble,
    region: TrainingRegion,
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    min_fraction: float,
    max_fraction: float,
) -> Validation:
    """Predicts a region and compares it with its labels; nothing is written.

    Args:
      model: what is judged.
      region: where; its mask is honoured.
      exclude_inwards: thickness of the exclusion zone inside objects, voxels.
      exclude_outwards: thickness outside them, voxels.
      min_fraction: lower clip of a class's share in the balance.
      max_fraction: upper clip.

    Raises:
      ValueError: the network predicts other voxels than those of raw, on whose grid the labels are read.
    """
    plan = make_plan(model, region.box)
    if plan.scale != (1, 1, 1):
        raise ValueError(
            f"{region.name}: the network predicts {plan.scale} voxels (z, y, x) per voxel of raw, labels are read on "
            "the grid of raw; predict the volume and score that (stages predict and evaluate)."
        )
    channels = model.card.meanings
    sums = _Sums.empty(channels)
    sweeps = dict.fromkeys(model.card.organelles, ProbabilityHistogram.empty())
    padding = label_padding(channels, region.raw.voxel_size_nm)
    for box, probability in predict_blocks(
        model, partial(read_reflected, region.raw), plan, plan.write_boxes, all_outputs
    ):
        members, known = region.read_members(box.grow(padding))
        targets = _targets(channels, members, known, voxel_size_nm=region.raw.voxel_size_nm, padding=padding)
        sums += _Sums.of(channels, probability, targets)
        inside = Box.of_shape(box.shape, padding).slices
        truths = _truths(channels, members[inside], known[inside], targets)
        zones = _exclusion_zones(region, box, inwards=exclude_inwards, outwards=exclude_outwards)
        grey = np.rint(255 * probability).astype(np.uint8)[..., -len(channels) :]
        for place, (organelle, zone, truth) in enumerate(zip(sweeps, zones, truths, strict=True)):
            sweeps[organelle] += ProbabilityHistogram.of(grey[..., place], truth.there, truth.known & ~zone)
    losses = sums.losses_of(channels, min_fraction, max_fraction)
    thresholds = {
        organelle: sweep.best_threshold() if sweep.foreground.sum() else 0.5 for organelle, sweep in sweeps.items()
    }
    counts = {organelle: sweeps[organelle].counts_at(grey_level(level)) for organelle, level in thresholds.items()}
    scores = {organelle: Scores.of(sums) for organelle, sums in counts.items()}
    return Validation(sum(losses.values()), scores, thresholds, losses, sweeps)


def common_thresholds(validations: Sequence[Validation], organelles: Sequence[str]) -> tuple[float | None, ...]:
    """Returns, for each organelle, the threshold with the highest F1 on several regions together.

    Args:
      validations: of the regions.
      organelles: names.

    Returns:
      Probabilities, 0 to 1; None for an organelle that is in no region.
    """
    found: list[float | None] = []
    for organelle in organelles:
        sweep = sum((validation.sweeps[organelle] for validation in validations), ProbabilityHistogram.empty())
        found.append(sweep.best_threshold() if sweep.foreground.sum() else None)
    return tuple(found)


class _Truth(NamedTuple):
    """Where a channel's organelle is, and where that is known, bool `[z, y, x]`."""

    there: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


def _truths(
    channels: Sequence[Channel], members: npt.NDArray[np.integer], known: npt.NDArray[np.bool_], targets: Targets
) -> list[_Truth]:
    """Returns what each channel is scored against: its labels, whether or not its distance to them is certain."""
    number = num_softmax(channels)
    choice, values = np.asarray(targets.choice), np.asarray(targets.values)
    truths = [_Truth(choice == place + 1, np.asarray(targets.choice_known)) for place in range(number)]
    for place, channel in enumerate(channels[number:]):
        if channel.kind == "affinity":
            truths.append(_Truth(values[..., place] > 0, np.asarray(targets.known[..., place])))
        else:
            truths.append(_Truth(members[..., number + place] != 0, known[..., number + place]))
    return truths


@dataclass(frozen=True)
class _Sums:
    """Losses and voxels of a part of a region: of each output of the softmax, and of both sides of the other channels.

    Attributes:
      losses: summed, float64 `[outputs]`.
      voxels: that they come from.
      sided_losses: float64 `[channels, 2]`, outside and inside the channel that balances.
      sided_voxels: that they come from.
      balance: float64 `[channels, 2]`, voxels outside and inside the channel itself.
    """

    losses: npt.NDArray[np.float64]
    voxels: npt.NDArray[np.float64]
    sided_losses: npt.NDArray[np.float64]
    sided_voxels: npt.NDArray[np.float64]
    balance: npt.NDArray[np.float64]

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    @classmethod
    def empty(cls, channels: Sequence[Channel]) -> "_Sums":
        """Returns sums of nothing."""
        number = num_softmax(channels)
        outputs, sides = len(output_names(channels[:number])), (len(channels) - number, 2)
        return cls(np.zeros(outputs), np.zeros(outputs), np.zeros(sides), np.zeros(sides), np.zeros(sides))

    @classmethod
    def of(cls, channels: Sequence[Channel], probability: npt.NDArray[Any], targets: Targets) -> "_Sums":
        """Returns the sums of a block: probabilities `[z, y, x, outputs]` and what they should have been."""
        sums = cls.empty(channels)
        if number := len(sums.losses):
            choice, mask = np.asarray(targets.choice), np.asarray(targets.choice_known)
            chosen = np.take_along_axis(probability, choice[..., None], -1)[..., 0]
            loss = -np.log(np.maximum(chosen, LEAST_PROBABILITY))
            sums.losses[:] = np.bincount(choice[mask], loss[mask], number)
            sums.voxels[:] = np.bincount(choice[mask], minlength=number)
        single = channels[num_softmax(channels) :]
        values, known = np.asarray(targets.values), np.asarray(targets.known)
        inside = values > 0
        for place, (channel, parent) in enumerate(zip(single, _parents(single), strict=True)):
            loss = _loss_of(channel, probability[..., number + place], values[..., place])
            used = known[..., place] & known[..., parent]
            sums.sided_losses[place] = np.bincount(inside[..., parent][used], loss[used], 2)
            sums.sided_voxels[place] = np.bincount(inside[..., parent][used], minlength=2)
            sums.balance[place] = np.bincount(inside[..., place][known[..., place]], minlength=2)
        return sums

    def losses_of(self, channels: Sequence[Channel], min_fraction: float, max_fraction: float) -> dict[str, float]:
        """Returns the balanced loss of the softmax and of each other channel."""
        found = {}
        if number := len(self.losses):
            shares = np.clip(self.voxels / max(self.voxels.sum(), 1), min_fraction, max_fraction)
            weights = 1.0 / (number * shares)
            found[SOFTMAX] = float((weights * self.losses).sum() / max((weights * self.voxels).sum(), 1e-12))
        single = channels[num_softmax(channels) :]
        for place, (channel, parent) in enumerate(zip(single, _parents(single), strict=True)):
            share = np.clip(self.balance[parent, 1] / max(self.balance[parent].sum(), 1), min_fraction, max_fraction)
            weights = 1.0 / (2.0 * np.array([1.0 - share, share]))
            voxels = max(self.sided_voxels[place].sum(), 1)
            found[channel.name] = float((weights * self.sided_losses[place]).sum() / voxels)
        return found


def _parents(channels: Sequence[Channel]) -> list[int]:
    """Returns, for each channel, the place of the one that balances it."""
    names = [channel.name for channel in channels]
    return [names.index(channel.parent or channel.name) for channel in channels]


def _loss_of(
    channel: Channel, probability: npt.NDArray[Any], values: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Returns the loss per voxel of a channel that is judged alone; a distance beyond -1 or 1 counts as that."""
    if channel.kind == "distance":
        return (2.0 * probability - 1.0 - values) ** 2
    truth = np.where(values > 0, probability, 1.0 - probability)
    loss: npt.NDArray[np.floating] = -np.log(np.maximum(truth, LEAST_PROBABILITY))
    return loss


def _exclusion_zones(region: TrainingRegion, box: Box, *, inwards: int, outwards: int) -> list[npt.NDArray[np.bool_]]:
    """Returns the exclusion zone of each organelle in `box`, as the labels around the box make it."""
    wide = box.grow(max(inwards, outwards)).intersect(region.labelled)
    inside = box.shift([-a for a in wide.start]).slices
    zones = [exclusion_zone(labels, inwards=inwards, outwards=outwards) for labels in region.read_objects(wide)]
    return [zone[inside] for zone in zones]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
