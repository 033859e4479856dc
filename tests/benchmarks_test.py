"""Records of benchmarks begin with what a reader of figures has to know."""

import ast
import datetime
import json
import re
from importlib.metadata import version

import pytest

from benchmarks.records import PACKAGES, ROOT, circumstances, config_of, save

WITH_RECORDS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "RESULTS /" in path.read_text()]


def test_a_record_says_when_where_and_with_what(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    save(tmp_path / "a.json", {**circumstances("pytest"), "figure": 1.5})
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["date"] == datetime.date.today().isoformat()
    assert re.match(r"\d+ cores, \S", found["machine"]) and found["load_average"] >= 0
    assert set(found["versions"]) == {"python", "pytest", *PACKAGES}
    assert found["versions"]["jax"] == version("jax")
    assert found["environment"]["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=2"
    assert "MALLOC_ARENA_MAX" not in found["environment"]
    assert found["figure"] == 1.5 and "a.json is written" in capsys.readouterr().out


@pytest.mark.parametrize("path", WITH_RECORDS, ids=lambda path: path.stem)
def test_every_script_that_keeps_a_record_says_so(path):
    called = {node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
              for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}  # fmt: skip
    assert "circumstances" in called


def test_a_config_is_read_as_plain_values():
    plain, other = config_of("train_cf"), config_of("train_cf", **{"train.seed": "5"})
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["train"]["seed"], other["train"]["seed"]) == (0, 5)
    assert plain | {"train": plain["train"] | {"seed": 5}} == other
