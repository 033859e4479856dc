"""Times the scores of stage evaluate, and their memory, on volumes of growing size.

    python -m benchmarks.evaluation [--sizes 2,2,2 2,4,4 4,4,4] [--quick]

The volumes are made of one block of rounded objects, repeated with new ids, and a segmentation of them that is shifted
and has specks. Each kind of score and size runs in a process of its own, so its peak of resident memory is that of this
score alone; what Python and the imports take is in it and stands beside. The second size is larger than the cache that
all volumes share (256 MiB), so from there on the peak should not grow. Times are those of a wall clock; the time of
the processor stands beside, which tells more on a busy machine. Writes benchmarks/results/evaluation.json.

glibc gives threads pools of memory ("arenas") and keeps what they free, so the peak also grows while they fill.
MALLOC_ARENA_MAX=1 shows what is in use; a record made so says it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.measurement.overlaps import ObjectScores, count_overlaps
from asem_jax.measurement.scoring import evaluate_volumes, sweep_thresholds
from asem_jax.measurement.surfaces import DistanceScores, measure_distances
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.volume import create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "evaluation.json"
BLOCK = 128  # voxels per side, of the pattern and of what is read at a time
VOXEL_NM = 8.0
CAP_NM = 200.0
SIGMA = 8.0  # of the noise whose maxima are the objects, voxels
MEASURES = ("imports", "voxels", "thresholds", "distances", "objects")


def pattern() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Returns ids of objects and of what was found of them, one block that fits itself on all sides."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((BLOCK,) * 3), SIGMA, mode="wrap")
    labels = ndimage.label(noise > 1.3 * noise.std())[0].astype(np.uint32)
    specks = ndimage.gaussian_filter(rng.standard_normal((BLOCK,) * 3), 1.5, mode="wrap")
    found = ndimage.label(np.roll(labels > 0, 3, 1) | (specks > 3.5 * specks.std()))[0].astype(np.uint32)
    return labels, found


def make_volumes(folder: Path, blocks: tuple[int, int, int]) -> None:
    """Writes labels, objects and a probability of that many blocks along each axis."""
    labels, found = pattern()
    shape = [BLOCK * n for n in blocks]
    arrays = {"labels": labels, "objects": found, "probability": np.where(found > 0, 200, 30).astype(np.uint8)}
    for name, array in arrays.items():
        volume = create_volume(
            folder / "cell.zarr" / name,
            shape=shape,
            dtype=array.dtype,
            voxel_size_nm=(VOXEL_NM,) * 3,
            chunk_shape=(64, 64, 64),
        )
        for number, box in enumerate(tiles(Box.of_shape(shape), (BLOCK,) * 3)):
            new = array if name == "probability" else np.where(array > 0, array + np.uint32(number * 10000), array)
            volume.write(box, new.astype(array.dtype))


def blocks_of(size: str) -> tuple[int, int, int]:
    """Returns "1,2,2" as numbers."""
    z, y, x = (int(n) for n in size.split(","))
    return z, y, x


def measure(folder: Path, what: str) -> dict[str, Any]:
    """Returns time, memory and a score of one kind of score on the volumes of a folder."""
    labels, objects, probability = (open_volume(folder / "cell.zarr" / n) for n in ("labels", "objects", "probability"))
    zone = {"exclude_inwards": 4, "exclude_outwards": 4}
    begin, processor = time.perf_counter(), time.process_time()
    score = None
    if what == "voxels":
        score = evaluate_volumes(objects, labels, **zone).f1
    elif what == "thresholds":
        score = sweep_thresholds(probability, labels, **zone).best_threshold()
    elif what == "distances":
        counts = measure_distances(objects, labels, cap_nm=CAP_NM)
        score = DistanceScores.of(counts, (40.0,)).mean_false_distance_nm
    elif what == "objects":
        score = ObjectScores.of(count_overlaps(objects, labels), (0.5,)).matches[0.5].panoptic_quality
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "Mvoxel_per_s": round(labels.box.num_voxels / 1e6 / seconds, 2) if score is not None else None,
        "Mvoxel_per_processor_s": round(labels.box.num_voxels / 1e6 / processor, 2) if score is not None else None,
        "peak_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "score": score,
    }


def in_a_child(folder: Path, what: str) -> Any:
    """Returns what a process of its own makes or measures.

    The peak that Linux tells of a process includes that of the process it was split off from, so the volumes too are
    made in a child.
    """
    words = [sys.executable, "-m", "benchmarks.evaluation", "--child", what, str(folder)]
    done = subprocess.run(words, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["2,2,2", "2,4,4", "4,4,4"], help=f"blocks of {BLOCK} per axis")
    parser.add_argument("--record", type=Path, default=RECORD, help="file to write")
    parser.add_argument("--quick", action="store_true", help="one block; nothing is saved")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        what, folder = words.child
        made = what.startswith("make")
        print(json.dumps(make_volumes(Path(folder), blocks_of(what[4:])) if made else measure(Path(folder), what)))
        return
    runs = []
    for size in ["1,1,1"] if words.quick else words.sizes:
        blocks = blocks_of(size)
        with tempfile.TemporaryDirectory() as folder:
            in_a_child(Path(folder), f"make{size}")
            for what in MEASURES:
                found = {"shape": [BLOCK * n for n in blocks], "what": what, **in_a_child(Path(folder), what)}
                runs.append(found)
                print(found, flush=True)
    record = {
        **circumstances(),
        "block": BLOCK,
        "voxel_nm": VOXEL_NM,
        "cap_nm": CAP_NM,
        "runs": runs,
    }
    if not words.quick:
        save(words.record, record)


if __name__ == "__main__":
    main()
