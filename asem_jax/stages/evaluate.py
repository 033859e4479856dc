"""Stage `evaluate`: a segmentation, or several predictions, against labels; the best grey-value threshold beside.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

Writes `scores.json` and `comparison.csv` into the run folder and logs tables. docs/evaluation.md explains every score.
It is cheap next to a prediction, so it always scores anew; what an older run left is removed first and new files appear
only when they are complete, so an interrupted run leaves no scores.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.measurement.baseline import Baseline, baseline_counts, best_baseline, sweep_grey_values
from asem_jax.measurement.intervals import Resampling
from asem_jax.measurement.metrics import Counts, ProbabilityHistogram
from asem_jax.measurement.predictions import (
    ALL,
    OUTSIDE,
    Measures,
    Prediction,
    Tally,
    curve,
    summary,
    sweep_regions,
    tally_region,
    with_best_threshold,
)
from asem_jax.measurement.scoring import Region, Scores, open_region, voxel_shift
from asem_jax.progress import progress
from asem_jax.reporting import comparison
from asem_jax.volumes.files import write_json, write_text
from asem_jax.volumes.geometry import int3
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)

FIRST = "segmentation"  # what the config's `segmentation` is called beside those it is compared with


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores the predictions that `config` (section "evaluate") names; see `asem_jax.settings`."""
    if not devices.is_speaker():
        return
    regions = [open_region(name, **region) for name, region in config.regions.items()]
    predictions, measures = _predictions(config), _measures(config)
    _check(predictions, regions)
    workdir.mkdir(parents=True, exist_ok=True)
    for name in ("scores.json", "comparison.csv"):
        (workdir / name).unlink(missing_ok=True)
    baseline = None
    zones = {zone: (widths["exclude_inwards"], widths["exclude_outwards"]) for zone, widths in measures.zones.items()}
    if config.baseline_sigmas:
        raw = open_volume(config.raw)
        baseline = score_baseline(raw, regions, zones, sigmas=config.baseline_sigmas, block_shape=config.block_shape)
    tallies, scored = score_predictions(predictions, regions, measures)
    result = {
        "segmentation": config.segmentation,
        "exclude_inwards": config.exclude_inwards,
        "exclude_outwards": config.exclude_outwards,
        **_summary({region: tally.counts for region, tally in tallies[FIRST].items()}, zones),
        "baseline": baseline,
        "predictions": scored,
        "settings": _settings(measures),
    }
    write_text(workdir / "comparison.csv", comparison.as_csv(comparison.rows(scored)))
    write_json(workdir / "scores.json", result)
    logger.info("scores (%s):\n%s", workdir / "scores.json", table(result))
    logger.info("predictions (%s):\n%s", workdir / "comparison.csv", comparison.as_table(scored))


def _predictions(config: ConfigDict) -> list[Prediction]:
    """Opens what is scored, the config's `segmentation` first."""
    if FIRST in config.compared:
        raise ValueError(
            f"evaluate.compared.{FIRST} has the name of evaluate.segmentation, which is scored too; give another name."
        )
    others = [
        Prediction(name, other.kind, open_volume(other.address), other.threshold)
        for name, other in config.compared.items()
    ]
    return [Prediction(FIRST, "segmentation", open_volume(config.segmentation)), *others]


def _measures(config: ConfigDict) -> Measures:
    """Returns what is measured."""
    resampling = Resampling(
        config.bootstrap_samples,
        config.bootstrap_seed,
        int3(config.bootstrap_cell_shape, "evaluate.bootstrap_cell_shape"),
    )
    return Measures(
        exclude_inwards=config.exclude_inwards,
        exclude_outwards=config.exclude_outwards,
        distance_cap_nm=config.distance_cap_nm,
        tolerances_nm=tuple(config.tolerances_nm),
        iou_thresholds=tuple(config.iou_thresholds),
        min_object_voxels=config.min_object_voxels,
        resampling=resampling,
        block_shape=int3(config.block_shape, "evaluate.block_shape"),
    )


def _settings(measures: Measures) -> dict[str, Any]:
    """Returns what decides the scores, as JSON."""
    resampling = measures.resampling
    return {
        "distance_cap_nm": measures.distance_cap_nm,
        "tolerances_nm": measures.tolerances_nm,
        "iou_thresholds": measures.iou_thresholds,
        "min_object_voxels": measures.min_object_voxels,
        "bootstrap_samples": resampling.num_samples,
        "bootstrap_cell_shape": resampling.cell_shape,
        "bootstrap_seed": resampling.seed,
    }


def _check(predictions: Sequence[Prediction], regions: Sequence[Region]) -> None:
    """Raises unless there is something to score, and every prediction covers every region."""
    if not regions:
        raise ValueError("evaluate.regions={} leaves nothing to score; name at least one region with labels.")
    for prediction in predictions:
        for region in regions:
            voxel_shift(prediction.volume, region.labels, region.box)
    for i, region in enumerate(regions):
        for other in regions[:i]:
            same = region.labels.address == other.labels.address
            if same and region.box.intersect(other.box).num_voxels:
                logger.warning("regions %s and %s overlap; the total counts it twice", other.name, region.name)


