"""A request to stop, from a scheduler or a person: what is done is kept, and the job may be queued again.

SIGTERM and SIGUSR1 ask for it: schedulers send one of them some minutes before they end a job. The program leaves with
the exit code `REQUEUE`; given again, the same command goes on from there. The launchers for clusters rely on it.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REQUEUE = 75  # "try again later" (EX_TEMPFAIL of sysexits.h)
SIGNALS = {signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)}  # Windows has no SIGUSR1


class Interruption(BaseException):
    """The program was asked to stop. No error: nothing that handles errors stands in its way."""


@contextmanager
def obeyed() -> Iterator[None]:
    """Makes a request raise `Interruption` at once, wherever the main thread is."""

    def stop(name: str) -> None:
        raise Interruption(f"{name} asked to stop; the same command goes on from here.")

    with _handled(stop):
        yield


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Makes a request wait until the block has brought its work to a place where it can stop.

    Yields:
      Says whether there has been a request.

    Raises:
      Interruption: at the end of the block, where there has been one.
    """
    requests: list[str] = []
    with _handled(requests.append):
        yield lambda: bool(requests)
    if requests:
        raise Interruption(f"{requests[0]} asked to stop; the same command goes on from here.")


@contextmanager
def _handled(action: Callable[[str], None]) -> Iterator[None]:
    """Calls `action` with the name of each signal that asks to stop; other threads cannot, and leave it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda n, _: action(signal.Signals(n).name)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
