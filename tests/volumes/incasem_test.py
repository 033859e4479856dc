"""Data configs of the original: what they name, and what is wrong with a broken one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.incasem import read_data_config
from asem_jax.volumes.volume import create_volume, open_volume

ENTRY: dict[str, Any] = {
    "file": "cell.zarr",
    "offset": [10, 20, 30],
    "shape": [4, 5, 6],
    "voxel_size": [5, 5, 5],
    "raw": "volumes/raw",
    "labels": {"volumes/labels/mito": 2, "volumes/labels/er": 1},
    "metric_masks": ["volumes/metric_masks/er"],
}


def written(folder: Path, **changes: Any) -> Path:
    entry = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    (folder / "data.json").write_text(json.dumps({"cell_1": entry}))
    return folder / "data.json"


def test_an_entry_names_its_volumes_in_the_order_of_their_classes(tmp_path: Path) -> None:
    region = read_data_config(written(tmp_path, mask="volumes/mask"), "s3://bucket/data/")["cell_1"]
    assert region.raw == "s3://bucket/data/cell.zarr/volumes/raw"
    assert [address.rpartition("/")[2] for address in region.labels] == ["er", "mito"]
    assert region.mask == "s3://bucket/data/cell.zarr/volumes/mask"
    assert region.metric_masks == ("s3://bucket/data/cell.zarr/volumes/metric_masks/er",)
    assert region.voxel_size_nm == (5.0, 5.0, 5.0)
    bare = read_data_config(written(tmp_path, labels=None, metric_masks=None), tmp_path)["cell_1"]
    assert (bare.labels, bare.mask, bare.metric_masks) == ((), None, ())


def test_a_box_is_counted_from_the_origin_of_the_world(tmp_path: Path) -> None:
    region = read_data_config(written(tmp_path), tmp_path)["cell_1"]
    place = {"shape": (20, 20, 20), "voxel_size_nm": (5, 5, 5), "offset_nm": (50, 75, 100)}
    volume = create_volume(tmp_path / "cell.zarr/raw", dtype=np.uint8, **place)
    assert region.box_in(volume) == Box((0, 5, 10), (4, 10, 16))


@pytest.mark.parametrize("name", ["er_only", "er_and_mito", "unlabelled_uint16"])
def test_regions_lie_where_the_original_reads_them(cases_dir: Path, name: str) -> None:
    folder = cases_dir / "incasem_zarr"
    region = read_data_config(folder / "data_config.json", folder)[name]
    raw = open_volume(region.raw)
    grey = raw.read(region.box_in(raw)) / np.iinfo(raw.dtype).max
    expected = json.loads((folder / "expected.json").read_text())[name]["no_context"]["RAW"]
    assert list(grey.shape) == expected["shape"]
    np.testing.assert_allclose(grey.sum(), expected["sum"], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw": None}, r"data\.json: cell_1 lacks raw; an entry has file, offset"),
        ({"metric_mask": []}, r"cell_1 has an entry 'metric_mask' that is not known; nearest: metric_masks"),
        ({"labels": {"a": 1, "b": 3}}, r"class ids \[1, 3\]; give 1, 2, \.\.\., one each"),
        ({"labels": {"a": 1, "b": 1}}, r"class ids \[1, 1\]; give 1, 2"),
        ({"voxel_size": [5, 5]}, "voxel_size"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_data_config(written(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "names no regions"), ("{}", "no regions")])
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_data_config(tmp_path / "data.json", tmp_path)