def score_predictions(
    predictions: Sequence[Prediction], regions: Sequence[Region], measures: Measures
) -> tuple[dict[str, dict[str, Tally]], dict[str, Any]]:
    """Returns what was counted of each prediction in each region, and the scores as JSON.

    Args:
      predictions: the first is what the others are compared with.
      regions: where to score.
      measures: what is measured.
    """
    tallies: dict[str, dict[str, Tally]] = {}
    scored: dict[str, Any] = {}
    for prediction in progress(predictions, label="evaluate", unit="predictions"):
        sweep = sweep_regions(prediction, regions, measures) if prediction.kind == "probability" else {}
        chosen = with_best_threshold(prediction, sweep) if sweep else prediction
        own = {region.name: tally_region(chosen, region, measures) for region in regions}
        for region in regions:
            _warn_of_one_object(own[region.name], region)
        tallies[prediction.name] = own
        scored[prediction.name] = {
            "kind": prediction.kind,
            "address": prediction.volume.address,
            "threshold": chosen.threshold,
            "threshold_chosen_here": chosen.threshold != prediction.threshold,
            **summary(own, measures, first=next(iter(tallies.values()))),
            "sweep": {zone: curve(seen) for zone, seen in sweep.items()} or None,
        }
    return tallies, scored


def _warn_of_one_object(tally: Tally, region: Region) -> None:
    """Warns where objects are scored against labels that seem to have one value for all of them."""
    if tally.objects and tally.objects[ALL].true_objects == 1:
        logger.warning(
            "%s holds 1 object in region %s; scores of objects need labels with an id per object",
            region.labels.address,
            region.name,
        )


def _summary(counts: dict[str, dict[str, Counts]], zones: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Returns the scores that the counts of each region make, and those of the summed counts."""
    regions = {name: {zone: Scores.of(c).as_json() for zone, c in both.items()} for name, both in counts.items()}
    total = {zone: Scores.of(sum((both[zone] for both in counts.values()), Counts())).as_json() for zone in zones}
    return {"regions": regions, "total": total}


def score_baseline(
    raw: Volume,
    regions: Sequence[Region],
    zones: dict[str, tuple[int, int]],
    *,
    sigmas: Sequence[float],
    block_shape: Sequence[int],
) -> dict[str, Any] | None:
    """Returns what the best threshold on smoothed raw scores, as JSON; None if nothing is foreground.

    It is chosen on all regions together, once with and once without the exclusion zone; `f1`, `sigma`,
    `threshold` and `polarity` are those outside the zone, each part of `total` has its own.

    Args:
      raw: uint8 grey values on the grid of the labels.
      regions: where to choose and score.
      zones: as for `score_regions`.
      sigmas: smoothings to try, voxels.
      block_shape: voxels read at a time, z y x.
    """
    counts: dict[str, dict[str, Counts]] = {region.name: {} for region in regions}
    chosen: dict[str, Baseline] = {}
    for zone, thickness in zones.items():
        sweeps = [_grey_sweeps(raw, region, thickness, sigmas, block_shape) for region in regions]
        together = {s: sum((sweep[s] for sweep in sweeps), ProbabilityHistogram.empty()) for s in sweeps[0]}
        if not any(sweep.foreground.any() for sweep in together.values()):
            logger.warning("nothing is foreground in the regions (%s), so there is no baseline", zone)
            return None
        chosen[zone] = best = best_baseline(together)
        for region, sweep in zip(regions, sweeps, strict=True):
            counts[region.name][zone] = baseline_counts(sweep[best.sigma], best.polarity, best.threshold)
    summary = _summary(counts, zones)
    for zone, best in chosen.items():
        summary["total"][zone] |= _choice(best)
    return {**_choice(chosen[OUTSIDE]), "f1": chosen[OUTSIDE].scores.f1, **summary}


def _grey_sweeps(
    raw: Volume,
    region: Region,
    thickness: tuple[int, int],
    sigmas: Sequence[float],
    block_shape: Sequence[int],
) -> dict[float, ProbabilityHistogram]:
    """Returns the histogram of grey values in one region for each smoothing."""
    return {
        float(sigma): sweep_grey_values(
            raw,
            region.labels,
            box=region.box,
            sigma=sigma,
            exclude_inwards=thickness[0],
            exclude_outwards=thickness[1],
            mask=region.mask,
            block_shape=block_shape,
        )
        for sigma in sigmas
    }


def _choice(baseline: Baseline) -> dict[str, Any]:
    """Returns what was chosen, as JSON."""
    return {"sigma": baseline.sigma, "threshold": baseline.threshold, "polarity": baseline.polarity}


def table(result: dict[str, Any]) -> str:
    """Returns the content of scores.json as lines of text: per region and in total, the baseline beside.

    Args:
      result: what `run` writes.
    """
    columns = ("F1", "IoU", "prec.", "recall", "base F1")
    lines = [f"{'region':<20} {'scored on':<24} " + " ".join(f"{column:>7}" for column in columns)]
    beside = result["baseline"] or {"regions": {}, "total": {}}
    rows = [(name, both, beside["regions"].get(name, {})) for name, both in result["regions"].items()]
    for name, both, other in [*rows, ("total", result["total"], beside["total"])]:
        for zone, scores in both.items():
            numbers = [scores[key] for key in ("f1", "iou", "precision", "recall")]
            cells = " ".join(f"{_number(v):>7}" for v in [*numbers, other.get(zone, {}).get("f1")])
            lines.append(f"{name:<20} {zone.replace('_', ' '):<24} {cells}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    """Returns three decimals, or a dash for 0/0 and for what is not there."""
    return "-" if value is None else f"{value:.3f}"
