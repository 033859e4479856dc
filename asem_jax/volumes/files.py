"""Files that appear whole: who reads one never finds half of it, and a crash leaves what was there."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Makes a file in one step: `write` gets another name in the same folder, which becomes `path` when it returns.

    Args:
      path: of the file; its folder is made where it does not exist.
      write: writes a file of the name it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    write(part)
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, in one step."""
    replaced(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, in one step.

    Args:
      path: of the file.
      content: plain numbers, texts, lists and mappings.

    Raises:
      ValueError: a number is NaN or infinite, which JSON does not know.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
