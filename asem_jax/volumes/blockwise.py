"""Running a function over blocks, with a ledger of those that are finished.

A block is marked only after its function returned, that is after its data has landed. A block that fails is tried again
after others, a stated number of times; in the end those that never succeeded are listed, and only they are missing.
Laws that hold (and are tested):

* interrupted and started again equals uninterrupted, if the function of a block writes the same data each
  time;
* shared among shards equals one process, also if one of them is killed and run again, or another number of them;
* what follows the blocks is done once, by the process that finishes last.

Blocks are a sequence that makes each when it is asked for (`tiles`), and what is remembered of a finished one is a
byte, so the memory does not depend on the volume in any way that matters.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

from asem_jax.progress import Progress, progress
from asem_jax.volumes.ledger import Ledger, Shard, alone, lock_path

Block = TypeVar("Block")
Result = TypeVar("Result")

FAILURES_IN_A_ROW = 16
"""So many failures without a success between say that the storage is at fault, not a block: then it is waited for."""

PAUSE_SECONDS = 5.0
"""Before failed blocks are tried again; four times as long before each further time, up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS = 300.0

_LISTED = 10  # failed blocks in the message of the error; the log has all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """Who runs the blocks: threads, or the processes of a cluster (see `cluster.open_workers`).

    Attributes:
      executor: takes the blocks.
      at_once: blocks that it is given at a time.
    """

    executor: Executor
    at_once: int


class Agenda(Generic[Block]):
    """What is left to do of a job's blocks, used as a context: ends with an error if some could not be done.

    `rounds` gives the blocks; each of them is answered by `done` or `failed`.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        label: str,
        ledger: Ledger | None = None,
        retries: int = 0,
        shard: Shard | None = None,
    ) -> None:
        """Finds what is left.

        Args:
          blocks: the same, in the same order, on every start: a block's index is its identity.
          label: what is being done, for the progress display and messages.
          ledger: of this job; None does every block.
          retries: how many times a block that fails is tried again.
          shard: does only the blocks of a shard.

        Raises:
          ValueError: `retries` is below 0.
        """
        if retries < 0:
            raise ValueError(f"retries={retries} is no number of times; give 0 or more.")
        self._blocks, self._label, self._ledger, self._retries = blocks, label, ledger, retries
        self._mine = range(len(blocks)) if shard is None else shard.indices(len(blocks))
        finished = ledger.finished if ledger is not None else set()
        self._waiting = (index for index in self._mine if index not in finished)
        self._again: deque[int] = deque()
        self._attempts: dict[int, int] = {}
        self._lost: dict[int, str] = {}
        self._first_error: Exception | None = None
        self._in_a_row = 0
        num_finished = sum(index in finished for index in self._mine)
        self._bar: Progress[object] = progress(len(self._mine), label=label, unit="blocks", initial=num_finished)
        self._open = ExitStack()

    def rounds(self) -> Iterator[Iterator[tuple[int, Block]]]:
        """Yields rounds of (index, block) until nothing is left, or nothing succeeds; with a pause between them."""
        pause = PAUSE_SECONDS
        while True:
            yield self._round()
            if not self._again:
                return
            logger.warning("%s: %d blocks failed and are tried again", self._label, len(self._again))
            time.sleep(pause)
            pause = min(4 * pause, LONGEST_PAUSE_SECONDS)

    def done(self, index: int) -> None:
        """Says that the data of a block has landed."""
        self._in_a_row = 0
        self._attempts.pop(index, None)
        if self._ledger is not None:
            self._ledger.mark_soon(index)
        self._bar.update(1)

    def failed(self, index: int, error: Exception) -> None:
        """Says that a block failed, and why: it comes again in the next round, or was tried often enough."""
        self._in_a_row += 1
        self._first_error = self._first_error or error
        attempt = self._attempts.pop(index, 0) + 1
        what = f"block {index} of {len(self._blocks)}, {self._blocks[index]}"
        logger.warning("%s: %s, failed: %s: %s", self._label, what, type(error).__name__, error)
        if attempt <= self._retries:
            self._attempts[index] = attempt
            self._again.append(index)
        else:
            self._lost[index] = f"{what}: {type(error).__name__}: {error}"

    def __enter__(self) -> Self:
        """Opens the progress display, and the ledger for writing."""
        with ExitStack() as stack:
            if self._ledger is not None:
                stack.enter_context(self._ledger)
            stack.enter_context(self._bar)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Brings all marks to disk.

        Raises:
          RuntimeError: blocks failed every time; they are listed.
        """
        self._open.close()
        if kind is None and self._lost:
            listed = "".join(f"\n  {text}" for text in islice(self._lost.values(), _LISTED))
            more = f"\n  and {len(self._lost) - _LISTED} more, see the log" if len(self._lost) > _LISTED else ""
            untried = "; the rest was not tried after so many in a row" if next(self._waiting, None) is not None else ""
            times = f"{self._retries + 1} times" if self._retries else "once"
            raise RuntimeError(
                f"{self._label}: {len(self._lost)} of {len(self._mine)} blocks failed, each tried {times}{untried}; "
                f"what is finished is kept: remove the cause and give the same command again.{listed}{more}"
            ) from self._first_error

    def _round(self) -> Iterator[tuple[int, Block]]:
        """Yields the blocks to be tried again, then those that were not tried, while it is not all in vain."""
        again, self._in_a_row = len(self._again), 0
        while self._in_a_row < FAILURES_IN_A_ROW:
            if again:
                again, index = again - 1, self._again.popleft()
            elif (index := next(self._waiting, -1)) < 0:
                return
            yield index, self._blocks[index]


def run_blocks(
    function: Callable[[Block], Result],
    blocks: Sequence[Block],
    *,
    label: str,
    ledger: Ledger | None = None,
    num_threads: int = 2,
    retries: int = 0,
    shard: Shard | None = None,
    workers: Workers | None = None,
    collect: Callable[[Result], object] | None = None,
) -> None:
    """Runs `function` on each block that the ledger does not hold, and marks it when `function` returned.

    Blocks run in any order; no more than are at work are held.

    Args:
      function: does all of one block's work; what it wrote must have landed when it returns. For workers in other
        processes it is pickled.
      blocks: the same, in the same order, on every start: a block's index is its identity.
      label: what is being done, for the progress display and messages.
      ledger: of this job; None runs every block.
      num_threads: blocks at one time, at least 1.
      retries: how many times a block that fails is tried again.
      shard: runs only the blocks of a shard.
      workers: run the blocks instead of threads of this process.
      collect: is given what `function` returned for each block, in any order, one at a time and in this thread; not
        with a ledger, as what was collected is lost with this process.

    Raises:
      ValueError: `num_threads` is below 1, or what blocks return is collected with a ledger.
      RuntimeError: blocks failed every time; they are listed. All others are finished and marked, unless so many
        failed in a row that the storage must be at fault.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads={num_threads} runs nothing; give at least 1.")
    if collect is not None and ledger is not None:
        raise ValueError(
            f"{label}: collect with the ledger {ledger.path} would miss blocks that are marked; give one of both."
        )
    with ExitStack() as stack:
        agenda = stack.enter_context(Agenda(blocks, label=label, ledger=ledger, retries=retries, shard=shard))
        if workers is None:
            workers = Workers(stack.enter_context(ThreadPoolExecutor(num_threads)), num_threads)
        for blocks_of_round in agenda.rounds():
            _run_round(function, blocks_of_round, agenda, workers, collect)


