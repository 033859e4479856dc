"""Stage preprocess: raw and labels at another voxel size, repeated, and what is refused before it starts."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import preprocess
from asem_jax.volumes.volume import create_volume, open_volume


def write(address, array):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=(5, 5, 5), chunk_shape=(8, 8, 8)
    )
    volume.write(volume.box, array)


def config(folder, **changes):
    both = {"chunk_shape": (4, 4, 4), "shard_shape": None, "zarr_format": 2, "voxel_size_nm": (10, 10, 10)}
    volumes = {
        "raw": {
            "source": f"{folder}/cell.zarr/raw",
            "target": f"{folder}/cell.zarr/raw_10nm",
            "labels": False,
        },
        "mito": {
            "source": f"{folder}/cell.zarr/mito",
            "target": f"{folder}/cell.zarr/mito_10nm",
            "labels": True,
        },
    }
    volumes = {name: both | volume for name, volume in volumes.items()}
    volumes["mito"] |= changes
    return ConfigDict({"volumes": volumes, "num_threads": 2, "retries": 0, "cluster": None})


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "cell.zarr/raw", rng.integers(0, 255, (16, 16, 16)).astype(np.uint8))
    write(tmp_path / "cell.zarr/mito", (rng.random((16, 16, 16)) > 0.7).astype(np.uint16) * 9)
    return tmp_path


def test_the_settings_are_those_of_the_stage(folder):
    assert set(config(folder)) == set(SETTINGS["preprocess"])
    assert set(config(folder).volumes.raw) == set(SETTINGS["preprocess"]["volumes"]["*"])


def test_raw_is_averaged_labels_keep_their_values_and_all_get_levels(folder):
    preprocess.run(config(folder), folder)
    raw, mito = (open_volume(folder / f"cell.zarr/{name}_10nm") for name in ("raw", "mito"))
    fine = open_volume(folder / "cell.zarr/raw")
    cells = fine.read(fine.box).reshape(8, 2, 8, 2, 8, 2).mean((1, 3, 5))
    np.testing.assert_array_equal(raw.read(raw.box), np.rint(cells))
    assert set(np.unique(mito.read(mito.box))) == {0, 9}
    assert raw.voxel_size_nm == mito.voxel_size_nm == (10, 10, 10)
    assert raw.offset_nm == (2.5, 2.5, 2.5)
    assert open_volume(mito.address, level=1).shape == (4, 4, 4)


def test_a_finished_run_does_nothing_and_a_removed_target_is_made_again(folder, caplog):
    preprocess.run(config(folder), folder)
    caplog.set_level("INFO", logger="asem_jax")
    preprocess.run(config(folder), folder)
    assert caplog.text.count("is resampled already; nothing to do") == 2
    (folder / "cell.zarr/raw_10nm").rename(folder / "elsewhere")
    preprocess.run(config(folder), folder)
    assert open_volume(folder / "cell.zarr/raw_10nm", level=1).shape == (4, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxel_size_nm": (7, 7, 7)}, "whole ratios; nearby"),
        ({"target": "{}/cell.zarr/raw_10nm/"}, "volumes.raw.target=.* is the target of mito too"),
        ({"target": "{}/cell.zarr/raw"}, "volumes.mito.target=.* is the source of raw too; give another"),
    ],
)
def test_every_entry_is_checked_before_the_first_is_written(folder, changes, message):
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(ValueError, match=message):
        preprocess.run(config(folder, **changes), folder)
    assert not (folder / "cell.zarr/raw_10nm").exists()
