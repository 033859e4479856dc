"""Experiment files: which stages run, in which order, with which settings.

A config names either one `stage`, with the settings of that stage beside it, or several `stages` in order,
with one section of settings for each. Strings on top that are no settings (`data_dir`), and the run folder,
can be used in every setting as `{data_dir}` and `{workdir}`. Laws that hold (and are tested):

* a config that passes `check` holds each key that its stages read, and no key that nobody reads;
* what `save` writes, `load` reads back unchanged.
"""

import ast
import difflib
import json
import re
import runpy
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS, VOLUME_TARGETS
from asem_jax.volumes.files import write_text

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def load(file: str, overrides: Mapping[str, str]) -> ConfigDict:
    """Returns the config that a file describes, with some values replaced.

    Args:
      file: `FILE.py` with a function `get_config()`; `FILE.py:ARGUMENT` for `get_config(ARGUMENT)`, one of those
        that a `Literal` of its names, if it has one; or the `config.json` of an earlier run.
      overrides: dotted key -> value as typed on a command line; the key must be in the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file fails, or an override has an unknown key or a value of another type.
    """
    path, *argument = file.split(":", 1)
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config={file}: there is no file {path}; {_nearest_files(Path(path))}")
    config = _read_json(path) if path.endswith(".json") else _execute(path, argument)
    for key, text in overrides.items():
        _override(config, key, text)
    return config.lock()


def stages(config: ConfigDict) -> tuple[str, ...]:
    """Returns the names of the stages to run, in order.

    Raises:
      ValueError: the config names no stage, or one that does not exist.

    Example:
      >>> stages(ConfigDict({"stage": "predict"}))
      ('predict',)
    """
    if ("stage" in config) == ("stages" in config):
        raise ValueError(
            f"The config has {_listed(config)}; it needs either one `stage` or several `stages`. Set "
            f"config.stage to one of {_listed(SETTINGS)}."
        )
    named = [config.stage] if "stage" in config else config.stages
    for name in [named] if isinstance(named, str) else named:
        if name not in SETTINGS:
            raise ValueError(f"{name!r} is not a stage{_meant(name, SETTINGS)} Stages: {_listed(SETTINGS)}.")
    return (named,) if isinstance(named, str) else tuple(named)


def check(config: ConfigDict) -> None:
    """Compares a config with what its stages read, in both directions.

    Raises:
      ValueError: keys are missing, unknown, or use an unknown `{name}`; all of them are listed.
    """
    content = config.to_dict()
    wanted = stages(config)
    names = _names(config)
    used = {match for text in _strings(content) for match in _PLACEHOLDER.findall(text)}
    top = {key: value for key, value in content.items() if key not in {"stage", "stages", *(used & set(names))}}
    if "stages" in config:  # also sections of stages that do not run this time
        settings = {name: SETTINGS[name] for name in SETTINGS if name in top or name in wanted}
    else:
        settings = SETTINGS[wanted[0]]
    found = _differences(top, settings, "config")
    known = {"workdir", *names}
    found += [f"{{{name}}} has no value{_meant(name, known)}" for name in sorted(used - known)]
    if found:
        raise ValueError("The config does not fit its stages:" + "".join(f"\n  {line}" for line in found))


def check_targets(config: ConfigDict, workdir: Path) -> None:
    """Looks at the addresses that all stages will write volumes to, before the first of them begins.

    Args:
      config: a config that passed `check`.
      workdir: the run folder.

    Raises:
      ValueError: some lie in no .zarr folder; all of them are listed.
    """
    found = []
    for stage in stages(config):
        for key, value in _leaves(section(config, stage, workdir).to_dict(), stage):
            is_target = any(fnmatchcase(key, pattern) for pattern in VOLUME_TARGETS)
            if is_target and not any(part.endswith(".zarr") for part in Path(str(value)).parts):
                found.append(f'{key}="{value}"')
    if found:
        raise ValueError(f'{", ".join(found)} names no container; one folder must end in .zarr: "cell.zarr/raw".')


