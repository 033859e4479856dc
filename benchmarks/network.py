"""Times ASEM's network in asem_jax and in PyTorch on this machine: the forward pass and a training step.

    python -m benchmarks.network --torch-python PATH [--quick]
    python -m benchmarks.network --markdown

PATH is a Python with torch and numpy (this one, if not given). Each framework has a process of its own. Both get the
same weights, inputs and targets, and take turns, so that a busy machine slows both: a ratio is the median over the
rounds of PyTorch's seconds divided by asem_jax's in the same round. A training step is loss, gradients and Adam's
update. What the two compute is compared before it is timed. GF/s counts the direct sums of the convolutions,
2 * 27 * c_in * c_out per output voxel, once in a forward pass and three times in a training step (twice in the first
layer), whatever a framework really does. Where PyTorch has no fast kernels for bfloat16, as on processors without
AVX-512, a call would take many minutes: then a single layer of 32 maps is timed in its place.

Writes benchmarks/results/network.json on a machine without a GPU and network_gpu.json on one with; `--markdown`
prints the tables of docs/performance.md from these two. `--quick`, a narrow network and few rounds, checks the
script: its figures say nothing, and are written only where `--output` says.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from asem_jax.models.architecture import asem
from asem_jax.models.costs import per_voxel, widths
from benchmarks.records import RESULTS, circumstances, save, table
from benchmarks.worker import Process

FILES = {False: RESULTS / "network.json", True: RESULTS / "network_gpu.json"}  # with a GPU?
# Which mode of asem_jax is compared with which of PyTorch. On the CPU the first is PyTorch as it comes.
PAIRS = {
    False: (
        ("float32", "float32"),
        ("float32", "float32 channels_last_3d"),
        ("float32", "bfloat16"),
        ("float32", "bfloat16 channels_last_3d"),
    ),
    True: (
        ("float32", "float32 channels_last_3d"),
        ("tf32", "tf32 channels_last_3d"),
        ("bfloat16", "bfloat16 channels_last_3d"),
    ),
}
MEMORY_MODES = ("float32", "float32 rematerialized", "bfloat16", "bfloat16 rematerialized")
CONTEXT = 94  # voxels per axis that ASEM's network consumes, both sides together
PAUSE_S = 0.5  # before a turn: waiting threads of the other process have gone to sleep
Figures = dict[str, Any]


class Sizes(NamedTuple):
    """What is measured: voxels per axis, maps of the finest level, rounds, rows of the matrices."""

    forward: int = 204
    train: int = 140
    memory: int = 204
    num_maps: int = 32
    rounds: int = 5
    matrix: int = 4096


QUICK = Sizes(forward=108, train=100, memory=100, num_maps=4, rounds=2, matrix=512)


def main() -> None:
    """Measures, prints the tables and writes the JSON; or prints the tables of what has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch and numpy")
    parser.add_argument("--quick", action="store_true", help="check the script with a narrow network")
    parser.add_argument("--output", type=Path, help="the JSON file, if not the one in benchmarks/results")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the last results, and leave")
    options = parser.parse_args()
    if options.markdown:
        print("\n\n".join(markdown(json.loads(path.read_text())) for path in FILES.values() if path.exists()))
        return
    results = measure(QUICK if options.quick else Sizes(), options.torch_python)
    print(markdown(results))
    path = options.output or FILES[results["asem_jax"]["gpu"]]
    if options.quick and not options.output:
        print("\na quick run: nothing is written")
        return
    save(path, results)


# --- measuring ---


