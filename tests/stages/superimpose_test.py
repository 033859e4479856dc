"""The stage: what it writes, what it refuses, and that it goes on."""

import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import superimpose
from asem_jax.volumes import blockwise
from asem_jax.volumes.volume import create_volume, open_volume

SHAPE = (12, 16, 20)
APART = {"organelle": "mito", "relation": "outside", "of": "er", "within_nm": 8.0}


def _write(address, array, voxel_size_nm=(8.0, 8.0, 8.0)):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=voxel_size_nm, chunk_shape=(8, 8, 8)
    )
    volume.write(volume.box, array)


@pytest.fixture
def config(tmp_path):
    """Slabs of two organelles that overlap in 2 x 16 x 20 voxels, where er is likelier in half of them."""
    cell = f"{tmp_path}/cell.zarr"
    mito, er, chance = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    mito[:6], er[4:] = 1, 1
    chance[:, :8] = 200
    for name, array in (("mito", mito), ("er", er)):
        _write(f"{cell}/{name}/segmentation", array)
    _write(f"{cell}/mito/objects", mito.astype(np.uint32) * 70000)
    _write(f"{cell}/mito/probability", np.full(SHAPE, 150, np.uint8))
    _write(f"{cell}/er/probability", chance)
    own = {name: {kind: f"{cell}/{name}/{kind}" for kind in ("segmentation", "probability")} for name in ("er", "mito")}
    return ConfigDict(
        {
            "volumes": {
                "mito": {**own["mito"], "objects": f"{cell}/mito/objects"},
                "er": {**own["er"], "objects": None},
            },
            "rules": {},
            "priority": (),
            "target": f"{cell}/superimposed",
            "block_shape": (8, 16, 8),
            "chunk_shape": (8, 8, 8),
            "shard_shape": None,
            "zarr_format": 2,
            "num_threads": 2,
            "cluster": None,
        },
        convert_dict=True,
    )


def _read(config, name):
    volume = open_volume(f"{config.target}/{name}")
    return volume.read(volume.box)


def test_config_holds_what_the_settings_list(config):
    assert set(config) == set(SETTINGS["superimpose"])


def test_volumes_and_tables_are_written(config, tmp_path):
    superimpose.run(config, tmp_path)
    labels = _read(config, "labels")
    assert [np.unique(labels[a:b]).tolist() for a, b in ((0, 4), (4, 6), (6, 12))] == [[2], [1, 2], [1]]
    assert np.unique(labels[4:6, :8]).tolist() == [1]
    assert open_volume(f"{config.target}/labels").attributes["labels"] == {"er": 1, "mito": 2}
    assert "labels" not in open_volume(f"{config.target}/mito/objects").attributes
    np.testing.assert_array_equal(_read(config, "mito/objects") == 70000, labels == 2)
    np.testing.assert_array_equal(_read(config, "conflicts") == 2, _read(config, "conflicts") > 1)
    assert open_volume(f"{config.target}/er/segmentation", level=1).shape == (6, 8, 10)
    assert not (tmp_path / "cell.zarr/superimposed/er/objects").exists()
    table = json.loads((tmp_path / "superimpose.json").read_text())
    half = 2 * 8 * 20
    assert table["conflict_voxels"] == 2 * half
    assert table["moved"] == [
        {"step": "probability", "from": "er", "to": "mito", "voxels": half},
        {"step": "probability", "from": "mito", "to": "er", "voxels": half},
    ]
    with (tmp_path / "superimpose.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"step": "probability", "from": "er", "to": "mito", "voxels": str(half)}


def test_a_rule_moves_to_whom_is_left(config, tmp_path):
    with config.ignore_type():
        config.rules = ConfigDict({"apart": APART})
    superimpose.run(config, tmp_path)
    assert [np.unique(_read(config, "labels")[z]).tolist() for z in (2, 3, 4)] == [[2], [0], [1]]
    rows = json.loads((tmp_path / "superimpose.json").read_text())["moved"]
    assert [(row["step"], row["to"], row["voxels"]) for row in rows] == [("apart", None, 320), ("apart", "er", 640)]
    assert ",,320" not in (tmp_path / "superimpose.csv").read_text().splitlines()[0]
    assert "apart,mito,,320" in (tmp_path / "superimpose.csv").read_text()


def test_workers_of_a_cluster_write_what_threads_write(config, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(superimpose, "write_pyramid", lambda volume, **how: None)
    written = []
    for name, section in (("threads", None), ("workers", cluster)):
        if section:
            monkeypatch.delattr(blockwise, "ThreadPoolExecutor")
        with config.ignore_type():
            config.update({"cluster": section, "target": f"{tmp_path}/{name}.zarr"})
            config.rules = ConfigDict({"apart": APART})
        superimpose.run(config, tmp_path / name)
        folder = tmp_path / f"{name}.zarr"
        files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        written.append((files, (tmp_path / name / "superimpose.json").read_bytes()))
    assert len(written[0][0]) > 5 * 12
    assert written[0] == written[1]


@pytest.mark.parametrize("step", ["superimpose", "write_pyramid", "write_table"])
def test_interrupted_it_goes_on_and_finished_it_does_nothing(config, tmp_path, monkeypatch, step):
    def fails(*words, **more):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(superimpose, step, fails)
        with pytest.raises(RuntimeError, match="power cut"):
            superimpose.run(config, tmp_path)
    superimpose.run(config, tmp_path)
    assert (_read(config, "labels") > 0).all()
    with monkeypatch.context() as patch:
        patch.delattr(superimpose, "superimpose")
        superimpose.run(config, tmp_path)


def test_other_settings_in_the_same_folder_are_refused(config, tmp_path):
    superimpose.run(config, tmp_path)
    config.priority = ("er",)
    with pytest.raises(ValueError, match=r"priority: \[\] -> \['er'\]"):
        superimpose.run(config, tmp_path)


def test_another_grid_and_another_type_are_refused_before_any_work(config, tmp_path):
    cell = f"{tmp_path}/cell.zarr"
    _write(f"{cell}/coarse", np.zeros(SHAPE, np.uint8), (16.0, 16.0, 16.0))
    _write(f"{cell}/float", np.zeros(SHAPE, np.float32))
    for key, value, message in (
        ("segmentation", "coarse", r"voxel size \(16.0, 16.0, 16.0\) nm, .* resample one"),
        ("probability", "float", r"mito.probability=.*float has dtype float32, not uint8 with 255 = 1; give what"),
    ):
        changed = config.copy_and_resolve_references()
        changed.volumes.mito[key] = f"{cell}/{value}"
        with pytest.raises(ValueError, match=message):
            superimpose.run(changed, tmp_path)
    config.block_shape = (8, 12, 8)
    with pytest.raises(ValueError, match=r"block_shape=\(8, 12, 8\) is not a multiple of \(8, 8, 8\)"):
        superimpose.run(config, tmp_path)
    assert not (tmp_path / "cell.zarr/superimposed").exists()
