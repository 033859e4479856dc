"""Scores the best threshold on smoothed raw, for each organelle of the simulated whole cell in three preparations.

    nice python -m benchmarks.simulation_baselines

Simulates cubes of configs/simulate_cell.py in memory, in its own preparation, and with the preparation, the
microscope and the looks (LOOKS) of configs/simulate_cf.py and configs/simulate_hpf.py. The centres of the cubes are
drawn evenly from the ball of a cell, for several seeds: nothing is asked about what is there, and what lies outside
the cell is scored too. Smoothing, threshold and polarity are chosen on the scored voxels themselves, all cubes
together, without an exclusion zone, so no baseline of this kind could be better. At the faces of a cube raw is
reflected for the smoothing. Writes benchmarks/results/simulation_baselines.json and prints the table of
docs/simulation.md.
"""

import argparse
import multiprocessing
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.measurement.baseline import best_baseline
from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.simulation import Cell, Microscope, Preparation, WholeCell, simulate_block
from asem_jax.simulation.objects import table_of
from asem_jax.simulation.surfaces import Surface, site
from asem_jax.volumes.geometry import Box
from benchmarks.records import RESULTS, ROOT, circumstances, save

RECORD = RESULTS / "simulation_baselines.json"
PREPARATIONS = {"own": None, "CF-like": "simulate_cf", "HPF-like": "simulate_hpf"}
LOOKS = ("matrix_grey", "body_grey", "membrane_nm", "membrane_grey", "cytosol_grey", "texture_grey", "wobble_nm")
# What belongs to whole cells alone has no number in the configs of tissue: it keeps its distance from cytosol.
WITH_CYTOSOL = ("nucleoplasm_grey", "chromatin_grey", "droplet_grey")
Settings = dict[str, Any]


def settings_of(name: str) -> Settings:
    """Returns the settings of stage simulate in configs/`name`.py."""
    config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]().to_dict()
    settings: Settings = config.get("simulate", config)
    return settings


def prepared(own: Settings, other: Settings | None, seed: int) -> Settings:
    """Returns the settings of whole cells with a tissue's preparation, microscope and looks; None = with their own.

    Processes of tissue differ in the tone of their cytosol; so do cells here, one tone each, drawn from the same range.
    """
    if other is None:
        return own
    looks = {name: other["cell"][name] for name in LOOKS}
    looks["cytosol_grey"] += float(np.random.default_rng((seed, 1)).uniform(*other["cell"]["process_tone_grey"]))
    change = looks["cytosol_grey"] - own["cell"]["cytosol_grey"]
    moved = {name: np.add(own["whole_cell"][name], change).tolist() for name in WITH_CYTOSOL}
    outside = {"extracellular_grey": other["preparation"]["extracellular_grey"]}
    return own | {
        "cell": own["cell"] | looks,
        "whole_cell": own["whole_cell"] | moved | outside,
        "preparation": other["preparation"],
        "microscope": other["microscope"],
    }


def cell_of(settings: Settings, seed: int, voxel_nm: float) -> Cell:
    """Returns what settings describe, with another seed and cubic voxels of another size."""
    whole = settings["whole_cell"]
    return Cell(
        seed=seed,
        voxel_size_nm=(voxel_nm,) * 3,
        microscope=Microscope(**settings["microscope"]),
        preparation=Preparation(**settings["preparation"]),
        whole=None if whole is None else WholeCell(**whole),
        **settings["cell"],
    )