def measure(sizes: Sizes, torch_python: str) -> Figures:
    """Returns all figures; see the module."""
    results: Figures = {
        **circumstances(),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),  # of both; launch/setup.sh sets them
        "sizes": sizes._asdict(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": f"{name}/cache",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the two share a GPU's memory
        }
        with Process(sys.executable, "benchmarks.network_jax", environment) as ours:
            results |= prepare(ours, sizes, folder)
        # A new process: what it compiles comes from the files of the cache.
        with (
            Process(sys.executable, "benchmarks.network_jax", environment) as ours,
            Process(torch_python, "benchmarks.network_torch", environment) as theirs,
        ):
            results["torch"] = theirs.ask("describe")
            check_devices(results)
            pairs = [pair for pair in PAIRS[results["asem_jax"]["gpu"]] if not is_slow(pair[1], results)]
            for kind in ("forward", "train"):
                results[kind] |= take_turns(turns_of(kind, ours, theirs, pairs), sizes, folder)
                results[kind]["pairs"] = [
                    compare(f"asem_jax {mode}", f"torch {other}", results[kind]["rounds"], folder)
                    for mode, other in pairs
                ]
            their_modes = [mode for _, mode in PAIRS[results["asem_jax"]["gpu"]]]
            slow = any(is_slow(mode, results) for mode in their_modes)
            results["one_layer_s"] = {mode: theirs.ask("one_layer", mode=mode) for mode in their_modes} if slow else {}
    return results


def is_slow(mode: str, results: Figures) -> bool:
    """Says whether PyTorch can compute in this mode only without its fast kernels."""
    return "bfloat16" in mode and not results["torch"]["fast_bfloat16"]


def prepare(ours: Process, sizes: Sizes, folder: Path) -> Figures:
    """Compiles into the empty cache, writes weights and batches, and returns what needs no comparison."""
    device = ours.ask("describe")
    modes = list(dict.fromkeys(mode for mode, _ in PAIRS[device["gpu"]]))
    found: Figures = {"asem_jax": device, "not_run": not_run(gpu=device["gpu"])}
    found |= ours.ask("write_weights", path=str(folder / "weights.pt"), num_maps=sizes.num_maps)
    rows = sizes.matrix * (4 if device["gpu"] else 1)
    found["ceiling_gflops"] = {mode: ours.ask("ceiling", mode=mode, size=rows)["gflops"] for mode in modes}
    for kind in ("forward", "train"):
        write_batch(folder / f"{kind}.npz", getattr(sizes, kind))
        found[kind] = {
            "gigaflop": gigaflop(kind, getattr(sizes, kind), sizes.num_maps),
            "compile": {mode: compile_only(ours, kind, mode, getattr(sizes, kind), sizes.num_maps) for mode in modes},
        }
    needed = {mode: compile_only(ours, "train", mode, sizes.memory, sizes.num_maps)["gb"] for mode in MEMORY_MODES}
    return found | {"training_memory_gb": needed}


def write_batch(path: Path, size: int) -> None:
    """Writes one crop of noise and its target, of which a tenth is organelle."""
    rng = np.random.default_rng(0)
    raw = rng.uniform(-1, 1, (1, size, size, size, 1)).astype(np.float32)
    target = rng.random((1, *(size - CONTEXT,) * 3)) < 0.1
    np.savez(path, raw=raw, target=target.astype(np.uint8))


def compile_only(ours: Process, kind: str, mode: str, size: int, num_maps: int) -> Figures:
    """Returns how long a program took to lower and to compile, and how much it holds when it runs."""
    answer: Figures = ours.ask("compile", kind=kind, mode=mode, size=size, num_maps=num_maps)
    ours.ask("release", kind=kind, mode=mode)
    return answer


class Turn(NamedTuple):
    """One framework in one mode, doing one kind of call."""

    process: Process
    framework: str
    kind: str
    mode: str

    @property
    def name(self) -> str:
        """Framework and mode, e.g. "torch float32"."""
        return f"{self.framework} {self.mode}"

    def ask(self, do: str, **words: Any) -> Figures:
        """Returns the answer of the worker for this kind and mode."""
        answer: Figures = self.process.ask(do, kind=self.kind, mode=self.mode, **words)
        return answer

    def take(self, **words: str) -> Figures:
        """Makes one timed call."""
        time.sleep(PAUSE_S)
        return self.ask("run", **words)


