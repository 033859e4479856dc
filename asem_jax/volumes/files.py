"""Files that appear whole: who reads one never finds half of it, and a crash leaves what was there.

Until it is whole a file has a name of its own, `.NAME.HOST-PROCESS-THREAD.part`, so several processes may write the
same file at one time: the last one stays. Parts that a killed process left in a folder are removed by the next process
on the same machine that writes there.
"""

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Makes a file in one step: `write` gets another name in the same folder, which becomes `path` when it is on disk.

    Args:
      path: of the file; its folder is made where it does not exist.
      write: writes a file of the name it is given. Where it raises, nothing of the file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    part = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{threading.get_ident()}.part")
    try:
        write(part)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


@lru_cache(maxsize=1024)
def _remove_abandoned(folder: Path) -> None:
    """Removes the parts that processes of this machine left in a folder when they were killed; once per process."""
    for part in folder.glob(".*.part"):
        found = re.search(rf"\.{re.escape(_host())}-(\d+)-\d+\.part$", part.name)
        if found and not _is_running(int(found[1])):
            part.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Says whether a process of this machine runs; where that cannot be asked, it may."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    """Returns the name of this machine, as a part of a file name."""
    return re.sub(r"[^\w.]", "_", socket.gethostname())
