import json

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


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    write_json(tmp_path / "a.json", {"a": (1, None)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