def cubes(cell: Cell, number: int, side: int) -> list[Box]:
    """Returns cubes of `side` voxels whose centres are drawn evenly from the ball of the first cell."""
    one, rng = site(cell, (0, 0, 0)), np.random.default_rng(cell.seed)
    directions = rng.normal(size=(number, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    away = one.radii_nm[Surface.PLASMA] * np.cbrt(rng.random((number, 1)))
    # Places are those of living tissue, which shrinks.
    places = (one.centres_nm[Surface.PLASMA] + directions * away) * cell.preparation.shrinkage
    starts = np.rint(places / cell.voxel_size_nm).astype(int) - side // 2
    return [Box.of_shape((side,) * 3, start.tolist()) for start in starts]


@dataclass(frozen=True)
class Tally:
    """What was counted in cubes.

    Attributes:
      histograms: int64 [sigma, 1 + organelle, grey value], voxels; organelle 0 is what is none of them.
      objects: organelle -> how many were seen.
    """

    histograms: npt.NDArray[np.int64]
    objects: dict[str, int]

    def __add__(self, other: "Tally") -> "Tally":
        """Returns the counts of both; no object may be in both."""
        objects = {name: number + other.objects[name] for name, number in self.objects.items()}
        return Tally(self.histograms + other.histograms, objects)


def tally(
    settings: Settings, seed: int, *, number: int, side: int, voxel_nm: float, sigmas_nm: Sequence[float]
) -> Tally:
    """Returns the counts of the cubes of one cell."""
    names = settings["organelles"]
    histograms = np.zeros((len(sigmas_nm), 1 + len(names), 256), np.int64)
    seen = set()
    cell = cell_of(settings, seed, voxel_nm)
    for box in cubes(cell, number, side):
        block = simulate_block(cell, box)
        rows = {place: 1 + names.index(key.organelle) for place, key in enumerate(block.keys, 1)}
        organelle = table_of(rows, len(block.keys) + 1, "int64")[block.objects]
        for histogram, sigma_nm in zip(histograms, sigmas_nm, strict=True):
            pairs = organelle * 256 + smoothed(block.raw, sigma_nm / voxel_nm)
            histogram += np.bincount(pairs.ravel(), minlength=histogram.size).reshape(histogram.shape)
        seen |= {block.keys[place - 1] for place in np.unique(block.objects).tolist() if place}
    return Tally(histograms, {name: sum(key.organelle == name for key in seen) for name in names})


def scores(counted: Tally, sigmas_nm: Sequence[float]) -> dict[str, Any]:
    """Returns the scores of all organelles, and mean and deviation of the grey values, as JSON."""
    every = counted.histograms.sum(1)
    greys, voxels = np.arange(256), every[0].sum()
    mean = float(every[0] @ greys / voxels)
    found = {}
    for row, (name, objects) in enumerate(counted.objects.items(), 1):
        own = counted.histograms[:, row]
        share = float(own[0].sum() / voxels)
        found[name] = {"share": round(share, 5), "objects": objects, "f1": None}
        if not share:
            continue
        best = best_baseline(
            {s: ProbabilityHistogram(mine, all_ - mine) for s, mine, all_ in zip(sigmas_nm, own, every, strict=True)}
        )
        found[name] |= {
            "f1": round(best.scores.f1, 3),
            "sigma_nm": best.sigma,
            "threshold": best.threshold,
            "polarity": best.polarity,
            "f1_of_calling_all_of_it": round(2 * share / (1 + share), 3),
        }
    deviation = float(np.sqrt(every[0] @ np.square(greys - mean) / voxels))
    return {"mean": round(mean, 1), "deviation": round(deviation, 1), "organelles": found}


def smoothed(raw: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    """Returns `raw` after a Gaussian filter of `sigma` voxels, as `asem_jax.measurement.baseline` rounds it."""
    if not sigma:
        return raw
    return np.rint(ndimage.gaussian_filter(raw, sigma, output=np.float32)).astype(np.uint8)


def table(results: dict[str, Any]) -> str:
    """Returns the Markdown table of the docs."""
    lines = [f"| organelle | share of voxels | {' | '.join(results)} |", "|---" * (2 + len(results)) + "|"]
    for name, first in next(iter(results.values()))["organelles"].items():
        found = [one["organelles"][name] for one in results.values()]
        cells = [
            "-" if one["f1"] is None else f"{one['f1']:.2f} ({one['polarity']}, {one['sigma_nm']:g} nm)"
            for one in found
        ]
        lines.append(f"| {name} | {100 * first['share']:.2g} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulates, scores, writes the record and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=(3, 4, 5, 6), help="one cell each")
    parser.add_argument("--cubes", type=int, default=6, help="per cell")
    parser.add_argument("--side", type=int, default=80, help="of a cube, voxels")
    parser.add_argument("--voxel-nm", type=float, default=8.0)
    parser.add_argument("--sigmas-nm", nargs="+", type=float, default=(0, 4, 8, 16, 24, 40, 64), help="0 = none")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--record", type=Path, default=RESULTS)
    options = parser.parse_args()
    own = settings_of("simulate_cell")
    others = {name: None if config is None else settings_of(config) for name, config in PREPARATIONS.items()}
    settings = {name: [prepared(own, other, seed) for seed in options.seeds] for name, other in others.items()}
    count = partial(
        tally, number=options.cubes, side=options.side, voxel_nm=options.voxel_nm, sigmas_nm=options.sigmas_nm
    )
    tasks = [task for each in settings.values() for task in zip(each, options.seeds, strict=True)]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        counted = iter(pool.starmap(count, tasks, chunksize=1))
    results = {}
    for name, each in settings.items():
        total = next(counted)
        for _ in each[1:]:
            total += next(counted)
        results[name] = scores(total, options.sigmas_nm) | {
            "cytosol_grey": [round(one["cell"]["cytosol_grey"], 1) for one in each],
            "settings_of_the_first": {
                part: each[0][part] for part in ("cell", "whole_cell", "preparation", "microscope")
            },
        }
    record = {**circumstances(), **vars(options), "preparations": results}
    del record["record"], record["jobs"]
    save(options.record, record)
    print(table(results))
    for name, one in results.items():
        print(f"{name}: mean grey {one['mean']}, deviation {one['deviation']}")


if __name__ == "__main__":
    main()
