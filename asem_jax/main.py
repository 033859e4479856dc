"""The door: reads --config and --workdir, and runs the stages that the config names.

Everything that can be wrong with a command line or a config is found before the heavy imports, so an answer
takes about a second. Exit codes: 0 done; 1 a stage failed; 2 the command or the config has to be changed; 75 stopped by
a signal, and may be queued again (see `interruption`).
"""

import argparse
import difflib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from asem_jax import __version__, experiment
from asem_jax.interruption import REQUEUE, Interruption, obeyed

STAGES = {
    "simulate": "an invented cell with known organelles, as a volume with labels",
    "simulate_annotations": "exact labels as people would annotate them, and the time it takes",
    "convert": "TIFF stacks to OME-Zarr with sizes in nm, and back to TIFF",
    "preprocess": "volumes resampled to one voxel size",
    "annotate": "object and background from sparse strokes; goes on, and cuts again when there are more strokes",
    "import_weights": "a checkpoint of the original program to a model; goes on with a broken download",
    "train": "labelled regions to a model; goes on from the last checkpoint",
    "predict": "a model over a whole volume to probabilities; goes on at the first block not yet written",
    "export": "a model as a program for JAX alone, or as a checkpoint for the original program",
    "postprocess": "probabilities to a segmentation and objects",
    "superimpose": "several organelles in one volume, no voxel of two",
    "evaluate": "segmentations against labels: F1, distances in nm, objects; several side by side",
    "analyse": "objects to tables of sizes and shapes in nm, with plots",
    "report": "curves, tables and overlay pictures on one HTML page",
    "view": "volumes in neuroglancer, each at its place in nm",
    "doctor": "what this machine is and whether the program works on it, to paste when asking for help",
}

_EXAMPLES = """
examples:
  python -m asem_jax.main --config configs/quickstart.py --workdir runs/quickstart
  python -m asem_jax.main --config runs/quickstart/config.json --workdir runs/longer \\
      --config.train.num_train_steps=2000
  python -m asem_jax.main --config configs/doctor.py --workdir runs/doctor

The same command, given again, goes on where a stopped run was. The config that was used is kept as
WORKDIR/config.json and can itself be given to --config.
"""

logger = logging.getLogger("asem_jax")

