"""What scores.json says, as tables: voxels with intervals, several predictions side by side, distances, objects.

A number in square brackets below a score is its 95 % interval. docs/evaluation.md explains every score.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asem_jax.reporting import curves, page
from asem_jax.reporting.page import number

ALL, OUTSIDE = "all", "outside_exclusion_zone"
ZONES = {OUTSIDE: "outside the exclusion zone", ALL: "all voxels"}
SCORES = {"f1": "F1", "iou": "IoU", "precision": "precision", "recall": "recall"}
TOTAL = "total"

Json = Mapping[str, Any]


def scores_section(scores: Json | None) -> list[str]:
    """Returns the headline numbers and the table of scores; nothing without any.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    if scores is None:
        return []
    inwards, outwards = scores["exclude_inwards"], scores["exclude_outwards"]
    text = (
        "F1 is the share of agreement between segmentation and labels, voxel by voxel; 1 is perfect. "
        f"The exclusion zone leaves out {inwards} voxels inside and {outwards} voxels outside every labelled "
        "border, where annotators differ among themselves."
    )
    own = _first(scores)
    parts = [_headline(scores, own), page.heading("Scores"), page.paragraph(text), _score_table(scores, own)]
    parts.append(page.paragraph(_interval_text(scores, own)))
    if len(scores["regions"]) > 1 and "spread" in own:
        parts += [page.heading("Spread over regions", 3), _spread_table(own["spread"])]
    return [*parts, page.paragraph(_baseline_text(scores["baseline"]))]


def _first(scores: Json) -> Json:
    """Returns all that is known of the segmentation itself; {} where an older run did not write it."""
    found: Json = scores.get("predictions", {}).get("segmentation", {})
    return found


def _headline(scores: Json, own: Json) -> str:
    total, beside = scores["total"], (scores["baseline"] or {}).get("total", {})
    numbers = [(number(total[zone]["f1"]), f"F1, {name}") for zone, name in ZONES.items()]
    if beside:
        numbers.append((number(beside[OUTSIDE]["f1"]), f"F1 of the best grey-value threshold, {ZONES[OUTSIDE]}"))
    distances = own.get("total", {}).get("distances")
    if distances:
        numbers.append((number(distances["mean_false_distance_nm"], 1), "nm, mean false distance"))
    objects = next((p for p in scores.get("predictions", {}).values() if p["kind"] == "objects"), None)
    if objects:
        for threshold, match in list(objects["total"][ALL]["objects"]["matches"].items())[:1]:
            numbers.append((number(match["f1"]), f"F1 of objects, IoU above {threshold}"))
    return page.headline(numbers)


def _score_table(scores: Json, own: Json) -> str:
    baseline = scores["baseline"] or {"regions": {}, "total": {}}
    parts = [(name, both, baseline["regions"].get(name, {})) for name, both in scores["regions"].items()]
    if len(parts) > 1:
        parts.append((TOTAL, scores["total"], baseline["total"]))
    rows = []
    for name, both, beside in parts:
        for zone, zone_name in ZONES.items():
            found = both[zone]
            intervals = part_of(own, name).get(zone, {}).get("intervals", {}) if own else {}
            values = [with_interval(found[key], intervals.get(key)) for key in SCORES]
            values.append(number(beside.get(zone, {}).get("f1")))
            rows.append([name, zone_name, *values, f"{sum(found['counts'].values()) / 1e6:.2f}"])
    head = ["region", "scored on", *SCORES.values(), "baseline F1", "million voxels"]
    strong = range(2 * (len(parts) - 1), 2 * len(parts)) if len(parts) > 1 else ()
    return page.table(head, rows, numbers_from=2, strong=list(strong))


def part_of(prediction: Json, region: str) -> Json:
    """Returns the scores of one region of a prediction, or its total."""
    found: Json = prediction["total"] if region == TOTAL else prediction["regions"][region]
    return found


def with_interval(value: float | None, interval: Sequence[float] | None, decimals: int = 3) -> str:
    """Returns a score with its interval, where there is one, on a second line.

    Example:
      >>> with_interval(0.9, (0.85, 0.93)).splitlines()
      ['0.900', '[0.850, 0.930]']
    """
    if interval is None:
        return number(value, decimals)
    low, high = (number(end, decimals) for end in interval)
    return f"{number(value, decimals)}\n[{low}, {high}]"


def _interval_text(scores: Json, own: Json) -> str:
    settings = scores.get("settings")
    if not own or not settings or not settings["bootstrap_samples"]:
        return "No intervals: they were not asked for (evaluate.bootstrap_samples)."
    shape = " x ".join(str(n) for n in settings["bootstrap_cell_shape"])
    cells = own["total"]["num_cells"]
    if own["total"][ALL]["intervals"]["f1"] is None:
        return f"No intervals: {cells} cells of {shape} voxels are too few, or too few of them hold anything."
    return (
        f"In brackets: 95 % intervals of {settings['bootstrap_samples']} bootstrap resamples of {cells} cells of "
        f"{shape} voxels. They say what another part of the same volume might give, not another cell."
    )


