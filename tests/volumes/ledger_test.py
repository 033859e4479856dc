"""The ledger: what is marked is on disk, by many processes, through full disks; other jobs are refused."""

import errno
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from asem_jax.volumes import ledger as module
from asem_jax.volumes.ledger import Indices, Ledger, Shard, alone, ledger_files


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
    assert path.read_text().splitlines() == [
        '{"settings": {"shape": [4, 4, 4]}}',
        *('{"finished": 5}', '{"finished": 2}', '{"finished": -1}'),
    ]


def test_marks_share_their_way_to_disk_and_count_only_once_there(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(module, "COMMIT_SECONDS", 1e9)
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(file))
    with Ledger(tmp_path / "l", {}) as ledger:
        for index in range(100):
            ledger.mark_soon(index)
        assert len(synced) == 1 and ledger.finished == set()  # that of the first line
    assert len(synced) == 2 and ledger.finished == set(range(100)) == Ledger(tmp_path / "l", {}).finished


def test_a_mark_reaches_the_disk_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.01)
    ledger, committed, commit = Ledger(tmp_path / "l", {}), threading.Event(), Ledger.commit
    monkeypatch.setattr(Ledger, "commit", lambda ledger: (commit(ledger), committed.set()))
    ledger.mark_soon(3)
    assert committed.wait(20)
    assert Ledger(tmp_path / "l", {}).finished == {3}


@pytest.mark.parametrize("by_timer", [False, True])
def test_a_full_disk_loses_no_mark_and_leaves_no_half_line(tmp_path, monkeypatch, caplog, by_timer):
    ledger = Ledger(tmp_path / "l", {})
    ledger.mark(0)

    def full(file):
        os.ftruncate(file, os.fstat(file).st_size - 5)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, ledger._lock:
        patch.setattr(os, "fsync", full)
        patch.setattr(module, "COMMIT_SECONDS", 1e9)
        ledger.mark_soon(1)
        if by_timer:
            ledger._commit_or_warn()
            assert "1 marks are not yet on disk" in caplog.text
        else:
            with pytest.raises(OSError, match="No space left"):
                ledger.commit()
    assert ledger.finished == Ledger(tmp_path / "l", {}).finished == {0}
    ledger.mark(2)
    assert ledger.finished == Ledger(tmp_path / "l", {}).finished == {0, 1, 2}


def test_other_settings_are_named_with_old_and_new_value(tmp_path):
    Ledger(tmp_path / "l", {"model": {"step": 5, "name": "a"}, "tile": [64, 64], "gone": 1})
    message = re.escape("(gone: 1 -> None; model.step: 5 -> 6; tile: [64, 64] -> [64, 32]); restore them")
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path / "l", {"model": {"step": 6, "name": "a"}, "tile": (64, 32)})


def test_shards_have_files_of_their_own_and_read_all(tmp_path):
    shards = [Ledger(tmp_path / "l.jsonl", {"a": 1}, shard=Shard(n, 3)) for n in (1, 2)]
    for index, ledger in enumerate(shards):
        ledger.mark(index)
    assert [path.name for path in ledger_files(tmp_path / "l.jsonl")] == ["l.1-of-3.jsonl", "l.2-of-3.jsonl"]
    assert shards[0].finished == {0}
    shards[0].refresh()
    assert shards[0].finished == {0, 1}
    alone = Ledger(tmp_path / "l.jsonl", {"a": 1})
    assert alone.finished == {0, 1}
    alone.mark_complete()
    assert Ledger(tmp_path / "l.jsonl", {"a": 1}, shard=Shard(4, 7)).is_complete


def test_other_settings_are_refused_across_shards(tmp_path):
    first = Ledger(tmp_path / "l.jsonl", {"a": 1}, shard=Shard(1, 2))
    with pytest.raises(ValueError, match=r"l\.1-of-2\.jsonl belongs to .* \(a: 1 -> 2\); restore them"):
        Ledger(tmp_path / "l.jsonl", {"a": 2}, shard=Shard(2, 2))
    with pytest.raises(ValueError, match=r"l\.1-of-2\.jsonl belongs to .* \(a: 1 -> 2\)"):
        Ledger(tmp_path / "l.jsonl", {"a": 2})
    assert ledger_files(tmp_path / "l.jsonl") == [first.path]  # what was refused is in nobody's way


