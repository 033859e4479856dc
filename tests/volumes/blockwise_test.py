"""Blocks: interrupted = uninterrupted, after a kill too; failures are tried again and listed; shards add up."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from asem_jax.volumes import blockwise
from asem_jax.volumes.blockwise import complete, run_blocks
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.ledger import Ledger, Shard

BLOCKS = list(tiles(Box.of_shape((8, 8, 8)), (4, 4, 4)))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Failed blocks are tried again at once."""
    monkeypatch.setattr(blockwise, "PAUSE_SECONDS", 0.0)


def fill(array):
    """Returns a function of a block that writes into `array` what only depends on the block."""

    def function(box):
        array[box.slices] = np.random.default_rng(box.start).integers(1, 255, box.shape)

    return function


def whole():
    array = np.zeros((8, 8, 8), np.uint8)
    run_blocks(fill(array), BLOCKS, label="fill", num_threads=1)
    return array


@pytest.mark.parametrize("num_threads", [1, 3, 20])
def test_every_block_runs_once_whatever_the_threads(num_threads):
    seen, lock = [], threading.Lock()

    def note(block):
        with lock:
            seen.append(block)

    run_blocks(note, BLOCKS, label="note", num_threads=num_threads)
    assert sorted(seen) == BLOCKS


def test_what_blocks_return_is_collected_once_each_in_the_calling_thread():
    found, failed = [], set()

    def function(number):
        if number % 3 == 0 and number not in failed:
            failed.add(number)
            raise OSError("Input/output error")
        return number**2

    def collect(square):
        found.append((square, threading.get_ident()))

    run_blocks(function, range(10), label="x", num_threads=3, retries=1, collect=collect)
    assert sorted(found) == [(number**2, threading.get_ident()) for number in range(10)]


def test_what_a_ledger_would_skip_is_not_collected(tmp_path):
    with pytest.raises(ValueError, match=r"x: collect with the ledger .*/l would miss .* marked; give one of both"):
        run_blocks(print, [1], label="x", ledger=Ledger(tmp_path / "l", {}), collect=print)


@pytest.mark.parametrize("failing", range(0, 8, 3))
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, failing):
    array, ran = np.zeros((8, 8, 8), np.uint8), []

    def function(box, broken=True):
        if broken and box == BLOCKS[failing]:
            raise OSError("disk full")
        ran.append(box)
        fill(array)(box)

    with pytest.raises(RuntimeError, match="disk full"):
        run_blocks(function, BLOCKS, label="fill", ledger=Ledger(tmp_path / "l", {}), num_threads=2)
    run_blocks(lambda box: function(box, False), BLOCKS, label="fill", ledger=Ledger(tmp_path / "l", {}))
    np.testing.assert_array_equal(array, whole())
    assert sorted(ran) == BLOCKS
    assert Ledger(tmp_path / "l", {}).finished == set(range(8))


KILLED = """
import itertools, os, signal, sys, numpy as np
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.volume import create_volume
folder, last = sys.argv[1], int(sys.argv[2])
volume = create_volume(folder + "/cell.zarr/raw", shape=(8, 8, 8), dtype="uint8", voxel_size_nm=(5, 5, 5),
                       chunk_shape=(4, 4, 4))
def function(box):
    volume.write(box, np.random.default_rng(box.start).integers(1, 255, box.shape).astype(np.uint8))
    if next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
calls = itertools.count()
ledger = Ledger(folder + "/ledger.jsonl", {"seed": 1})
run_blocks(function, tiles(volume.box, (4, 4, 4)), label="fill", ledger=ledger, num_threads=2)
np.save(folder + "/result.npy", volume.read(volume.box))
"""


def test_killed_and_started_again_equals_uninterrupted(tmp_path):
    root = Path(__file__).parents[2]
    codes = [
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(last)], cwd=root).returncode
        for last in (3, 99)
    ]
    assert codes == [-signal.SIGKILL, 0]
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), whole())


