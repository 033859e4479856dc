"""The order of a folder of sections, one file each, by the number in their names.

Laws that hold (and are tested): the order is that of the numbers, not of the letters (2 before 10), and a
section that is missing is never passed over in silence.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".tif", ".tiff")
MISSING_SHOWN = 10


def ordered_sections(folder: Path, *, allow_gaps: bool) -> list[Path]:
    """Returns the TIFF files of `folder` in the order of the number in their names.

    Args:
      folder: holds one .tif or .tiff file per section, alike named but for the number; other kinds of file,
      hidden
        ones and folders are left out.
      allow_gaps: accept missing numbers; the sections around a gap then become neighbours.

    Raises:
      ValueError: there is no such file, or names differ in more than numbers, repeat a number, or miss one.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise ValueError(f"{folder} holds no {' or '.join(SUFFIXES)} file; give the folder of the sections.")
    _check_alike(folder, files)
    numbers = {file: [int(n) for n in re.findall(r"\d+", file.stem)] for file in files}
    files.sort(key=lambda file: (numbers[file], file.name))
    columns = list(zip(*(numbers[file] for file in files), strict=True))
    if len(files) > 1:
        _check_distinct(folder, files, [numbers[file] for file in files])
    counters = [column for column in columns if len(set(column)) == len(files)]
    if counters and not allow_gaps:
        _check_gapless(folder, min((missing_numbers(column) for column in counters), key=len))
    return files


def missing_numbers(numbers: Sequence[int]) -> list[int]:
    """Returns the whole numbers between the smallest and the largest that are not there.

    Example:
      >>> missing_numbers([1, 2, 10, 4, 7, 8])
      [3, 5, 6, 9]
    """
    there = set(numbers)
    return [n for n in range(min(there), max(there)) if n not in there]


def _check_alike(folder: Path, files: Sequence[Path]) -> None:
    """Raises if a name differs from the others in more than its numbers."""
    forms = Counter(_form(file) for file in files)
    usual = forms.most_common(1)[0][0]
    odd = sorted(file.name for file in files if _form(file) != usual)
    if odd:
        raise ValueError(
            f"{folder} holds {odd[0]} ({len(odd)} such) among files named {usual}; names may differ in "
            "numbers "
            "only, which give the order: move or rename it."
        )


def _form(file: Path) -> str:
    """Returns the name of `file` with # for each number."""
    return re.sub(r"\d+", "#", file.stem)


def _check_distinct(folder: Path, files: Sequence[Path], numbers: Sequence[Sequence[int]]) -> None:
    """Raises if two files, in order, have the same numbers in their names."""
    for i, number in enumerate(numbers[1:]):
        if number == numbers[i]:
            raise ValueError(f"{files[i].name} and {files[i + 1].name} in {folder} have the same number; remove one.")


def _check_gapless(folder: Path, missing: Sequence[int]) -> None:
    """Raises if there are missing numbers, naming the first of them."""
    if missing:
        more = f" and {len(missing) - MISSING_SHOWN} more" if len(missing) > MISSING_SHOWN else ""
        shown = ", ".join(str(n) for n in missing[:MISSING_SHOWN])
        raise ValueError(
            f"{folder} lacks the sections numbered {shown}{more}; add them, or set allow_gaps if the "
            "sections "
            "around a gap may become neighbours."
        )
