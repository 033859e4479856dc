"""Stage simulate: what it writes, that it goes on after a kill, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.simulation import simulate_block
from asem_jax.stages import simulate
from asem_jax.volumes.volume import open_volume
from tests.simulation.cells import MICROSCOPE, WHOLE, mitochondria_only

CELL = mitochondria_only(microscope=MICROSCOPE, voxel_size_nm=(20.0, 20.0, 20.0))


def _config(folder: Path, **changes: Any) -> ConfigDict:
    numbers = dataclasses.asdict(CELL)
    own = {name: numbers.pop(name) for name in ("seed", "voxel_size_nm", "microscope", "preparation")}
    own["whole_cell"] = numbers.pop("whole")
    section = {
        "container": f"{folder}/cell.zarr",
        "shape": (32, 32, 40),
        "block_shape": (16, 32, 16),
        "chunk_shape": (16, 16, 16),
        "num_threads": 2,
        "organelles": ("mito", "er"),
        "cell": numbers,
        **own,
    }
    return ConfigDict(section | changes)


def test_it_writes_the_volume_that_blocks_promise(tmp_path):
    config = _config(tmp_path)
    simulate.run(config, tmp_path)
    raw, mito, objects = (open_volume(f"{config.container}/{name}") for name in ("raw", "labels/mito", "objects/mito"))
    block = simulate_block(CELL, raw.box)
    np.testing.assert_array_equal(raw.read(raw.box), block.raw)
    np.testing.assert_array_equal(mito.read(mito.box), block.labels("mito"))
    assert block.labels("mito").any()
    numbers = objects.read(objects.box)
    np.testing.assert_array_equal(numbers > 0, block.labels("mito") > 0)
    lines = [json.loads(line) for line in (Path(config.container) / "truth.jsonl").read_text().splitlines()]
    assert {line["number"] for line in lines if line["organelle"] == "mito"} >= set(np.unique(numbers)) - {0}
    assert raw.voxel_size_nm == mito.voxel_size_nm == (20.0, 20.0, 20.0)
    assert raw.attributes["settings"]["cell"]["membrane_nm"] == 20.0
    assert open_volume(raw.address, level=1).voxel_size_nm == (40.0, 40.0, 40.0)


def test_it_goes_on_where_it_was_stopped_and_then_does_nothing(tmp_path, monkeypatch, caplog):
    made = []

    def failing(cell, box):
        if len(made) == 2:
            raise RuntimeError("stopped")
        made.append(box)
        return simulate_block(cell, box)

    config = _config(tmp_path, num_threads=1)
    monkeypatch.setattr(simulate, "simulate_block", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        simulate.run(config, tmp_path)
    again = []
    monkeypatch.setattr(simulate, "simulate_block", lambda c, box: again.append(box) or simulate_block(c, box))
    simulate.run(config, tmp_path)
    assert len(again) == 4 and not set(again) & set(made)
    raw = open_volume(f"{config.container}/raw")
    np.testing.assert_array_equal(raw.read(raw.box), simulate_block(CELL, raw.box).raw)
    with caplog.at_level("INFO"):
        simulate.run(config, tmp_path)
    assert len(again) == 4 and "nothing to do" in caplog.text


def test_a_container_that_is_gone_is_made_again(tmp_path):
    config = _config(tmp_path, shape=(16, 16, 16), block_shape=(16, 16, 16))
    simulate.run(config, tmp_path)
    Path(config.container).rename(tmp_path / "moved.zarr")
    simulate.run(config, tmp_path)
    raw = open_volume(f"{config.container}/raw")
    assert raw.read(raw.box).any()


def test_other_settings_are_refused(tmp_path):
    config = _config(tmp_path, shape=(16, 16, 16), block_shape=(16, 16, 16))
    simulate.run(config, tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(seed: 4 -> 5\)"):
        simulate.run(_config(tmp_path, shape=(16, 16, 16), block_shape=(16, 16, 16), seed=5), tmp_path)


def test_blocks_that_share_a_chunk_are_refused(tmp_path):
    config = _config(tmp_path, block_shape=(16, 24, 16))
    with pytest.raises(ValueError, match=r"block_shape=\(16, 24, 16\) is not a multiple .* make it one"):
        simulate.run(config, tmp_path)


def test_an_unknown_organelle_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"organelles names 'mitos'; there is: er, lysosomes, mito, vesicles"):
        simulate.run(_config(tmp_path, organelles=("mitos",)), tmp_path)


def test_the_settings_name_every_number():
    def names(section):
        return {key: names(value) if isinstance(value, dict) else None for key, value in section.items()}

    config = json.loads(_config(Path("x"), whole_cell=dataclasses.asdict(WHOLE)).to_json())
    assert names(config) == names(SETTINGS["simulate"])
