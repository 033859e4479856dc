"""Times the prediction of a region by asem_jax against a sliding window in PyTorch with the original's defaults.

    python -m benchmarks.prediction --torch-python PATH [--quick]

PATH is a Python with torch and numpy (this one, if not given). Both predict the same region with the same weights,
ASEM's network of 32 maps, in turns, so that a busy machine slows both: the ratio is the median over the rounds of
PyTorch's seconds divided by asem_jax's in the same round. asem_jax reads an OME-Zarr volume, chooses its tiles by the
memory, and writes probability and segmentation with all their levels. PyTorch takes tiles of 204 voxels for 110 from a
memory map, and writes probabilities and segmentation to others. Compilation is not counted: the first round of each is
left out. Where the phases of both are the same, in the first tile, the outcomes are compared. Of asem_jax it is
recorded too for which share of the time its devices stood idle until the storage had read or written, how many bytes a
voxel of its tile takes, in slabs of z and without them, as the compiler states it, and how many times more
multiplications the tiles of PyTorch are than its own.

Writes benchmarks/results/prediction.json, or prediction_gpu.json on a machine with a GPU. `--quick`, a narrow network
and one tile, checks the script: its figures say nothing, and are written only where `--output` says.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from asem_jax.models.architecture import asem
from asem_jax.models.costs import multiplications
from asem_jax.models.model import Model, ModelCard
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.slabs import SLABS
from asem_jax.models.torch_export import export_torch
from asem_jax.prediction.forecast import forecast
from asem_jax.prediction.job import make_job
from asem_jax.prediction.planner import SharedPlan
from asem_jax.prediction.predictor import sweep_volume
from asem_jax.prediction.waiting import Waiting
from asem_jax.training.step import init_state
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save
from benchmarks.worker import Process

OUTPUT = 110  # voxels per axis that PyTorch predicts at once
CONTEXT = 47  # that it needs around them
MARGIN = 48  # around the region: its context, at a multiple of the network's stride
VOXEL_SIZE_NM = (5.0, 5.0, 5.0)
GAIN = 2.0  # of the random weights, so that probabilities differ from voxel to voxel
PAUSE_S = 0.5
WAITING = ("waiting_for_reads_share", "waiting_for_writes_share")  # of the time of all blocks
Figures = dict[str, Any]


class Sizes(NamedTuple):
    """What is measured: tiles per axis, maps of the finest level, rounds."""

    tiles: tuple[int, int, int] = (1, 2, 2)
    num_maps: int = 32
    rounds: int = 3


QUICK = Sizes(tiles=(1, 1, 1), num_maps=2, rounds=2)


def main() -> None:
    """Measures, prints and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch and numpy")
    parser.add_argument("--quick", action="store_true", help="check the script with a narrow network")
    parser.add_argument("--output", type=Path, help="the JSON file, if not the one in benchmarks/results")
    options = parser.parse_args()
    results = measure(QUICK if options.quick else Sizes(), options.torch_python)
    print(json.dumps(results, indent=1))
    path = options.output or RESULTS / ("prediction_gpu.json" if results["torch"]["gpu"] else "prediction.json")
    if options.quick and not options.output:
        print("a quick run: nothing is written")
        return
    save(path, results)


def measure(sizes: Sizes, torch_python: str) -> Figures:
    """Returns all figures; see the module."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, raw = make_model(sizes.num_maps), make_raw(folder, sizes.tiles)
        export_torch(model, folder / "weights.pt")
        box = raw.box.grow(-MARGIN)
        job = make_job(model, raw, f"{folder}/warm.zarr/p", box=box)
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # the two share a GPU's memory
        with Process(torch_python, "benchmarks.prediction_torch", environment) as theirs:
            described = theirs.ask("describe")
            if described["gpu"] != (jax.default_backend() == "gpu"):
                raise ValueError(
                    f"asem_jax computes on {jax.default_backend()} and PyTorch on {described['device']}; give "
                    "--torch-python an environment for the same device, or hide the GPU with CUDA_VISIBLE_DEVICES=."
                )
            files = {"weights": str(folder / "weights.pt"), "raw": str(folder / "raw.npy")}
            theirs.ask("prepare", num_maps=sizes.num_maps, **files)
            rounds = [take_turn(number, model, raw, theirs, folder) for number in range(sizes.rounds + 1)][1:]
        apart = largest_difference(folder)
    ratios = [seconds["torch"] / seconds["asem_jax"] for seconds in rounds]
    medians = {name: median(seconds[name] for seconds in rounds) for name in ("asem_jax", "torch")}
    return {
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "torch": described,
        "load_average": load,
        "sizes": sizes._asdict(),
        "region": list(box.shape),
        "write_shape": list(job.plan.write_shape),
        "tile_shape": list(job.plan.read_shape),
        "memory_gb": forecast(job).memory.host / 1e9,
        "bytes_per_voxel_of_tile": {
            name: bytes_per_voxel(model, job.plan.read_shape, slabs) for name, slabs in (("slabs", SLABS), ("whole", 1))
        },
        "multiplications_ratio": multiplications_ratio(sizes, job.plan),
        "rounds": rounds,
        "median_s": medians,
        "mvoxel_per_s": {name: box.num_voxels / seconds / 1e6 for name, seconds in medians.items()},
        "ratios": ratios,
        "ratio": median(ratios),
        "waiting_for_storage_share": median(sum(seconds[name] for name in WAITING) for seconds in rounds),
        "largest_difference_of_probability": apart,
    }


def make_model(num_maps: int) -> Model:
    """Returns ASEM's network with random weights."""
    architecture = asem(num_maps=num_maps)
    card = ModelCard(("mito",), VOXEL_SIZE_NM, architecture, "float32", "membranes dark")
    params = init_state(card.network(), optax.identity(), valid_input_shape((1, 1, 1), architecture), 0).params
    return Model(jax.tree.map(lambda leaf: GAIN * leaf, params), card)


