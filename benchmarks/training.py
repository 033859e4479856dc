"""Times a training by stage (reading, augmentation, step, whole loop), beside the same recipe in PyTorch.

    python -m benchmarks.training --torch-python PATH [--size 84] [--maps 12] [--batch 1] [--full] [--quick]
    python -m benchmarks.training --markdown

PATH is a Python with torch and numpy (this one, if not given); without torch its half is left out. The training is that
of configs/train_cf.py, on tissue that the stage `simulate` makes on the spot by configs/simulate_cf.py, as OME-Zarr.
`--full` is ASEM's network and crops, for a GPU. Turns of a few steps alternate between the two frameworks, each of
which has a process; a figure is the median over the rounds, a ratio the median of the ratios within a round.

- read: `read_batches` alone, with `reader_threads` threads: every position accepted; positions with little foreground
  rejected; the same with the margin that elastic deformation needs. All chunks are in memory by then. PyTorch: a
  DataLoader with `--workers` processes that read from NumPy arrays in memory and augment.
- augment: by itself, on the device, compiled as the step compiles it. PyTorch has it in "read".
- step: updates with a batch that is on the device: without augmentation, and with the two kinds. PyTorch makes the same
  update (loss, clipping, weight decay, Adam, schedule), in the layout of memory that is faster here. The losses of its
  first steps are compared with ours.
- loop: the stage `train` itself, compiled before, its rate and share of waiting as it writes them in metrics.jsonl for
  the second half of the steps; PyTorch: workers, transfer, update.
- one validation, as the stage makes it, after one that compiles; and one checkpoint, until training may go on and until
  it is written. Their shares of the time are those at the intervals of the config.

On a GPU, products of float32 are what each framework makes of them by default. Writes benchmarks/results/training.json
without a GPU, training_gpu.json with one, and with `--full` a name that says so; `--markdown` prints their tables. With
several GPUs, choose one by CUDA_VISIBLE_DEVICES. `--quick`, small crops and few rounds, checks the script; its figures
say nothing, and are written only where `--output` says.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from asem_jax import experiment
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints
from asem_jax.models.model import Model
from asem_jax.models.torch_export import checkpoint_content, state_dict_from_params, write_torch_file
from asem_jax.prediction.validation import validate
from asem_jax.stages import simulate, train
from asem_jax.stages.recipe import make_card, make_sampling, open_regions
from asem_jax.training.crops import read_batches
from asem_jax.training.elastic import draw_control_offsets, spline_matrix
from asem_jax.training.regions import TrainingRegion
from asem_jax.training.step import TrainState, init_state
from asem_jax.volumes.geometry import int3
from asem_jax.volumes.reflect import read_reflected
from benchmarks import records
from benchmarks.augmentation import ALL, FULL, PLAIN, QUICK, WAYS, augmenter, crops_of, first_batch, recipe_of, stepper
from benchmarks.network import PAUSE_S, check_devices
from benchmarks.records import RESULTS, ROOT, save, table
from benchmarks.worker import Process

FILES = {  # with a GPU? with ASEM's network?
    (gpu, full): RESULTS / f"training{'_gpu' * gpu}{'_full' * full}.json"
    for gpu in (False, True)
    for full in (False, True)
}
BARE = "no augmentation"
ANYWHERE = "every position"
CHANGES = {way: WAYS[way] for way in (PLAIN, ALL)} | {
    BARE: {"overfit_one_crop": True},  # one crop as it lies in the volume: no change of it is compiled into the step
    ANYWHERE: {"reject_probability": 0.0},
}
OURS, THEIRS = "asem_jax", "torch"
# Which turns of PyTorch are compared with which of asem_jax.
PAIRS = {
    f"step, {BARE}, {THEIRS}": f"step, {BARE}, {OURS}",
    f"loop, {PLAIN}, {THEIRS}": f"loop, {PLAIN}, {OURS}",
    f"loop, {ALL}, {THEIRS}": f"loop, {ALL}, {OURS}",
}
SUPPLY = ("read", "step", "loop")
Figures = dict[str, Any]
Turns = dict[str, Callable[[], Figures]]  # a turn answers `seconds` per batch, and perhaps other figures


class Sizes(NamedTuple):
    """What is measured: rounds, steps per turn of the step and of half a loop, batches per turn of reading."""

    rounds: int = 5
    steps: int = 5
    loop_steps: int = 10
    read_batches: int = 40
    volume_zx: tuple[int, int] = (128, 256)  # its y is that of the regions of the config


QUICK_SIZES = Sizes(rounds=2, steps=2, loop_steps=3, read_batches=5, volume_zx=(64, 64))


class Prepared(NamedTuple):
    """A training: the section of its config, with the regions opened."""

    config: ConfigDict
    regions: tuple[TrainingRegion, ...]
    validation_regions: tuple[TrainingRegion, ...]

    def state(self) -> TrainState:
        """Returns the state before the first step."""
        recipe = recipe_of(self.config, self.regions)
        return init_state(recipe.network, recipe.optimizer, int3(self.config.input_shape, "input_shape"), seed=0)


def main() -> None:
    """Measures, prints the tables and writes the JSON; or prints the tables of what has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch and numpy")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of PyTorch's DataLoader")
    parser.add_argument("--size", type=int, help="voxels of a crop per axis, if not those of the config")
    parser.add_argument("--maps", type=int, help="maps of the finest level, if not those of the config")
    parser.add_argument("--batch", type=int, default=1, help="crops per step")
    parser.add_argument("--rounds", type=int, help=f"{Sizes().rounds} if not given")
    parser.add_argument("--full", action="store_true", help="ASEM's network and crops, for a GPU")
    parser.add_argument("--quick", action="store_true", help="check the script with small crops")
    parser.add_argument("--output", type=Path, help="the JSON file, if not the one in benchmarks/results")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the last results, and leave")
    options = parser.parse_args()
    if options.markdown:
        print("\n\n".join(markdown(json.loads(path.read_text())) for path in FILES.values() if path.exists()))
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the two share a GPU's memory
    with tempfile.TemporaryDirectory() as name:
        results = measure(options, Path(name))
    print(markdown(results))
    path = options.output or FILES[results[OURS]["gpu"], options.full]
    if options.quick and not options.output:
        print("\na quick run: nothing is written")
        return
    save(path, results)


