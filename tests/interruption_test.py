"""Requests to stop: raised at once, or when the work can stop."""

import os
import signal
import threading

import pytest

from asem_jax.interruption import Interruption, deferred, obeyed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    done = []
    with pytest.raises(Interruption, match=f"{number.name} asked to stop; the same command goes on"), obeyed():
        os.kill(os.getpid(), number)
        done.append("more")
    assert not done
    assert signal.getsignal(number) is before


def test_a_deferred_request_waits_for_the_end_of_the_block() -> None:
    seen = []
    with pytest.raises(Interruption, match="SIGUSR1 asked to stop"), obeyed(), deferred() as requested:
        seen.append(requested())
        os.kill(os.getpid(), signal.SIGUSR1)
        seen.append(requested())
    assert seen == [False, True]


def test_without_a_request_nothing_happens() -> None:
    with obeyed(), deferred() as requested:
        assert not requested()


def test_an_error_is_not_hidden_by_a_request() -> None:
    with pytest.raises(ValueError, match="wrong"), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("wrong")


def test_other_threads_leave_signals_alone() -> None:
    handlers = []

    def work() -> None:
        with deferred():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
