"""The record of a training: `metrics.jsonl` and TensorBoard event files in the run folder, plain local files.

One JSON object per line. A training that goes on from step s first drops what an interrupted run wrote after s, so
that the record of a run that was killed is that of one that was not (times apart).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tensorboardX import SummaryWriter

from asem_jax.volumes.files import write_text

FILE = "metrics.jsonl"


class Logbook:
    """Appends to the record of one run; owns its open files."""

    def __init__(self, workdir: Path, first_step: int) -> None:
        """Opens the record and drops its entries after `first_step`."""
        path = workdir / FILE
        kept = [line for line in whole_lines(path) if json.loads(line)["step"] <= first_step]
        write_text(path, "".join(kept))
        self._file = path.open("a")
        self._events = SummaryWriter(str(workdir), purge_step=first_step + 1, write_to_disk=True)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the files."""
        self._file.close()
        self._events.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Records numbers, or dicts of numbers, for a step; in the file when this returns."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in _flat(values, ""):
            self._events.add_scalar(name, value, step)

    def draw(self, step: int, pictures: Mapping[str, npt.NDArray[np.floating]]) -> None:
        """Records pictures `[y, x]` in 0..1 for TensorBoard."""
        for name, picture in pictures.items():
            self._events.add_image(name, np.clip(picture, 0, 1), step, dataformats="HW")
        self._events.flush()


def whole_lines(path: Path) -> list[str]:
    """Returns the lines of the file without a last one that a crash tore."""
    text = path.read_text() if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, float]]:
    """Returns nested numbers under names joined by slashes; None is left out."""
    flat: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{name}/")
        elif value is not None:
            flat.append((prefix + name, value))
    return flat