def _spread_table(spread: Json) -> str:
    rows = []
    for zone, zone_name in ZONES.items():
        for key, name in SCORES.items():
            found = spread[zone][key]
            rows.append([name, zone_name, str(found["regions"]), *(number(found[k]) for k in _SPREAD)])
    if "mean_false_distance_nm" in spread:
        found = spread["mean_false_distance_nm"]
        row = ["mean false distance (nm)", ZONES[ALL], str(found["regions"])]
        rows.append([*row, *(number(found[k], 1) for k in _SPREAD)])
    head = ["score", "scored on", "regions", "mean", "standard deviation", "smallest", "largest"]
    return page.table(head, rows, numbers_from=2)


_SPREAD = ("mean", "sd", "min", "max")


def _baseline_text(baseline: Json | None) -> str:
    if baseline is None:
        return "No baseline was computed (evaluate.baseline_sigmas is empty, or nothing is labelled)."
    side = "at or above" if baseline["polarity"] == "bright" else "at or below"
    return (
        f"Baseline: Gaussian smoothing with sigma {baseline['sigma']:g} voxels, then grey values {side} "
        f"{baseline['threshold']} (outside the exclusion zone; on all voxels it has its own best values). "
        "Smoothing, threshold and polarity were chosen on the scored voxels themselves, so it is better than "
        "it could be on new data."
    )


def _parts(predictions: Mapping[str, Json]) -> Iterator[tuple[str, str, Json]]:
    """Yields region, prediction and scores, region by region; the total last, where there are several regions."""
    regions = list(next(iter(predictions.values()))["regions"])
    for region in [*regions, TOTAL] if len(regions) > 1 else regions:
        for name, prediction in predictions.items():
            yield region, name, part_of(prediction, region)


def _strong(rows: Sequence[Sequence[str]]) -> list[int]:
    return [place for place, row in enumerate(rows) if row[0] == TOTAL]


def predictions_section(scores: Json | None) -> list[str]:
    """Returns one table of all predictions that were scored; nothing for fewer than two.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    predictions = (scores or {}).get("predictions", {})
    if len(predictions) < 2:
        return []
    tolerances = [f"{t:g}" for t in (scores or {})["settings"]["tolerances_nm"][:1]]
    rows = [[region, name, *_cells(found, tolerances)] for region, name, found in _parts(predictions)]
    head = ["region", "prediction", "F1 outside", "differs by", "F1 all voxels"]
    head += [*(f"F1 within {t} nm" for t in tolerances), "mean false distance, nm", "surface 95 %, nm"]
    head += ["VOI split + merge", "F1 objects", "AP", "PQ"]
    text = (
        "Differences are to F1 of segmentation outside the exclusion zone, with an interval of their own. Scores of "
        "objects are those on all voxels, at the first IoU threshold."
    )
    parts = [page.heading("Predictions beside each other")]
    parts += [page.table(head, rows, numbers_from=2, strong=_strong(rows)), page.paragraph(text)]
    return [*parts, _which(predictions)]


def _cells(found: Json, tolerances: Sequence[str]) -> list[str]:
    """Returns what a row of the comparison shows of one prediction."""
    outside, distances, objects = found[OUTSIDE], found["distances"] or {}, found[ALL]["objects"] or {}
    match: Json = next(iter(objects.get("matches", {}).values()), {})
    split, merge = objects.get("voi_split"), objects.get("voi_merge")
    return [
        with_interval(outside["f1"], outside["intervals"]["f1"]),
        with_interval(outside["f1_difference"], outside["f1_difference_interval"]),
        with_interval(found[ALL]["f1"], found[ALL]["intervals"]["f1"]),
        *(number(distances.get("f1", {}).get(t)) for t in tolerances),
        number(distances.get("mean_false_distance_nm"), 1),
        number(distances.get("surface_distance_95_nm"), 1),
        "-" if split is None or merge is None else f"{split:.2f} + {merge:.2f}",
        *(number(match.get(key)) for key in ("f1", "ap", "pq")),
    ]


def _which(predictions: Mapping[str, Json]) -> str:
    rows = []
    for name, prediction in predictions.items():
        threshold = number(prediction["threshold"])
        if prediction["threshold_chosen_here"]:
            threshold += ", the best here: better than on new data"
        rows.append([name, prediction["kind"], threshold, prediction["address"]])
    return page.table(["prediction", "kind", "threshold", "address"], rows, numbers_from=4)


def distances_section(scores: Json | None) -> list[str]:
    """Returns tolerance scores and distances in nm of all predictions; nothing where none were measured.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    predictions = (scores or {}).get("predictions", {})
    measured = {n: p for n, p in predictions.items() if p["total"]["distances"]}
    if not measured:
        return []
    settings = (scores or {})["settings"]
    cap_nm, tolerances = settings["distance_cap_nm"], [f"{t:g}" for t in settings["tolerances_nm"]]
    rows = [
        [region, name, *_distance_cells(found["distances"], tolerances, cap_nm)]
        for region, name, found in _parts(measured)
    ]
    head = ["region", "prediction"]
    head += [f"{kind} within {t} nm" for t in tolerances for kind in ("F1", "surface F1")]
    head += ["false positive", "false negative", "mean false", "surface mean", "surface 95 %", "surface largest"]
    text = (
        f"Between centres of voxels, in nm, up to {cap_nm:g} nm, on all voxels. F1 within a tolerance counts a voxel "
        "as right if one of the other side lies that near; surface F1 is the share of both surfaces that does. False "
        "positive: from what was found to the labels; false negative: the other way; mean false: the mean of both."
    )
    parts = [page.heading("Distances"), page.paragraph(text)]
    return [*parts, page.table(head, rows, numbers_from=2, strong=_strong(rows))]