# --- measuring ---


def measure(options: argparse.Namespace, folder: Path) -> Figures:
    """Returns all figures; see the module."""
    sizes = QUICK_SIZES if options.quick else Sizes()
    sizes = sizes._replace(rounds=options.rounds or sizes.rounds)
    load_before = os.getloadavg()[0]
    # The stage makes its programs anew in each turn.
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    make_volume(sizes, folder)
    trainings = {way: prepare(sizes, changes_of(options) | CHANGES[way], folder) for way in CHANGES}
    config = trainings[PLAIN].config
    results = circumstances(trainings) | {"sizes": sizes._asdict()}
    turns, results[OURS]["losses"] = our_turns(trainings, sizes, folder)
    with ExitStack() as stack:
        if has_torch(options.torch_python):
            theirs = stack.enter_context(Process(options.torch_python, "benchmarks.training_torch", dict(os.environ)))
            results[THEIRS] = theirs.ask("describe")
            check_devices(results)
            results[THEIRS] |= hand_over(theirs, trainings, folder, options.workers)
            turns = interleaved(turns, their_turns(theirs, sizes))
        else:
            print(f"{options.torch_python} cannot import torch: its half is left out (--torch-python).")
        rounds = take_turns(turns, sizes.rounds)
    results |= summary(rounds, config.batch_size)
    results["overhead"] = overhead(results["turns"], config)
    return results | {"load_average": {"before": load_before, "after": os.getloadavg()[0]}}


def circumstances(trainings: Mapping[str, Prepared]) -> Figures:
    """Returns what a reader of the figures has to know of machine, versions and training."""
    return {
        **records.circumstances(),
        OURS: {"gpu": jax.default_backend() == "gpu", "device": jax.devices()[0].device_kind},
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),  # of both; launch/setup.sh sets them
        "recipe": settings(trainings[PLAIN].config),
        "crops": {way: crops_of(trainings[way].config) for way in (PLAIN, ALL)},
    }


def changes_of(options: argparse.Namespace) -> Figures:
    """Returns what the command line changes in the config."""
    found: Figures = FULL if options.full else QUICK if options.quick else {}
    network = found.get("network", {}) | ({"num_maps": options.maps} if options.maps else {})
    shape = {"input_shape": (options.size,) * 3} if options.size else {}
    return found | shape | {"network": network, "batch_size": options.batch}


