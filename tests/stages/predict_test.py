"""The stage predicts the volumes that its section names, goes on after a stop, refuses what does not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints, load_model
from asem_jax.models.model import Model
from asem_jax.prediction import predictor
from asem_jax.prediction.predictor import predict
from asem_jax.settings import SETTINGS
from asem_jax.stages import predict as stage
from asem_jax.stages import preprocess
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import open_volume
from tests.phantoms import balls, small_model, write_volume

SHAPE = (30, 40, 46)
RAW = balls(SHAPE)[0]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoint of a small model."""
    folder, model = tmp_path_factory.mktemp("run"), small_model()
    with Checkpoints(folder) as checkpoints:
        state = {"params": model.params, "step": jnp.zeros((), jnp.int32)}
        checkpoints.save(1, state, config={}, card=model.card, score=NOT_VALIDATED)
    return folder


@pytest.fixture
def section(run_folder: Path, tmp_path: Path) -> ConfigDict:
    """The section for one volume, that lies in `tmp_path`."""
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    volume = {"raw": raw.address, "target": f"{tmp_path}/cell.zarr/mito", "mask": None}
    return ConfigDict(
        {
            "model": str(run_folder),
            "symmetries": "none",
            "thresholds": {},
            "tiling": "seamless",
            "equalise": True,
            "exports": (),
            "dry_run": False,
            "seams": None,
            "volumes": {"cell": {**volume, "start": None, "stop": None}},
            "write_shape": (16, 16, 16),
            "retries": 2,
            "shard": None,
            "cluster": None,
        }
    )


def test_the_section_of_the_tests_is_complete(section: ConfigDict) -> None:
    assert set(section) == set(SETTINGS["predict"])
    assert set(section.volumes.cell) == set(SETTINGS["predict"]["volumes"]["*"])


def test_each_volume_and_box_gets_what_the_library_predicts(section: ConfigDict, tmp_path: Path) -> None:
    part = {"target": f"{tmp_path}/cell.zarr/part", "start": (4, 6, 8), "stop": (30, 30, 46)}
    section.volumes.part = {**section.volumes.cell.to_dict(), **part}
    stage.run(section, tmp_path)
    said = json.loads((tmp_path / "forecast.json").read_text())["part"]["run"]
    assert said["voxels"] == 26 * 24 * 38
    assert 0 < said["waiting_for_reads_share"] + said["waiting_for_writes_share"] <= 1
    expected = 255 * predict(small_model(), RAW)[..., 1]
    whole = open_volume(f"{section.volumes.cell.target}/probability")
    assert np.abs(whole.read(whole.box) - expected).max() <= 0.51
    found = open_volume(f"{section.volumes.part.target}/probability")
    assert found.shape == (26, 24, 38)
    assert found.offset_nm == (40.0, 60.0, 80.0)
    assert np.abs(found.read(found.box) - expected[4:30, 6:30, 8:46]).max() <= 0.51


