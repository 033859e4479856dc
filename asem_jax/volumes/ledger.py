"""The ledger of finished blocks: what makes a killed job continue, and several processes share one job.

A ledger is a text file of one JSON object per line: first the settings of the job, then a line per finished block. A
process that has a shard of the blocks writes to a file of its own beside, and every process reads them all:
`ledger.jsonl`, `ledger.1-of-4.jsonl`, ... Laws that hold (and are tested):

* a ledger never mixes two jobs: other settings are refused, whichever of its files holds them;
* what `finished` holds is on disk; many marks share one write, so a million blocks cost seconds;
* a line torn by a crash or a full disk counts as not written, and is cut off before the next one.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock, Timer
from typing import Any, Self

from asem_jax.volumes.files import write_text

if sys.platform != "win32":
    import fcntl

COMPLETE = -1  # stands for what follows the blocks
COMMIT_SECONDS = 0.5
"""How long a mark may wait for others to share its write to disk; what a kill may cost beyond the blocks under way."""

_BYTES_AT_ONCE = 2**20
_MARK = re.compile(rb'\{"finished": (-?\d+)\}\n')

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the blocks of a job.

    Attributes:
      number: of this process, from 1.
      of: how many there are.

    Example:
      >>> Shard.parse("2/4").indices(10)
      range(1, 10, 4)
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the shard that is written "i/N", i from 1 to N.

        Raises:
          ValueError: `text` is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard={text!r} is no share of the blocks; give i/N with i from 1 to N, e.g. 1/4 to 4/4.")
        return cls(int(found[1]), int(found[2]))

    def indices(self, num_blocks: int) -> range:
        """Returns the numbers of the blocks that are this shard's: every N-th, so that slow regions are shared too."""
        return range(self.number - 1, num_blocks, self.of)


