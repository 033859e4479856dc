"""Scores of several predictions side by side: rows of a CSV file, and lines of text.

A row is one prediction in one region (or in total), scored on all voxels or outside the exclusion zone. An empty field
is a score that is 0/0 or was not measured. Distances are measured on all voxels and stand in those rows only.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

TOTAL = "total"
ZONES = ("all", "outside_exclusion_zone")
DISTANCES = ("mean_false_distance_nm", "surface_distance_nm", "surface_distance_95_nm", "surface_distance_max_nm")
PARTITION = ("voi_split", "voi_merge", "rand_error")
MATCHES = ("f1", "ap", "pq", "sq", "rq")

Row = dict[str, Any]


def rows(predictions: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Returns one row per prediction, region and zone; all have the same columns.

    Args:
      predictions: name -> what scores.json holds under "predictions".
    """
    found = [
        _row(name, prediction, region, zone, scores)
        for name, prediction in predictions.items()
        for region, scores in [*prediction["regions"].items(), (TOTAL, prediction["total"])]
        for zone in ZONES
    ]
    columns = list(dict.fromkeys(column for row in found for column in row))
    return [{column: row.get(column) for column in columns} for row in found]


def _row(name: str, prediction: Mapping[str, Any], region: str, zone: str, scores: Mapping[str, Any]) -> Row:
    found = scores[zone]
    row = {"prediction": name, "kind": prediction["kind"], "threshold": prediction["threshold"]}
    row |= {"region": region, "scored_on": zone}
    for score in ("f1", "iou", "precision", "recall"):
        row |= {score: found[score], **_ends(score, found["intervals"][score])}
    row["f1_difference"] = found["f1_difference"]
    row |= _ends("f1_difference", found["f1_difference_interval"])
    return row | _distances(scores["distances"] if zone == "all" else None) | _objects(found["objects"])


def _ends(score: str, interval: Sequence[float] | None) -> Row:
    low, high = interval or (None, None)
    return {f"{score}_low": low, f"{score}_high": high}


def _distances(distances: Mapping[str, Any] | None) -> Row:
    if distances is None:
        return {}
    row = {f"{score}_within_{t}_nm": distances[score][t] for score in ("f1", "surface_f1") for t in distances[score]}
    return row | {name: distances[name] for name in DISTANCES}


def _objects(objects: Mapping[str, Any] | None) -> Row:
    if objects is None:
        return {}
    row = {name: objects[name] for name in PARTITION}
    matches = objects["matches"]
    return row | {f"object_{score}_iou_{t}": matches[t][score] for t in matches for score in MATCHES}


def as_csv(found: Sequence[Row]) -> str:
    """Returns rows as CSV with a line of column names; numbers in full, empty = None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def as_table(predictions: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the comparison as lines of text: per region and in total, one line per prediction.

    Args:
      predictions: name -> what scores.json holds under "predictions".
    """
    head = ("F1 excl.", "95 %", "F1 all", "F1 tol.", "MFD nm", "HD95 nm", "VOI s+m", "obj. F1", "PQ")
    lines = [f"{'region':<16} {'prediction':<20} " + " ".join(f"{column:>11}" for column in head)]
    regions = [*next(iter(predictions.values()))["regions"], TOTAL]
    for region in regions:
        for name, prediction in predictions.items():
            scores = prediction["total"] if region == TOTAL else prediction["regions"][region]
            lines.append(f"{region:<16} {name:<20} " + " ".join(f"{cell:>11}" for cell in _cells(scores)))
    return "\n".join(lines)


def _cells(scores: Mapping[str, Any]) -> list[str]:
    """Returns what a line of the text shows; of several tolerances and IoU thresholds the first."""
    outside, distances = scores["outside_exclusion_zone"], scores["distances"] or {}
    objects = outside["objects"] or {}
    match: Mapping[str, Any] = next(iter(objects.get("matches", {}).values()), {})
    split, merge = objects.get("voi_split"), objects.get("voi_merge")
    interval = outside["intervals"]["f1"]
    return [
        _number(outside["f1"]),
        "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
        _number(scores["all"]["f1"]),
        _number(next(iter(distances.get("f1", {}).values()), None)),
        _number(distances.get("mean_false_distance_nm"), 1),
        _number(distances.get("surface_distance_95_nm"), 1),
        "-" if split is None or merge is None else f"{split:.2f}+{merge:.2f}",
        _number(match.get("f1")),
        _number(match.get("pq")),
    ]


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
