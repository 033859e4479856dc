"""Tables of measurements: columns of one length, as CSV and as Parquet.

A file appears when it is whole. NaN, "not measured", is an empty field of CSV and null in Parquet.
"""

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.files import replaced

Columns = dict[str, npt.NDArray[Any]]
Table = Mapping[str, npt.NDArray[Any]]

FORMATS = ("csv", "parquet")


def check_formats(formats: Sequence[str]) -> None:
    """Looks whether tables can be written in these formats.

    Raises:
      ValueError: one of them is unknown.
      ImportError: Parquet is asked for, and pyarrow is not installed.
    """
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"tables={tuple(formats)} names {name!r}; there are {' and '.join(FORMATS)}.")
    if "parquet" in formats and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"tables={tuple(formats)} needs pyarrow for Parquet; pip install 'asem_jax[tables]', or ask for csv alone."
        )


def write_table(table: Table, folder: Path, name: str, formats: Sequence[str]) -> None:
    """Writes `folder/name.csv` and `folder/name.parquet`, those of them that `formats` names.

    Args:
      table: columns of one length.
      folder: made where it does not exist.
      name: of the files, without their ending.
      formats: of `FORMATS`.

    Raises:
      ValueError: a format is unknown.
      ImportError: see `check_formats`.
    """
    check_formats(formats)
    folder.mkdir(parents=True, exist_ok=True)
    if "csv" in formats:
        replaced(folder / f"{name}.csv", lambda path: _write_csv(table, path))
    if "parquet" in formats:
        replaced(folder / f"{name}.parquet", lambda path: _write_parquet(table, path))


def rows_where(table: Table, kept: npt.NDArray[np.bool_]) -> Columns:
    """Returns the rows of a table for which `kept` is True.

    Example:
      >>> rows_where({"id": np.array([1, 2])}, np.array([False, True]))["id"].tolist()
      [2]
    """
    return {name: column[kept] for name, column in table.items()}


def _write_csv(table: Table, path: Path) -> None:
    texts = [[_text(value) for value in column.tolist()] for column in table.values()]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*texts, strict=True))


def _text(value: Any) -> str:
    """Returns a value as CSV holds it: seven digits of a float, nothing for NaN."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.7g}"
    return str(value)


def _write_parquet(table: Table, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    # from_pandas: NaN is a value that is missing.
    columns = {name: pyarrow.array(column, from_pandas=True) for name, column in table.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