def test_a_dry_run_says_what_it_costs_and_writes_nothing(
    section: ConfigDict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    section.dry_run = True
    section.seams = ((0, 0, 0), (30, 20, 20))
    with caplog.at_level("INFO"):
        stage.run(section, tmp_path)
    assert not Path(section.volumes.cell.target).exists()
    said = json.loads((tmp_path / "forecast.json").read_text())["cell"]
    assert said["blocks"] == said["left"] == 18
    assert said["seconds"] > 0
    assert "18 of 18 blocks of (16, 16, 16) voxels to predict" in caplog.text
    proof = json.loads((tmp_path / "seams.json").read_text())["cell"]
    assert proof["has_none"] and proof["order"] == 0 and proof["num_blocks"] > 1


def test_several_models_with_mask_and_threshold_are_what_the_section_says(
    section: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = np.zeros((3, 4, 5), np.uint8)
    halves[:, :, :2] = 1
    place = {"voxel_size_nm": (100.0, 100.0, 100.0), "offset_nm": (45.0, 45.0, 45.0)}
    section.volumes.cell.mask = write_volume(tmp_path / "cell.zarr/mask", halves, **place).address
    with section.ignore_type():
        section.model = ConfigDict({"a": section.model, "b": section.model})
    section.thresholds = ConfigDict({"b": f"{tmp_path}/postprocess.json"})
    with pytest.raises(
        ValueError, match=r"thresholds\.b=.*postprocess\.json' is no file with a threshold .*, 'card', or"
    ):
        stage.run(section, tmp_path)
    (tmp_path / "postprocess.json").write_text('{"threshold": 0.9}')
    card = replace(small_model().card, thresholds=(0.7,))
    monkeypatch.setattr(stage, "load_model", lambda address: Model(load_model(address).params, card))
    with section.ignore_type():
        section.thresholds.a = "card"
    stage.run(section, tmp_path)
    said = json.loads((tmp_path / "forecast.json").read_text())["cell"]
    assert said["skipped"] == 6
    target = section.volumes.cell.target
    probability = open_volume(f"{target}/b/probability")
    values = probability.read(probability.box)
    assert values[..., :20].any() and not values[..., 20:].any()
    for name, level in (("a", 179), ("b", 230)):
        found = open_volume(f"{target}/{name}/segmentation").read(probability.box)
        np.testing.assert_array_equal(found[..., :20], values[..., :20] >= level)
    attributes = probability.attributes
    assert attributes["fingerprint"]["thresholds"] == {"a": 0.7, "b": 0.9}


def test_a_finished_prediction_is_not_made_again(
    section: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(section, tmp_path)
    chunks = sorted(Path(section.volumes.cell.target).rglob("0/*/*/*"))
    before = [path.stat().st_mtime_ns for path in chunks]
    assert len(chunks) == 2 * 2 * 3 * 3
    monkeypatch.setattr(predictor, "start_writes", None)
    stage.run(section, tmp_path)
    assert [path.stat().st_mtime_ns for path in chunks] == before


def test_blocks_that_the_ledger_lacks_are_made(section: ConfigDict, tmp_path: Path) -> None:
    stage.run(section, tmp_path)
    target = Path(section.volumes.cell.target)
    probability = open_volume(f"{target}/probability")
    expected = probability.read(probability.box)
    ledger = target / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:5]) + '{"finis')
    shutil.rmtree(target / "probability/0/1")
    stage.run(section, tmp_path)
    np.testing.assert_array_equal(open_volume(f"{target}/probability").read(probability.box), expected)


def test_shards_make_what_one_process_makes(section: ConfigDict, tmp_path: Path) -> None:
    section.volumes.alone = {**section.volumes.cell.to_dict(), "target": f"{tmp_path}/cell.zarr/alone"}
    alone = ConfigDict({**section.to_dict(), "volumes": {"alone": section.volumes.alone}})
    del section.volumes["alone"]
    stage.run(alone, tmp_path)
    target = Path(section.volumes.cell.target)
    section.exports = ("n5",)
    for shard in ("1/3", "2/3", "1/3"):
        section.shard = shard
        stage.run(section, tmp_path)
        cost = json.loads((tmp_path / f"forecast.{shard.replace('/', '-of-')}.json").read_text())["cell"]
        assert ("run" in cost) == (cost["left"] in (12, 18))
        with pytest.raises(ValueError, match="has no level 1"):
            open_volume(f"{target}/probability", level=1)
        assert not (tmp_path / "cell.n5").exists()
    section.write_shape = (16, 16, 32)
    section.shard = "3/3"
    with pytest.raises(ValueError, match=r"1-of-3\.jsonl belongs.*write_shape: \[16, 16, 16\] -> \[16, 16, 32\]"):
        stage.run(section, tmp_path)
    section.write_shape = (16, 16, 16)
    section.shard = "2/2"  # of another number; what is left of the lost one's
    stage.run(section, tmp_path)
    assert not (tmp_path / "cell.n5").exists()
    section.shard = None
    stage.run(section, tmp_path)
    assert open_volume(tmp_path / "cell.n5/mito/probability").shape == SHAPE  # by the one that ended last
    for name in ("probability", "segmentation"):
        for level in (0, 1):
            found = open_volume(f"{target}/{name}", level=level)
            expected = open_volume(f"{tmp_path}/cell.zarr/alone/{name}", level=level)
            np.testing.assert_array_equal(found.read(found.box), expected.read(expected.box))


