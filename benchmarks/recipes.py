"""What the recipe of mitochondria does to the quickstart's segmentation: scores of voxels, and objects found.

    python -m benchmarks.recipes [--cell runs/quickstart/cell.zarr]

Needs the run folders of configs/quickstart.py and, after it, configs/postprocess_mito.py (docs/objects.md). Voxels are
scored on the quickstart's held-out box. Objects are counted over the whole volume: one is found if it and an object of
the truth overlap by more than half of what both cover together. Writes benchmarks/results/recipes.json.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.measurement.scoring import evaluate_volumes
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import open_volume
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "recipes.json"
HELD_OUT = Box((0, 224, 0), (128, 288, 256))
SMALLEST_NM3 = 2e7  # of the recipe
PREDICTION = "predictions/mito"


def voxel_scores(cell: str, name: str) -> dict[str, Any]:
    """Returns the scores of a segmentation on the held-out box, with and without the exclusion zone."""
    segmentation, labels = open_volume(f"{cell}/{PREDICTION}/{name}/segmentation"), open_volume(f"{cell}/labels/mito")
    found = {}
    for zone, voxels in (("all", 0), ("outside_exclusion_zone", 4)):
        scores = evaluate_volumes(
            segmentation, labels, box=HELD_OUT, exclude_inwards=voxels, exclude_outwards=voxels
        ).as_json()
        found[zone] = {score: round(scores[score], 4) for score in ("f1", "precision", "recall")}
    return found


def object_scores(cell: str, name: str) -> dict[str, int]:
    """Returns how many objects there are, in truth and found, and how many of the latter fit one of the former."""
    truth, objects = open_volume(f"{cell}/objects/mito"), open_volume(f"{cell}/{PREDICTION}/{name}/objects")
    there, found = truth.read(truth.box), objects.read(objects.box)
    sizes, ours = np.bincount(there.ravel()), np.bincount(found.ravel())
    both = (there > 0) & (found > 0)
    (one, other), shared = np.unique(np.stack([there[both], found[both]]), axis=1, return_counts=True)
    overlap = shared / (sizes[one] + ours[other] - shared)
    large = sizes[1:] * math.prod(truth.voxel_size_nm) >= SMALLEST_NM3
    return {
        "true": int((sizes[1:] > 0).sum()),
        "true_of_at_least_the_smallest": int(large.sum()),
        "found": int((ours[1:] > 0).sum()),
        "found_that_fit": int((overlap > 0.5).sum()),
    }


def main() -> None:
    """Scores, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="runs/quickstart/cell.zarr")
    cell = parser.parse_args().cell
    record = {
        **circumstances(),
        "voxels": {name: voxel_scores(cell, name) for name in ("thresholded", "recipe")},
        "objects": object_scores(cell, "recipe"),
        "smallest_nm3": SMALLEST_NM3,
        "steps": json.loads(Path("runs/mito_objects/postprocess.json").read_text())["steps"],
    }
    save(RECORD, record)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
