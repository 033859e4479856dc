"""Numbers of labels and their names: which segment is which organelle, and what number it is to have.

VAST saves its segments as a text file ("segment metadata"): comments begin with %, then one line per segment with its
number, 23 further numbers and its name in quotes. Segments form a tree; a name that is given a number gives it to all
below it that have none of their own.

Source: the header of such a file, which names the columns.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PARENT = 13  # column of the segment above; 0 = none
COLUMNS = 24  # before the name


@dataclass(frozen=True)
class Segment:
    """One segment of VAST.

    Attributes:
      name: as the annotator wrote it.
      parent: number of the segment above it, 0 for none.
    """

    name: str
    parent: int


@dataclass(frozen=True)
class Renumbering:
    """Which number each number of a label volume becomes; those that are not named become 0.

    Attributes:
      known: rising.
      wanted: for each of `known`.
    """

    known: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds all wanted numbers."""
        return np.min_scalar_type(max(self.wanted, default=0))

    def apply(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns labels, any shape, with the new numbers, in `dtype`.

        Example:
          >>> Renumbering((2, 7), (1, 2)).apply(np.array([0, 2, 7, 9])).tolist()
          [0, 1, 2, 0]
        """
        known, wanted = np.array(self.known, np.uint64), np.array(self.wanted, self.dtype)
        numbers = labels.astype(np.uint64, copy=False)
        place = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        return np.where(known[place] == numbers, wanted[place], self.dtype.type(0))


def read_vast(path: str | Path) -> dict[int, Segment]:
    """Returns the segments of VAST's metadata file by their numbers.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line is no segment.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there; in VAST, save the segment metadata as a text file.")
    segments = {}
    for number, line in enumerate(Path(path).read_text(errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("%"):
            continue
        found = re.fullmatch(r'\s*((?:-?\d+\s+)+)"(.*)"\s*', line)
        values = [int(value) for value in found[1].split()] if found else []
        if not found or len(values) != COLUMNS:
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is no segment of VAST ({COLUMNS} numbers and a name in quotes); "
                "export the metadata anew."
            )
        segments[values[0]] = Segment(found[2], values[PARENT])
    return segments


def renumbering(names: Mapping[str, int], segments: Mapping[int, Segment], label: str) -> Renumbering:
    """Returns the renumbering that a mapping of names describes.

    Args:
      names: name of a segment, or its number as text -> number wanted, 0 or more.
      segments: number -> segment; empty where only numbers are used.
      label: how the user calls `names`, for messages.

    Raises:
      ValueError: a name is that of no segment, or a number is negative.

    Example:
      >>> renumbering({"mito": 1}, {4: Segment("mito", 0), 5: Segment("mito 1", 4), 6: Segment("er", 0)}, "names")
      Renumbering(known=(4, 5), wanted=(1, 1))
    """
    own: dict[int, int] = {}
    for name, number in names.items():
        if int(number) != number or number < 0:
            raise ValueError(f"{label}: {name!r} is to become {number}; give a whole number, 0 for background.")
        own |= dict.fromkeys(_segments_of(str(name), segments, label), int(number))
    for segment in segments:
        inherited = _inherited(segment, own, segments)
        own |= {} if inherited is None else {segment: inherited}
    known = sorted(own)
    return Renumbering(tuple(known), tuple(own[n] for n in known))


def _segments_of(name: str, segments: Mapping[int, Segment], label: str) -> list[int]:
    """Returns the numbers of all segments of a name; of a number, that."""
    found = [n for n, segment in segments.items() if segment.name == name]
    if not found and name.isdigit():
        return [int(name)]
    if not found:
        there = sorted({segment.name for segment in segments.values()})
        near = difflib.get_close_matches(name, there, 3) or there[:10]
        known = f"nearest: {', '.join(near)}" if near else "no file with names is given (names_file)"
        raise ValueError(f"{label}: no segment is called {name!r}; {known}. Give one of those names, or its number.")
    return found


def _inherited(number: int, own: Mapping[int, int], segments: Mapping[int, Segment]) -> int | None:
    """Returns the number wanted for a segment: its own, or that of the nearest one above it."""
    seen: set[int] = set()
    while number in segments and number not in seen:
        if number in own:
            return own[number]
        seen.add(number)
        number = segments[number].parent
    return None