def test_raw_equalised_as_it_is_read_is_predicted_as_if_it_had_been_before(
    section: ConfigDict, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"kernel_shape": (16, 16, 16), "clip_limit": 0.02}
    card = replace(small_model().card, equalised=True, equalisation=Equalisation(**how))
    monkeypatch.setattr(stage, "load_model", lambda address: Model(load_model(address).params, card))
    raw, done = section.volumes.cell.raw, f"{tmp_path}/cell.zarr/equalised"
    entry = {"source": raw, "target": done, "equalise": how, "chunk_shape": (16, 16, 16), "shard_shape": None}
    entry |= {"voxel_size_nm": None, "labels": False, "invert": False, "match": None, "zarr_format": 2}
    speed = {"num_threads": 2, "retries": 0, "cluster": None}
    preprocess.run(ConfigDict({"masks": {}, "volumes": {"raw": entry}, **speed}), tmp_path)
    cell = section.volumes.cell.to_dict() | {"start": (4, 6, 8)}
    made = {"read": cell, "before": cell | {"raw": done}, "off": cell}
    for name, volume in made.items():
        section.volumes = ConfigDict({name: volume | {"target": f"{tmp_path}/cell.zarr/{name}"}})
        section.equalise = name != "off"
        stage.run(section, tmp_path)
    found = {}
    for name in made:
        probability = open_volume(f"{tmp_path}/cell.zarr/{name}/probability")
        found[name] = probability.read(probability.box)
        on_the_way = probability.attributes["fingerprint"].get("equalisation")
        assert (on_the_way is not None) == (name == "read")
    np.testing.assert_array_equal(found["read"], found["before"])
    assert not np.array_equal(found["read"], found["off"])


def test_a_finished_prediction_is_exported_and_shown(
    section: ConfigDict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    section.exports = ("zip",)
    with pytest.raises(ValueError, match=r"exports=\('zip',\): 'zip' is no format"):
        stage.run(section, tmp_path)
    assert not Path(section.volumes.cell.target).exists()
    section.exports = ()
    stage.run(section, tmp_path)
    section.exports = ("tiff", "precomputed")
    with caplog.at_level("INFO"):
        stage.run(section, tmp_path)
    for name in ("probability", "segmentation"):
        expected = open_volume(f"{section.volumes.cell.target}/{name}").read(Box.of_shape(SHAPE))
        for address in (f"cell_tiff/mito/{name}.tif", f"cell.precomputed/mito/{name}"):
            np.testing.assert_array_equal(open_source(f"{tmp_path}/{address}").read(Box.of_shape(SHAPE)), expected)
    link = (tmp_path / "neuroglancer_cell.txt").read_text().strip()
    assert link.startswith("https://") and link in caplog.text


def test_a_shard_that_is_none_is_refused_at_once(section: ConfigDict, tmp_path: Path) -> None:
    section.shard = "5/4"
    with pytest.raises(ValueError, match="shard='5/4' is no share of the blocks"):
        stage.run(section, tmp_path)


def test_what_is_not_there_is_named_before_work(section: ConfigDict, tmp_path: Path) -> None:
    section.volumes.lost = {**section.volumes.cell.to_dict(), "raw": f"{tmp_path}/cell.zarr/rwa"}
    with pytest.raises((ValueError, OSError), match=r"cell\.zarr/rwa"):
        stage.run(section, tmp_path)
    assert not Path(section.volumes.cell.target).exists()
    section.model = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"neither a run folder .* give the --workdir of a training"):
        stage.run(section, tmp_path)


def test_a_box_outside_raw_is_refused(section: ConfigDict, tmp_path: Path) -> None:
    section.volumes.cell.stop = (31, 40, 46)
    with pytest.raises(ValueError, match=r"the box \(0, 0, 0\) to \(31, 40, 46\).*give a box inside it"):
        stage.run(section, tmp_path)


def test_all_volumes_are_looked_at_before_the_first_is_predicted(
    section: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section.volumes.second = section.volumes.cell.to_dict()
    calls = []
    monkeypatch.setattr(stage, "warn_of_appearance", lambda model, raw, box, how: calls.append(("look", box)))
    monkeypatch.setattr(stage, "sweep_volume", lambda job, notes, **how: calls.append(("sweep", job.plan.box)) or {})
    stage.run(section, tmp_path)
    assert calls == [("look", Box.of_shape(SHAPE))] * 2 + [("sweep", Box.of_shape(SHAPE))] * 2


def test_the_library_looks_at_a_volume_too(
    section: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(predictor, "warn_of_appearance", lambda model, raw, box, how: calls.append(box))
    monkeypatch.setattr(predictor, "sweep_volume", lambda job: {})
    raw = open_volume(section.volumes.cell.raw)
    assert predictor.predict_volume(load_model(section.model), raw, "nowhere") == {}
    assert calls == [raw.box]


def test_the_original_tiling_is_for_one_process(section: ConfigDict, tmp_path: Path) -> None:
    section.update({"tiling": "incasem", "shard": "1/2"})
    with pytest.raises(ValueError, match=r"tiling='incasem' with shard='1/2' or a cluster: .*set both to None"):
        stage.run(section, tmp_path)