class Indices(Set[int]):
    """A growing set of block numbers, one byte per number up to the largest."""

    def __init__(self, indices: Iterable[int] = ()) -> None:
        self._there = bytearray()
        for index in indices:
            self.add(index)

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and 0 <= index < len(self._there) and self._there[index] == 1

    def __iter__(self) -> Iterator[int]:
        return (index for index, there in enumerate(self._there) if there)

    def __len__(self) -> int:
        return self._there.count(1)

    def add(self, index: int) -> None:
        """Puts a number, from 0, into the set."""
        if index >= len(self._there):
            self._there.extend(bytes(index + 1 - len(self._there) + len(self._there) // 2))
        self._there[index] = 1


class Ledger:
    """The list of finished blocks of one job, in files that survive a crash.

    One process writes to a file at one time: `with ledger:` keeps others out.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], *, shard: Shard | None = None) -> None:
        """Opens the ledger, or starts one.

        Args:
          path: a .jsonl file; folders above it are made.
          settings: everything that decides what the blocks hold, JSON values.
          shard: whose file this process writes; None = `path` itself.

        Raises:
          ValueError: the ledger there belongs to a job with other settings, or is no ledger.
        """
        self.job_path = Path(path)
        self.path = self.job_path if shard is None else _beside(self.job_path, f"{shard.number}-of-{shard.of}")
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
        self._finished, self._is_complete = Indices(), False
        self._pending: list[int] = []
        self._timer: Timer | None = None
        self._lock = RLock()
        self._held = ExitStack()
        self._size = _whole_size(self.path)
        is_new = self._size == 0
        if is_new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps({"settings": self.settings}) + "\n")
            self._size = self.path.stat().st_size
        try:
            # Also of a new one: of two processes that begin at once with other settings, at least one sees the other.
            self.refresh()
        except ValueError:
            if is_new:
                self.path.unlink()
            raise

    @property
    def finished(self) -> Set[int]:
        """Indices of the blocks whose marks are on disk, of all shards as far as they have been read."""
        return self._finished

    @property
    def is_complete(self) -> bool:
        """Says whether the job that follows its blocks with a last step has done that too."""
        return self._is_complete

    def refresh(self) -> None:
        """Reads what all shards have marked by now.

        Raises:
          ValueError: one of the files belongs to a job with other settings, or is no ledger.
        """
        for path in ledger_files(self.job_path):
            self._read(path)

    def mark(self, index: int) -> None:
        """Records block `index` as finished; on disk when this returns."""
        with self._lock:
            self._pending.append(index)
            self.commit()

    def mark_soon(self, index: int) -> None:
        """Records block `index` as finished; on disk in `COMMIT_SECONDS`, together with others, or at `commit`."""
        with self._lock:
            self._pending.append(index)
            if self._timer is None:
                self._timer = Timer(COMMIT_SECONDS, self._commit_or_warn)
                self._timer.start()

    def mark_complete(self) -> None:
        """Records that nothing is left to do, not even what follows the blocks (the pyramid)."""
        self.mark(COMPLETE)

    def commit(self) -> None:
        """Brings every mark to disk.

        Raises:
          OSError: that failed; the marks are kept for another try.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._pending:
                self._append("".join(f'{{"finished": {index}}}\n' for index in self._pending).encode())
                self._note(self._pending)
                self._pending = []

    def __enter__(self) -> Self:
        """Keeps other processes from writing to the same file.

        Raises:
          ValueError: another process is at work on it.
        """
        with ExitStack() as stack:
            if not stack.enter_context(alone(self.path, wait=False)):
                raise ValueError(
                    f"{self.path} is being written by another process; wait until that has ended, or give this one "
                    "another shard."
                )
            self._held = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Brings the marks to disk, and lets others in."""
        try:
            self.commit()
        finally:
            self._held.close()

    def _commit_or_warn(self) -> None:
        """What the timer does; an error is told now, and raised by the commit that ends the job if it stays."""
        try:
            self.commit()
        except OSError as error:
            logger.warning("%s: %d marks are not yet on disk: %s", self.path, len(self._pending), error)

    def _append(self, lines: bytes) -> None:
        """Writes lines behind the last whole one, so that a part left by a crash or a full disk is overwritten."""
        with self.path.open("r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(lines)

    def _note(self, indices: Iterable[int]) -> None:
        for index in indices:
            if index == COMPLETE:
                self._is_complete = True
            else:
                self._finished.add(index)

    def _read(self, path: Path) -> None:
        """Takes over what one file marks, but for a torn last line; the process that writes it may be at work."""
        with path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                return
            self._check_settings(path, first.decode(errors="replace"))
            while lines := file.readlines(_BYTES_AT_ONCE):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()
                found = _MARK.findall(b"".join(lines))
                # One by one only if some are written otherwise.
                self._note(map(int, found) if len(found) == len(lines) else [_index(path, line) for line in lines])

    def _check_settings(self, path: Path, line: str) -> None:
        """Raises if the first line of a file names other settings."""
        there = _parsed(line).get("settings")
        if not isinstance(there, dict):
            raise ValueError(
                f"{path} is no ledger (first line: {line[:80].rstrip()!r}); remove it or use another path."
            )
        old, new = _flat(there), _flat(self.settings)
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if names:
            changes = "; ".join(f"{name}: {old.get(name)!r} -> {new.get(name)!r}" for name in names)
            raise ValueError(
                f"{path} belongs to a job with other settings ({changes}); restore them to continue it, "
                "or remove the ledger and what the job wrote to start again."
            )


def ledger_files(path: str | Path) -> list[Path]:
    """Returns the files of a ledger that are there: that of one process alone, and those of shards."""
    path = Path(path)
    files = path.parent.glob(f"{path.stem}.*-of-*{path.suffix}") if path.parent.is_dir() else ()
    return [path] * path.exists() + sorted(files)


def remove_ledger(path: str | Path) -> None:
    """Removes the files of a ledger whose volumes are gone."""
    for file in ledger_files(path):
        file.unlink()


def lock_path(path: Path, what: str) -> Path:
    """Returns the file to give to `alone`, so that what is done for the job of a ledger is done by one process."""
    return path.with_name(f".{path.stem}.{what}.lock")


@contextmanager
def alone(path: Path, *, wait: bool) -> Iterator[bool]:
    """Keeps others that ask for the same path out, also on other machines; a process that dies lets go.

    Args:
      path: a file, made where it is not there; its content is left alone.
      wait: until others have let go.

    Yields:
      Whether it was had; always, where `wait`, and where the file system knows no locks.
    """
    with path.open("ab") as file:
        yield _lock(file.fileno(), wait)


def _lock(file: int, wait: bool) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:  # some cluster file systems are mounted without locks
        logger.warning("no lock (%s): see that no two processes have the same shard", error)
    return True


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}{path.suffix}")


def _whole_size(path: Path) -> int:
    """Returns the length of a file without a torn last line; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BYTES_AT_ONCE)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def _index(path: Path, line: bytes) -> int:
    """Returns the block that a line of a file marks."""
    text = line.decode(errors="replace").rstrip("\n")
    value = _parsed(text).get("finished")
    if not isinstance(value, int):
        raise ValueError(f"{path} has the line {text[:80]!r}, which marks no block; remove that line.")
    return value


def _parsed(line: str) -> dict[str, Any]:
    """Returns a line as an object, empty where it is none."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
