"""Times each augmentation against the training step that it is a part of, on this machine.

    python -m benchmarks.augmentation [--full] [--quick]

The network, crops and batch are those of configs/quickstart.py; with `--full` they are ASEM's, 32 maps and crops of
204 voxels, for a GPU. All programs are of one process and take turns, in alternating order. Each augmentation is
timed by itself, compiled as the step compiles it, over a batch that is on the device; its share is its median divided
by that of the plain step, which mirrors, transposes and changes intensity. The step with everything switched on is
timed beside the plain step: what it costs is the median over the rounds of the ratio of the two. Reading a crop,
whose margin elastic deformation enlarges, is timed on one thread, from the page cache.

Writes benchmarks/results/augmentation.json on a machine without a GPU and augmentation_gpu.json on one with, and
with `--full` a name that says so. `--quick`, small crops and few rounds, checks the script and writes nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax import devices, experiment
from asem_jax.stages.recipe import make_card, make_recipe, make_sampling, open_regions
from asem_jax.training.augment import augment_crop
from asem_jax.training.crops import read_batches, read_crop
from asem_jax.training.regions import TrainingRegion
from asem_jax.training.step import Recipe, init_state, parallel_train_step
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume
from benchmarks.records import RESULTS, ROOT, circumstances, save

FULL = {"input_shape": (204, 204, 204), "network": {"num_maps": 32, "pool_factors": ((2, 2, 2),) * 3}}
QUICK = {"input_shape": (44, 44, 44), "network": {"num_maps": 4}}
# Of the original, in voxels of 10 nm as the quickstart has them.
ELASTIC = {
    "probability": 1.0,
    "spacing_nm": (320.0, 320.0, 320.0),
    "jitter_nm": (20.0, 20.0, 20.0),
    "rotation_degrees": 90.0,
    "shift_probability": 0.05,
    "slip_probability": 0.0,
    "max_misalign": 2,
}
DEFECTS = {
    "missing_probability": 0.02,
    "faint_probability": 0.02,
    "faint_contrast": 0.1,
    "dark_probability": 0.02,
    "dark_shift": 0.2,
}
PLAIN, ALL = "mirrors and intensity", "everything"
NOTHING: dict[str, Any] = {"mirror_axes": (), "intensity_scale": 0.0, "intensity_shift": 0.0}
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "jitter": NOTHING | {"elastic": ELASTIC | {"rotation_degrees": 0.0, "shift_probability": 0.0}},
    "elastic": NOTHING | {"elastic": ELASTIC},
    "gamma": NOTHING | {"gamma": (0.5, 2.0)},
    "noise": NOTHING | {"noise_std": 0.05},
    "defects": NOTHING | {"defects": DEFECTS},
    ALL: {"elastic": ELASTIC, "gamma": (0.5, 2.0), "noise_std": 0.05, "defects": DEFECTS},
}
Figures = dict[str, Any]


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="ASEM's network and crops, for a GPU")
    parser.add_argument("--quick", action="store_true", help="check the script with small crops")
    parser.add_argument("--rounds", type=int, default=9)
    words = parser.parse_args()
    sizes = FULL if words.full else QUICK if words.quick else {}
    with tempfile.TemporaryDirectory() as name:
        found = measure(sizes, Path(name), 2 if words.quick else words.rounds)
    print(json.dumps(found, indent=1))
    if not words.quick:
        where = "_gpu" * (jax.default_backend() == "gpu") + "_full" * words.full
        save(RESULTS / f"augmentation{where}.json", found)


def measure(sizes: Figures, folder: Path, rounds: int) -> Figures:
    """Returns all figures; see the module."""
    write_volumes(folder / "cell.zarr", 2 * max(sizes.get("input_shape", (84,))))
    trainings = {way: training(folder, sizes | changes) for way, changes in WAYS.items()}
    alone = {way: augmenter(*trainings[way]) for way in WAYS}
    steps = {way: stepper(*trainings[way]) for way in (PLAIN, ALL)}
    seconds = take_turns({("alone", way): call for way, call in alone.items()} | {
        ("step", way): call for way, call in steps.items()
    }, rounds)  # fmt: skip
    step_s = median(seconds["step", PLAIN])
    ratios = [b / a for a, b in zip(seconds["step", PLAIN], seconds["step", ALL], strict=True)]
    return {
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "crops": {way: crops_of(config) for way, (config, _) in trainings.items() if way in (PLAIN, ALL)},
        "alone_s": {way: median(seconds["alone", way]) for way in WAYS},
        "share_of_plain_step": {way: median(seconds["alone", way]) / step_s for way in WAYS},
        "step_s": {way: median(seconds["step", way]) for way in steps},
        "step_ratio": {"median": median(ratios), "rounds": ratios},
        "read_crop_s": {way: reading_time(*trainings[way]) for way in (PLAIN, ALL)},
        "seconds": {" ".join(names): values for names, values in seconds.items()},
    }


def write_volumes(container: Path, size: int) -> None:
    """Writes noise with blobs, and the blobs as labels, as volumes of `size` voxels per axis."""
    rng = np.random.default_rng(0)
    coarse = ndimage.gaussian_filter(rng.standard_normal((size // 4,) * 3), 2)
    labels = (coarse > coarse.std()).repeat(4, 0).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    raw = (160 - 60 * labels + rng.integers(-20, 20, labels.shape)).astype(np.uint8)
    for name, array in (("raw", raw), ("labels/mito", labels)):
        volume = create_volume(
            container / name, shape=array.shape, dtype=array.dtype, voxel_size_nm=(10.0,) * 3, chunk_shape=(64,) * 3
        )
        volume.write(Box.of_shape(array.shape), array)


def training(folder: Path, changes: Figures) -> tuple[ConfigDict, tuple[TrainingRegion, ...]]:
    """Returns the training of the quickstart with changes, on the volumes in `folder`."""
    config = experiment.load(str(ROOT / "configs" / "quickstart.py"), {})
    section = ConfigDict(experiment.section(config, "train", folder).to_dict())
    section.regions.cell.update({"start": None, "stop": None})
    # None gives way to a section, which `update` alone would refuse.
    section.update({name: value for name, value in changes.items() if isinstance(section[name], ConfigDict)})
    for name in changes.keys() - {"network"}:
        with section.ignore_type():
            section[name] = changes[name]
    return section, open_regions("regions", section.regions, section)


def recipe_of(config: ConfigDict, regions: tuple[TrainingRegion, ...]) -> Recipe:
    """Returns network, optimiser, loss and augmentation of a training."""
    return make_recipe(config, make_card(config, regions))


def first_batch(config: ConfigDict, regions: tuple[TrainingRegion, ...], recipe: Recipe) -> dict[str, jax.Array]:
    """Returns the first batch of a training, on the device."""
    batches = read_batches(
        regions,
        make_sampling(config, recipe.augmentation),
        first_step=0,
        slots=range(config.batch_size),
        batch_size=config.batch_size,
        batches_ahead=1,
        num_threads=2,
    )
    ((batch, _),) = islice(batches, 1)
    return {name: jax.device_put(array) for name, array in batch.items()}


def augmenter(config: ConfigDict, regions: tuple[TrainingRegion, ...]) -> Callable[[], Any]:
    """Returns a function that augments a batch, as the step does it."""
    recipe = recipe_of(config, regions)
    batch = first_batch(config, regions, recipe)
    crops = (batch["raw"][..., 0], tuple(value for name, value in batch.items() if name != "raw"))
    change = jax.jit(
        lambda crops, keys: jax.lax.map(lambda crop: augment_crop(recipe.augmentation, *crop), (*crops, keys))
    )
    keys: Iterator[jax.Array] = (jax.random.split(jax.random.key(i), config.batch_size) for i in range(10**6))
    return lambda: change(crops, next(keys))


def stepper(config: ConfigDict, regions: tuple[TrainingRegion, ...]) -> Callable[[], Any]:
    """Returns a function that makes one update on one device, always with the same batch."""
    recipe = recipe_of(config, regions)
    mesh = jax.make_mesh((1,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    update = parallel_train_step(recipe, mesh)
    shape = tuple(config.input_shape)
    held = [devices.replicate(mesh, init_state(recipe.network, recipe.optimizer, shape, seed=0))]
    batch = first_batch(config, regions, recipe)

    def step() -> jax.Array:
        held[0], loss = update(held[0], batch)
        return loss

    return step


def take_turns(calls: dict[tuple[str, str], Callable[[], Any]], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Returns the seconds of every call of every round, after one that compiles and is not counted."""
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[tuple[str, str], list[float]] = {names: [] for names in calls}
    for number in range(rounds):
        for names in list(calls)[:: (1, -1)[number % 2]]:
            start = time.perf_counter()
            jax.block_until_ready(calls[names]())
            seconds[names].append(time.perf_counter() - start)
    return seconds


def crops_of(config: ConfigDict) -> Figures:
    """Returns what the crops of a training are."""
    sampling = make_sampling(config, recipe_of(config, ()).augmentation)
    return {
        "batch_size": config.batch_size,
        "input_shape": sampling.input_shape,
        "output_shape": sampling.output_shape,
        "margin": sampling.margin,
        "label_margin": sampling.label_margin,
    }


def reading_time(config: ConfigDict, regions: tuple[TrainingRegion, ...]) -> float:
    """Returns the median seconds to read a crop on one thread."""
    read = partial(read_crop, regions, make_sampling(config, recipe_of(config, regions).augmentation))
    seconds = []
    for index in range(9):
        start = time.perf_counter()
        read(index)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


if __name__ == "__main__":
    main()