def turns_of(kind: str, ours: Process, theirs: Process, pairs: list[tuple[str, str]]) -> list[Turn]:
    """Returns those who take turns: all modes of asem_jax, then all of PyTorch."""
    our_modes = dict.fromkeys(mode for mode, _ in pairs)
    return [
        *(Turn(ours, "asem_jax", kind, mode) for mode in our_modes),
        *(Turn(theirs, "torch", kind, mode) for _, mode in pairs),
    ]


def take_turns(turns: list[Turn], sizes: Sizes, folder: Path) -> Figures:
    """Returns the seconds of every call; what the first ones gave, which are not counted, is left in the folder."""
    kind = turns[0].kind
    size = getattr(sizes, kind)
    files = {"weights": str(folder / "weights.pt"), "batch": str(folder / f"{kind}.npz")}
    prepared = {turn.name: turn.ask("prepare", size=size, num_maps=sizes.num_maps, **files) for turn in turns}
    for turn in turns:
        turn.take(keep=str(folder / f"{turn.name}.npz"))
    rounds, peaks = [], {}
    for number in range(sizes.rounds):
        answers = {turn.name: turn.take() for turn in turns[:: (1, -1)[number % 2]]}
        rounds.append({turn.name: answers[turn.name]["seconds"] for turn in turns})
        peaks = {name: answer["peak_gb"] for name, answer in answers.items() if "peak_gb" in answer}
        print(f"{kind} {number + 1}/{sizes.rounds}: {rounds[-1]}", file=sys.stderr, flush=True)
    for turn in turns:
        turn.ask("release")
    return {
        "rounds": rounds,
        "median_s": {turn.name: median(seconds[turn.name] for seconds in rounds) for turn in turns},
        "compile_from_cache": {turn.mode: prepared[turn.name] for turn in turns if prepared[turn.name]},
        **({"torch_peak_gb": peaks} if peaks else {}),
    }


def compare(ours: str, theirs: str, rounds: list[dict[str, float]], folder: Path) -> Figures:
    """Returns the ratios of all rounds with their median, and how far the outcomes of two turns lie apart."""
    ratios = [seconds[theirs] / seconds[ours] for seconds in rounds]
    our_outcome, their_outcome = (dict(np.load(folder / f"{name}.npz")) for name in (ours, theirs))
    apart = {
        name: {
            "max_difference": float(np.abs(array - their_outcome[name]).max()),
            "largest": float(np.abs(their_outcome[name]).max()),
        }
        for name, array in our_outcome.items()
    }
    return {"ours": ours, "theirs": theirs, "ratio": median(ratios), "ratios": ratios, "apart": apart}


def check_devices(results: Figures) -> None:
    """Raises if the two frameworks compute on different kinds of devices."""
    ours, theirs = results["asem_jax"], results["torch"]
    if ours["gpu"] != theirs["gpu"]:
        raise ValueError(
            f"asem_jax computes on {ours['device']} and PyTorch on {theirs['device']}; give --torch-python an "
            "environment for the same device, or hide the GPU from both with CUDA_VISIBLE_DEVICES=."
        )


def gigaflop(kind: str, size: int, num_maps: int) -> float:
    """Returns the arithmetic of the direct sums of one call, in 1e9 multiplications and additions."""
    network = asem(num_maps=num_maps)
    voxels = np.prod([widths([size], network, axis)[0] for axis in range(3)], axis=0)
    first, *rest = 2 * per_voxel(network) * voxels / 1e9
    return float(first + sum(rest) if kind == "forward" else 2 * first + 3 * sum(rest))


def not_run(*, gpu: bool) -> list[str]:
    """Returns what this script can measure and this machine cannot."""
    if gpu:
        return ["the CPU; this script measures it where CUDA_VISIBLE_DEVICES= hides the GPU"]
    return [
        "float32, TF32 and bfloat16 on a GPU against PyTorch's channels_last_3d (bfloat16: autocast), with percent of "
        "the matmul ceiling and memory; JAX finds no GPU on this machine"
    ]


# --- showing ---