def check_sources(config: ConfigDict, workdir: Path) -> None:
    """Looks for the containers that several stages read and none makes, before the first of them spends an hour.

    One stage looks for its own.

    Args:
      config: a config that passed `check`.
      workdir: the run folder.

    Raises:
      ValueError: some .zarr folders do not exist; all of them are listed, each with a setting that names it.
    """
    made: set[Path] = set()
    found: dict[Path, str] = {}
    for stage in stages(config):
        values = dict(_leaves(section(config, stage, workdir).to_dict(), stage))
        containers = {key: container for key, value in values.items() if (container := _container(value))}
        made |= {containers[key] for key in containers if key.endswith((".target", ".container", ".painted"))}
        for key, container in containers.items():
            if container not in made and not container.exists():
                found.setdefault(container, key)
    if found and len(stages(config)) > 1:
        listed = ", ".join(f'"{container}" ({key})' for container, key in found.items())
        raise ValueError(
            f"{listed} is not there, and no stage makes it; give the address of an existing volume, or run the config "
            "that makes it first."
        )


def _container(value: Any) -> Path | None:
    """Returns the .zarr folder of an address of this machine, None of anything else."""
    parts = Path(value).parts if isinstance(value, str) and "://" not in value else ()
    ends = [number for number, part in enumerate(parts, 1) if part.endswith(".zarr")]
    return Path(*parts[: ends[0]]) if ends else None


def section(config: ConfigDict, stage: str, workdir: Path) -> ConfigDict:
    """Returns the settings of one stage, with `{workdir}` and the other names filled in.

    Args:
      config: a config that passed `check`.
      stage: one of `stages(config)`.
      workdir: the run folder.
    """
    values = {"workdir": str(workdir)}
    values |= {name: _fill(text, values) for name, text in _names(config).items()}
    content = config.to_dict()
    own = {key: content[key] for key in SETTINGS[stage]} if "stage" in config else content[stage]
    return ConfigDict(_fill(own, values)).lock()


def save(config: ConfigDict, workdir: Path) -> list[str]:
    """Writes the config to `workdir/config.json` and returns what differs from the one that was there.

    Args:
      config: as `load` returned it, so that the file can be given to `load` again, with another run folder.
      workdir: existing folder.

    Raises:
      ValueError: a value is neither a number, string, tuple, True, False nor None.
    """
    path = workdir / "config.json"
    content = config.to_dict()
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The config cannot be saved ({error}); use numbers, strings, tuples, True, False and None."
        ) from error
    before = json.loads(path.read_text()) if path.exists() else None
    write_text(path, text + "\n")
    return [] if before is None else _changes(before, json.loads(text))


