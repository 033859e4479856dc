"""Progress: counts, lines that are few and say rate and time left, loops that are no iterables."""

import logging

import pytest

from asem_jax.progress import Progress, progress


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run(total, seconds_each, *, initial=0, updates=None):
    clock = Clock()
    bar = Progress(None, total, label="predict", unit="blocks", initial=initial, clock=clock)
    with bar:
        for _ in range(total - initial if updates is None else updates):
            clock.now += seconds_each
            bar.update(1)
    return bar


@pytest.fixture(autouse=True)
def lines(caplog):
    """The lines that are logged."""
    caplog.set_level(logging.INFO, logger="asem_jax.progress")
    return lambda: [record.getMessage() for record in caplog.records]


def test_items_pass_unchanged_and_are_counted():
    bar = progress(iter("abc"), label="x", unit="letters")
    assert list(bar) == ["a", "b", "c"] and bar.done == 3


def test_a_long_loop_logs_one_line_per_few_percent(lines):
    run(1000, 1.0)
    assert len(lines()) == 20
    assert lines()[0] == "predict: 50 of 1000 blocks (5 %), 1.0 blocks/s, 15:50 left"
    assert lines()[-1] == "predict: 1000 of 1000 blocks (100 %), 1.0 blocks/s, 0:00 left"


def test_a_short_loop_logs_nothing_and_a_fast_one_few_lines(lines):
    run(1000, 0.0001)
    assert lines() == []
    run(4096, 2**-9)
    assert [line.split(",")[0] for line in lines()] == [
        f"predict: {n} of 4096 blocks ({100 * n // 4096} %)" for n in (1024, 2048, 3072, 4096)
    ]


def test_slow_loops_have_their_rate_per_minute_and_hours_left(lines):
    run(100, 100, updates=5)
    assert lines() == ["predict: 5 of 100 blocks (5 %), 0.6 blocks/min, 2:38:20 left"]


def test_what_was_done_before_counts_for_the_share_and_not_for_the_rate(lines):
    run(10, 4.0, initial=8)
    assert lines()[0] == "predict: 9 of 10 blocks (90 %), 15.0 blocks/min, 0:04 left"


def test_nothing_to_do_says_nothing(lines):
    run(10, 1.0, initial=10)
    assert lines() == []


def test_without_a_total_a_line_comes_now_and_then(lines):
    clock = Clock()
    with Progress(None, None, label="read", unit="pages", clock=clock) as bar:
        for _ in range(100):
            clock.now += 1
            bar.update(2)
    assert lines() == [f"read: {n} pages, 2.0 pages/s" for n in (60, 120, 180, 200)]


def test_a_terminal_gets_a_bar(lines, capsys):
    with Progress(None, 4, label="predict", unit="blocks", on_terminal=True) as bar:
        bar.update(4)
    assert "predict: 100%" in capsys.readouterr().err
    assert lines() == [] and bar.done == 4
