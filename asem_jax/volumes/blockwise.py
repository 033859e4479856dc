"""Running a function over blocks, with a ledger of those that are finished.

The ledger is what makes a killed job continue: a block is marked only after its function returned, that is
after its data has landed. Laws that hold (and are tested):

* interrupted and started again equals uninterrupted, if the function of a block writes the same data each
  time;
* a ledger never mixes two jobs: other settings are refused;
* a line torn by a crash counts as not written.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from asem_jax.progress import progress
from asem_jax.volumes import ngff

Block = TypeVar("Block")
COMPLETE = -1  # stands for what follows the blocks

logger = logging.getLogger(__name__)


class Ledger:
    """The list of finished blocks of one job, in a file that survives a crash.

    One process writes to a ledger at one time.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Opens the ledger, or starts one.

        Args:
          path: a .jsonl file; folders above it are made.
          settings: everything that decides what the blocks hold, JSON values.

        Raises:
          ValueError: the ledger there belongs to a job with other settings, or is no ledger.
        """
        self.path = Path(path)
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
        self._finished: set[int] = set()
        lines = self._whole_lines()
        if not lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            ngff.write_text(self.path, json.dumps({"settings": self.settings}) + "\n")
            return
        self._check_settings(lines[0])
        self._finished = {self._index(line) for line in lines[1:]}

    @property
    def finished(self) -> set[int]:
        """Indices of the blocks that are finished."""
        return self._finished - {COMPLETE}

    def mark(self, index: int) -> None:
        """Records block `index` as finished; on disk when this returns."""
        with self.path.open("a") as file:
            file.write(json.dumps({"finished": index}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._finished.add(index)

    @property
    def is_complete(self) -> bool:
        """Says whether the job that follows its blocks with a last step has done that too."""
        return COMPLETE in self._finished

    def mark_complete(self) -> None:
        """Records that nothing is left to do, not even what follows the blocks (the pyramid)."""
        self.mark(COMPLETE)

    def __enter__(self) -> Self:
        """Returns itself; each mark is on disk already, so leaving the block has nothing to do."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets an exception pass."""

    def _whole_lines(self) -> list[str]:
        """Returns the complete lines of the file, after cutting off a torn last one."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        return whole.decode().splitlines()

    def _check_settings(self, line: str) -> None:
        """Raises if the first line of the file names other settings."""
        there = self._parsed(line).get("settings")
        if not isinstance(there, dict):
            raise ValueError(f"{self.path} is no ledger (first line: {line[:80]!r}); remove it or use another path.")
        old, new = _flat(there), _flat(self.settings)
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if names:
            changes = "; ".join(f"{name}: {old.get(name)!r} -> {new.get(name)!r}" for name in names)
            raise ValueError(
                f"{self.path} belongs to a job with other settings ({changes}); restore them to continue it, "
                "or remove the ledger and what the job wrote to start again."
            )

    def _index(self, line: str) -> int:
        """Returns the block that a line of the file marks."""
        value = self._parsed(line).get("finished")
        if not isinstance(value, int):
            raise ValueError(f"{self.path} has the line {line[:80]!r}, which marks no block; remove that line.")
        return value

    def _parsed(self, line: str) -> dict[str, Any]:
        """Returns a line as an object, empty where it is none."""
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


def run_blocks(
    function: Callable[[Block], object],
    blocks: Iterable[Block],
    *,
    label: str,
    ledger: Ledger | None = None,
    num_threads: int = 2,
) -> None:
    """Runs `function` on each block that the ledger does not hold, and marks it when `function` returned.

    Blocks run in threads, at most `num_threads` at one time, in any order; no more than that many are held.

    Args:
      function: does all of one block's work; what it wrote must have landed when it returns.
      blocks: the same, in the same order, on every start: a block's index is its identity.
      label: what is being done, for the progress display and messages.
      ledger: of this job; None runs every block.
      num_threads: at least 1.

    Raises:
      ValueError: `num_threads` is below 1.
      BaseException: what `function` raised, with a note that names the block. Blocks under way are finished
        and marked first.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads={num_threads} runs nothing; give at least 1.")
    blocks = list(blocks)
    finished = ledger.finished if ledger is not None else set()
    waiting = ((index, block) for index, block in enumerate(blocks) if index not in finished)
    num_finished = len(finished & set(range(len(blocks))))
    bar = progress(len(blocks), label=label, unit="blocks", initial=num_finished)
    with bar, ThreadPoolExecutor(num_threads) as pool:
        running: dict[Future[object], tuple[int, Block]] = {}
        failures: list[BaseException] = []
        while True:
            room = 0 if failures else num_threads - len(running)
            running |= {pool.submit(function, block): (index, block) for index, block in islice(waiting, room)}
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, block = running.pop(future)
                error = future.exception()
                if error is not None:
                    failures.append(_named(error, f"{label}: block {index} of {len(blocks)}, {block}, failed"))
                    continue
                if ledger is not None:
                    ledger.mark(index)
                bar.update(1)
    if failures:
        raise failures[0]


def _named(error: BaseException, note: str) -> BaseException:
    """Returns `error` with `note`, after logging it: of several failures only one can be raised."""
    logger.error("%s: %s", note, error)
    error.add_note(note)
    return error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
