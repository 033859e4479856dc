"""Sweeps of a job and what their blocks leave."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.blockwise import Workers
from asem_jax.volumes.geometry import Box

BOX = Box.of_shape((4, 4, 6))


def job(folder, **settings):
    return BlockJob(folder, (4, 4, 4), 1, settings)


def test_blocks_carry_their_index():
    assert job("x").blocks(BOX) == [(0, Box((0, 0, 0), (4, 4, 4))), (1, Box((0, 0, 4), (4, 4, 6)))]


def test_a_sweep_runs_each_block_once_and_sweeps_are_apart(tmp_path):
    seen = []
    for name in ("first", "first", "second"):
        job(tmp_path).sweep(lambda index, box, name=name: seen.append((name, index)), BOX, name=name, label="x")
    assert seen == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]


def test_other_settings_are_refused(tmp_path):
    job(tmp_path, threshold=0.5).sweep(lambda index, box: None, BOX, name="x", label="x")
    with pytest.raises(ValueError, match=r"threshold: 0.5 -> 0.6"):
        job(tmp_path, threshold=0.6).sweep(lambda index, box: None, BOX, name="x", label="x")


def test_a_part_has_its_own_folder_and_settings(tmp_path):
    part = job(tmp_path, a=1).part("holes", b=2)
    assert (part.folder, part.settings) == (tmp_path / "holes", {"a": 1, "b": 2})


def test_what_is_kept_comes_back(tmp_path):
    work = job(tmp_path / "new")
    assert not work.has("block0")
    work.keep("block0", sizes=np.arange(3), faces=np.zeros((2, 2), np.int32))
    assert work.has("block0")
    assert list(work.kept("block0", "faces")) == ["faces"]
    np.testing.assert_array_equal(work.kept("block0")["sizes"], [0, 1, 2])


class Elsewhere(ThreadPoolExecutor):
    """Threads that are given what another process would be given."""

    def submit(self, function, /, *arguments):
        self.sent = pickle.dumps((function, arguments))
        function, arguments = pickle.loads(self.sent)
        return super().submit(function, *arguments)


def test_workers_are_sent_little_and_leave_what_they_found(tmp_path):
    pytest.importorskip("cloudpickle")
    table = np.arange(100_000)
    with Elsewhere(2) as executor:
        work = replace(job(tmp_path), workers=Workers(executor, 2))
        for name in ("first", "second"):
            function = lambda index, box, name=name: work.keep(f"{name}{index}", found=table[[index, -1]])  # noqa: E731
            work.sweep(function, BOX, name=name, label="x")
        assert len(executor.sent) < 1000
    assert [work.kept(f"{name}1")["found"].tolist() for name in ("first", "second")] == [[1, 99_999]] * 2
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz", ".jsonl"}


def test_a_torn_file_counts_as_not_kept(tmp_path):
    (tmp_path / "block0.part").write_bytes(b"half")
    assert not job(tmp_path).has("block0")