SHARED = """
import os, signal, sys, numpy as np
from pathlib import Path
from asem_jax.volumes.blockwise import complete, run_blocks
from asem_jax.volumes.geometry import tiles
from asem_jax.volumes.ledger import Ledger, Shard
from asem_jax.volumes.volume import create_volume
folder, shard, dies = Path(sys.argv[1]), Shard.parse(sys.argv[2]), sys.argv[3] == "dies"
volume = create_volume(folder / "cell.zarr/raw", shape=(8, 8, 8), dtype="uint8", voxel_size_nm=(5, 5, 5),
                       chunk_shape=(4, 4, 4))
def function(box):
    volume.write(box, np.random.default_rng(box.start).integers(1, 255, box.shape).astype(np.uint8))
    if dies and box.start == (4, 0, 0):
        os.kill(os.getpid(), signal.SIGKILL)
def step():
    (folder / f"completed-by-{shard.number}").touch()
    np.save(folder / "result.npy", volume.read(volume.box))
ledger, blocks = Ledger(folder / "ledger.jsonl", {"seed": 1}, shard=shard), tiles(volume.box, (4, 4, 4))
run_blocks(function, blocks, label="fill", ledger=ledger, shard=shard, num_threads=1)
complete(step, ledger=ledger, num_blocks=len(blocks), label="pyramid")
"""


def test_four_processes_one_killed_make_what_one_makes(tmp_path):
    root = Path(__file__).parents[2]

    def start(shard, how):
        return subprocess.Popen([sys.executable, "-c", SHARED, str(tmp_path), shard, how], cwd=root)

    processes = [start(f"{number}/4", "dies" if number == 1 else "lives") for number in range(1, 5)]
    assert [process.wait() for process in processes] == [-signal.SIGKILL, 0, 0, 0]
    assert not list(tmp_path.glob("completed-by-*"))
    assert [start(shard, "lives").wait() for shard in ("1/4", "1/1")] == [0, 0]
    assert [path.name for path in tmp_path.glob("completed-by-*")] == ["completed-by-1"]
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), whole())
    assert len((tmp_path / "ledger.1-of-4.jsonl").read_text().splitlines()) <= 1 + 2 + 1  # settings, blocks, complete


def test_a_failed_block_is_tried_again_and_the_others_go_on(tmp_path, caplog):
    tries, array = Counter(), np.zeros((8, 8, 8), np.uint8)

    def function(box):
        tries[box] += 1
        if box == BLOCKS[2] and tries[box] < 3:
            raise OSError(errno.EIO, "Input/output error")
        fill(array)(box)

    ledger = Ledger(tmp_path / "l", {})
    run_blocks(function, BLOCKS, label="fill", ledger=ledger, num_threads=2, retries=2)
    assert tries == Counter(BLOCKS) + Counter({BLOCKS[2]: 2})
    np.testing.assert_array_equal(array, whole())
    assert ledger.finished == set(range(8))
    assert "fill: block 2 of 8, Box(start=(0, 4, 0), stop=(4, 8, 4)), failed: OSError" in caplog.text