def markdown(results: Figures) -> str:
    """Returns the figures of one machine as Markdown: what there is, and what was not run."""
    ours, theirs, sizes = results["asem_jax"], results["torch"], results["sizes"]
    device = ours["device"] if ours["gpu"] else "CPU"
    tunables = results["glibc_tunables"] or "not set"
    lines = [
        f"{device}; {results['machine']}; load {results['load_average']:.1f} before the run; {results['date']}. "
        f"JAX {ours['jax']}, PyTorch {theirs['torch']} with {theirs['threads']} threads, GLIBC_TUNABLES {tunables}. "
        f"{sizes['num_maps']} maps, {results['parameters']} parameters. Medians of {sizes['rounds']} rounds.",
        "",
        *speed_table(results),
        "",
        *difference_table(results),
        "",
        *compile_table(results),
        "",
        *memory_table(results),
    ]
    return "\n".join([*lines, *(f"\nNot run: {what}." for what in results["not_run"])])


def speed_table(results: Figures) -> list[str]:
    """Returns seconds, rates and ratios."""
    head = ["", "seconds", "GF/s", "of the matmul ceiling", "asem_jax is faster by"]
    rows = []
    for title, figures in kinds(results):
        ratios = {pair["theirs"]: f"{pair['ratio']:.2f}x" for pair in figures["pairs"]}
        for name, seconds in figures["median_s"].items():
            rate = figures["gigaflop"] / seconds
            ceiling = results["ceiling_gflops"].get(name.split()[1])
            share = f"{100 * rate / ceiling:.0f} %" if ceiling else ""
            rows.append([f"{title}, {name}", f"{seconds:.3g}", f"{rate:.3g}", share, ratios.get(name, "")])
    layer = "one layer of 32 maps, torch"
    rows += [[f"{layer} {mode}", f"{seconds:.3g}", "", "", ""] for mode, seconds in results["one_layer_s"].items()]
    return table(head, rows)


def difference_table(results: Figures) -> list[str]:
    """Returns how far the outcomes of the two lie apart."""
    head = ["asem_jax against PyTorch", "largest difference", "largest value"]
    rows = [
        [f"{title}, {pair['theirs']}: {name}", f"{apart['max_difference']:.1e}", f"{apart['largest']:.1e}"]
        for title, figures in kinds(results)
        for pair in figures["pairs"]
        for name, apart in pair["apart"].items()
    ]
    return table(head, rows)


def compile_table(results: Figures) -> list[str]:
    """Returns how long asem_jax's programs take to compile, and what they hold."""
    head = ["compiling asem_jax", "lowering, s", "compiling, s", "from the persistent cache, s"]
    rows = []
    for title, figures in kinds(results):
        for mode, first in figures["compile"].items():
            again = figures["compile_from_cache"][mode]["compile_s"]
            rows.append([f"{title}, {mode}", *(f"{s:.1f}" for s in (first["lower_s"], first["compile_s"], again))])
    return table(head, rows)


def memory_table(results: Figures) -> list[str]:
    """Returns what programs hold: asem_jax's as compiled, PyTorch's as its allocator counts on a GPU."""
    size = results["sizes"]["memory"]
    needed = {f"training step at {size}, asem_jax {mode}": gb for mode, gb in results["training_memory_gb"].items()}
    for title, figures in kinds(results):
        needed |= {f"{title}, asem_jax {mode}": program["gb"] for mode, program in figures["compile"].items()}
        needed |= {f"{title}, {name}": gb for name, gb in figures.get("torch_peak_gb", {}).items()}
    return table(["memory", "GB"], [[name, f"{gb:.2f}"] for name, gb in needed.items()])


def kinds(results: Figures) -> list[tuple[str, Figures]]:
    """Returns the two kinds of calls, with their sizes in words."""
    sizes = results["sizes"]
    titles = {"forward": f"forward at {sizes['forward']}", "train": f"training step at {sizes['train']}"}
    return [(title, results[kind]) for kind, title in titles.items()]


if __name__ == "__main__":
    main()
