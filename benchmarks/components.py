"""Connected components of a volume on disk: throughput and peak memory, beside programs that hold the volume in memory.

    python -m benchmarks.components [--side 320] [--rounds 3] [--folder FOLDER] [--methods blocks ...] [--record FILE]

Each method reads a mask from OME-Zarr, labels it (26 neighbours), and writes uint32 ids to OME-Zarr, in a process of
its own that does nothing else. asem_jax works in blocks of 128 voxels with one thread, scikit-image and
connected-components-3d (LGPL; imported here only) on the whole array. The methods take turns for several rounds on a
cube that fits; then asem_jax alone goes on to 4 and 16 times as many voxels. The mask is a smooth random field, a tenth
of it foreground, repeated. Speed is voxels per second of processor time, so that a busy machine matters less; elapsed
time is in the record. Memory is the peak resident size of the process. `start` is a process that only opens the volume.
`uncached` is asem_jax without the cache of decoded chunks that all its volumes share (at most 256 MiB, filled as more
of a volume is read and written), so it shows what labelling itself takes. Writes benchmarks/results/components.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import ndimage

from asem_jax.segmentation.components import find_components
from asem_jax.segmentation.parts import parts_of, write_objects
from asem_jax.volumes import store
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, ROOT, circumstances, save

RECORD = RESULTS / "components.json"
CHUNK = (64, 64, 64)
BLOCK = (128, 128, 128)
TILE = 160  # voxels after which the mask repeats


def create(address: str, shape: Int3, dtype: str) -> Volume:
    """Creates a volume of 8 nm."""
    return create_volume(address, shape=shape, dtype=dtype, voxel_size_nm=(8.0, 8.0, 8.0), chunk_shape=CHUNK)


def write_mask(folder: Path, shape: Int3) -> None:
    """Writes a mask of blobs, of which a tenth is foreground."""
    noise = np.random.default_rng(0).standard_normal((TILE,) * 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, 3.0, mode="wrap")
    tile = (smooth > np.quantile(smooth, 0.9)).astype(np.uint8)
    mask = create(f"{folder}/mask.zarr/mask", shape, "uint8")
    for start in range(0, shape[0], CHUNK[0]):
        box = Box((start, 0, 0), (min(start + CHUNK[0], shape[0]), shape[1], shape[2]))
        z, y, x = (np.arange(a, b) % TILE for a, b in zip(box.start, box.stop, strict=True))
        mask.write(box, tile[np.ix_(z, y, x)])


def start(mask: Volume, folder: Path) -> int:
    """Does nothing."""
    return 0


def blocks(mask: Volume, folder: Path) -> int:
    """Labels block by block, as stage postprocess does."""
    job = BlockJob(folder / "job", BLOCK, 1, {})

    def read(box: Box) -> Any:
        return mask.read(box) != 0

    components = find_components(read, mask.shape, connectivity=26, job=job, label="mask")
    objects = create(f"{folder}/out.zarr/objects", mask.shape, "uint32")
    segmentation = create(f"{folder}/out.zarr/segmentation", mask.shape, "uint8")
    write_objects(parts_of(components, read), objects, segmentation, min_voxels=0, job=job)
    return len(components)


def uncached(mask: Volume, folder: Path) -> int:
    """Labels block by block, in a process that was told to cache nothing."""
    return blocks(mask, folder)


def scikit_image(mask: Volume, folder: Path) -> int:
    """Labels the whole array with scikit-image."""
    from skimage.measure import label

    labels, count = label(mask.read(mask.box), connectivity=3, return_num=True)
    create(f"{folder}/out.zarr/objects", mask.shape, "uint32").write(mask.box, labels.astype(np.uint32))
    return int(count)


def cc3d(mask: Volume, folder: Path) -> int:
    """Labels the whole array with connected-components-3d."""
    import cc3d as other

    labels, count = other.connected_components(mask.read(mask.box), connectivity=26, return_N=True)
    create(f"{folder}/out.zarr/objects", mask.shape, "uint32").write(mask.box, labels.astype(np.uint32))
    return int(count)


METHODS: dict[str, Callable[[Volume, Path], int]] = {
    m.__name__: m for m in (start, blocks, uncached, scikit_image, cc3d)
}


def child(method: str, folder: Path) -> None:
    """Runs one method in this process and prints what it took."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        if method == "uncached":
            store.CACHE_BYTES = 0
        mask = open_volume(f"{folder}/mask.zarr/mask")
        begin, processor = time.monotonic(), time.process_time()
        count = METHODS[method](mask, Path(out))
        found = {
            "count": count,
            "elapsed_s": round(time.monotonic() - begin, 2),
            "processor_s": round(time.process_time() - processor, 2),
            "peak_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
    print(json.dumps(found))


def start_child(what: str, folder: Path, *words: str) -> str:
    """Returns what a process of this module prints."""
    command = [sys.executable, "-m", "benchmarks.components", "--child", what, "--folder", str(folder), *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(method: str, folder: Path) -> dict[str, Any]:
    """Returns what a method took in a process of its own."""
    found: dict[str, Any] = json.loads(start_child(method, folder).splitlines()[-1])
    print(f"{folder.name:<16} {method:<14} {found}", flush=True)
    return found


def rounds_of(methods: list[str], folder: Path, rounds: int) -> dict[str, Any]:
    """Returns the medians over rounds in which the methods take turns, and all rounds."""
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for _ in range(rounds):
        for method in methods:
            found[method].append(measure(method, folder))
    voxels = open_volume(f"{folder}/mask.zarr/mask").box.num_voxels
    return {
        method: {
            "Mvoxel_per_s": round(voxels / max(median(r["processor_s"] for r in runs), 0.01) / 1e6, 1),
            "peak_MiB": median(r["peak_MiB"] for r in runs),
            "count": runs[0]["count"],
            "rounds": runs,
        }
        for method, runs in found.items()
    }


def main() -> None:
    """Measures, prints and saves; or is one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--record", type=Path, default=RESULTS)
    parser.add_argument("--child", default=None)
    parser.add_argument("--shape", type=int, nargs=3, default=None)
    words = parser.parse_args()
    if words.child == "mask":
        write_mask(words.folder, tuple(words.shape))
        return
    if words.child:
        child(words.child, words.folder)
        return
    side, sizes = words.side, {}
    with tempfile.TemporaryDirectory(dir=words.folder) as root:
        for times, shape in ((1, (side,) * 3), (4, (side, 2 * side, 2 * side)), (16, (2 * side, 2 * side, 4 * side))):
            folder = Path(root) / "x".join(map(str, shape))
            # In a process of its own, or what it took would count as memory of those that this one starts.
            start_child("mask", folder, "--shape", *map(str, shape))
            methods = [name for name in words.methods if times == 1 or name in ("blocks", "uncached")]
            sizes[folder.name] = rounds_of(methods, folder, words.rounds if times == 1 else 1)
            keep(sizes, words.record)


def keep(sizes: dict[str, Any], path: Path) -> None:
    """Writes what was measured so far, with the machine and the versions."""
    record = {
        **circumstances("scikit-image", "connected-components-3d"),
        "block": BLOCK,
        "chunk": CHUNK,
        "connectivity": 26,
        "sizes": sizes,
    }
    save(path, record)


if __name__ == "__main__":
    main()
