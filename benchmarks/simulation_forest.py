"""A pixel-wise random forest beside a network: trained and scored on the same parts of a finished run folder.

    pip install -e .[benchmarks]
    nice python -m benchmarks.simulation_forest --workdir runs/quickstart --name simulation_forest

The features are the default ones of ilastik's pixel classification, in 3D, at SIGMAS voxels: Gaussian, Laplacian of
Gaussian, gradient magnitude, difference of Gaussians, eigenvalues of the structure tensor and of the Hessian.
Derivatives are differences of the smoothed raw. The forest sees random voxels of the training regions that the
network was trained on, as many of the organelle as of the background. Its threshold is the best one on other random
voxels of these regions, once for each way of scoring; the scores are made on the regions of stage evaluate, and stand
beside those of the network from scores.json. Writes benchmarks/results/NAME.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from asem_jax import experiment
from asem_jax.measurement.metrics import ProbabilityHistogram
from asem_jax.measurement.scoring import Region, Scores, open_region, scored_blocks, voxel_shift
from asem_jax.segmentation.labels import grey_level
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume, open_volume
from benchmarks.records import RESULTS, circumstances, save

SIGMAS = (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
# The second Gaussian of a difference, and the outer one of the structure tensor, as shares of the first.
NARROW, OUTER = 0.66, 0.5
DEVIATIONS = 3.0
HALO = int(np.ceil(DEVIATIONS * (1 + OUTER) * max(SIGMAS))) + 2
ZONES = ("all", "outside_exclusion_zone")
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def features(raw: npt.NDArray[np.uint8], inner: tuple[slice, slice, slice], chosen: Bools) -> Floats:
    """Returns the features of some voxels, float32 [n, 10 per sigma].

    Args:
      raw: with as much of HALO around the voxels as there is.
      inner: the part of `raw` that has features.
      chosen: which of its voxels are wanted, in its shape.
    """
    grey = raw.astype(np.float32)
    columns: list[Floats] = []
    for sigma in SIGMAS:
        smooth = _gaussian(grey, sigma)
        slopes = np.gradient(smooth)
        first = [slope[inner][chosen] for slope in slopes]
        curves = [(a, b, np.gradient(slopes[a], axis=b)[inner][chosen]) for a in range(3) for b in range(a, 3)]
        spread = [_gaussian(slopes[a] * slopes[b], OUTER * sigma)[inner][chosen] for a in range(3) for b in range(a, 3)]
        narrow = _gaussian(grey, NARROW * sigma)[inner][chosen]
        middle = smooth[inner][chosen]
        columns += [
            middle,
            sum((curve for a, b, curve in curves if a == b), np.zeros_like(middle)),
            np.sqrt(np.square(first).sum(0)),
            middle - narrow,
            *eigenvalues(spread),
            *eigenvalues([curve for _, _, curve in curves]),
        ]
    return np.stack(columns, 1)


def eigenvalues(upper: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Returns the eigenvalues of symmetric 3 x 3 matrices, the largest first.

    Args:
      upper: elements 00, 01, 02, 11, 12, 22, each [n].

    Source: Smith, Eigenvalues of a symmetric 3 x 3 matrix, Communications of the ACM 4(4) (1961).
    """
    a, b, c, d, e, f = (part.astype(np.float64) for part in upper)
    mean = (a + d + f) / 3
    a, d, f = a - mean, d - mean, f - mean
    size = np.sqrt((a * a + d * d + f * f + 2 * (b * b + c * c + e * e)) / 6)
    det = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    angle = np.arccos(np.clip(det / np.maximum(2 * size**3, 1e-30), -1, 1)) / 3
    high = mean + 2 * size * np.cos(angle)
    low = mean + 2 * size * np.cos(angle + 2 * np.pi / 3)
    return high.astype(np.float32), (3 * mean - high - low).astype(np.float32), low.astype(np.float32)


def _gaussian(values: Floats, sigma: float) -> Floats:
    smooth: Floats = ndimage.gaussian_filter(values, sigma, truncate=DEVIATIONS)
    return smooth


@dataclass(frozen=True)
class Source:
    """A region with its raw, and how far from the objects' borders the second of ZONES begins."""

    raw: Volume
    region: Region
    inwards: int
    outwards: int

    def blocks(self, side: int) -> Iterator[tuple[Box, Bools, Bools]]:
        """Yields each block, its labels, and the voxels outside the exclusion zone."""
        for block in scored_blocks(
            self.region.labels,
            box=self.region.box,
            exclude_inwards=self.inwards,
            exclude_outwards=self.outwards,
            block_shape=(side,) * 3,
        ):
            yield block.box, block.labels != 0, block.used

    def features(self, box: Box, chosen: Bools) -> Floats:
        """Returns the features of some voxels of a box of the labels."""
        place = box.shift(voxel_shift(self.raw, self.region.labels, box))
        around = place.grow(HALO).intersect(self.raw.box)
        return features(self.raw.read(around), place.shift([-a for a in around.start]).slices, chosen)


@dataclass(frozen=True)
class Sample:
    """Some voxels: features [n, m], what they are [n], and whether they lie outside the exclusion zone [n]."""

    features: Floats
    labels: Bools
    used: Bools