def test_blocks_that_stay_failed_are_listed_and_not_marked(tmp_path):
    tries = Counter()

    def function(block):
        tries[block] += 1
        if block % 5 == 1:
            raise OSError(errno.EIO, f"no chunk {block}")

    ledger = Ledger(tmp_path / "l", {})
    with pytest.raises(RuntimeError, match="predict: 2 of 10 blocks failed, each tried 3 times; what is") as caught:
        run_blocks(function, range(10), label="predict", ledger=ledger, num_threads=1, retries=2)
    assert str(caught.value).endswith(
        "command again.\n  block 1 of 10, 1: OSError: [Errno 5] no chunk 1"
        "\n  block 6 of 10, 6: OSError: [Errno 5] no chunk 6"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert ledger.finished == Ledger(tmp_path / "l", {}).finished == {0, 2, 3, 4, 5, 7, 8, 9}
    assert tries[1] == tries[6] == 3 and max(tries[i] for i in ledger.finished) == 1


def test_a_full_disk_ends_the_run_early_with_what_was_done(tmp_path):
    tries = Counter()

    def function(block, free=100):
        tries[block] += 1
        if block >= free:
            raise OSError(errno.ENOSPC, "No space left on device")

    message = "(?s)16 of 1000 blocks failed.*the rest was not tried.*No space left.*and 6 more"
    with pytest.raises(RuntimeError, match=message):
        run_blocks(function, range(1000), label="x", ledger=Ledger(tmp_path / "l", {}), num_threads=1, retries=1)
    assert len(tries) == 116 and Ledger(tmp_path / "l", {}).finished == set(range(100))
    ledger = Ledger(tmp_path / "l", {})
    run_blocks(partial(function, free=1000), range(1000), label="x", ledger=ledger, retries=1)
    assert Ledger(tmp_path / "l", {}).finished == set(range(1000))


def test_a_short_outage_of_the_storage_is_waited_for():
    tries = Counter()

    def function(block):
        tries[block] += 1
        if 50 <= tries.total() < 70:
            raise OSError(errno.EIO, "gone")

    run_blocks(function, range(200), label="x", num_threads=1, retries=2)
    assert sorted(tries) == list(range(200))


def test_pauses_between_rounds_grow_up_to_a_limit(monkeypatch):
    pauses = []
    monkeypatch.setattr(blockwise, "PAUSE_SECONDS", 5.0)
    monkeypatch.setattr(blockwise.time, "sleep", pauses.append)
    with pytest.raises(RuntimeError, match="each tried 6 times"):
        run_blocks(Mock(side_effect=OSError("gone")), range(3), label="x", num_threads=1, retries=5)
    assert pauses == [5.0, 20.0, 80.0, 300.0, 300.0]


def test_an_interruption_marks_what_was_done_and_tries_nothing_again(tmp_path):
    started = threading.Barrier(2, timeout=10)

    def function(block):
        started.wait()
        if block == 0:
            raise KeyboardInterrupt

    ledger = Ledger(tmp_path / "l", {})
    with pytest.raises(KeyboardInterrupt):
        run_blocks(function, range(6), label="x", ledger=ledger, num_threads=2, retries=5)
    assert Ledger(tmp_path / "l", {}).finished == {1}


def test_a_ledger_that_cannot_be_written_ends_with_an_error(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "l", {})
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        run_blocks(print, range(3), label="x", ledger=ledger)
    assert ledger.finished == set()


@pytest.mark.parametrize("counts", [(4,), (2, 3), (5, 1)])
def test_shards_of_any_number_complete_each_other(tmp_path, counts):
    array, steps = np.zeros((8, 8, 8), np.uint8), []
    for count in counts:
        for number in range(1, count + 1 if count == counts[-1] else count):  # the last shard is lost
            shard = Shard(number, count)
            ledger = Ledger(tmp_path / "l.jsonl", {}, shard=shard)
            run_blocks(fill(array), BLOCKS, label="fill", ledger=ledger, shard=shard)
            complete(lambda number=number: steps.append(number), ledger=ledger, num_blocks=8, label="pyramid")
    np.testing.assert_array_equal(array, whole())
    assert len(steps) == 1
    assert Ledger(tmp_path / "l.jsonl", {}).is_complete


def test_what_follows_is_done_once_and_again_if_it_failed(tmp_path):
    ledger, steps = Ledger(tmp_path / "l", {}), []
    ledger.mark(0)
    complete(lambda: steps.append("too early"), ledger=ledger, num_blocks=2, label="x")
    Ledger(tmp_path / "l", {}).mark(1)
    with pytest.raises(OSError, match="full"):
        complete(Mock(side_effect=OSError("full")), ledger=ledger, num_blocks=2, label="x")

    def step():
        steps.append("done")
        complete(lambda: steps.append("by another"), ledger=Ledger(tmp_path / "l", {}), num_blocks=2, label="x")

    for _ in range(2):
        complete(step, ledger=ledger, num_blocks=2, label="x")
    assert steps == ["done"]


def test_retries_are_counted_from_zero():
    with pytest.raises(ValueError, match="retries=-1 is no number of times; give 0 or more"):
        run_blocks(print, [1], label="x", retries=-1)


def test_no_threads_run_nothing():
    with pytest.raises(ValueError, match="num_threads=0 runs nothing; give at least 1"):
        run_blocks(print, [1], label="x", num_threads=0)
