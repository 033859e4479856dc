"""What a graph cut finds from strokes on every n-th section, beside a threshold and a random walker.

    pip install scikit-image
    ASEM_JAX_DATA=FOLDER nice python -m benchmarks.annotation

Mitochondria of the EPFL volume at 10 nm, and ER and Golgi of the cell of configs/simulate_cell.py at 8 nm: of six cubes
of that cell, drawn as in `simulation_baselines`, the one that holds most of each. Strokes are those of
`simulate_annotations` with the pace and the brush of its config, for ER with a thinner brush, as its tubes are thin.
All is done in memory with the settings of configs/annotate.py, one seed of strokes after the other. F1 is of all
voxels, without an exclusion zone. Supervoxels are of two sizes, that of the config and FINER_NM. The threshold and its
smoothing are the best for the very voxels that are scored, so no threshold is better. The random walker is
scikit-image's with the same strokes; of the values BETAS the one that scores best is taken. Writes
benchmarks/results/annotation.json, prints the tables of docs/annotation.md, and draws two sections for each volume and
step into `--pictures`.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import tifffile
from skimage.segmentation import random_walker

from asem_jax.measurement.baseline import best_baseline
from asem_jax.measurement.metrics import ProbabilityHistogram, count, f1
from asem_jax.segmentation.adjacency import Graph, join, piece_of
from asem_jax.segmentation.graph_cut import kinds_of, label_supervoxels, paint, stroked_ids
from asem_jax.segmentation.supervoxels import Ids, Lattice, grow_supervoxels, lattice_pitch, slope, smoothed
from asem_jax.simulation import simulate_block
from asem_jax.simulation.annotation import Pace
from asem_jax.simulation.objects import table_of
from asem_jax.simulation.strokes import Strokes, stroke_effort, stroked
from asem_jax.volumes.geometry import Box, Float3
from benchmarks.records import RESULTS, circumstances, config_of, save, table
from benchmarks.simulation_baselines import cell_of, cubes, settings_of
from benchmarks.simulation_baselines import smoothed as rounded

RECORD = RESULTS / "annotation.json"
# The part of the EPFL volume, voxels of 5 nm, z y x.
EPFL = (slice(0, 160), slice(200, 520), slice(200, 520))
STEPS = (64, 32, 16, 8, 4)
CUBES, SIDE, VOXEL_NM = 6, 96, 8.0
SIGMAS = (0.0, 1.0, 2.0, 4.0)
BETAS = (130.0, 1000.0)
THIN_BRUSH = {"radius_nm": 8.0, "length_nm": 200.0}
FINER_NM = 32.0
Labels = npt.NDArray[np.uint32]
Kinds = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """A volume with what is to be found in it.

    Attributes:
      name: of it.
      raw: uint8 [z, y, x].
      labels: an id per object, 0 = background.
      voxel_size_nm: z y x.
      brush: what differs from the strokes of configs/simulate_annotations.py.
    """

    name: str
    raw: npt.NDArray[np.uint8]
    labels: Labels
    voxel_size_nm: Float3
    brush: dict[str, float]


def epfl(folder: Path) -> Sample:
    """Returns a part of the EPFL volume, made of voxels of 10 nm."""

    def read(name: str) -> npt.NDArray[np.uint8]:
        part: npt.NDArray[np.uint8] = tifffile.imread(folder / f"lucchi_training_{name}.tif")[EPFL]
        return part

    def halved(part: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        z, y, x = (n // 2 for n in part.shape)
        return part.astype(np.float64).reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))

    labels = (halved(read("mito") != 0) >= 0.5).astype(np.uint32)
    return Sample("EPFL mitochondria", np.rint(halved(read("raw"))).astype(np.uint8), labels, (10.0,) * 3, {})


def simulated() -> Iterator[Sample]:
    """Yields the cubes of the simulated cell that hold most of ER and of Golgi."""
    settings = settings_of("simulate_cell")
    cell = cell_of(settings, settings["seed"], VOXEL_NM)
    blocks = [simulate_block(cell, box) for box in cubes(cell, CUBES, SIDE)]
    for name, brush in (("er", THIN_BRUSH), ("golgi", {})):
        found = []
        for block in blocks:
            ids = {place: place for place, key in enumerate(block.keys, 1) if key.organelle == name}
            found.append(table_of(ids, len(block.keys) + 1, "uint32")[block.objects])
        most = int(np.argmax([np.count_nonzero(labels) for labels in found]))
        yield Sample(f"simulated {name}", blocks[most].raw, found[most], (VOXEL_NM,) * 3, brush)


@dataclass(frozen=True)
class Division:
    """A volume that is divided into supervoxels.

    Attributes:
      sample: the volume.
      ids: the supervoxel of each voxel.
      graph: of the supervoxels.
      seconds: that it took.
    """

    sample: Sample
    ids: Ids
    graph: Graph
    seconds: float

    @classmethod
    def of(cls, sample: Sample, settings: dict[str, Any]) -> "Division":
        """Divides a volume."""
        began = time.monotonic()
        size, whole = sample.voxel_size_nm, Box.of_shape(sample.raw.shape)
        lattice = Lattice(whole.shape, lattice_pitch(settings["pitch_nm"], size))
        smooth = smoothed(sample.raw, settings["sigma_nm"], size)
        gradient = slope(smooth, size)
        steps = {name: settings[name] for name in ("grey_step", "gradient_step")}
        ids = grow_supervoxels(smooth, gradient, whole, lattice=lattice, voxel_size_nm=size, **steps)
        looks = tuple(settings["looks_nm"])
        piece = piece_of(sample.raw, whole, ids, gradient, sigmas_nm=looks, voxel_size_nm=size)
        return cls(sample, ids, join([piece], lattice.count), time.monotonic() - began)

    def cut(self, strokes: Kinds, settings: dict[str, Any]) -> Kinds:
        """Returns what the minimum cut finds; nothing, where strokes of a kind are missing."""
        kinds = kinds_of([stroked_ids(self.ids, strokes)], len(self.graph.sizes))
        if not {1, 2} <= set(kinds.tolist()):
            return np.zeros_like(strokes)
        labels = label_supervoxels(self.graph, kinds, **settings)
        return paint(labels, kinds, self.ids, strokes, voxel_size_nm=self.sample.voxel_size_nm)

    def row(self) -> dict[str, Any]:
        """Returns what there is to say of it; the best labelling gives each supervoxel what most of its voxels are."""
        inside = np.bincount(self.ids.ravel(), (self.sample.labels != 0).ravel())
        return {
            "supervoxels": len(self.graph.sizes),
            "contacts": len(self.graph.pairs),
            "seconds": round(self.seconds, 1),
            "f1_of_the_best_labelling": score((inside * 2 > self.graph.sizes)[self.ids], self.sample),
        }


def pitches(section: dict[str, Any]) -> dict[str, float]:
    """Returns the sizes of supervoxels to be compared: what it is called -> nm."""
    return {f"pitch_{nm:.0f}_nm": nm for nm in (section["pitch_nm"], FINER_NM)}


def annotated(sample: Sample, strokes: Strokes, pace: Pace, seed: int) -> tuple[Kinds, dict[str, float]]:
    """Returns strokes, 1 = object and 2 = background, and what drawing them takes."""
    box = Box.of_shape(sample.raw.shape)
    words = {"labels_box": box, "voxel_size_nm": sample.voxel_size_nm, "seed": seed}
    labels, mask = stroked(strokes, sample.labels, box, **words)
    effort, objects = stroke_effort(strokes, sample.labels, box, **words)
    effort = replace(effort, sections=len(range(0, box.shape[0], strokes.section_step)), objects=len(objects))
    cost = {"sections": effort.sections, "strokes": effort.strokes, "minutes": round(pace.seconds(effort) / 60, 1)}
    return np.where(mask == 0, 0, np.where(labels > 0, 1, 2)).astype(np.uint8), cost


def score(found: npt.NDArray[np.generic], sample: Sample) -> float:
    """Returns F1 over all voxels."""
    return round(float(f1(count(found != 0, sample.labels != 0))), 3)


def threshold(sample: Sample) -> float:
    """Returns the F1 of the best threshold, smoothing and polarity for these voxels."""
    truth = sample.labels != 0
    sweeps = {sigma: ProbabilityHistogram.of(rounded(sample.raw, sigma), truth) for sigma in SIGMAS}
    return round(best_baseline(sweeps).scores.f1, 3)


def walked(sample: Sample, kinds: Kinds) -> tuple[float, float]:
    """Returns the best F1 of a random walker over BETAS, and the seconds of one walk."""
    began = time.monotonic()
    grey = sample.raw / np.float32(255)
    found = [random_walker(grey, kinds.astype(np.int32), beta=beta, mode="cg_j", tol=1e-2) == 1 for beta in BETAS]
    return max(score(one, sample) for one in found), round((time.monotonic() - began) / len(BETAS), 1)


def rows_of(
    sample: Sample, config: dict[str, Any], strokes: dict[str, Any], pace: Pace, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns all scores of a volume."""
    section = config["supervoxels"]
    divisions = {name: Division.of(sample, section | {"pitch_nm": nm}) for name, nm in pitches(section).items()}
    cutting = {name: config["annotations"]["mito"][name] for name in ("smoothness", "ridge", "surroundings", "bias")}
    rows = []
    for step in options.steps:
        for seed in options.seeds:
            kinds, cost = annotated(sample, Strokes(**strokes | sample.brush | {"section_step": step}), pace, seed)
            row: dict[str, Any] = {"section_step": step, "seed": seed, **cost}
            for name, division in divisions.items():
                began = time.monotonic()
                found = division.cut(kinds, cutting)
                row |= {f"{name}_f1": score(found, sample), f"{name}_s": round(time.monotonic() - began, 2)}
                if seed == options.seeds[0] and options.pictures:
                    path = options.pictures / f"{sample.name}_{name}_{step}.png".replace(" ", "_")
                    draw(sample, kinds, found, path, step)
            if step in options.walker_steps and seed == options.seeds[0]:
                row["random_walker_f1"], row["random_walker_s"] = walked(sample, kinds)
            rows.append(row)
            print(sample.name, row, flush=True)
    return {
        "shape": sample.raw.shape,
        "voxel_size_nm": sample.voxel_size_nm,
        "share": round(float((sample.labels != 0).mean()), 4),
        "divisions": {name: division.row() for name, division in divisions.items()},
        "threshold_f1": threshold(sample),
        "rows": rows,
    }


