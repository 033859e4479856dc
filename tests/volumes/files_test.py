import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from asem_jax.volumes.files import replaced, write_json, write_text


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.json"

    def write(part):
        assert not path.exists() and part.parent == path.parent
        part.write_text("whole")

    replaced(path, write)
    assert path.read_text() == "whole" and [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_crash_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "µ before")

    def crash(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replaced(tmp_path / "a.txt", crash)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "µ before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    body = "import os, sys; from pathlib import Path; from asem_jax.volumes.files import replaced, write_text\n"
    kill = "replaced(Path(sys.argv[1], 'a.txt'), lambda part: (part.write_text('half'), os.kill(os.getpid(), 9)))"
    last = "write_text(Path(sys.argv[1], 'b.txt'), 'whole')"
    assert subprocess.run([sys.executable, "-c", body + kill, str(tmp_path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    host, _, thread = left.name.removeprefix(".a.txt.").removesuffix(".part").rsplit("-", 2)
    others = {f".a.txt.{host}-{os.getpid()}-{thread}.part", f".a.txt.another{host}-1-{thread}.part", "mine.part"}
    for name in others:
        (tmp_path / name).write_text("of a process that runs, of another machine, of somebody else")
    subprocess.run([sys.executable, "-c", body + last, str(tmp_path)], check=True)
    assert {file.name for file in tmp_path.iterdir()} == others | {"b.txt"}


def test_of_several_that_write_at_once_one_stays_whole(tmp_path):
    path, texts = tmp_path / "a.txt", [str(number) * 10000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: [write_text(path, text) for _ in range(10)], texts))
    assert path.read_text() in texts and [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    write_json(tmp_path / "a.json", {"a": (1, None)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
