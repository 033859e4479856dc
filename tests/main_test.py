"""The door answers at once, without JAX, where a command is wrong; else it runs the stages in order."""

import json
import logging
import os
import subprocess
import sys
import time

import pytest

from asem_jax import experiment, main
from asem_jax.settings import SETTINGS

_PROBE = """
import atexit, sys
atexit.register(lambda: print("jax" in sys.modules))
from asem_jax.main import main
sys.exit(main())
"""


def answer(folder, *words):
    """Exit code, what was printed for the user, and whether JAX was imported, of one command line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, "-W", "error", "-c", _PROBE, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr + done.stdout, done.stdout.endswith("True\n")


@pytest.fixture
def folder(tmp_path):
    """A folder with one config: of a stage `evaluate` in name only."""
    (tmp_path / "good.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    both = {'evaluate': {'a': 1}, 'report': {'b': '{workdir}'}}\n"
        "    return ConfigDict({'stages': ('evaluate', 'report'), **both})\n"
    )
    return tmp_path


WRONG = {
    "nothing": ((), "error: --config is missing"),
    "no workdir": (("--config", "good.py"), "error: --workdir is missing"),
    "missing file": (("--config=god.py", "--workdir=run"), "there is no file god.py; did you mean good.py?"),
    "unknown stage": (
        ("--config=good.py", "--workdir=run", "--config.stages=evalute"),
        "did you mean evaluate?",
    ),
    "misspelt override": (("--config=good.py", "--workdir=run", "--config.stagse=x"), "did you mean stages?"),
    "misspelt key": (("--config=good.py", "--workdir=run"), "config.evaluate.a is not a setting"),
    "misspelt option": (("--confg=good.py", "--workdir=run"), "did you mean --config?"),
    "loose word": (
        ("--config=good.py", "--workdir=run", "evaluate"),
        "'evaluate' is not an option; settings are",
    ),
    "override without value": (("--config=good.py", "--workdir=run", "--config.a"), "give --config.a=value"),
    "workdir is a file": (("--config=config.json", "--workdir=good.py"), "is a file; give a folder"),
}


@pytest.mark.parametrize("words, message", WRONG.values(), ids=WRONG)
def test_wrong_commands_are_answered_at_once(folder, words, message):
    settings = {"stage": "report"} | dict.fromkeys(SETTINGS["report"])
    (folder / "config.json").write_text(json.dumps(settings))
    begin = time.monotonic()
    code, text, heavy = answer(folder, *words)
    assert code == 2, text
    assert message in text
    assert "Traceback" not in text
    assert not heavy
    assert time.monotonic() - begin < 5  # 0.2 s on an idle machine
    assert not (folder / "run").exists()


def test_help_lists_the_stages_and_examples(folder):
    code, text, _ = answer(folder, "--help")
    assert code == 0
    assert all(f"\n  {stage} " in text for stage in SETTINGS)
    assert "\nexamples:\n  python -m asem_jax.main --config configs/quickstart.py" in text


def test_help_and_settings_know_the_same_stages():
    assert list(main.STAGES) == list(SETTINGS)


@pytest.mark.parametrize("stage", main.STAGES)
def test_every_stage_can_be_imported(stage):
    assert main._stage(stage).__module__ == f"asem_jax.stages.{stage}"


def test_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'trian' is not a stage; there are simulate"):
        main._stage("trian")


@pytest.fixture
def ran(monkeypatch):
    """Replaces the stages; the list fills with what ran: name, settings and run folder."""
    monkeypatch.setattr(experiment, "SETTINGS", {"evaluate": {"a": "any"}, "report": {"b": "any"}})
    calls = []
    monkeypatch.setattr(main, "_stage", lambda name: lambda config, workdir: calls.append((name, config, workdir)))
    return calls


def command(folder, *more):
    return main.main(["--config", str(folder / "good.py"), "--workdir", str(folder / "new" / "run"), *more])


def test_stages_run_in_order_with_their_own_settings(folder, ran, caplog):
    caplog.set_level(logging.INFO)
    assert command(folder, "--config.evaluate.a", "5") == 0
    run = folder / "new" / "run"
    assert [(name, config.to_dict(), workdir) for name, config, workdir in ran] == [
        ("evaluate", {"a": 5}, run),
        ("report", {"b": str(run)}, run),
    ]
    assert "stage report (2 of 2)" in caplog.text
    assert f"results are in {run}" in caplog.messages[-1]


def test_saved_config_can_be_given_back_and_changes_are_said(folder, ran, caplog):
    caplog.set_level(logging.INFO)
    assert command(folder) == 0
    saved = folder / "new" / "run" / "config.json"
    assert main.main(["--config", str(saved), "--workdir", str(folder / "other")]) == 0
    assert (folder / "other" / "config.json").read_text() == saved.read_text()
    assert ran[-1][1].b == str(folder / "other")
    assert "differs" not in caplog.text
    assert command(folder, "--config.evaluate.a=2") == 0
    assert "differs from that of the last run in this folder: config.evaluate.a: 1 -> 2" in caplog.text


def fail(kind):
    """A stage that ends in an error which our own code raises, or another one."""

    def run(config, workdir):
        if kind != "ours":
            raise ValueError("raw is 3 nm")
        try:
            main._make_workdir(__file__)
        except ValueError as error:
            error.add_note("in block 7")
            raise

    return lambda name: run


def test_error_of_ours_ends_with_its_message(folder, ran, monkeypatch, caplog):
    monkeypatch.setattr(main, "_stage", fail("ours"))
    assert command(folder) == 1
    assert caplog.messages[-1].startswith("evaluate: --workdir=")
    assert caplog.messages[-1].endswith("\nin block 7")
    with pytest.raises(ValueError, match="is a file"):
        command(folder, "--debug")


def test_error_from_elsewhere_keeps_its_traceback(folder, ran, monkeypatch):
    monkeypatch.setattr(main, "_stage", fail("other"))
    with pytest.raises(ValueError, match="raw is 3 nm"):
        command(folder)


def test_only_the_first_process_speaks_and_saves(folder, ran, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("asem_jax.devices.is_speaker", lambda: False)
    level = main.logger.level
    assert command(folder) == 0
    main.logger.setLevel(level)
    assert len(ran) == 2
    assert caplog.messages == []
    assert not (folder / "new" / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
)
def test_durations_are_written_as_people_say_them(seconds, text):
    assert main._duration(seconds) == text


def test_log_lines_are_short_and_name_only_what_is_not_normal():
    record = logging.LogRecord("asem_jax", logging.WARNING, "x.py", 1, "slow: %d", (3,), None)
    assert main._ShortLines().format(record).endswith("WARNING: slow: 3")
    record.levelno = logging.INFO
    assert "INFO" not in main._ShortLines().format(record)


def test_several_processes_are_only_for_training() -> None:
    main._check_processes(("train",), 4)
    main._check_processes(("train", "predict"), 1)
    with pytest.raises(ValueError, match=r"4 processes would all do the stages predict, .*name stage train"):
        main._check_processes(("train", "predict", "report"), 4)
