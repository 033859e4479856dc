"""Stage `evaluate`: a segmentation against labels, with the best threshold on grey values beside it.

    python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart

Writes `scores.json` into the run folder and logs a table. Every region is scored twice, on all voxels and
outside the exclusion zone. It is cheap next to a prediction, so it always scores anew and never shows older
numbers.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.measurement.baseline import Baseline, baseline_counts, best_baseline, sweep_grey_values
from asem_jax.measurement.metrics import Counts, ProbabilityHistogram
from asem_jax.measurement.scoring import Region, Scores, evaluate_volumes, open_region, voxel_shift
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)

ALL, OUTSIDE = "all", "outside_exclusion_zone"


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores the segmentation that `config` (section "evaluate") names; see `asem_jax.stages.settings`."""
    if not devices.is_speaker():
        return
    segmentation = open_volume(config.segmentation)
    regions = [open_region(name, **region) for name, region in config.regions.items()]
    if not regions:
        raise ValueError("evaluate.regions={} leaves nothing to score; name at least one region with labels.")
    for region in regions:
        voxel_shift(segmentation, region.labels, region.box)
    zones = {ALL: (0, 0), OUTSIDE: (config.exclude_inwards, config.exclude_outwards)}
    scores = score_regions(segmentation, regions, zones, config.block_shape)
    baseline = None
    if config.baseline_sigmas:
        raw = open_volume(config.raw)
        baseline = score_baseline(raw, regions, zones, sigmas=config.baseline_sigmas, block_shape=config.block_shape)
    result = {
        "segmentation": config.segmentation,
        "exclude_inwards": config.exclude_inwards,
        "exclude_outwards": config.exclude_outwards,
        **scores,
        "baseline": baseline,
    }
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "scores.json").write_text(json.dumps(result, indent=1, allow_nan=False))
    logger.info("scores (%s):\n%s", workdir / "scores.json", table(result))


def score_regions(
    segmentation: Volume,
    regions: Sequence[Region],
    zones: dict[str, tuple[int, int]],
    block_shape: Sequence[int],
) -> dict[str, Any]:
    """Returns the scores of each region and of all together, as JSON.

    Args:
      segmentation: nonzero = found.
      regions: where to score.
      zones: name -> thickness of the exclusion zone inwards and outwards, voxels.
      block_shape: voxels read at a time, z y x.
    """
    counts: dict[str, dict[str, Counts]] = {region.name: {} for region in regions}
    for region in regions:
        for zone, (inwards, outwards) in zones.items():
            counts[region.name][zone] = evaluate_volumes(
                segmentation,
                region.labels,
                box=region.box,
                exclude_inwards=inwards,
                exclude_outwards=outwards,
                block_shape=block_shape,
            ).counts
    return _summary(counts, zones)


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
