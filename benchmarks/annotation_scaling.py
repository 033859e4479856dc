"""Times stage annotate over volumes of growing size, and takes the peak memory of dividing and of cutting again.

    python -m benchmarks.annotation_scaling [--sizes 256 1024 2048] [--output FILE]

A simulated piece of tissue of 128 voxels a side with strokes on every 32nd section, as configs/simulate_annotations.py
draws them, is repeated as its own mirror image to 256 x 512 voxels times each of `--sizes`. The stage runs twice over
each volume with the settings of configs/annotate.py, one thread and no window: first it divides, cuts and writes, then
it cuts and writes again, as after more strokes. Each run has a process of its own (Linux only); the cache of volumes is
set to 32 MiB there, so that memory that grows with the volume would show. Speed is that of the processor's time.
Writes benchmarks/results/annotation_scaling.json.
"""

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax.simulation import simulate_block
from asem_jax.simulation.objects import table_of
from asem_jax.simulation.strokes import Strokes, stroked
from asem_jax.stages import annotate
from asem_jax.volumes import store
from asem_jax.volumes.geometry import Box, Int3, tiles
from asem_jax.volumes.volume import create_volume
from benchmarks.preprocessing import CACHE_BYTES, Figures, peak_mib, scratch, seconds
from benchmarks.records import RESULTS, circumstances, config_of, save, table
from benchmarks.simulation_baselines import cell_of, settings_of

RECORD = RESULTS / "annotation_scaling.json"
SIDE, VOXEL_NM, SECTION_STEP = 128, 10.0, 32
BLOCK = (64, 64, 64)
Piece = dict[str, npt.NDArray[np.uint8]]


def piece() -> Piece:
    """Returns raw, strokes and their mask of a piece of tissue."""
    tissue = settings_of("simulate_cf")
    box = Box.of_shape((SIDE,) * 3)
    block = simulate_block(cell_of(tissue, tissue["seed"], VOXEL_NM), box)
    ids = {place: place for place, key in enumerate(block.keys, 1) if key.organelle == "mito"}
    labels = table_of(ids, len(block.keys) + 1, "uint32")[block.objects]
    drawn = config_of("simulate_annotations")["annotations"]["strokes"]["strokes"] | {"section_step": SECTION_STEP}
    strokes, mask = stroked(
        Strokes(**drawn), labels, box, labels_box=box, voxel_size_nm=(VOXEL_NM,) * 3, seed=tissue["seed"]
    )
    return {"raw": block.raw, "labels": (strokes != 0).astype(np.uint8), "mask": (mask != 0).astype(np.uint8)}


def repeat(made: Piece, folder: str, shape: Int3) -> None:
    """Writes the piece again and again, mirrored wherever it meets itself."""
    size = (VOXEL_NM,) * 3
    for name, part in made.items():
        volume = create_volume(f"{folder}/{name}", shape=shape, dtype=np.uint8, voxel_size_nm=size, chunk_shape=BLOCK)
        for box in tiles(volume.box, part.shape):
            turned = tuple(slice(None, None, -1 if a // SIDE % 2 else 1) for a in box.start)
            volume.write(box, np.ascontiguousarray(part[turned]))


def section_of(folder: str) -> ConfigDict:
    """Returns the settings of stage annotate."""
    section = config_of("annotate")["annotate"]
    own = {"strokes": f"{folder}/labels", "mask": f"{folder}/mask", "painted": None, "target": f"{folder}/mito"}
    return ConfigDict(
        section
        | {"raw": f"{folder}/raw", "num_threads": 1, "annotations": {"mito": section["annotations"]["mito"] | own}}
        | {"supervoxels": section["supervoxels"] | {"target": f"{folder}/supervoxels"}}
    )


def run_stage(folder: str, num_voxels: int) -> Figures:
    """Returns speed and peak memory of one run, in a process that does nothing else."""
    store.CACHE_BYTES = CACHE_BYTES
    before = peak_mib()
    took = seconds(lambda: annotate.run(section_of(folder), Path(folder).parent / "run"))
    row = json.loads((Path(folder).parent / "run" / "annotate.json").read_text())["mito"]
    return {
        **took,
        "Mvoxel_per_s": num_voxels / 1e6 / took["processor_s"],
        "peak_MiB": peak_mib(),
        "before_MiB": before,
        "added_bytes_per_supervoxel": (peak_mib() - before) * 2**20 / row["supervoxels"],
        **{key: row[key] for key in ("supervoxels", "contacts", "stroked", "seconds_to_cut", "object_voxels_share")},
    }


def growing(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the figures of both runs over volumes of growing size."""
    found, made = [], piece()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in sizes:
            shape = (256, 512, size)
            with scratch() as inside:
                folder = f"{inside}/tissue.zarr"
                repeat(made, folder, shape)
                row: dict[str, Any] = {"shape": shape}
                for turn in ("first", "again"):
                    row[turn] = pool.apply(run_stage, (folder, int(np.prod(shape))))
                    print(f"{shape}, {turn}: {row[turn]}", flush=True)
            found.append(row)
    return found


def markdown(record: Figures) -> str:
    """Returns the table of docs/annotation.md."""
    rows = [
        [
            f"{np.prod(row['shape']) / 1e6:.0f} Mvoxel, {row['first']['supervoxels']} supervoxels",
            *(f"{row[turn]['Mvoxel_per_s']:.1f} / {row[turn]['peak_MiB']:.0f}" for turn in ("first", "again")),
            f"{row['again']['seconds_to_cut']:.1f}",
        ]
        for row in record["volumes"]
    ]
    head = ["region", "divide, cut, write: Mvoxel/s / peak MiB", "cut again, write", "seconds of the cut alone"]
    return "\n".join(table(head, rows))


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(256, 1024, 2048))
    parser.add_argument("--output", type=Path, default=RECORD)
    words = parser.parse_args()
    record = {**circumstances(), "cache_MiB": CACHE_BYTES / 2**20, "volumes": growing(words.sizes)}
    save(words.output, record)
    print(markdown(record))


if __name__ == "__main__":
    main()
