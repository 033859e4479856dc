"""N5 as OpenOrganelle has it: the published conventions, each kind of attribute, absent blocks, what cannot be read."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import open_volume

ARRAY = np.arange(1, 1 + 6 * 7 * 9, dtype=np.uint16).reshape(6, 7, 9)


def write_n5(folder: Path, array: np.ndarray, attributes: dict[str, Any]) -> None:
    """Writes an array z y x as N5, x y z, in blocks of 4 voxels; attributes beside what N5 itself needs."""
    metadata = {
        "dimensions": array.shape[::-1],
        "blockSize": (4,) * array.ndim,
        "dataType": array.dtype.name,
        "compression": {"type": "gzip"},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"}, "metadata": metadata}
    ts.open(spec, create=True).result().write(array.T).result()
    add_attributes(folder, attributes)


def add_attributes(folder: Path, attributes: dict[str, Any]) -> None:
    file = folder / "attributes.json"
    there = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**there, **attributes}))


def test_published_volumes_are_read_where_they_are(cases_dir: Path) -> None:
    folder = cases_dir / "published_like_n5"
    arrays = np.load(folder / "expected_zyx.npz")
    expected = json.loads((folder / "expected.json").read_text())
    read = [path for path in expected if path.replace("/", ".") in arrays]
    assert len(read) >= 8
    for path in read:
        image, _, level = path.rpartition("/s")
        is_level = level.isdigit() and "forder" not in path
        address, number = (image, int(level)) if is_level else (path, 0)
        volume = open_volume(folder / "jrc_tiny.n5" / address, level=number)
        found = expected[path]
        np.testing.assert_array_equal(volume.read(volume.box), arrays[path.replace("/", ".")])
        assert volume.dtype.name == found["dtype"]
        np.testing.assert_allclose(volume.voxel_size_nm, found["scale_nm_zyx"], atol=1e-6)
        np.testing.assert_allclose(volume.offset_nm, found["translate_nm_zyx"], atol=1e-6)


PLACES = {
    "transform": (
        {"transform": {"axes": ["z", "y", "x"], "scale": [5, 4, 3], "translate": [10, 20, 30], "units": ["nm"] * 3}},
        ((5.0, 4.0, 3.0), (10.0, 20.0, 30.0)),
    ),
    "order F": (
        {"transform": {"order": "F", "scale": [0.003, 0.004, 0.005], "translate": [0, 0, 1], "units": ["um"] * 3}},
        ((5.0, 4.0, 3.0), (1000.0, 0.0, 0.0)),
    ),
    "corner": ({"resolution": [3, 4, 5], "offset": [30, 20, 10]}, ((5.0, 4.0, 3.0), (12.5, 22.0, 31.5))),
    "size": ({"pixelResolution": {"dimensions": [3, 4, 5], "unit": "nm"}}, ((5.0, 4.0, 3.0), (0.0, 0.0, 0.0))),
    "bare size": ({"pixelResolution": [3, 4, 5]}, ((5.0, 4.0, 3.0), (0.0, 0.0, 0.0))),
}


@pytest.mark.parametrize("kind", PLACES)
def test_each_way_to_tell_a_place(tmp_path: Path, kind: str) -> None:
    attributes, place = PLACES[kind]
    write_n5(tmp_path / "cell.n5/raw", ARRAY, attributes)
    volume = open_volume(tmp_path / "cell.n5/raw")
    np.testing.assert_allclose((volume.voxel_size_nm, volume.offset_nm), place)
    box = Box((1, 2, 3), (6, 5, 9))
    np.testing.assert_array_equal(volume.read(box), ARRAY[box.slices])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read(box), ARRAY[box.slices])
    with pytest.raises(ValueError, match="open for reading only"):
        volume.write(box, ARRAY[box.slices])


def test_a_group_is_an_image_by_its_list_or_by_habit(tmp_path: Path) -> None:
    image = tmp_path / "cell.n5/raw"
    write_n5(image / "s0", ARRAY, {"pixelResolution": [4, 4, 4]})
    write_n5(image / "s1", ARRAY[::2, ::2, ::2], {"pixelResolution": [8, 8, 8]})
    add_attributes(image, {"n5": "2.0.0"})
    assert open_volume(image, level=1).voxel_size_nm == (8.0, 8.0, 8.0)
    transform = {"axes": ["z", "y", "x"], "scale": [9, 9, 9], "translate": [2, 2, 2], "units": ["nm"] * 3}
    add_attributes(image, {"multiscales": [{"datasets": [{"path": "s1", "transform": transform}]}]})
    assert open_volume(image).offset_nm == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="raw has no level 1; it has 1"):
        open_volume(image, level=1)


def test_an_absent_block_is_zero(tmp_path: Path) -> None:
    write_n5(tmp_path / "cell.n5/raw", ARRAY, {"pixelResolution": [4, 4, 4]})
    (tmp_path / "cell.n5/raw/0/0/0").unlink()
    volume = open_volume(tmp_path / "cell.n5/raw")
    found = volume.read(volume.box)
    assert not found[:4, :4, :4].any()
    np.testing.assert_array_equal(found[4:], ARRAY[4:])


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    write_n5(tmp_path / "cell.n5/a", ARRAY, {})
    with pytest.raises(ValueError, match=r"cell\.n5/a is an N5 array without a voxel size .* add"):
        open_volume(tmp_path / "cell.n5/a")
    write_n5(tmp_path / "cell.n5/b", ARRAY, {"pixelResolution": {"dimensions": [1, 1, 1], "unit": "parsec"}})
    with pytest.raises(ValueError, match=r"cell\.n5/b: the unit 'parsec' is unknown"):
        open_volume(tmp_path / "cell.n5/b")
    channels = {"axes": ["z", "y", "x", "c"], "scale": [1] * 4, "translate": [0] * 4}
    write_n5(tmp_path / "cell.n5/c", ARRAY[..., None], {"transform": channels})
    with pytest.raises(ValueError, match=r"cell\.n5/c has the axes z, y, x, c; .* save one channel"):
        open_volume(tmp_path / "cell.n5/c")
    write_n5(tmp_path / "cell.n5/d", ARRAY[0], {"pixelResolution": [1, 1, 1]})
    with pytest.raises(ValueError, match=r"cell\.n5/d is an array of shape"):
        open_volume(tmp_path / "cell.n5/d")
    add_attributes(tmp_path / "cell.n5", {"n5": "2.0.0"})
    with pytest.raises(FileNotFoundError, match=r"cell\.n5 is an N5 group without arrays s0"):
        open_volume(tmp_path / "cell.n5")
