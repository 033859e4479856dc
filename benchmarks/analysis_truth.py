"""Compares what stage analyse measured on simulated cells with what the simulator made.

    python -m benchmarks.analysis_truth --pores runs/pores --pits runs/pits
    python -m benchmarks.analysis_truth --predicted runs/study_pores runs/study_pits

after configs/analyse_pores.py and configs/analyse_pits.py, or configs/study_pores.py and configs/study_pits.py have
run. Objects are matched by their number; those that touch the border are left out. Predicted objects are matched by
their place: a true one is found if a predicted one has its centre within 40 nm of its own, the nearest first; what is
nearer to the border than 80 nm is neither missed nor made up. An error is measured minus true. `within_half_voxel` and
`within_5_percent` are shares of the objects. Writes benchmarks/results/analysis_truth.json; what is not asked for is
kept there as it was.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.volume import open_volume
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "analysis_truth.json"
OBLONG = 0.3  # eccentricities below are not told from 0
MATCH_NM, RIM_NM = 40.0, 80.0

Row = dict[str, str]
Numbers = npt.NDArray[np.float64]


def main() -> None:
    """Compares, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pores", type=Path, help="run folder of configs/analyse_pores.py")
    parser.add_argument("--pits", type=Path, help="run folder of configs/analyse_pits.py")
    parser.add_argument("--predicted", type=Path, nargs="*", default=(), help="run folders of configs/study_*.py")
    parser.add_argument("--record", type=Path, default=RECORD)
    words = parser.parse_args()
    record: dict[str, Any] = json.loads(words.record.read_text()) if words.record.exists() else {}
    asked = [("pores", of_pores, words.pores), ("pits", of_pits, words.pits)]
    for workdir in words.predicted:
        (organelle,) = json.loads((workdir / "config.json").read_text())["train"]["organelles"]
        compare = of_predicted_pores if organelle == "nuclear_pores" else of_predicted_pits
        asked.append((f"predicted_{organelle}", compare, workdir))
    for name, compare, workdir in asked:
        if workdir is not None:
            record[name] = {**circumstances(), **compare(workdir)}
            print(name, json.dumps(record[name], indent=1))
    save(words.record, record)


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


def of_predicted_pores(workdir: Path) -> dict[str, Any]:
    """Returns how many pores a network found and made up, and the errors of their diameters."""
    found = Matches(workdir, "nuclear_pores", "pores")
    measured, known = found.columns("diameter_nm")
    every = numbers(found.true, "diameter_nm")
    return found.counts() | {
        "diameter_nm": errors(measured, known, found.voxel_nm),
        "mean_and_std_nm": [[v.mean(), v.std(ddof=1)] for v in (measured, every)] if len(measured) > 1 else None,
    }


def of_predicted_pits(workdir: Path) -> dict[str, Any]:
    """Returns how many pits a network found and made up, and the errors of their shapes.

    `made_up_on_caveolae` are those made up where a caveola is; `called_caveolae` are those found that are caveolae by
    the limits of the config.
    """
    found = Matches(workdir, "coated_pits", "pits")
    caveolae = [centre(row) for (name, _), row in found.truth.items() if name == "caveolae"]
    on_caveolae = (distances(found.made_up, caveolae) <= MATCH_NM).any(axis=1)
    measured, true = ([pair[n] for pair in found.pairs] for n in (0, 1))
    ratio = numbers(measured, "short_nm") / numbers(measured, "width_nm")
    return found.counts() | {
        "made_up_on_caveolae": int(on_caveolae.sum()),
        "called_caveolae": sum(row["is_caveola"] == "True" for row in measured),
        **{name: errors(*found.columns(name), found.voxel_nm) for name in ("depth_nm", "width_nm")},
        "short_over_long": errors(ratio, np.sqrt(1 - numbers(true, "eccentricity") ** 2)),
        "eccentricity": errors(*found.columns("eccentricity")),
    }


class Matches:
    """Predicted objects of a run beside the true ones.

    Attributes:
      truth: rows of truth.csv by organelle and number.
      true: those of the organelle that lie well inside what was predicted.
      pairs: measured and true row of each that was found.
      made_up: measured rows of others, well inside.
      voxel_nm: the longest side of a voxel.
    """

    def __init__(self, workdir: Path, organelle: str, table: str) -> None:
        """Reads a run folder and matches its objects, the nearest first."""
        objects = open_volume(workdir / f"prediction.zarr/{organelle}/recipe/objects")
        size = np.array(objects.voxel_size_nm)
        low = np.array(objects.offset_nm) - size / 2
        high = low + size * np.array(objects.shape)
        self.workdir, self.voxel_nm, self.truth = workdir, max(objects.voxel_size_nm), true_rows(workdir)

        def is_inside(row: Row) -> bool:
            return bool((np.minimum(centre(row) - low, high - centre(row)) > RIM_NM).all())

        self.true = [row for (name, _), row in self.truth.items() if name == organelle and is_inside(row)]
        found = [row for row in rows(workdir / "analysis" / f"{table}.csv") if row["touches_border"] == "False"]
        away = distances(found, [centre(row) for row in self.true])
        self.pairs: list[tuple[Row, Row]] = []
        while away.size and away.min() <= MATCH_NM:
            own, other = np.unravel_index(int(away.argmin()), away.shape)
            self.pairs.append((found[own], self.true[other]))
            away[own], away[:, other] = np.inf, np.inf
        matched = {row["id"] for row, _ in self.pairs}
        self.made_up = [row for row in found if row["id"] not in matched and is_inside(row)]

    def columns(self, name: str) -> tuple[Numbers, Numbers]:
        """Returns a measure of the objects found, and what it truly is."""
        return numbers([own for own, _ in self.pairs], name), numbers([other for _, other in self.pairs], name)

    def counts(self) -> dict[str, Any]:
        """Returns how many there are, were found and were made up, and the F1 of voxels and of objects."""
        scores = json.loads((self.workdir / "scores.json").read_text())["predictions"]["objects"]["total"]["all"]
        found = {"true": len(self.true), "found": len(self.pairs), "made_up": len(self.made_up), "f1": scores["f1"]}
        return found | {"f1_of_objects": {t: match["f1"] for t, match in scores["objects"]["matches"].items()}}


def distances(table: Sequence[Row], places: Sequence[Numbers]) -> Numbers:
    """Returns the distance of each row's centre to each place, [rows, places], nm."""
    if not table or not places:
        return np.zeros((len(table), len(places)))
    return np.linalg.norm(np.array([centre(row) for row in table])[:, None] - np.array(places), axis=-1)


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