def has_torch(python: str) -> bool:
    """Says whether an interpreter has what the other process needs."""
    return subprocess.run([python, "-c", "import numpy, torch"], capture_output=True, check=False).returncode == 0


def make_volume(sizes: Sizes, folder: Path) -> None:
    """Simulates the tissue of configs/simulate_cf.py, as far as the training looks at it: raw and labels/mito."""
    config = experiment.load(str(ROOT / "configs" / "simulate_cf.py"), {})
    section = ConfigDict(experiment.section(config, "simulate", folder).to_dict())
    section.shape = training_section(sizes, folder).validation_regions.strip.stop
    simulate.run(section, folder)


def training_section(sizes: Sizes, folder: Path) -> ConfigDict:
    """Returns the section of configs/train_cf.py, with its volume in `folder` and regions as wide as that is."""
    config = experiment.load(str(ROOT / "configs" / "train_cf.py"), {"data_dir": str(folder)})
    section = ConfigDict(experiment.section(config, "train", folder).to_dict())
    z, x = sizes.volume_zx
    for region in (section.regions.training, section.validation_regions.strip):
        region.stop = (z, region.stop[1], x)
    return section


def prepare(sizes: Sizes, changes: Figures, folder: Path) -> Prepared:
    """Returns the training with changes, its regions opened."""
    section = training_section(sizes, folder)
    section.network.update(changes["network"])
    # None gives way to a section, which `update` would refuse.
    with section.ignore_type():
        for name in changes.keys() - {"network"}:
            section[name] = changes[name]
    groups = (open_regions(name, section[name], section) for name in ("regions", "validation_regions"))
    return Prepared(section, *groups)


def our_turns(trainings: Mapping[str, Prepared], sizes: Sizes, folder: Path) -> tuple[Turns, list[float]]:
    """Returns what asem_jax does in a round, and the losses of its first steps with the crop of `BARE`."""
    steppers = {way: stepper(trainings[way].config, trainings[way].regions) for way in (BARE, PLAIN, ALL)}
    augmenters = {way: augmenter(trainings[way].config, trainings[way].regions) for way in (PLAIN, ALL)}
    losses = [float(steppers[BARE]()) for _ in range(3)]
    turns: Turns = {f"read, {way}": reading(trainings[way], sizes.read_batches) for way in (ANYWHERE, PLAIN, ALL)}
    turns |= {f"augment, {way}": repeated(call, sizes.steps) for way, call in augmenters.items()}
    turns |= {f"step, {way}": repeated(call, sizes.steps) for way, call in steppers.items()}
    turns |= {f"loop, {way}": looping(trainings[way], sizes.loop_steps, folder) for way in (PLAIN, ALL)}
    turns |= {"validation": validating(trainings[PLAIN]), "checkpoint": saving(trainings[PLAIN], folder)}
    return {f"{name}, {OURS}": call for name, call in turns.items()}, losses


def their_turns(theirs: Process, sizes: Sizes) -> Turns:
    """Returns what PyTorch does in a round."""

    def asking(do: str, way: str, steps: int) -> Callable[[], Figures]:
        return lambda: theirs.ask(do, way=way, steps=steps)

    found = {f"read and augment, {way}": asking("read", way, sizes.read_batches) for way in (PLAIN, ALL)}
    found |= {f"step, {BARE}": asking("step", BARE, sizes.steps)}
    found |= {f"loop, {way}": asking("loop", way, sizes.loop_steps) for way in (PLAIN, ALL)}
    return {f"{name}, {THEIRS}": call for name, call in found.items()}


def interleaved(ours: Turns, theirs: Turns) -> Turns:
    """Returns all turns, those that are compared one behind the other."""
    behind = {mine: other for other, mine in PAIRS.items()}
    order = [name for mine in ours for name in (mine, behind.get(mine)) if name]
    order = [name for name in theirs if name not in order] + order
    return {name: (ours | theirs)[name] for name in order}


def take_turns(turns: Turns, rounds: int) -> list[dict[str, Figures]]:
    """Returns the answers of all turns of every round, after one of each that compiles and is not counted."""
    found: list[dict[str, Figures]] = []
    for number in range(rounds + 1):
        answers = {}
        for name in list(turns)[:: (1, -1)[number % 2]]:
            time.sleep(PAUSE_S)  # waiting threads of the other process go to sleep
            answers[name] = turns[name]()
            print(f"{number}/{rounds} {name}: {answers[name]}", file=sys.stderr, flush=True)
        found.append(answers)
    return found[1:]


