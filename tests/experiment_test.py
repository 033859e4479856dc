"""Configs are read, overridden, checked in both directions, filled in and saved."""

import json

import pytest
from ml_collections import ConfigDict

from asem_jax import experiment, settings

SETTINGS = {
    "train": {"raw": "address of grey values", "num_steps": "optimiser updates", "size": "voxels, z y x"},
    "evaluate": {
        "regions": {"*": {"labels": "address", "start": "voxels, z y x"}},
        "threshold": "0..1 or None",
    },
}

TRAIN = {"stage": "train", "data": "big", "raw": "{data}/raw", "num_steps": 5, "size": (1, 2, 3)}


@pytest.fixture(autouse=True)
def small_settings(monkeypatch):
    monkeypatch.setattr(experiment, "SETTINGS", SETTINGS)


def both(**changes):
    """A config of two stages, changed on top."""
    train = {key: TRAIN[key] for key in SETTINGS["train"]}
    regions = {"left": {"labels": "{data}/labels", "start": None}}
    evaluate = {"regions": regions, "threshold": None}
    content = {
        "stages": ("train", "evaluate"),
        "data": "{workdir}/cell.zarr",
        "train": train,
        "evaluate": evaluate,
    }
    return ConfigDict(content | changes)


def written(folder, content, name="config.py"):
    """Path of a config file with this content."""
    path = folder / name
    path.write_text(f"from ml_collections import ConfigDict\ndef get_config(seed='0'):\n    return {content}\n")
    return str(path)


def test_good_configs_pass():
    experiment.check(ConfigDict(TRAIN))
    experiment.check(both())
    experiment.check(both(stages=("evaluate",)))


def test_names_are_filled_in_and_do_not_reach_the_stage(tmp_path):
    assert experiment.section(ConfigDict(TRAIN), "train", tmp_path).to_dict() == {
        "raw": "big/raw",
        "num_steps": 5,
        "size": (1, 2, 3),
    }
    evaluate = experiment.section(both(), "evaluate", tmp_path)
    assert evaluate.regions.left.labels == f"{tmp_path}/cell.zarr/labels"
    assert evaluate.threshold is None


def test_targets_that_lie_in_no_container_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VOLUME_TARGETS", ("train.raw", "evaluate.regions.*.labels"))
    experiment.check_targets(both(), tmp_path)
    experiment.check_targets(both(data="{workdir}/cell"), tmp_path / "in.zarr")
    with pytest.raises(ValueError, match=r'^evaluate.regions.left.labels="cell/labels" names no container; one folder'):
        experiment.check_targets(both(data="cell", stages=("evaluate",)), tmp_path)
    with pytest.raises(ValueError, match=r'train.raw="cell/raw", evaluate.regions.left.labels="cell/labels" names'):
        experiment.check_targets(both(data="cell"), tmp_path)


def test_containers_that_nothing_makes_are_named_before_the_first_stage(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'^"other.zarr" \(train.raw\) is not there, and no stage makes it; give'):
        experiment.check_sources(both(data="other.zarr"), tmp_path)
    experiment.check_sources(both(data="other.zarr", stages=("evaluate",)), tmp_path)
    experiment.check_sources(both(data="https://host/other.zarr"), tmp_path)
    (tmp_path / "other.zarr").mkdir()
    experiment.check_sources(both(data="{workdir}/other.zarr"), tmp_path)
    monkeypatch.undo()
    config = experiment.load("configs/quickstart.py", {})
    experiment.check_sources(config, tmp_path)
    config.stages = config.stages[1:]
    with pytest.raises(ValueError, match=r'cell.zarr" \(train.regions.*\) is not there'):
        experiment.check_sources(config, tmp_path)


def test_the_settings_that_name_targets_exist():
    for pattern in settings.VOLUME_TARGETS:
        section = settings.SETTINGS
        for key in pattern.split("."):
            section = section[key]
        assert section.startswith(("address", "image group", "group"))


def test_stage_may_not_change_its_settings(tmp_path):
    with pytest.raises(AttributeError, match="locked"):
        experiment.section(both(), "train", tmp_path).num_stpes = 3