def test_a_shard_that_writes_is_read_without_its_torn_line(tmp_path):
    other = Ledger(tmp_path / "l.jsonl", {}, shard=Shard(1, 2))
    other.mark(0)
    with other.path.open("a") as file:
        file.write('{"finished": 1')
    assert Ledger(tmp_path / "l.jsonl", {}).finished == {0}
    assert other.path.read_text().endswith("1")  # only its own process may cut it
    (tmp_path / "l.3-of-3.jsonl").write_text('{"set')
    assert Ledger(tmp_path / "l.jsonl", {}).finished == {0}


@pytest.mark.parametrize("torn", ['{"fini', '{"finished": 1', "{", "x" * 3_000_000])
def test_a_torn_last_line_is_as_if_not_written(tmp_path, torn):
    Ledger(tmp_path / "l", {}).mark(0)
    with (tmp_path / "l").open("a") as file:
        file.write(torn)
    ledger = Ledger(tmp_path / "l", {})
    assert ledger.finished == {0}
    ledger.mark(7)
    assert Ledger(tmp_path / "l", {}).finished == {0, 7}
    assert (tmp_path / "l").read_text().endswith('}\n{"finished": 0}\n{"finished": 7}\n')


def test_a_ledger_torn_in_its_first_line_starts_anew(tmp_path):
    (tmp_path / "l").write_text('{"settings": {"a"')
    Ledger(tmp_path / "l", {"a": 2}).mark(1)
    assert Ledger(tmp_path / "l", {"a": 2}).finished == {1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hello"], r"is no ledger \(first line: 'hello'\); remove it"),
        ([json.dumps({"settings": {}}), "hello"], "has the line 'hello', which marks no block"),
        ([json.dumps({"settings": {}}), '{"finished": 3}', "[1]"], "marks no block; remove that line"),
    ],
)
def test_files_that_are_no_ledger_are_refused(tmp_path, lines, message):
    (tmp_path / "l").write_text("\n".join([*lines, ""]))
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path / "l", {})


def test_marks_in_another_spelling_are_read(tmp_path):
    (tmp_path / "l").write_text('{"settings": {}}\n{"finished":1}\n{"finished": 2}\n{"finished" : -1}\n')
    assert Ledger(tmp_path / "l", {}).finished == {1, 2} and Ledger(tmp_path / "l", {}).is_complete


def test_a_million_marks_are_opened_in_seconds_and_a_byte_each(tmp_path):
    path = tmp_path / "l"
    path.write_text('{"settings": {}}\n' + "".join(f'{{"finished": {i}}}\n' for i in range(10**6)))
    begin = time.process_time()
    ledger = Ledger(path, {})
    assert time.process_time() - begin < 8
    assert len(ledger.finished) == 10**6 and 999_999 in ledger.finished and 10**6 not in ledger.finished
    assert len(ledger._finished._there) < 2 * 10**6


def test_indices_are_a_set():
    indices = Indices()
    for index in (5, 0, 300, 5):
        indices.add(index)
    assert indices == {0, 5, 300} and list(indices) == [0, 5, 300] and indices & {5, 7} == {5}
    assert -1 not in indices and 4 not in indices and "5" not in indices


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match=re.escape(f"shard={text!r} is no share of the blocks; give i/N")):
        Shard.parse(text)


@pytest.mark.parametrize("number", [1, 3, 8])
def test_shards_cover_the_blocks_once(number):
    indices = [i for n in range(number) for i in Shard.parse(f"{n + 1}/{number}").indices(10)]
    assert sorted(indices) == list(range(10))


HOLDER = """
import sys
from asem_jax.volumes.ledger import Ledger
with Ledger(sys.argv[1], {}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_writes_at_a_time_and_a_dead_one_lets_go(tmp_path):
    path, root = tmp_path / "l", Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="is being written by another process; wait until that has ended"):
            Ledger(path, {}).__enter__()
        holder.kill()
        holder.communicate()
    with Ledger(path, {}) as ledger:
        ledger.mark(1)
    assert Ledger(path, {}).finished == {1}


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    def unknown(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", unknown)
    with caplog.at_level(logging.WARNING), alone(tmp_path / "x", wait=True) as held:
        assert held
    assert "no two processes have the same shard" in caplog.text