def _distance_cells(found: Json, tolerances: Sequence[str], cap_nm: float) -> list[str]:
    intervals = found["intervals"]
    cells = []
    for tolerance in tolerances:
        cells.append(with_interval(found["f1"][tolerance], intervals["f1"][tolerance]))
        cells.append(number(found["surface_f1"][tolerance]))
    cells += [number(found[f"false_{side}_distance_nm"], 1) for side in ("positive", "negative")]
    for name in ("mean_false_distance_nm", "surface_distance_nm"):
        cells.append(with_interval(found[name], intervals[name], 1))
    for name in ("surface_distance_95_nm", "surface_distance_max_nm"):
        reached = found[name] is not None and found[name] >= cap_nm
        cells.append(f"{cap_nm:g} or more" if reached else number(found[name], 1))
    return cells


def objects_section(scores: Json | None) -> list[str]:
    """Returns the scores of objects: their partition (VOI, Rand) and their matches; nothing where none were scored.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    predictions = {n: p for n, p in (scores or {}).get("predictions", {}).items() if p["kind"] == "objects"}
    if not predictions:
        return []
    partition, matches = [], []
    for region, name, found in _parts(predictions):
        for zone, zone_name in ZONES.items():
            objects = found[zone]["objects"]
            where = [region, name, zone_name]
            counts = [str(objects[key]) for key in ("true_objects", "found_objects")]
            partition.append([*where, *counts, *(number(objects[key]) for key in _PARTITION)])
            for threshold, match in objects["matches"].items():
                matches.append([*where, f"above {threshold}", *(number(match[key]) for key in _MATCHES)])
    text = (
        "VOI in bits per voxel: split is 0 where no true object is in pieces, merge where none are joined. Rand error "
        "is 1 - F1 of pairs of voxels that are together. Objects match above an IoU; AP is matches over all objects "
        "there or found, SQ the mean IoU of matches, PQ = SQ x F1."
    )
    parts = [page.heading("Objects against labels"), page.paragraph(text)]
    head = ["region", "prediction", "scored on", "true", "found", "VOI split", "VOI merge", "Rand error"]
    parts.append(page.table(head, partition, numbers_from=3, strong=_strong(partition)))
    if matches:
        head = ["region", "prediction", "scored on", "IoU", "F1", "precision", "recall", "AP", "SQ", "PQ"]
        parts.append(page.table(head, matches, numbers_from=3, strong=_strong(matches)))
    return parts


_PARTITION = ("voi_split", "voi_merge", "rand_error")
_MATCHES = ("f1", "precision", "recall", "ap", "sq", "pq")


def sweeps_part(scores: Json | None) -> list[str]:
    """Returns the scores of each probability at every threshold, as plots; nothing without a probability.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    parts = []
    for name, prediction in (scores or {}).get("predictions", {}).items():
        if prediction["sweep"]:
            where = ", ".join(prediction["regions"])
            svg = curves.draw_sweep(prediction["sweep"][OUTSIDE], prediction["threshold"])
            alt = f"F1, precision and recall of {name} over the threshold on {where}"
            caption = f"Prediction {name} on {where}, {ZONES[OUTSIDE]}, at every threshold; no choice is made here."
            if prediction["threshold_chosen_here"]:
                caption = f"Prediction {name} on {where}, {ZONES[OUTSIDE]}; the threshold marked was chosen on it."
            parts.append(page.picture(svg, alt=alt, caption=caption))
    return parts
