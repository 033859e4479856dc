"""Everything that is measured of one prediction, region by region, and what it amounts to.

A `Prediction` is a volume and how it is read: a segmentation, a probability with a threshold, or objects. What is found
in a region is a `Tally`: plain counts, which add up over regions. `summary` makes scores of them. Laws:

* the tallies of regions add up, so a total is the score of summed counts, never a mean of scores;
* no score depends on the block shape.

Voxels and objects are scored twice, on all voxels and outside the exclusion zone; distances on all voxels. Regions of a
total should not overlap: what lies in two is counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.measurement import metrics
from asem_jax.measurement.intervals import Resampling, interval, spread
from asem_jax.measurement.metrics import Counts, ProbabilityHistogram
from asem_jax.measurement.overlaps import ObjectScores, Overlaps, count_overlaps, match_objects
from asem_jax.measurement.scoring import Region, Scores, scored_blocks, sweep_thresholds, voxel_shift
from asem_jax.measurement.surfaces import DistanceCounts, DistanceScores, distance_blocks, means_nm, tolerant_f1
from asem_jax.segmentation.labels import grey_level
from asem_jax.volumes.geometry import Int3
from asem_jax.volumes.volume import Volume

KINDS = ("segmentation", "probability", "objects")
ALL, OUTSIDE = "all", "outside_exclusion_zone"
SCORES = {"f1": metrics.f1, "iou": metrics.iou, "precision": metrics.precision, "recall": metrics.recall}

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prediction:
    """A volume that says where an organelle is.

    Attributes:
      name: what the config calls it.
      kind: "segmentation" (nonzero = found), "probability" (uint8, 255 = 1), or "objects" (ids, nonzero = found).
      volume: where it is.
      threshold: probability from which a voxel is found; None where the kind is another.
    """

    name: str
    kind: str
    volume: Volume
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind={self.kind!r} is none of {', '.join(KINDS)}; choose one of them.")
        if self.kind == "probability" and self.volume.dtype != np.uint8:
            raise ValueError(
                f"{self.name}: {self.volume.address} has dtype {self.volume.dtype}, a probability is uint8 with "
                "255 = 1; store it so, or give kind 'segmentation' if nonzero means found."
            )
        if self.kind != "probability" and self.threshold is not None:
            raise ValueError(
                f"{self.name}: threshold={self.threshold} has no meaning for kind {self.kind!r}; set it to None."
            )

    @property
    def least(self) -> int:
        """The least value that counts as found; 1 = nonzero."""
        return 1 if self.threshold is None else grey_level(self.threshold)


@dataclass(frozen=True)
class Measures:
    """What is measured; see `asem_jax.settings` for the words of the config.

    Attributes:
      exclude_inwards: thickness of the exclusion zone inside objects, voxels.
      exclude_outwards: its thickness outside, voxels.
      distance_cap_nm: distances beyond it count as it; None = no distances.
      tolerances_nm: for scores with tolerance.
      iou_thresholds: for matches of objects.
      min_object_voxels: see `match_objects`.
      resampling: for intervals.
      block_shape: voxels read at a time, z y x.
    """

    exclude_inwards: int
    exclude_outwards: int
    distance_cap_nm: float | None
    tolerances_nm: tuple[float, ...]
    iou_thresholds: tuple[float, ...]
    min_object_voxels: int
    resampling: Resampling
    block_shape: Int3

    def __post_init__(self) -> None:
        # Impossible distances and thresholds are refused here, before a volume is read.
        if self.distance_cap_nm is not None:
            DistanceCounts.empty(self.distance_cap_nm).sums(self.tolerances_nm)
        nothing = Overlaps.total(())
        for threshold in self.iou_thresholds:
            match_objects(nothing, threshold)

    @property
    def zones(self) -> dict[str, dict[str, Any]]:
        """Name -> thickness of the exclusion zone, as arguments."""
        widths = {ALL: (0, 0), OUTSIDE: (self.exclude_inwards, self.exclude_outwards)}
        return {name: {"exclude_inwards": i, "exclude_outwards": o} for name, (i, o) in widths.items()}


@dataclass(frozen=True)
class Tally:
    """What was counted of one prediction in one region, or in several together.

    Attributes:
      counts: zone -> right and wrong voxels.
      resampled: zone -> int64 [samples, 4], the counts of each resample.
      distances: None = not measured.
      resampled_distances: int64 [samples, 4, 2 + tolerances], see `DistanceCounts.sums`.
      objects: zone -> scores of objects; {} for other kinds.
      num_cells: how many cells were resampled.
    """

    counts: dict[str, Counts]
    resampled: dict[str, Numbers]
    distances: DistanceCounts | None
    resampled_distances: Numbers | None
    objects: dict[str, ObjectScores]
    num_cells: int

    def __add__(self, other: "Tally") -> "Tally":
        """Returns the tally of both, as regions that share no voxel."""
        return Tally(
            {zone: self.counts[zone] + other.counts[zone] for zone in self.counts},
            {zone: self.resampled[zone] + other.resampled[zone] for zone in self.resampled},
            None if self.distances is None or other.distances is None else self.distances + other.distances,
            None
            if self.resampled_distances is None or other.resampled_distances is None
            else self.resampled_distances + other.resampled_distances,
            {zone: self.objects[zone] + other.objects[zone] for zone in self.objects},
            self.num_cells + other.num_cells,
        )


def tally_region(prediction: Prediction, region: Region, measures: Measures) -> Tally:
    """Returns all that is counted of a prediction in a region.

    Raises:
      ValueError: prediction and labels do not fit each other, or a setting is impossible.
    """
    voxels = {zone: _count_voxels(prediction, region, measures, zone) for zone in measures.zones}
    distances, resampled_distances = _measure_distances(prediction, region, measures)
    return Tally(
        {zone: counts for zone, (counts, _) in voxels.items()},
        {zone: resampled for zone, (_, resampled) in voxels.items()},
        distances,
        resampled_distances,
        {zone: _score_objects(prediction, region, measures, zone) for zone in measures.zones}
        if prediction.kind == "objects"
        else {},
        measures.resampling.num_cells(region.box),
    )


def _count_voxels(prediction: Prediction, region: Region, measures: Measures, zone: str) -> tuple[Counts, Numbers]:
    """Returns the counts of one zone, and those of each resample."""
    resampling, total = measures.resampling, Counts()
    resampled = np.zeros((resampling.num_samples, 4), np.int64)
    shift = voxel_shift(prediction.volume, region.labels, region.box)
    for block in scored_blocks(
        region.labels, box=region.box, mask=region.mask, block_shape=measures.block_shape, **measures.zones[zone]
    ):
        values = prediction.volume.read(block.box.shift(shift))
        found = values != 0 if prediction.least == 1 else values >= prediction.least
        for cell, part in resampling.cells(region.box, block.box):
            inside = part.shift([-a for a in block.box.start]).slices
            counts = metrics.count(found[inside], block.labels[inside], block.used[inside])
            total += counts
            if resampling.num_samples:
                resampled += np.outer(resampling.weights(region.name, cell), list(vars(counts).values()))
    return total, resampled


def _measure_distances(
    prediction: Prediction, region: Region, measures: Measures
) -> tuple[DistanceCounts | None, Numbers | None]:
    """Returns the distances in a region, and the sums of each resample; None where they are not wanted."""
    if measures.distance_cap_nm is None:
        return None, None
    total, resampling = DistanceCounts.empty(measures.distance_cap_nm), measures.resampling
    resampled = np.zeros((resampling.num_samples, *total.sums(measures.tolerances_nm).shape), np.int64)
    for block in distance_blocks(
        prediction.volume,
        region.labels,
        box=region.box,
        cap_nm=measures.distance_cap_nm,
        least=prediction.least,
        mask=region.mask,
        block_shape=measures.block_shape,
    ):
        for cell, part in resampling.cells(region.box, block.box):
            counts = block.counts(part)
            total += counts
            if resampling.num_samples:
                weights = resampling.weights(region.name, cell)
                resampled += weights[:, None, None] * counts.sums(measures.tolerances_nm)[None]
    return total, resampled


def _score_objects(prediction: Prediction, region: Region, measures: Measures, zone: str) -> ObjectScores:
    """Returns the scores of the objects in one zone of a region."""
    overlaps = count_overlaps(
        prediction.volume,
        region.labels,
        box=region.box,
        mask=region.mask,
        block_shape=measures.block_shape,
        **measures.zones[zone],
    )
    return ObjectScores.of(overlaps, measures.iou_thresholds, min_voxels=measures.min_object_voxels)


def sweep_regions(
    prediction: Prediction, regions: Sequence[Region], measures: Measures
) -> dict[str, ProbabilityHistogram]:
    """Returns, per zone, from what the scores of a probability at every threshold follow: all regions together.

    Args:
      prediction: of kind "probability".
      regions: where to score.
      measures: the zones, and the blocks that are read.

    Raises:
      ValueError: the volumes do not fit each other.
    """
    return {
        zone: reduce(
            add,
            (
                sweep_thresholds(
                    prediction.volume,
                    region.labels,
                    box=region.box,
                    mask=region.mask,
                    block_shape=measures.block_shape,
                    **thickness,
                )
                for region in regions
            ),
        )
        for zone, thickness in measures.zones.items()
    }


def with_best_threshold(prediction: Prediction, sweep: Mapping[str, ProbabilityHistogram]) -> Prediction:
    """Returns a probability with the threshold of the best F1 outside the exclusion zone, if it has none yet.

    Raises:
      ValueError: nothing in the regions is foreground.
    """
    if prediction.threshold is not None:
        return prediction
    return replace(prediction, threshold=sweep[OUTSIDE].best_threshold())


def summary(tallies: Mapping[str, Tally], measures: Measures, *, first: Mapping[str, Tally]) -> dict[str, Any]:
    """Returns the scores of one prediction as JSON: of each region, in total, and how regions differ.

    Args:
      tallies: name of a region -> what was counted there.
      measures: as for `tally_region`.
      first: the tallies of the prediction that this one is compared with; its own for the first one.
    """
    total, first_total = reduce(add, tallies.values()), reduce(add, first.values())
    return {
        "regions": {name: _scores(tally, measures, first[name]) for name, tally in tallies.items()},
        "total": _scores(total, measures, first_total),
        "spread": _spread(tallies),
    }


def _scores(tally: Tally, measures: Measures, first: Tally) -> dict[str, Any]:
    """Returns the scores of one tally: per zone those of voxels and objects, and the distances."""
    zones = {zone: _zone_scores(tally, zone, first) for zone in tally.counts}
    return {**zones, "distances": _distance_scores(tally, measures.tolerances_nm), "num_cells": tally.num_cells}


def _zone_scores(tally: Tally, zone: str, first: Tally) -> dict[str, Any]:
    own, other = (_resampled_scores(t.resampled[zone]) for t in (tally, first))
    apart = [a - b for a, b in zip(own["f1"], other["f1"], strict=True)]
    objects = tally.objects.get(zone)
    return {
        **Scores.of(tally.counts[zone]).as_json(),
        "intervals": {name: interval(values, tally.num_cells) for name, values in own.items()},
        "f1_difference": _known(metrics.f1(tally.counts[zone]) - metrics.f1(first.counts[zone])),
        "f1_difference_interval": interval(apart, tally.num_cells),
        "objects": None if objects is None else objects.as_json(),
    }


def _resampled_scores(resampled: Numbers) -> dict[str, list[float]]:
    """Returns each score of each resample."""
    counts = [Counts(*row) for row in resampled.tolist()]
    return {name: [score(c) for c in counts] for name, score in SCORES.items()}


def _distance_scores(tally: Tally, tolerances_nm: Sequence[float]) -> dict[str, Any] | None:
    """Returns the distances with their intervals; None where they were not measured."""
    if tally.distances is None or tally.resampled_distances is None:
        return None
    means = [means_nm(sums) for sums in tally.resampled_distances]
    names = ("mean_false_distance_nm", "surface_distance_nm")
    intervals: dict[str, Any] = {name: interval([m[name] for m in means], tally.num_cells) for name in names}
    intervals["f1"] = {
        f"{t:g}": interval([tolerant_f1(sums, i) for sums in tally.resampled_distances], tally.num_cells)
        for i, t in enumerate(tolerances_nm)
    }
    return {**DistanceScores.of(tally.distances, tolerances_nm).as_json(), "intervals": intervals}


def _spread(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """Returns how the scores differ between regions."""
    zones = next(iter(tallies.values())).counts
    found: dict[str, Any] = {
        zone: {name: spread([score(t.counts[zone]) for t in tallies.values()]) for name, score in SCORES.items()}
        for zone in zones
    }
    measured = [t.distances for t in tallies.values() if t.distances is not None]
    if measured:
        means = [DistanceScores.of(d, ()).mean_false_distance_nm for d in measured]
        found["mean_false_distance_nm"] = spread(means)
    return found


def curve(sweep: ProbabilityHistogram) -> dict[str, list[float | None]]:
    """Returns F1, precision and recall at every threshold, None where a score is 0/0."""
    counts = sweep.counts()
    scores = {name: [_known(SCORES[name](c)) for c in counts] for name in ("f1", "precision", "recall")}
    return {"threshold": [level / 255 for level in range(256)], **scores}


def _known(value: float) -> float | None:
    return None if value != value else value