_USER_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns the exit code.

    Args:
      arguments: the words after the program's name; None takes those of this process.
    """
    options, overrides = _parse(sys.argv[1:] if arguments is None else list(arguments))
    try:
        config = experiment.load(options.config, overrides)
        experiment.check(config)
        workdir = _make_workdir(options.workdir)
        experiment.check_targets(config, workdir)
        experiment.check_sources(config, workdir)
    except (ValueError, OSError) as error:
        print(f"asem_jax: {error}", file=sys.stderr)
        return 2
    return _run(config, workdir, source=options.config, debug=options.debug)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Separates the options from the overrides `--config.key=value`; leaves with code 2 if it cannot."""
    stages = "\n".join(f"  {name:<14} {what}" for name, what in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m asem_jax.main",
        usage="%(prog)s --config FILE --workdir DIR [--config.key=value ...]",
        description=f"Runs the stages that a config file names, in their order.\n\nstages:\n{stages}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="FILE.py, FILE.py:ARGUMENT or config.json")
    parser.add_argument("--workdir", metavar="DIR", help="run folder; made if it does not exist")
    parser.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    options, rest = parser.parse_known_args(arguments)
    overrides = _read_overrides(parser, rest)
    if not options.config:
        parser.error("--config is missing; give a config file, e.g. --config configs/quickstart.py")
    if not options.workdir:
        parser.error("--workdir is missing; give a folder for the results, e.g. --workdir runs/quickstart")
    return options, overrides


def _read_overrides(parser: argparse.ArgumentParser, rest: list[str]) -> dict[str, str]:
    """Returns the words `--config.key=value` (or `--config.key value`) as key -> value."""
    overrides: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not key.startswith("--config."):
            nearest = difflib.get_close_matches(key, ["--config", "--workdir", "--debug", "--help"], 1)
            meant = f"did you mean {nearest[0]}?" if nearest else "settings are given as --config.key=value"
            parser.error(f"{word!r} is not an option; {meant} (--help lists all)")
        if not equals and not rest:
            parser.error(f"{word} has no value; give {word}=value")
        overrides[key.removeprefix("--config.")] = value if equals else rest.pop(0)
    return overrides


def _make_workdir(name: str) -> Path:
    """Returns the run folder, made where it does not exist."""
    workdir = Path(name)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={name} is a file; give a folder, it is made if it does not exist.")
    workdir.mkdir(parents=True, exist_ok=True)
    return workdir


def _run(config: ConfigDict, workdir: Path, *, source: str, debug: bool) -> int:
    """Runs the stages in order; returns the exit code."""
    # Imported here because JAX takes seconds, and wrong commands are answered without it.
    from asem_jax import devices

    begin = time.monotonic()
    stage = "start"
    try:
        devices.join_processes()
        _introduce(config, workdir, source)
        names = experiment.stages(config)
        _check_processes(names, devices.num_processes())
        with obeyed():
            for number, stage in enumerate(names, 1):
                logger.info("stage %s (%d of %d)", stage, number, len(names))
                _stage(stage)(experiment.section(config, stage, workdir), workdir)
    except Interruption as request:
        logger.warning("%s: %s", stage, request)
        return REQUEUE
    except _USER_ERRORS as error:
        if debug or not _is_our_message(error):
            raise
        logger.error("%s: %s", stage, "\n".join([str(error), *getattr(error, "__notes__", ())]))
        return 1
    logger.info("finished in %s; results are in %s", _duration(time.monotonic() - begin), workdir)
    return 0


def _check_processes(names: Sequence[str], num_processes: int) -> None:
    """Raises if a job of several processes has stages that do not share their work."""
    alone = [name for name in names if name != "train"]
    if num_processes > 1 and alone:
        raise ValueError(
            f"{num_processes} processes would all do the stages {', '.join(alone)}; only train shares its work: "
            "name stage train in this job, and run the others as one process before and after it."
        )


def _introduce(config: ConfigDict, workdir: Path, source: str) -> None:
    """Logs what runs where, and saves the config; silences all processes but the first."""
    from asem_jax import devices

    if not devices.is_speaker():
        logger.setLevel(logging.WARNING)
        return
    logger.info("asem_jax %s: %s -> %s", __version__, source, workdir)
    logger.info("on %s", devices.describe())
    changes = experiment.save(config, workdir)
    if changes:
        logger.info("the config differs from that of the last run in this folder: %s", "; ".join(changes))


def _stage(name: str) -> Callable[[ConfigDict, Path], None]:
    """Imports a stage only when it is its turn: each brings heavy packages that others do not need."""
    match name:
        case "simulate":
            from asem_jax.stages.simulate import run
        case "simulate_annotations":
            from asem_jax.stages.simulate_annotations import run
        case "convert":
            from asem_jax.stages.convert import run
        case "preprocess":
            from asem_jax.stages.preprocess import run
        case "annotate":
            from asem_jax.stages.annotate import run
        case "import_weights":
            from asem_jax.stages.import_weights import run
        case "train":
            from asem_jax.stages.train import run
        case "predict":
            from asem_jax.stages.predict import run
        case "export":
            from asem_jax.stages.export import run
        case "postprocess":
            from asem_jax.stages.postprocess import run
        case "superimpose":
            from asem_jax.stages.superimpose import run
        case "evaluate":
            from asem_jax.stages.evaluate import run
        case "analyse":
            from asem_jax.stages.analyse import run
        case "report":
            from asem_jax.stages.report import run
        case "view":
            from asem_jax.stages.view import run
        case "doctor":
            from asem_jax.stages.doctor import run
        case _:
            raise ValueError(f"{name!r} is not a stage; there are {', '.join(STAGES)}.")
    return run


def _is_our_message(error: BaseException) -> bool:
    """Says whether an error was raised in this package, with a message that is meant for the user."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).is_relative_to(Path(__file__).parent)


def _duration(seconds: float) -> str:
    """Writes a duration as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


class _ShortLines(logging.Formatter):
    """Time and message; the level only where it matters."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{record.getMessage()}"


def _log_in_short_lines() -> None:
    """Shows the messages of this package on the terminal; other packages speak only in warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(_ShortLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    _log_in_short_lines()
    sys.exit(main())
