"""Compares what stage analyse measured on simulated cells with what the simulator made.

    python -m benchmarks.analysis_truth --pores runs/pores --pits runs/pits [--predicted runs/study_pores]

after configs/analyse_pores.py, configs/analyse_pits.py and configs/study_pores.py have run. Objects are matched by
their number; those that touch the border are left out. Predicted pores are matched by their place: a true pore is found
if a predicted one has its centre within 40 nm of its own, the nearest first. An error is measured minus true.
`within_half_voxel` and `within_5_percent` are shares of the objects. Writes benchmarks/results/analysis_truth.json;
what is not asked for is kept there as it was.
"""

import argparse
import csv
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.volume import open_volume

RESULTS = Path(__file__).parent / "results" / "analysis_truth.json"
OBLONG = 0.3  # eccentricities below are not told from 0

MATCH_NM = 40.0

Row = dict[str, str]
Numbers = npt.NDArray[np.float64]


def main() -> None:
    """Compares, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pores", type=Path, help="run folder of configs/analyse_pores.py")
    parser.add_argument("--pits", type=Path, help="run folder of configs/analyse_pits.py")
    parser.add_argument("--predicted", type=Path, help="run folder of configs/study_pores.py")
    parser.add_argument("--record", type=Path, default=RESULTS)
    words = parser.parse_args()
    record: dict[str, Any] = json.loads(words.record.read_text()) if words.record.exists() else {}
    for name, compare in (("pores", of_pores), ("pits", of_pits), ("predicted", of_predicted)):
        workdir = getattr(words, name)
        if workdir is not None:
            record[name] = compare(workdir) | {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
            print(name, json.dumps(record[name], indent=1))
    words.record.write_text(json.dumps(record, indent=2) + "\n")


def of_pores(workdir: Path) -> dict[str, Any]:
    """Returns the errors of diameters and of distances to the nearest pore."""
    pores, truth = rows(workdir / "analysis" / "pores.csv"), true_rows(workdir)
    voxel_nm = max(open_volume(workdir / "cell.zarr/raw").voxel_size_nm)
    centres = {row["id"]: centre(truth["nuclear_pores", row["id"]]) for row in pores}
    whole = [row for row in pores if row["touches_border"] == "False"]
    true = numbers([truth["nuclear_pores", row["id"]] for row in whole], "diameter_nm")
    sure = [row for row in pores if row["neighbour_is_sure"] == "True"]
    nearest = [
        min(float(np.linalg.norm(centres[row["id"]] - place)) for other, place in centres.items() if other != row["id"])
        for row in sure
    ]
    summary = json.loads((workdir / "analysis" / "summary.json").read_text())["pores"]
    return {
        "voxel_nm": voxel_nm,
        "pores": len(pores),
        "whole": len(whole),
        "diameter_nm": errors(numbers(whole, "diameter_nm"), true, voxel_nm),
        "neighbour_nm": errors(numbers(sure, "neighbour_nm"), np.array(nearest), voxel_nm),
        "mean_and_std_nm": [[v.mean(), v.std(ddof=1)] for v in (numbers(whole, "diameter_nm"), true)],
        "normality": summary["diameter_nm"]["normality"],
        "neighbour_arc_nm": summary["neighbour_arc_nm"],
    }


def of_pits(workdir: Path) -> dict[str, Any]:
    """Returns the errors of depth, width, ratio of axes and eccentricity, and how many are taken for the other kind."""
    pits, truth = rows(workdir / "analysis" / "pits.csv"), true_rows(workdir)
    voxel_nm = max(open_volume(workdir / "cell.zarr/raw").voxel_size_nm)
    found: dict[str, Any] = {"voxel_nm": voxel_nm}
    for kind in ("coated_pits", "caveolae"):
        mine = [row for row in pits if row["organelle"] == kind and row["touches_border"] == "False"]
        true = [truth[kind, row["id"]] for row in mine]
        axes, true_eccentricity = numbers(mine, "short_nm") / numbers(mine, "width_nm"), numbers(true, "eccentricity")
        oblong = true_eccentricity >= OBLONG
        found[kind] = {
            "count": len(mine),
            "fitted": sum(row["is_fitted"] == "True" for row in mine),
            "taken_for_caveolae": sum(row["is_caveola"] == "True" for row in mine),
            "depth_nm": errors(numbers(mine, "depth_nm"), numbers(true, "depth_nm"), voxel_nm),
            "width_nm": errors(numbers(mine, "width_nm"), numbers(true, "width_nm"), voxel_nm),
            "short_over_long": errors(axes, np.sqrt(1 - true_eccentricity**2)),
            "eccentricity": errors(numbers(mine, "eccentricity"), true_eccentricity),
            "eccentricity_from_0.3": errors(numbers(mine, "eccentricity")[oblong], true_eccentricity[oblong]),
        }
    return found


def of_predicted(workdir: Path) -> dict[str, Any]:
    """Returns how many pores a network found and made up, and the errors of their diameters."""
    scores, truth = json.loads((workdir / "scores.json").read_text()), true_rows(workdir)
    objects, raw = open_volume(workdir / "prediction.zarr/nuclear_pores/recipe/objects"), workdir / "cell.zarr/raw"
    size = np.array(objects.voxel_size_nm)
    low = np.array(objects.offset_nm) - size / 2
    high = low + size * np.array(objects.shape)
    true = [row for (name, _), row in truth.items() if name == "nuclear_pores"]
    # No nearer to the border than a pore is wide: cut pores are neither asked for nor held against the network.
    true = [row for row in true if (np.minimum(centre(row) - low, high - centre(row)) > 80).all()]
    found = [row for row in rows(workdir / "analysis" / "pores.csv") if row["touches_border"] == "False"]
    away = np.linalg.norm(np.array([centre(row) for row in found])[:, None] - [centre(row) for row in true], axis=-1)
    pairs = []
    while away.size and away.min() <= MATCH_NM:
        own, other = np.unravel_index(int(away.argmin()), away.shape)
        pairs.append((found[own], true[other]))
        away[own], away[:, other] = np.inf, np.inf
    inside = [row for row in found if (np.minimum(centre(row) - low, high - centre(row)) > 80).all()]
    matched = {row["id"] for row, _ in pairs}
    measured, known = (numbers([pair[n] for pair in pairs], "diameter_nm") for n in (0, 1))
    every = numbers(true, "diameter_nm")
    return {
        "true": len(true),
        "found": len(pairs),
        "made_up": sum(row["id"] not in matched for row in inside),
        "diameter_nm": errors(measured, known, max(open_volume(raw).voxel_size_nm)),
        "mean_and_std_nm": [[v.mean(), v.std(ddof=1)] for v in (measured, every)] if len(pairs) > 1 else None,
        "f1": scores["total"]["all"]["f1"],
    }


def errors(measured: Numbers, true: Numbers, voxel_nm: float | None = None) -> dict[str, float] | None:
    """Returns what is said of measured minus true numbers, lengths with their voxel; None of none."""
    if not len(true):
        return None
    off = measured - true
    with np.errstate(divide="ignore"):
        share = np.where(true > 0, np.abs(off) / true, np.inf)
    said = {
        "count": len(off),
        "mean_error": round(float(off.mean()), 4),
        "std_error": round(float(off.std()), 4),
        "largest_error": round(float(np.abs(off).max()), 4),
        "within_5_percent": round(float((share <= 0.05).mean()), 4),
    }
    if voxel_nm is not None:
        said["within_half_voxel"] = round(float((np.abs(off) <= voxel_nm / 2).mean()), 4)
    return said


def rows(path: Path) -> list[Row]:
    """Returns the rows of a table."""
    return list(csv.DictReader(path.read_text().splitlines()))


def true_rows(workdir: Path) -> dict[tuple[str, str], Row]:
    """Returns the rows of truth.csv by organelle and number."""
    return {(row["organelle"], row["number"]): row for row in rows(workdir / "cell.zarr" / "truth.csv")}


def numbers(table: Sequence[Row], column: str) -> Numbers:
    """Returns a column as numbers."""
    return np.array([float(row[column]) for row in table])


def centre(row: Row) -> Numbers:
    """Returns where an object is, nm."""
    return np.array([float(row[f"{axis}_nm"]) for axis in "zyx"])


if __name__ == "__main__":
    main()
