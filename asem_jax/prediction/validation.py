"""A model against labelled regions, with the predictor that users run.

The loss is that of training, balanced over the whole region instead of per crop, so it does not depend on blocks.
Scores are those at the threshold that suits the organelle best: a balanced loss moves probabilities away from 0.5, and
a threshold is chosen before a volume is segmented.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.measurement.scoring import Scores
from asem_jax.models.model import Model
from asem_jax.prediction.predictor import make_plan, predict_blocks, probabilities
from asem_jax.segmentation.labels import exclusion_zone, grey_level
from asem_jax.training.crops import TrainingRegion
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected

LEAST_PROBABILITY = 1e-7  # below it float32 softmax is rounding; bounds the loss of a voxel at 16


@dataclass(frozen=True)
class Validation:
    """What a model is worth on one region.

    Attributes:
      loss: balanced cross-entropy over the region.
      scores: per organelle, outside the exclusion zone, at the threshold of `thresholds`.
      thresholds: per organelle, the probability, 0 to 1, with the highest F1; 0.5 where the organelle is not there.
    """

    loss: float
    scores: dict[str, Scores]
    thresholds: dict[str, float]

    @property
    def f1(self) -> float:
        """Mean F1 of the organelles that can be scored; NaN where none can."""
        return _mean([scores.f1 for scores in self.scores.values()])

    def as_json(self) -> dict[str, Any]:
        """Returns the loss, the means over organelles and the thresholds; None where nothing can be scored."""
        names = ("f1", "iou", "precision", "recall")
        means = {name: _mean([getattr(scores, name) for scores in self.scores.values()]) for name in names}
        known = {name: None if np.isnan(mean) else mean for name, mean in means.items()}
        return {"loss": self.loss, **known, "thresholds": self.thresholds}


def validate(
    model: Model,
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
    num_channels = len(model.card.channels)
    losses, voxels = np.zeros(num_channels), np.zeros(num_channels)
    sweeps = dict.fromkeys(model.card.organelles, ProbabilityHistogram.empty())
    for box, probability in predict_blocks(
        model, partial(read_reflected, region.raw), plan, plan.write_boxes, probabilities
    ):
        target, mask = region.read_target(box)
        loss = -np.log(np.maximum(np.take_along_axis(probability, target[..., None], -1), LEAST_PROBABILITY))
        losses += np.bincount(target[mask], loss[..., 0][mask], num_channels)
        voxels += np.bincount(target[mask], minlength=num_channels)
        grey = np.rint(255 * probability).astype(np.uint8)
        zones = _exclusion_zones(region, box, inwards=exclude_inwards, outwards=exclude_outwards)
        for channel, (organelle, zone) in enumerate(zip(sweeps, zones, strict=True), start=1):
            sweeps[organelle] += ProbabilityHistogram.of(grey[..., channel], target == channel, mask & ~zone)
    weights = 1.0 / (num_channels * np.clip(voxels / max(voxels.sum(), 1), min_fraction, max_fraction))
    mean_loss = float((weights * losses).sum() / max((weights * voxels).sum(), 1e-12))
    thresholds = {
        organelle: sweep.best_threshold() if sweep.foreground.sum() else 0.5 for organelle, sweep in sweeps.items()
    }
    counts = {organelle: sweeps[organelle].counts_at(grey_level(level)) for organelle, level in thresholds.items()}
    return Validation(mean_loss, {organelle: Scores.of(sums) for organelle, sums in counts.items()}, thresholds)


def _exclusion_zones(region: TrainingRegion, box: Box, *, inwards: int, outwards: int) -> list[npt.NDArray[np.bool_]]:
    """Returns the exclusion zone of each organelle in `box`, as the labels around the box make it."""
    wide = box.grow(max(inwards, outwards)).intersect(region.labelled)
    inside = box.shift([-a for a in wide.start]).slices
    zones = [exclusion_zone(labels, inwards=inwards, outwards=outwards) for labels in region.read_labels(wide)]
    return [zone[inside] for zone in zones]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