def test_saved_config_is_read_back_unchanged_and_changes_are_named(tmp_path):
    config = both()
    assert experiment.save(config, tmp_path) == []
    again = experiment.load(str(tmp_path / "config.json"), {})
    assert again.to_dict() == config.to_dict()
    assert experiment.save(again, tmp_path) == []
    longer = experiment.load(str(tmp_path / "config.json"), {"train.num_steps": "9"})
    assert experiment.save(longer, tmp_path) == ["config.train.num_steps: 5 -> 9"]
    without = {name: value for name, value in longer.to_dict().items() if name != "train"}
    assert experiment.save(ConfigDict(without), tmp_path) == ["config.train: a section -> absent"]
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_config_that_json_cannot_hold_is_refused_and_the_old_one_kept(tmp_path):
    experiment.save(both(), tmp_path)
    before = (tmp_path / "config.json").read_text()
    for value in (float("nan"), len):
        with pytest.raises(ValueError, match="use numbers, strings, tuples"):
            experiment.save(both(extra=value), tmp_path)
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.num_steps", "7", 7),
        ("train.num_steps", "None", None),
        ("train.raw", "other/raw", "other/raw"),
        ("train.raw", "7", "7"),
        ("train.raw", "None", None),
        ("train.size", "(4, 5, 6)", (4, 5, 6)),
        ("train.size", "[4, 5, 6]", (4, 5, 6)),
        ("stages", "evaluate", ("evaluate",)),
        ("stages", "('evaluate',)", ("evaluate",)),
        ("evaluate.threshold", "0.5", 0.5),
        ("evaluate.regions.left.start", "(0, 0, 4)", (0, 0, 4)),
        ("evaluate.regions.left.start", "somewhere", "somewhere"),
        ("rate", "1", 1.0),
        ("flag", "false", False),
        ("flag", "True", True),
    ],
)
def test_override_is_read_as_the_type_in_the_file(tmp_path, key, text, value):
    config = experiment.load(written(tmp_path, both(rate=0.5, flag=True).to_dict()), {key: text})
    for name in key.split("."):
        config = config[name]
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("train.num_stps", "7", "the config has no 'num_stps' there; did you mean num_steps?"),
        ("trian.num_steps", "7", "did you mean train?"),
        ("train.zzz", "7", "the config has no 'zzz' there. There is: num_steps, raw, size."),
        ("train.num_steps.x", "7", "There is: a value without keys"),
        ("train.num_steps", "7.5", "the file has 5, give a value of type int"),
        ("train.num_steps", "many", "the file has 5, give a value of type int"),
        ("evaluate.regions", "7", "names a section; add one of its keys: left"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(tmp_path, key, text, message):
    with pytest.raises(ValueError) as caught:
        experiment.load(written(tmp_path, both().to_dict()), {key: text})
    assert f"--config.{key}={text}" in str(caught.value)
    assert message in str(caught.value)


def test_argument_of_the_file_reaches_get_config(tmp_path):
    assert experiment.load(written(tmp_path, "{'stage': seed}") + ":predict", {}).stage == "predict"


def test_an_argument_that_the_file_does_not_know_is_named(tmp_path):
    path = tmp_path / "two.py"
    known = "from typing import Literal\ndef get_config(part: Literal['predict', 'view'] = 'predict'):\n"
    path.write_text(f"{known}    return {{'stage': part}}\n")
    assert experiment.load(f"{path}:view", {}).stage == "view"
    with pytest.raises(ValueError, match=r"two\.py:golgi: the file knows predict, view, not 'golgi'\."):
        experiment.load(f"{path}:golgi", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 / 0", "line 3: ZeroDivisionError: division by zero; a config file is Python"),
        ("(", "line 3: SyntaxError"),
        ("7", "get_config.. returned 7; it must return an ml_collections.ConfigDict"),
    ],
)
def test_broken_files_are_explained(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        experiment.load(written(tmp_path, content), {})


def test_file_without_get_config_is_explained(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"KeyError: 'get_config'; .* a function get_config\(\)"):
        experiment.load(str(tmp_path / "empty.py"), {})


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "holds a list; give the config.json")])
def test_json_that_is_no_config_is_refused(tmp_path, text, message):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        experiment.load(str(tmp_path / "scores.json"), {})


def test_missing_file_suggests_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="give the path of a config file"):
        experiment.load("quickstrat.py", {})
    (tmp_path / "configs").mkdir()
    written(tmp_path / "configs", {}, "quickstart.py")
    written(tmp_path / "configs", {}, "train_lucchi_mito.py")
    with pytest.raises(FileNotFoundError, match=r"did you mean configs.quickstart\.py\?"):
        experiment.load("configs/quickstrat.py", {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_steps": 5}, "needs either one `stage` or several `stages`"),
        ({"stage": "train", "stages": ("train",)}, "needs either one `stage` or several"),
        ({"stage": "trian"}, "'trian' is not a stage; did you mean train? Stages: train, evaluate"),
        (TRAIN | {"stages": ("evaluate", "zzz")}, "either one"),
        ({"stages": ("zzz",)}, "'zzz' is not a stage. Stages: train, evaluate."),
        ({"stages": "train", "train": {}}, "config.train.num_steps is missing: optimiser updates"),
        (
            {"stages": ("evaluate",)},
            "config.evaluate is missing: a section with regions, threshold",
        ),
    ],
)
def test_configs_without_proper_stages_are_refused(config, message):
    with pytest.raises(ValueError) as caught:
        experiment.check(ConfigDict(config))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": {"raw": "r", "num_stps": 1, "size": 1}},
            "config.train.num_stps is not a setting; did you mean num_steps?",
        ),
        ({"data": "x", "rwa": "{data}"}, "config.rwa is not a setting"),
        ({"evlauate": {}}, "config.evlauate is not a setting; did you mean evaluate?"),
        (
            {"evaluate": {"regions": 5, "threshold": 1}},
            "config.evaluate.regions=5 is not a section; it holds <name>",
        ),
        (
            {"evaluate": {"regions": {"a": {"labels": "l"}}, "threshold": 1}},
            "regions.a.start is missing: voxels, z y x",
        ),
        ({"data": "{wrkdir}/x"}, "{wrkdir} has no value; did you mean workdir?"),
    ],
)
def test_every_misfit_is_named(changes, message):
    with pytest.raises(ValueError) as caught:
        experiment.check(both(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["num_steps", "raw"])
def test_misspelt_key_is_reported_once(name):
    misspelt = {key.replace(name, name + "p"): value for key, value in TRAIN.items()} | {"data": "x"}
    misspelt["size"] = "{data}"
    with pytest.raises(ValueError) as caught:
        experiment.check(ConfigDict(misspelt))
    assert str(caught.value).count("\n") == 1


def test_several_misfits_are_named_together():
    with pytest.raises(ValueError, match=r"learning is not a setting(.|\n)*raw is missing(.|\n)*size is missing"):
        experiment.check(ConfigDict({"stage": "train", "num_steps": 5, "learning": 1}))


def test_section_that_is_none_is_a_value():
    experiment.check(both(evaluate={"regions": None, "threshold": None}))


def test_config_json_is_plain(tmp_path):
    experiment.save(ConfigDict(TRAIN), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["size"] == [1, 2, 3]