def _execute(path: str, argument: Sequence[str]) -> ConfigDict:
    """Returns what `get_config` of a Python file returns."""
    with _explained(path):
        function = runpy.run_path(path)["get_config"]
        known = next((get_args(hint) for hint in get_type_hints(function).values() if get_origin(hint) is Literal), ())
    if argument and known and argument[0] not in known:
        raise ValueError(f"--config={path}:{argument[0]}: the file knows {', '.join(known)}, not {argument[0]!r}.")
    with _explained(path):
        config = function(*argument)
    if not isinstance(config, Mapping | ConfigDict):
        raise ValueError(f"{path}: get_config() returned {config!r}; it must return an ml_collections.ConfigDict.")
    return ConfigDict(config)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Names the line of a config file in which it fails."""
    try:
        yield
    except Exception as error:
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else next(reversed(frames), None)
        raise ValueError(
            f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {error}; a config file is "
            "Python with a function get_config() that returns an ml_collections.ConfigDict."
        ) from error


def _read_json(path: str) -> ConfigDict:
    """Returns a saved config; JSON knows no tuples, configs hold no lists."""
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); give the config.json of a run folder.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; give the config.json of a run folder.")
    return ConfigDict(_map(content, lambda leaf: leaf))


def _override(config: ConfigDict, key: str, text: str) -> None:
    """Replaces one value by what was typed, read as the type that the value has."""
    *parents, last = key.split(".")
    owner = config
    for name in [*parents, last]:
        if not isinstance(owner, ConfigDict) or name not in owner:
            known = _listed(owner) if isinstance(owner, ConfigDict) else "a value without keys"
            meant = _meant(name, known.split(", "))
            there = f" There is: {known}." if meant == "." else ""
            raise ValueError(f"--config.{key}={text}: the config has no {name!r} there{meant}{there}")
        owner, parent = owner[name], owner
    if isinstance(owner, ConfigDict):
        raise ValueError(f"--config.{key}={text} names a section; add one of its keys: {_listed(owner)}.")
    try:
        parent[last] = _typed(text, owner)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--config.{key}={text} does not fit; the file has {owner!r}, give a value of type {type(owner).__name__}."
        ) from error


def _typed(text: str, current: Any) -> Any:
    """Reads what was typed in place of `current`."""
    if text == "None":
        return None
    if isinstance(current, str):
        return text
    try:
        return ast.literal_eval(text.capitalize() if isinstance(current, bool) else text)
    except (SyntaxError, ValueError):
        return (text,) if isinstance(current, tuple) else text


def _names(config: ConfigDict) -> dict[str, str]:
    """Returns the strings on top that are no settings: the names for use in settings."""
    settings = {"stage", "stages", *(SETTINGS[config.stage] if "stage" in config else ())}
    return {key: value for key, value in config.items() if isinstance(value, str) and key not in settings}


def _differences(section: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> list[str]:
    """Lists the keys that are missing from a section, and those that nobody reads."""
    if "*" in settings:
        settings = dict.fromkeys(section, settings["*"])
    missing = [key for key in settings if key not in section]
    found = []
    for key in section:
        if key not in settings:
            nearest = difflib.get_close_matches(key, missing or settings, 1)
            missing = [other for other in missing if other not in nearest]
            found.append(f"{where}.{key} is not a setting{_meant(key, nearest or settings)}")
        elif isinstance(settings[key], Mapping) and section[key] is not None:
            inner = section[key]
            if isinstance(inner, Mapping):
                found += _differences(inner, settings[key], f"{where}.{key}")
            else:
                found.append(f"{where}.{key}={inner!r} is not a section; it holds {_listed(settings[key])}")
    return found + [f"{where}.{key} is missing: {_meaning(settings[key])}" for key in missing]


def _meaning(setting: str | Mapping[str, Any]) -> str:
    """Describes a setting, or the section that it is."""
    return f"a section with {_listed(setting)}" if isinstance(setting, Mapping) else setting


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    """Returns `value` with each `{name}` of its strings replaced."""

    def fill(leaf: Any) -> Any:
        return _PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), leaf) if isinstance(leaf, str) else leaf

    return _map(value, fill)


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    """Returns `value` with `function` applied to its leaves, and its lists as tuples."""
    if isinstance(value, Mapping):
        return {key: _map(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_map(item, function) for item in value)
    return function(value)


def _strings(value: Any) -> list[str]:
    """Returns all strings inside nested dicts and tuples."""
    strings: list[str] = []
    _map(value, lambda leaf: strings.append(leaf) if isinstance(leaf, str) else None)
    return strings


def _leaves(content: Mapping[str, Any], where: str = "config") -> Iterator[tuple[str, Any]]:
    """Yields dotted key and value of everything in nested dicts."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}.{key}")
        else:
            yield f"{where}.{key}", value


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], where: str = "config") -> list[str]:
    """Describes each key that two configs do not share; of a section that only one of them has, no keys."""
    found = []
    for key in {**before, **after}:
        old, new = before.get(key, "absent"), after.get(key, "absent")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new, f"{where}.{key}")
        elif old != new:
            said = ["a section" if isinstance(value, Mapping) else value for value in (old, new)]
            found.append(f"{where}.{key}: {said[0]} -> {said[1]}")
    return found


def _listed(names: Iterable[str]) -> str:
    """Joins names for a message."""
    return ", ".join("<name>" if name == "*" else name for name in names)


def _meant(name: str, known: Iterable[str]) -> str:
    """Ends a sentence with the known name that is most like the given one."""
    nearest = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {nearest[0]}?" if nearest else "."


def _nearest_files(path: Path) -> str:
    """Suggests config files whose names are like that of the given path."""
    folders = [folder for folder in {path.parent, Path("configs")} if folder.is_dir()]
    files = {file.name: str(file) for folder in folders for file in sorted(folder.glob("*.py"))}
    nearest = difflib.get_close_matches(path.name, files, 1) or list(files)[:10]
    if not nearest:
        return "give the path of a config file (configs/*.py)."
    return f"did you mean {' or '.join(files[name] for name in nearest)}?"
