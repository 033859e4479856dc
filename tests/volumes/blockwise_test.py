"""Blocks and their ledger: interrupted = uninterrupted, after a kill too; changed settings; torn lines."""

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from asem_jax.volumes.blockwise import Ledger, run_blocks
from asem_jax.volumes.geometry import Box, tiles

BLOCKS = list(tiles(Box.of_shape((8, 8, 8)), (4, 4, 4)))


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

    run_blocks(note, iter(BLOCKS), label="note", num_threads=num_threads)
    assert sorted(seen) == BLOCKS


@pytest.mark.parametrize("failing", range(0, 8, 3))
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, failing):
    array, ran = np.zeros((8, 8, 8), np.uint8), []

    def function(box, broken=True):
        if broken and box == BLOCKS[failing]:
            raise OSError("disk full")
        ran.append(box)
        fill(array)(box)

    with pytest.raises(OSError, match="disk full"):
        run_blocks(function, BLOCKS, label="fill", ledger=Ledger(tmp_path / "l", {}), num_threads=2)
    run_blocks(lambda box: function(box, False), BLOCKS, label="fill", ledger=Ledger(tmp_path / "l", {}))
    np.testing.assert_array_equal(array, whole())
    assert sorted(ran) == BLOCKS
    assert Ledger(tmp_path / "l", {}).finished == set(range(8))


KILLED = """
import itertools, os, signal, sys, numpy as np
from asem_jax.volumes.blockwise import Ledger, run_blocks
from asem_jax.volumes.geometry import Box, tiles
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


def test_blocks_in_flight_are_finished_and_marked_when_one_fails(tmp_path):
    ledger, started = Ledger(tmp_path / "l", {}), threading.Barrier(2, timeout=10)

    def function(block):
        started.wait()
        if block == 0:
            raise RuntimeError("bad block")

    with pytest.raises(RuntimeError, match="bad block"):
        run_blocks(function, range(2), label="x", ledger=ledger, num_threads=2)
    assert ledger.finished == {1}


def test_nothing_more_starts_after_a_failure():
    started = []

    def function(block):
        started.append(block)
        raise RuntimeError("bad block")

    with pytest.raises(RuntimeError):
        run_blocks(function, range(5), label="x", num_threads=1)
    assert started == [0]


def test_a_failure_names_its_block_and_is_logged(caplog):
    def function(block):
        raise KeyError(f"in {block}")

    with pytest.raises(KeyError) as caught:
        run_blocks(function, ["first"], label="predict raw")
    assert caught.value.__notes__ == ["predict raw: block 0 of 1, first, failed"]
    assert "predict raw: block 0 of 1, first, failed" in caplog.text


def test_no_threads_run_nothing():
    with pytest.raises(ValueError, match="num_threads=0 runs nothing; give at least 1"):
        run_blocks(print, [1], label="x", num_threads=0)


def test_a_ledger_remembers_across_openings(tmp_path):
    path = tmp_path / "ledgers/a.jsonl"
    with Ledger(path, {"shape": (4, 4, 4)}) as ledger:
        ledger.mark(5)
        ledger.mark(2)
    again = Ledger(path, {"shape": [4, 4, 4]})
    assert again.finished == {2, 5} and not again.is_complete
    again.mark_complete()
    assert Ledger(path, {"shape": (4, 4, 4)}).is_complete
    assert Ledger(path, {"shape": (4, 4, 4)}).finished == {2, 5}


def test_other_settings_are_named_with_old_and_new_value(tmp_path):
    Ledger(tmp_path / "l", {"model": {"step": 5, "name": "a"}, "tile": [64, 64], "gone": 1})
    message = re.escape("(gone: 1 -> None; model.step: 5 -> 6; tile: [64, 64] -> [64, 32]); restore them")
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path / "l", {"model": {"step": 6, "name": "a"}, "tile": (64, 32)})


@pytest.mark.parametrize("torn", ['{"fini', '{"finished": 1', "{"])
def test_a_torn_last_line_is_as_if_not_written(tmp_path, torn):
    Ledger(tmp_path / "l", {}).mark(0)
    with (tmp_path / "l").open("a") as file:
        file.write(torn)
    ledger = Ledger(tmp_path / "l", {})
    assert ledger.finished == {0}
    ledger.mark(7)
    assert Ledger(tmp_path / "l", {}).finished == {0, 7}


def test_a_ledger_torn_in_its_first_line_starts_anew(tmp_path):
    (tmp_path / "l").write_text('{"settings": {"a"')
    Ledger(tmp_path / "l", {"a": 2}).mark(1)
    assert Ledger(tmp_path / "l", {"a": 2}).finished == {1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hello"], r"is no ledger \(first line: 'hello'\); remove it"),
        ([json.dumps({"settings": {}}), "hello"], "has the line 'hello', which marks no block"),
        ([json.dumps({"settings": {}}), "[1]"], "marks no block; remove that line"),
    ],
)
def test_files_that_are_no_ledger_are_refused(tmp_path, lines, message):
    (tmp_path / "l").write_text("\n".join([*lines, ""]))
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path / "l", {})