def _run_round(
    function: Callable[[Block], Result],
    blocks: Iterator[tuple[int, Block]],
    agenda: Agenda[Block],
    workers: Workers,
    collect: Callable[[Result], object] | None,
) -> None:
    """Runs some blocks; also when it is interrupted, the finished ones are marked."""
    landed: SimpleQueue[Future[Result]] = SimpleQueue()
    running: dict[Future[Result], int] = {}

    def settle() -> None:
        future = landed.get()
        index, error = running.pop(future), future.exception()
        if error is None:
            if collect is not None:
                collect(future.result())
            agenda.done(index)
        elif isinstance(error, Exception):
            agenda.failed(index, error)
        else:
            raise error

    try:
        while True:
            for index, block in islice(blocks, workers.at_once - len(running)):
                future = workers.executor.submit(function, block)
                running[future] = index
                future.add_done_callback(landed.put)
            if not running:
                return
            settle()
    except BaseException:
        while running:
            settle()
        raise


def complete(step: Callable[[], object], *, ledger: Ledger, num_blocks: int, label: str) -> None:
    """Does what follows the blocks, once, if all of them are finished: in the process that comes here last.

    Args:
      step: what follows; killed within, it is done again from its beginning.
      ledger: of the job.
      num_blocks: of all shards.
      label: of the step, for the log.
    """
    checking, working = (lock_path(ledger.job_path, what) for what in ("check", "finish"))
    with ExitStack() as work:
        with alone(checking, wait=True):
            is_mine = work.enter_context(alone(working, wait=False))
            ledger.refresh()
            left = sum(index not in ledger.finished for index in range(num_blocks))
            if left or ledger.is_complete:
                logger.info("%s: %s", label, f"{left} blocks are left to other shards" if left else "done already")
                return
            if not is_mine:
                logger.info("%s: another process is at it", label)
                return
        step()
        ledger.mark_complete()
