"""A model against labelled regions, with the predictor that users run.

The loss is that of training, balanced over the whole region instead of per crop, so it does not depend on blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from asem_jax.measurement.metrics import Counts, count
from asem_jax.measurement.scoring import Scores
from asem_jax.models.model import Model
from asem_jax.prediction.predictor import make_plan, predict_blocks, probabilities
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.training.crops import TrainingRegion
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected

LEAST_PROBABILITY = 1e-7  # below it float32 softmax is rounding; bounds the loss of a voxel at 16


@dataclass(frozen=True)
class Validation:
    """What a model is worth on one region.

    Attributes:
      loss: balanced cross-entropy over the region.
      scores: per organelle, outside the exclusion zone, the likeliest channel taken as the prediction.
    """

    loss: float
    scores: dict[str, Scores]

    @property
    def f1(self) -> float:
        """Mean F1 of the organelles that can be scored; NaN where none can."""
        return _mean([scores.f1 for scores in self.scores.values()])

    def as_json(self) -> dict[str, float | None]:
        """Returns the loss and the means over organelles, for the log; None where nothing can be scored."""
        names = ("f1", "iou", "precision", "recall")
        means = {name: _mean([getattr(scores, name) for scores in self.scores.values()]) for name in names}
        return {"loss": self.loss, **{name: None if np.isnan(v) else v for name, v in means.items()}}


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
    counts = dict.fromkeys(model.card.organelles, Counts())
    for box, probability in predict_blocks(
        model, partial(read_reflected, region.raw), plan, plan.write_boxes, probabilities
    ):
        target, mask = region.read_target(box)
        loss = -np.log(np.maximum(np.take_along_axis(probability, target[..., None], -1), LEAST_PROBABILITY))
        losses += np.bincount(target[mask], loss[..., 0][mask], num_channels)
        voxels += np.bincount(target[mask], minlength=num_channels)
        likeliest = probability.argmax(axis=-1)
        zones = _exclusion_zones(region, box, inwards=exclude_inwards, outwards=exclude_outwards)
        for channel, (organelle, zone) in enumerate(zip(counts, zones, strict=True), start=1):
            counts[organelle] += count(likeliest == channel, target == channel, mask & ~zone)
    weights = 1.0 / (num_channels * np.clip(voxels / max(voxels.sum(), 1), min_fraction, max_fraction))
    mean_loss = float((weights * losses).sum() / max((weights * voxels).sum(), 1e-12))
    return Validation(mean_loss, {organelle: Scores.of(sums) for organelle, sums in counts.items()})


def _exclusion_zones(region: TrainingRegion, box: Box, *, inwards: int, outwards: int) -> list[npt.NDArray[np.bool_]]:
    """Returns the exclusion zone of each organelle in `box`, as the labels around the box make it."""
    wide = box.grow(max(inwards, outwards)).intersect(region.labelled)
    inside = box.shift([-a for a in wide.start]).slices
    zones = [exclusion_zone(labels, inwards=inwards, outwards=outwards) for labels in region.read_labels(wide)]
    return [zone[inside] for zone in zones]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