# --- turns of asem_jax ---


def reading(training: Prepared, num_batches: int) -> Callable[[], Figures]:
    """Returns a turn that reads batches, after those that were prepared ahead; each turn reads others."""
    config = training.config
    sampling = make_sampling(config, recipe_of(config, training.regions).augmentation)
    first_steps = count(0, 10**4)

    def read() -> Figures:
        batches = read_batches(
            training.regions,
            sampling,
            first_step=next(first_steps),
            slots=range(config.batch_size),
            batch_size=config.batch_size,
            batches_ahead=config.batches_ahead,
            num_threads=config.reader_threads,
        )
        for _ in range(config.batches_ahead + 1):
            next(batches)
        start = time.perf_counter()
        for _ in range(num_batches):
            next(batches)
        seconds = time.perf_counter() - start
        batches.close()  # type: ignore[attr-defined]
        return {"seconds": seconds / num_batches}

    return read


def repeated(call: Callable[[], Any], times: int) -> Callable[[], Figures]:
    """Returns a turn that makes a call some times; where the stage waits for each step, so does this."""

    def turn() -> Figures:
        start = time.perf_counter()
        for _ in range(times):
            result = call()
            if jax.default_backend() == "cpu":
                jax.block_until_ready(result)
        jax.block_until_ready(result)
        return {"seconds": (time.perf_counter() - start) / times}

    return turn


def looping(training: Prepared, steps: int, folder: Path) -> Callable[[], Figures]:
    """Returns a turn that runs the stage for 2 x `steps` steps and answers its record of the second half."""
    config = ConfigDict(training.config.to_dict())
    config.update({"log_every": steps, "checkpoint_every": 2 * steps, "validate_every": 2 * steps})
    config.num_train_steps = 2 * steps
    config.validation_regions = ConfigDict()
    workdir = folder / "loop"

    def loop() -> Figures:
        workdir.mkdir()
        train.run(config, workdir)
        record = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
        shutil.rmtree(workdir)
        return {"seconds": 1 / record["steps_per_s"], "waiting_share": record["waiting_share"]}

    return loop


def validating(training: Prepared) -> Callable[[], Figures]:
    """Returns a turn that makes one validation as the stage does, from parameters on the device."""
    config = training.config
    params, card = training.state().params, make_card(config, training.regions)

    def turn() -> Figures:
        start = time.perf_counter()
        model = Model(jax.device_get(params), card)
        for region in training.validation_regions:
            validate(
                model,
                region,
                exclude_inwards=config.exclude_inwards,
                exclude_outwards=config.exclude_outwards,
                min_fraction=config.min_class_fraction,
                max_fraction=config.max_class_fraction,
            )
        return {"seconds": time.perf_counter() - start}

    return turn


def saving(training: Prepared, folder: Path) -> Callable[[], Figures]:
    """Returns a turn that saves one checkpoint: `seconds` until it is written, `returns_s` until training goes on."""
    state, card, workdir = training.state(), make_card(training.config, training.regions), folder / "saved"

    def turn() -> Figures:
        with Checkpoints(workdir) as checkpoints:
            start = time.perf_counter()
            checkpoints.save(1, state, config=training.config.to_dict(), card=card, score=NOT_VALIDATED)
            returns = time.perf_counter() - start
        seconds = time.perf_counter() - start
        shutil.rmtree(workdir)
        return {"seconds": seconds, "returns_s": returns}

    return turn


# --- what the other process gets ---


def hand_over(theirs: Process, trainings: Mapping[str, Prepared], folder: Path, num_workers: int) -> Figures:
    """Writes the files of the other process and has them read; returns what it says."""
    write_start(trainings[BARE], folder)
    write_arrays(trainings[ALL], folder)
    recipes = {way: in_words(trainings[way].config) for way in (PLAIN, ALL)}
    answer: Figures = theirs.ask("prepare", folder=str(folder), recipes=recipes, num_workers=num_workers)
    return answer | {"workers": num_workers}


