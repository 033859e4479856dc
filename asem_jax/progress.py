"""How far a long loop is: a bar on a terminal, and elsewhere one logged line per few percent.

Both show the rate and the time left. Logs stay short however fast the loop is: a line comes every
`PERCENT_PER_LINE` percent, but not more often than every `SECONDS_PER_LINE`, and at the end; a loop that is
over within `SECONDS_PER_LINE` logs nothing.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import tqdm

PERCENT_PER_LINE = 5.0
SECONDS_PER_LINE = 2.0

Item = TypeVar("Item")
logger = logging.getLogger(__name__)


class Progress(Generic[Item]):
    """A running count of finished pieces of work; iterate over it, or call `update` as pieces finish.

    Made by `progress`. Owns a line of the terminal while open, so close it, or use `with`.
    """

    def __init__(
        self,
        items: Iterable[Item] | None,
        total: int | None,
        *,
        label: str,
        unit: str,
        initial: int = 0,
        on_terminal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See `progress`; `clock` returns seconds."""
        self.done = initial
        self._items, self._total, self._label, self._unit = items, total, label, unit
        self._initial, self._clock = initial, clock
        self._start = self._last_time = clock()
        self._last_share = initial / total if total else 0.0
        self._logged = -1
        self._bar: Any = None
        if on_terminal:
            self._bar = tqdm.tqdm(total=total, initial=initial, desc=label, unit=f" {unit}", dynamic_ncols=True)

    def __iter__(self) -> Iterator[Item]:
        """Yields the items, counting each after its turn."""
        with self:
            for item in self._items or ():
                yield item
                self.update(1)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the bar; an interrupted loop keeps the count it reached."""
        self.close()

    def update(self, n: int = 1) -> None:
        """Counts `n` more finished pieces, and shows them when it is time."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        elif self._is_due():
            self._log()

    def close(self) -> None:
        """Shows the final count; may be called twice."""
        if self._bar is not None:
            self._bar.close()
        elif self.done not in (self._logged, self._initial) and self._clock() - self._start >= SECONDS_PER_LINE:
            self._log()

    def _is_due(self) -> bool:
        """Says whether a line is worth it: some percent on, or half a minute where the total is unknown."""
        waited = self._clock() - self._last_time
        if not self._total:
            return waited >= 15 * SECONDS_PER_LINE
        grown = 100 * (self.done / self._total - self._last_share) >= PERCENT_PER_LINE
        return grown and waited >= SECONDS_PER_LINE

    def _log(self) -> None:
        """Logs one line: count, share, rate and time left."""
        self._last_time = self._clock()
        self._logged = self.done
        rate = (self.done - self._initial) / max(self._last_time - self._start, 1e-9)
        if not self._total:
            logger.info("%s: %d %s, %s", self._label, self.done, self._unit, _rate(rate, self._unit))
            return
        self._last_share = self.done / self._total
        logger.info(
            "%s: %d of %d %s (%.0f %%), %s, %s left",
            self._label,
            self.done,
            self._total,
            self._unit,
            100 * self._last_share,
            _rate(rate, self._unit),
            _duration((self._total - self.done) / rate) if rate else "?",
        )


@overload
def progress(iterable_or_total: Iterable[Item], *, label: str, unit: str, initial: int = 0) -> Progress[Item]: ...
@overload
def progress(iterable_or_total: int, *, label: str, unit: str, initial: int = 0) -> Progress[Any]: ...
def progress(iterable_or_total: Iterable[Item] | int, *, label: str, unit: str, initial: int = 0) -> Progress[Item]:
    """Returns a progress display that is iterated over, or told of finished pieces with `.update(n)`.

    Args:
      iterable_or_total: what to loop over, or how many pieces there are in all.
      label: what is being done, with the name of its object.
      unit: what is counted, in the plural.
      initial: pieces finished by an earlier run; they count for the share, not for the rate.

    Example:
      >>> sum(progress([1, 2, 3], label="adding", unit="numbers"))
      6
      >>> with progress(8, label="blocks of raw", unit="blocks", initial=2) as bar:
      ...     bar.update(3)
      >>> bar.done
      5
    """
    on_terminal = sys.stderr.isatty()
    if isinstance(iterable_or_total, int):
        return Progress(None, iterable_or_total, label=label, unit=unit, initial=initial, on_terminal=on_terminal)
    length = getattr(iterable_or_total, "__len__", None)
    total = None if length is None else initial + length()
    return Progress(iterable_or_total, total, label=label, unit=unit, initial=initial, on_terminal=on_terminal)


def _rate(per_second: float, unit: str) -> str:
    """Returns a rate in the unit that gives a number above one."""
    if per_second >= 1 or per_second == 0:
        return f"{per_second:.1f} {unit}/s"
    return f"{60 * per_second:.1f} {unit}/min"


def _duration(seconds: float) -> str:
    """Returns h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