def draw(sample: Sample, kinds: Kinds, found: Kinds, path: Path, step: int) -> None:
    """Draws a section with strokes, and one halfway to the next: raw, outline of the labels and of what was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The section with strokes that holds most, so that there is something to see.
    there = [(np.count_nonzero(sample.labels[z]), z) for z in range(0, len(kinds), step)]
    first = max(there)[1]
    figure, axes = plt.subplots(1, 2, figsize=(14, 7.4))
    for axis, z in zip(axes, (first, min(first + step // 2, len(kinds) - 1)), strict=True):
        axis.imshow(sample.raw[z], cmap="gray", vmin=0, vmax=255)
        for mask, colour in ((sample.labels[z] != 0, "lime"), (found[z] != 0, "red")):
            if mask.any() and not mask.all():
                axis.contour(mask, [0.5], colors=colour, linewidths=1)
        shown = np.zeros((*kinds[z].shape, 4))
        shown[kinds[z] == 1], shown[kinds[z] == 2] = (1, 0.8, 0, 0.7), (0, 0.6, 1, 0.7)
        axis.imshow(shown)
        axis.set_title(f"{sample.name}, strokes every {step}, section {z}; labels green, found red")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def tables(results: dict[str, Any]) -> str:
    """Returns the Markdown tables of the docs."""
    lines = []
    for name, one in results.items():
        ways = {f"{way}_f1": way.replace("_", " ") for way in one["divisions"]}
        head = [f"{name}: strokes on one section in", "sections", "strokes", "minutes", *ways.values(), "random walker"]
        rows = []
        for step in sorted({row["section_step"] for row in one["rows"]}, reverse=True):
            mine = [row for row in one["rows"] if row["section_step"] == step]
            effort = [
                f"{np.mean([row[key] for row in mine]):.{digits}f}"
                for key, digits in (("sections", 0), ("strokes", 0), ("minutes", 1))
            ]
            found = [[row[way] for row in mine] for way in ways]
            walker = [f"{row['random_walker_f1']:.2f}" for row in mine if "random_walker_f1" in row] or ["-"]
            spread = [f"{np.mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})" for scores in found]
            rows.append([f"{step}", *effort, *spread, *walker])
        best = ", ".join(f"{row['f1_of_the_best_labelling']:.2f}" for row in one["divisions"].values())
        lines += ["", *table(head, rows), "", f"threshold {one['threshold_f1']:.2f}, best of supervoxels {best}"]
    return "\n".join(lines)


def main() -> None:
    """Scores, writes the record and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2, 3))
    parser.add_argument("--walker-steps", nargs="*", type=int, default=STEPS, help="steps that a walker is run for")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each volume and step")
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args()
    config, drawing = config_of("annotate")["annotate"], config_of("simulate_annotations")
    strokes, pace = drawing["annotations"]["strokes"]["strokes"], Pace(**drawing["pace"])
    results = {}
    samples = [epfl(Path(os.environ["ASEM_JAX_DATA"]))] if "ASEM_JAX_DATA" in os.environ else []
    for sample in (*samples, *simulated()):
        results[sample.name] = rows_of(sample, config, strokes, pace, options)
    record = {
        **circumstances("scikit-image"),
        "settings": {"supervoxels": config["supervoxels"], "cut": config["annotations"]["mito"], "strokes": strokes},
        "pace": drawing["pace"],
        "volumes": results,
    }
    save(options.record, record)
    print(tables(results))


if __name__ == "__main__":
    main()