def make_raw(folder: Path, tiles: tuple[int, int, int]) -> Volume:
    """Returns noise with smooth shades as a volume, and writes it as raw.npy too."""
    shape = [count * OUTPUT + 2 * MARGIN for count in tiles]
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    values = np.clip(
        128 + 30 * (np.sin(z / 9) + np.sin(y / 9) + np.sin(x / 9)) + rng.normal(0, 20, shape), 0, 255
    ).astype(np.uint8)
    np.save(folder / "raw.npy", values)
    raw = create_volume(folder / "raw.zarr/raw", shape=shape, dtype=np.uint8, voxel_size_nm=VOXEL_SIZE_NM)
    raw.write(raw.box, values)
    return raw


def take_turn(number: int, model: Model, raw: Volume, theirs: Process, folder: Path) -> dict[str, float]:
    """Returns the seconds of both for one prediction of the region, and how we waited; they begin in turns."""
    box, waiting = raw.box.grow(-MARGIN), Waiting()

    def ours() -> float:
        job = make_job(model, raw, f"{folder}/{number}.zarr/p", box=box)
        time.sleep(PAUSE_S)
        begin = time.perf_counter()
        sweep_volume(job, waiting=waiting)
        return time.perf_counter() - begin

    def torch() -> float:
        time.sleep(PAUSE_S)
        answer = theirs.ask("run", start=box.start, shape=box.shape, target=str(folder / "torch"))
        return float(answer["seconds"])

    turns = {"asem_jax": ours, "torch": torch}
    seconds = {name: turns[name]() for name in (list(turns) if number % 2 else list(turns)[::-1])}
    print(f"round {number}: {seconds}", file=sys.stderr, flush=True)
    return seconds | {name: waiting.to_dict()[name] for name in WAITING}


def bytes_per_voxel(model: Model, tile_shape: Int3, slabs: int) -> float:
    """Returns what the maps of a tile take, per voxel of it; memory of the compiler's own, without raw and result."""
    network = model.card.network(slabs=slabs)
    tile = jax.ShapeDtypeStruct((1, *tile_shape, 1), np.float32)
    memory = jax.jit(network.apply).lower({"params": model.params}, tile).compile().memory_analysis()
    return float(memory.temp_size_in_bytes) / math.prod(tile_shape)


def multiplications_ratio(sizes: Sizes, plan: SharedPlan) -> float:
    """Returns the multiplications of PyTorch's tiles over those of ours, of the direct sums."""
    network = asem(num_maps=sizes.num_maps)
    theirs = math.prod(sizes.tiles) * multiplications((OUTPUT + 2 * CONTEXT,) * 3, network)
    return theirs / (len(plan.write_boxes) * multiplications(plan.read_shape, network))


def largest_difference(folder: Path) -> float:
    """Returns how far the probabilities of PyTorch's first tile lie apart; ours are rounded to 1/255."""
    first = Box.of_shape((OUTPUT, OUTPUT, OUTPUT))
    ours = open_volume(f"{folder}/0.zarr/p/probability").read(first) / 255
    theirs = np.load(folder / "torch_mito.npy", mmap_mode="r")[first.slices]
    return float(np.abs(ours - theirs).max())


if __name__ == "__main__":
    main()
