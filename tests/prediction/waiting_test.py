"""The clock of a sweep: only what the devices stood idle for counts, and it is told apart by its cause."""

import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from asem_jax.prediction import waiting
from asem_jax.prediction.job import make_job
from asem_jax.prediction.predictor import sweep_volume
from asem_jax.prediction.waiting import Waiting
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume
from tests.phantoms import balls, small_model, write_volume

SLOW_S = 0.08
BLOCKS = 2


class Clock:
    """A time that passes when a test says so."""

    now = 0.0

    def computes(self, finished: float) -> None:
        """Stands for devices that are done at a time."""
        self.now = max(self.now, finished)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting.time, "perf_counter", lambda: made.now)
    monkeypatch.setattr(waiting.jax, "block_until_ready", made.computes)
    return made


def test_only_the_part_of_a_wait_counts_in_which_the_devices_are_idle(clock: Clock) -> None:
    with Waiting() as found:
        with found.until("reads"):
            clock.now = 3.0  # the first read: nothing to do yet
        with found.until("reads"):
            found.gave(5.0)
            found._free.result()
            clock.now = 6.0
        clock.now = 8.0  # neither reads nor writes
        with found.until("writes"):
            clock.now = 10.0
        found.landed(Box.of_shape((2, 3, 4)))
    assert found.waited == {"reads": 3.0 + 1.0, "writes": 2.0}
    assert found.to_dict() == {
        "seconds": 10.0,
        "voxels": 24,
        "waiting_for_reads_share": 0.4,
        "waiting_for_writes_share": 0.2,
    }
    assert "waited 40.0 % of it for reads, 20.0 % for writes" in found.describe()


def test_a_wait_while_the_devices_work_counts_nothing() -> None:
    class Working:
        """A result that is not there yet."""

        def block_until_ready(self) -> None:
            done.wait(10)

    done = Event()
    with Waiting() as found:
        found.gave(Working())
        for kind in ("reads", "writes"):
            with found.until(kind):  # type: ignore[arg-type]
                time.sleep(0.01)
        done.set()
    assert found.waited == {"reads": 0.0, "writes": 0.0}


def test_a_failing_write_was_waited_for_too(clock: Clock) -> None:
    with Waiting() as found, pytest.raises(OSError, match="full"), found.until("writes"):
        clock.now = 2.0
        raise OSError("full")
    assert found.waited["writes"] == 2.0


@pytest.mark.parametrize("slow", ["reads", "writes"])
def test_a_sweep_says_which_half_of_the_storage_is_slow(
    slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", balls((16, 16, 16 * BLOCKS))[0])
    job = make_job(small_model(), raw, f"{tmp_path}/cell.zarr/p", write_shape=(16, 16, 16))
    function = {"reads": Volume.read, "writes": Pending.result}[slow]

    def delayed(self: Any, *arguments: Any) -> Any:
        if slow == "reads" or "writing" in self.what:
            time.sleep(SLOW_S)
        return function(self, *arguments)

    monkeypatch.setattr(*((Volume, "read") if slow == "reads" else (Pending, "result")), delayed)
    clock = Waiting()
    with caplog.at_level("INFO"):
        sweep_volume(job, waiting=clock)
    assert clock.voxels == 16 * 16 * 16 * BLOCKS
    assert SLOW_S / 2 < clock.waited[slow] <= clock.seconds
    assert sum(clock.waited.values()) <= clock.seconds
    assert f"{job.address}: 0.00819 Mvoxel in" in caplog.text
