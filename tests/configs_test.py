"""Every config that is shipped fits its stages, and every command in the documents can be given as it is."""

import json
import re
import shlex
from pathlib import Path

import pytest

from asem_jax import experiment
from asem_jax.main import _parse
from benchmarks.guide import commands_of, portable, walked

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(ROOT.glob("configs/*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def commands(text: str) -> list[list[str]]:
    """The words after `launch/local.sh` or `asem_jax.main` of each command in a document's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    starts = re.compile(r"(?:bash launch/(?:local|multi_gpu)\.sh|python -m asem_jax\.main) (.*)")
    return [shlex.split(found[1]) for line in lines if (found := starts.match(line))]


# Guides whose commands were run, by `python -m benchmarks.guide`.
WALKS = [ROOT / "docs" / f"{name}.md" for name in ("tiffs_to_training", "whole_study", "whole_study_epfl")]
COMMANDS = [(path.name, words) for path in DOCUMENTS for words in commands(path.read_text())]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_fits_its_stages(path, tmp_path):
    config = experiment.load(str(path), {})
    experiment.check(config)
    experiment.check_targets(config, tmp_path)
    assert experiment.save(config, tmp_path) == []
    for stage in experiment.stages(config):
        assert experiment.section(config, stage, tmp_path).is_locked


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_header_names_the_command(path):
    assert f"--config configs/{path.name} --workdir " in path.read_text().split('"""')[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_document_names_it(path):
    assert any(f"configs/{path.name}" in document.read_text() for document in DOCUMENTS)


@pytest.mark.parametrize(("document", "words"), COMMANDS, ids=lambda value: str(value)[:60])
def test_command_of_a_document_can_be_given(document, words):
    options, overrides = _parse(words)
    experiment.check(experiment.load(str(ROOT / options.config), overrides))


def test_documents_link_to_what_exists():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}, which does not exist"


def test_commands_are_found_in_a_document():
    text = "```bash\nbash launch/local.sh --config a.py \\\n  --workdir b\nls\n```"
    assert commands(text) == [["--config", "a.py", "--workdir", "b"]]


def unheard(text: str, steps: list[dict]) -> list[str]:
    """What a guide says otherwise than its record: commands that were not run as they stand, lines nobody printed."""
    commands = [command for command, _ in commands_of(text)]
    found = [command for command in commands if command not in [step["command"] for step in steps]]
    printed = {" ".join(line.split()) for step in steps for line in step["said"]}
    quotes = re.findall(r"```\n(.*?)```", re.sub(r"```bash\n.*?```", "", text, flags=re.DOTALL), re.DOTALL)
    lines = [" ".join(line.split()) for quote in quotes for line in quote.splitlines()]
    return found + [line for line in lines if line and line not in printed]


@pytest.mark.parametrize("path", WALKS, ids=lambda path: path.stem)
def test_a_guide_says_what_its_commands_said(path):
    record = json.loads((ROOT / "benchmarks" / "results" / f"{path.stem}.json").read_text())
    assert unheard(path.read_text(), record["steps"]) == []
    assert len(commands_of(path.read_text())) == len(record["steps"])


def test_a_guide_that_says_otherwise_is_found():
    steps = [{"command": "a --b", "said": ["F1  0.9"]}]
    text = (
        "<!-- refused -->\n```bash\na \\\n  --b\n```\n\n```\nF1 0.9\n```\n<!-- needs a display -->\n```bash\nc\n```\n"
    )
    assert unheard(text, steps) == []
    assert unheard(text.replace("0.9", "0.8").replace("--b", "--d"), steps) == ["a --d", "F1 0.8"]
    assert commands_of(text) == [("a --b", True)]


def test_a_record_holds_no_folder_of_this_machine():
    said = f"{ROOT}/runs/a from /data/epfl/raw.tif"
    assert portable(said, "/data/epfl") == "./runs/a from $ASEM_JAX_DATA/raw.tif"
    assert portable(said, None) == "./runs/a from /data/epfl/raw.tif"


def test_a_walk_goes_on_behind_what_is_still_in_the_guide():
    steps = [{"command": "a"}, {"command": "b"}, {"command": "c"}]
    assert walked(steps, [("a", False), ("b", False), ("c", False), ("d", False)]) == steps
    assert walked(steps, [("a", False), ("changed", False), ("c", False)]) == steps[:1]
    assert walked(steps, [("a", False)]) == steps[:1]
    assert walked([], [("a", False)]) == []