def write_start(bare: Prepared, folder: Path) -> None:
    """Writes the parameters that a training begins with, and the crops of `BARE`."""
    recipe = recipe_of(bare.config, bare.regions)
    content = checkpoint_content(state_dict_from_params(bare.state().params, recipe.network.architecture))
    write_torch_file(folder / "weights.pt", content)
    batch = first_batch(bare.config, bare.regions, recipe)
    np.savez(folder / "batch.npz", **{name: np.asarray(array) for name, array in batch.items()})  # type: ignore[arg-type]


def write_arrays(deformed: Prepared, folder: Path) -> None:
    """Writes the region, as far around it as the widest crops reach, and the splines of their deformation."""
    (region,) = deformed.regions
    sampling = make_sampling(deformed.config, recipe_of(deformed.config, ()).augmentation)
    sides = zip(sampling.input_shape, sampling.output_shape, sampling.margin, sampling.label_margin, strict=True)
    around = [max((n - m) // 2 + side, label_side) for n, m, side, label_side in sides]
    box = region.box.grow(around)
    members, known = region.read_members(box)
    arrays = {
        "around": np.array(around),
        "raw": read_reflected(region.raw, box),
        "labels": np.stack([members[..., 0], known[..., 0].astype(np.uint8)]),
    }
    np.savez(folder / "arrays.npz", **arrays, **splines(deformed))  # type: ignore[arg-type]


def splines(training: Prepared) -> dict[str, np.ndarray]:
    """Returns the matrices of the splines of the elastic deformation, one per axis."""
    elastic = recipe_of(training.config, training.regions).augmentation.elastic
    assert elastic is not None
    shape = int3(training.config.input_shape, "input_shape")
    counts = draw_control_offsets(elastic, shape, jax.random.key(0)).shape[1:]
    return {
        f"spline_{axis}": spline_matrix(size, number).astype(np.float32)
        for axis, (size, number) in enumerate(zip(shape, counts, strict=True))
    }


def in_words(config: ConfigDict) -> Figures:
    """Returns a training for JSON: what PyTorch needs of its config, with lengths in voxels."""
    return settings(config) | {
        "crops": crops_of(config),
        "augmentation": asdict(recipe_of(config, ()).augmentation),
    }


def settings(config: ConfigDict) -> Figures:
    """Returns the settings of a training that are the same in all turns."""
    keys = [
        *("learning_rate", "final_learning_rate", "num_train_steps", "weight_decay", "max_gradient_norm"),
        *("adam_betas", "class_weights", "min_class_fraction", "max_class_fraction"),
        *("min_foreground", "reject_probability", "reader_threads", "batches_ahead"),
    ]
    return {name: config[name] for name in keys} | {"network": config.network.to_dict()}


# --- what it comes to ---


def summary(rounds: list[dict[str, Figures]], batch_size: int) -> Figures:
    """Returns the medians of each turn, and the ratios of those that are compared."""
    turns: Figures = {}
    for name in rounds[0]:
        medians = {figure: median(answers[name][figure] for answers in rounds) for figure in rounds[0][name]}
        rate = 1 / medians["seconds"]
        turns[name] = medians | {"steps_per_s": rate, "samples_per_s": rate * batch_size}
        turns[name]["rounds"] = [answers[name] for answers in rounds]
    ratios = {
        theirs: [answers[theirs]["seconds"] / answers[ours]["seconds"] for answers in rounds]
        for theirs, ours in PAIRS.items()
        if theirs in turns
    }
    found = {name: {"median": median(values), "rounds": values} for name, values in ratios.items()}
    return {"turns": turns, "ratios": found, "reader": {way: supply(rounds, way) for way in (PLAIN, ALL)}}


def supply(rounds: list[dict[str, Figures]], way: str) -> Figures:
    """Returns how many crops asem_jax's reader makes for one that its loop uses, and the loop's rate by the step's."""
    read, step, loop = ([answers[f"{s}, {way}, {OURS}"]["seconds"] for answers in rounds] for s in SUPPLY)
    return {
        "read_per_used": median(b / a for a, b in zip(read, loop, strict=True)),
        "loop_rate_of_step_rate": median(a / b for a, b in zip(step, loop, strict=True)),
    }


def overhead(turns: Figures, config: ConfigDict) -> Figures:
    """Returns what validation and checkpoints take of a training's time, at the intervals of its config."""
    seconds = {what: turns.pop(f"{what}, {OURS}") for what in ("validation", "checkpoint")}
    every = {"validation": config.validate_every, "checkpoint": config.checkpoint_every}
    per_step = {what: figures["seconds"] / every[what] for what, figures in seconds.items()}
    whole = turns[f"loop, {PLAIN}, {OURS}"]["seconds"] + sum(per_step.values())
    return {
        what: {
            "seconds": figures["seconds"],
            **({"returns_s": figures["returns_s"]} if "returns_s" in figures else {}),
            "every_steps": every[what],
            "share": per_step[what] / whole,
            "rounds": figures["rounds"],
        }
        for what, figures in seconds.items()
    }


# --- showing ---


def markdown(results: Figures) -> str:
    """Returns the figures of one machine as Markdown."""
    ours, recipe, crops = results[OURS], results["recipe"], results["crops"][PLAIN]
    device, load = ours["device"] if ours["gpu"] else "CPU", results["load_average"]
    shape = " x ".join(str(size) for size in crops["input_shape"])
    lines = [
        f"{device}; {results['machine']}; load {load['before']:.1f} before the run, {load['after']:.1f} after; "
        f"{results['date']}. JAX {results['versions']['jax']}{torch_in_words(results)}, GLIBC_TUNABLES "
        f"{results['glibc_tunables'] or 'not set'}. Crops of {shape} voxels, "
        f"{crops['batch_size']} per step, {recipe['network']['num_maps']} maps, "
        f"{len(recipe['network']['pool_factors'])} poolings. Medians of {results['sizes']['rounds']} rounds.",
        "",
        *rate_table(results),
        "",
        *supply_table(results["reader"]),
        "",
        *overhead_table(results["overhead"]),
    ]
    if THEIRS in results:
        lines += ["", *loss_table(results)]
    return "\n".join(lines)


def torch_in_words(results: Figures) -> str:
    """Returns what PyTorch was, for the line above the tables."""
    if THEIRS not in results:
        return ", without PyTorch"
    theirs = results[THEIRS]
    return (
        f", PyTorch {theirs['torch']} with {theirs['threads']} threads and {theirs['workers']} workers, "
        f"{theirs['layout']}"
    )


def rate_table(results: Figures) -> list[str]:
    """Returns rates by stage; each line of PyTorch has the ratio to the line of asem_jax that it is compared with."""
    head = ["", "steps/s", "samples/s", "waits for crops", "asem_jax is faster by"]
    rows = []
    for name, figures in sorted(results["turns"].items(), key=lambda turn: place(turn[0])):
        waiting = f"{100 * figures['waiting_share']:.1f} %" if "waiting_share" in figures else ""
        ratio = f"{results['ratios'][name]['median']:.2f}x" if name in results["ratios"] else ""
        rows.append([name, f"{figures['steps_per_s']:.3g}", f"{figures['samples_per_s']:.3g}", waiting, ratio])
    return table(head, rows)


def place(name: str) -> tuple[int, int, str]:
    """Returns where a turn stands in the table: by stage, by augmentation, ours first."""
    stages, ways = ("read", "read and augment", "augment", "step", "loop"), (ANYWHERE, BARE, PLAIN, ALL)
    stage, way, framework = name.split(", ")
    return stages.index(stage), ways.index(way), framework


def supply_table(figures: Figures) -> list[str]:
    """Returns whether asem_jax's reader keeps up, and what the step loses in the loop."""
    rows = [
        [way, f"{costs['read_per_used']:.3g}", f"{100 * costs['loop_rate_of_step_rate']:.0f} %"]
        for way, costs in figures.items()
    ]
    return table(["asem_jax", "crops it could read for one it uses", "of the step's rate in the loop"], rows)


def overhead_table(figures: Figures) -> list[str]:
    """Returns what validation and checkpoints cost."""
    rows = []
    for what, costs in figures.items():
        returns = f", {costs['returns_s']:.2g} until training goes on" if "returns_s" in costs else ""
        rows.append(
            [what, f"{costs['seconds']:.2g}{returns}", f"{costs['every_steps']}", f"{100 * costs['share']:.1f} %"]
        )
    return table(["asem_jax", "seconds", "every ... steps", "of the time"], rows)


def loss_table(results: Figures) -> list[str]:
    """Returns the losses of the first steps on one crop in both."""
    head = ["loss of step", *(str(number + 1) for number in range(len(results[OURS]["losses"])))]
    return table(head, [[name, *(f"{loss:.6f}" for loss in results[name]["losses"])] for name in (OURS, THEIRS)])


if __name__ == "__main__":
    main()