def sample(sources: list[Source], side: int, *, train: int, threshold: int, seed: int) -> tuple[Sample, Sample]:
    """Returns voxels to train on, half of them in the organelle, and others, drawn evenly, for the threshold.

    Args:
      sources: where from.
      side: of the blocks that are read at a time, voxels.
      train: how many to train on, about.
      threshold: how many for the threshold, about.
      seed: of the draws.
    """
    blocks = [(source, *block) for source in sources for block in source.blocks(side)]
    there = sum(int(labels.sum()) for _, _, labels, _ in blocks)
    everything = sum(labels.size for _, _, labels, _ in blocks)
    if there in (0, everything):
        raise ValueError(f"{there} of {everything} training voxels are organelle; a forest needs both kinds.")
    shares = np.array([train / 2 / (everything - there), train / 2 / there])
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    for number, (source, box, labels, used) in enumerate(blocks):
        drawn = np.random.default_rng((seed, number)).random(labels.shape)
        taken = drawn < shares[labels.astype(int)]
        # The other end of the same numbers: no voxel serves for both.
        spare = drawn > 1 - min(threshold / everything, 1 - shares.max())
        chosen = taken | spare
        found = source.features(box, chosen)
        for part, mine in zip(parts, (taken[chosen], spare[chosen]), strict=True):
            part.append(Sample(found[mine], labels[chosen][mine], used[chosen][mine]))
    first, second = (
        Sample(*(np.concatenate([getattr(one, name) for one in part]) for name in ("features", "labels", "used")))
        for part in parts
    )
    return first, second


def probability(forest: RandomForestClassifier, values: Floats) -> npt.NDArray[np.uint8]:
    """Returns how likely each voxel is organelle, uint8 [n], 255 = 1."""
    chunks = np.array_split(values, max(1, len(values) // 200_000))
    return np.concatenate([np.rint(255 * forest.predict_proba(chunk)[:, 1]).astype(np.uint8) for chunk in chunks])


def histograms(values: npt.NDArray[np.uint8], labels: Bools, used: Bools) -> dict[str, ProbabilityHistogram]:
    """Returns the histogram of each of ZONES."""
    everywhere = np.ones_like(used)
    return {
        zone: ProbabilityHistogram.of(values, labels, mask)
        for zone, mask in zip(ZONES, (everywhere, used), strict=True)
    }


def open_sources(workdir: Path, organelle: str | None) -> tuple[list[Source], list[Source], str]:
    """Returns training and test regions of a run folder, and the organelle; None = the only one trained on."""
    config = experiment.load(str(workdir / "config.json"), {})
    train, test = (experiment.section(config, stage, workdir) for stage in ("train", "evaluate"))
    if organelle is None:
        if len(train.organelles) != 1:
            raise ValueError(f"train.organelles={list(train.organelles)} are several; name one with --organelle.")
        organelle = train.organelles[0]
    zone = (test.exclude_inwards, test.exclude_outwards)
    learned = [_training_source(name, one, organelle, zone) for name, one in train.regions.items()]
    scored = [Source(open_volume(test.raw), open_region(name, **one), *zone) for name, one in test.regions.items()]
    return learned, scored, organelle


def _training_source(name: str, region: ConfigDict, organelle: str, zone: tuple[int, int]) -> Source:
    """Returns a training region, whose box counts voxels of raw, with a box of its labels."""
    if region.mask is not None:
        raise ValueError(f"train.regions.{name}.mask={region.mask}: masks are not read here; give a run without one.")
    raw, labels = open_volume(region.raw), open_volume(region.labels[organelle])
    if any(grid_shift(raw, labels)):
        raise ValueError(
            f"train.regions.{name}: raw and labels begin at different places; give a run where they agree."
        )
    start, stop = region.start or raw.box.start, region.stop or raw.box.stop
    return Source(raw, Region(name, labels, Box(tuple(start), tuple(stop))), *zone)


def main() -> None:
    """Trains, scores, writes the record and prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="run folder with a finished evaluation")
    parser.add_argument("--name", default="simulation_forest", help="of the record")
    parser.add_argument("--organelle", help="which, if the network knows several")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--train-voxels", type=int, default=50_000)
    parser.add_argument("--threshold-voxels", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=128, help="voxels per axis read at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    learned, scored, organelle = open_sources(options.workdir, options.organelle)
    train, other = sample(
        learned, options.side, train=options.train_voxels, threshold=options.threshold_voxels, seed=options.seed
    )
    forest = RandomForestClassifier(options.trees, random_state=options.seed, n_jobs=options.jobs)
    forest.fit(train.features, train.labels)
    thresholds = {
        zone: found.best_threshold()
        for zone, found in histograms(probability(forest, other.features), other.labels, other.used).items()
    }
    totals = {zone: ProbabilityHistogram.empty() for zone in ZONES}
    for source in scored:
        for box, labels, used in source.blocks(options.side):
            values = probability(forest, source.features(box, np.ones(box.shape, bool)))
            for zone, found in histograms(values.reshape(box.shape), labels, used).items():
                totals[zone] += found
    scores = {zone: Scores.of(totals[zone].counts_at(grey_level(thresholds[zone]))).as_json() for zone in ZONES}
    network = json.loads((options.workdir / "scores.json").read_text())
    record = {
        **circumstances("scikit-learn"),
        "organelle": organelle,
        "sigmas_voxels": SIGMAS,
        "trees": options.trees,
        "train_voxels": len(train.labels),
        "threshold_voxels": len(other.labels),
        "seed": options.seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "thresholds": thresholds,
        "forest": scores,
        "network": network["total"],
        "baseline": network["baseline"] and network["baseline"]["total"],
    }
    save(RESULTS / f"{options.name}.json", record)
    for name in ("forest", "network", "baseline"):
        print(f"{name:<10}" + "  ".join(f"{zone}: F1 {record[name][zone]['f1']:.3f}" for zone in record[name] or ()))


if __name__ == "__main__":
    main()
