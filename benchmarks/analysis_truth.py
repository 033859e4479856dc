"""Compares what stage analyse measured on simulated cells with what the simulator made.

    python -m benchmarks.analysis_truth --pores runs/pores --pits runs/pits

after configs/analyse_pores.py and configs/analyse_pits.py have run. Objects are matched by their number; those that
touch the border are left out. An error is measured minus true. `within_half_voxel` and `within_5_percent` are shares of
the objects. Writes benchmarks/results/analysis_truth.json.
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

Row = dict[str, str]
Numbers = npt.NDArray[np.float64]


def main() -> None:
    """Compares, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pores", type=Path, required=True, help="run folder of configs/analyse_pores.py")
    parser.add_argument("--pits", type=Path, required=True, help="run folder of configs/analyse_pits.py")
    parser.add_argument("--record", type=Path, default=RESULTS)
    words = parser.parse_args()
    record = {"pores": of_pores(words.pores), "pits": of_pits(words.pits)}
    record["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(json.dumps(record, indent=1))
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
