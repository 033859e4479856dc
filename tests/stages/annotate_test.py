"""Stage annotate: two grey bodies from a few strokes, in blocks, again with more strokes, and what is refused."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax.settings import SETTINGS
from asem_jax.stages import annotate
from asem_jax.volumes.volume import create_volume, open_volume

SHAPE = (16, 40, 44)
SIZE = (20.0, 10.0, 10.0)
PLACE = {"voxel_size_nm": SIZE, "offset_nm": (100.0, 0.0, -50.0), "chunk_shape": (8, 16, 16)}


def _write(address, array, **place):
    volume = create_volume(address, shape=array.shape, dtype=array.dtype, **(PLACE | place))
    volume.write(volume.box, array)


def _truth():
    z, y, x = np.indices(SHAPE) * np.array(SIZE).reshape(3, 1, 1, 1)
    bodies = [(z - 160) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < r**2 for cy, cx, r in ((120, 130, 90), (280, 300, 80))]
    return np.logical_or(*bodies)


def _strokes():
    """Object 1 and background 2 on three sections, three voxels wide."""
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[4:14:4, 11:14, 9:17] = 1
    strokes[4:14:4, 2:5, 4:40] = strokes[4:14:4, 33:36, 2:20] = 2
    return strokes


@pytest.fixture
def folder(tmp_path):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 0.7) * 30
    grey = np.where(_truth(), 90, 150)
    _write(tmp_path / "cell.zarr/raw", np.clip(grey + noise, 0, 255).astype(np.uint8))
    _write(tmp_path / "cell.zarr/strokes", _strokes())
    return tmp_path


def _config(folder, block_shape=(16, 48, 48), supervoxels=None, start=None, stop=None, window=None, **changes):
    annotation = {
        "strokes": f"{folder}/cell.zarr/strokes",
        "mask": None,
        "object_ids": (1,),
        "background_ids": (2,),
        "painted": None,
        "target": f"{folder}/cell.zarr/bodies",
        "smoothness": 2.0,
        "ridge": 3.0,
        "surroundings": 2,
        "bias": 0.0,
        "border_inwards": 0,
        "border_outwards": 0,
    }
    divided = {"pitch_nm": 25.0, "sigma_nm": 10.0, "grey_step": 0.6, "gradient_step": None, "looks_nm": (10.0, 20.0)}
    return ConfigDict(
        {
            "raw": f"{folder}/cell.zarr/raw",
            "start": start,
            "stop": stop,
            "supervoxels": {"target": f"{folder}/cell.zarr/supervoxels", **divided, **(supervoxels or {})},
            "annotations": {"bodies": annotation | changes},
            "window": window,
            "block_shape": block_shape,
            "chunk_shape": (8, 16, 16),
            "num_threads": 2,
        }
    )


def _read(address):
    volume = open_volume(address)
    return volume.read(volume.box)


def _f1(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_the_settings_are_those_of_the_stage(folder):
    assert set(_config(folder)) == set(SETTINGS["annotate"])
    assert set(_config(folder).annotations.bodies) == set(SETTINGS["annotate"]["annotations"]["*"])
    assert set(_config(folder).supervoxels) == set(SETTINGS["annotate"]["supervoxels"])


def test_a_few_strokes_find_both_bodies_and_hold(folder):
    annotate.run(_config(folder), folder)
    labels = _read(folder / "cell.zarr/bodies/labels")
    assert labels.dtype == np.uint8 and _f1(labels == 1, _truth()) > 0.9
    assert (labels[_strokes() == 1] == 1).all() and (labels[_strokes() == 2] == 0).all()
    assert (_read(folder / "cell.zarr/bodies/mask") == 1).all()
    volume = open_volume(folder / "cell.zarr/bodies/labels")
    assert (volume.voxel_size_nm, volume.offset_nm) == (SIZE, PLACE["offset_nm"])
    (row,) = json.loads((folder / "annotate.json").read_text()).values()
    assert row["supervoxels"] == 16 * 14 * 15 and row["stroked"]["object"] > 5


def test_blocks_do_not_show_in_the_result(folder):
    annotate.run(_config(folder), folder)
    whole = [_read(folder / f"cell.zarr/{part}") for part in ("supervoxels", "bodies/labels")]
    (folder / "b").mkdir()
    config = _config(folder, (8, 16, 32), {"target": f"{folder}/b.zarr/ids"}, target=f"{folder}/b.zarr/bodies")
    annotate.run(config, folder / "b")
    parts = [_read(folder / f"b.zarr/{part}") for part in ("ids", "bodies/labels")]
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_region_lies_where_it_was_cut_out_and_its_border_is_unsure(folder):
    config = _config(folder, start=(2, 4, 0), stop=(14, 40, 36), border_inwards=1, border_outwards=1)
    annotate.run(config, folder)
    volume = open_volume(folder / "cell.zarr/bodies/labels")
    assert volume.shape == (12, 36, 36) and volume.offset_nm == (140.0, 40.0, -50.0)
    labels, mask = (_read(folder / f"cell.zarr/bodies/{part}") for part in ("labels", "mask"))
    assert _f1(labels == 1, _truth()[2:14, 4:40, :36]) > 0.85
    inside = ndimage.binary_erosion(labels == 1, border_value=1)
    outside = ndimage.binary_erosion(labels == 0, border_value=1)
    np.testing.assert_array_equal(mask == 1, inside | outside | (_strokes()[2:14, 4:40, :36] > 0))


def test_more_strokes_are_cut_again_without_dividing_again(folder, monkeypatch):
    strokes = _strokes()
    _write(folder / "few.zarr/strokes", np.where(strokes == 1, strokes, np.where(np.indices(SHAPE)[1] < 9, strokes, 0)))
    annotate.run(_config(folder, strokes=f"{folder}/few.zarr/strokes"), folder)
    first = _read(folder / "cell.zarr/bodies/labels")
    monkeypatch.setattr(annotate, "grow_supervoxels", lambda *a, **k: pytest.fail("divided again"))
    volume = open_volume(folder / "cell.zarr/strokes")
    # A wrong correction on purpose: the second body is background now.
    strokes[8, 24:32, 26:34] = 2
    volume.write(volume.box, strokes)
    annotate.run(_config(folder), folder)
    second = _read(folder / "cell.zarr/bodies/labels")
    assert (second[8, 24:32, 26:34] == 0).all() and (first != second).any()
    assert second[8, 11:14, 9:17].all()


def test_labels_and_a_mask_say_what_ids_say(folder):
    strokes = _strokes()
    _write(folder / "two.zarr/labels", np.where(strokes == 1, 300, 0).astype(np.uint16))
    _write(folder / "two.zarr/mask", (strokes > 0).astype(np.uint8))
    annotate.run(_config(folder), folder)
    expected = _read(folder / "cell.zarr/bodies/labels")
    words = {"strokes": f"{folder}/two.zarr/labels", "mask": f"{folder}/two.zarr/mask", "background_ids": (0,)}
    annotate.run(_config(folder, object_ids=None, **words), folder)
    np.testing.assert_array_equal(_read(folder / "cell.zarr/bodies/labels"), expected)


def test_strokes_of_a_part_of_raw_are_found_by_their_place(folder):
    part = _strokes()[4:, :, 4:]
    _write(folder / "part.zarr/strokes", part, offset_nm=(180.0, 0.0, -10.0))
    strokes = _strokes()
    strokes[:, :, :4] = 0
    _write(folder / "cut.zarr/strokes", strokes)
    found = []
    for name in ("part", "cut"):
        annotate.run(_config(folder, strokes=f"{folder}/{name}.zarr/strokes"), folder)
        found.append(_read(folder / "cell.zarr/bodies/labels"))
    np.testing.assert_array_equal(*found)


def test_a_supervoxel_with_both_strokes_is_the_same_in_blocks(folder, caplog):
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[8, 4:36, 14:16], strokes[8, 4:36, 16:18] = 1, 2
    volume = open_volume(folder / "cell.zarr/strokes")
    volume.write(volume.box, strokes)
    coarse = {"pitch_nm": 80.0}
    strokes[2, 2, 2:30], strokes[14, 36, 2:30] = 1, 2
    volume.write(volume.box, strokes)
    found = []
    for name, block_shape in (("whole", (16, 48, 48)), ("blocks", (8, 16, 16))):
        (folder / name).mkdir()
        target = {"supervoxels": {**coarse, "target": f"{folder}/{name}.zarr/ids"}}
        annotate.run(_config(folder, block_shape, target=f"{folder}/{name}.zarr/bodies", **target), folder / name)
        found.append(_read(folder / f"{name}.zarr/bodies/labels"))
    np.testing.assert_array_equal(*found)
    assert "stroked supervoxels have strokes of both kinds" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"background_ids": (1, 2)},
            r"bodies: labels \[1\] are in object_ids and in background_ids; leave them in one",
        ),
        ({"background_ids": (0,)}, r"label 0 is a stroke only where a mask says so, and mask=None; name the mask"),
        ({"object_ids": (7,)}, r"has strokes of label \[1\], which are in neither .* add them to one"),
        ({"background_ids": (3,), "object_ids": None}, r"and 0 under background strokes alone, both .* needed: add"),
    ],
)
def test_strokes_that_say_nothing_are_refused(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        annotate.run(_config(folder, **changes), folder)
    assert not (folder / "cell.zarr/bodies/labels").exists()


def test_strokes_outside_raw_or_the_region_are_refused(folder):
    _write(folder / "far.zarr/strokes", _strokes(), offset_nm=(140.0, 0.0, -50.0))
    with pytest.raises(ValueError, match=r"cover voxels \(2, 0, 0\)-\(18, 40, 44\) of raw, whose shape .* crop them"):
        annotate.run(_config(folder, strokes=f"{folder}/far.zarr/strokes"), folder)
    with pytest.raises(ValueError, match=r"cell.zarr/strokes has no strokes in the region; draw some there"):
        annotate.run(_config(folder, start=(0, 16, 24), stop=(3, 40, 44)), folder)


def test_a_cut_never_replaces_what_it_reads_or_what_it_did_not_write(folder):
    _write(folder / "own.zarr/labels", _strokes())
    own = {"strokes": f"{folder}/own.zarr/labels", "target": f"{folder}/own.zarr"}
    with pytest.raises(ValueError, match=r"would write .*own.zarr/labels, which is its strokes too; give another"):
        annotate.run(_config(folder, **own), folder)
    with pytest.raises(ValueError, match=r"own.zarr/labels exists already and differs"):
        annotate.run(_config(folder, target=f"{folder}/own.zarr"), folder)
    np.testing.assert_array_equal(_read(folder / "own.zarr/labels"), _strokes())


def test_regions_blocks_and_grey_values_that_cannot_be_are_refused(folder):
    with pytest.raises(ValueError, match=r"annotate.start=\(0, 0, 0\) to stop=\(17, 40, 44\) is no part of"):
        annotate.run(_config(folder, stop=(17, 40, 44)), folder)
    with pytest.raises(ValueError, match=r"block_shape=\(12, 16, 16\) is not a multiple .* make it one"):
        annotate.run(_config(folder, (12, 16, 16)), folder)
    _write(folder / "wide.zarr/raw", np.zeros(SHAPE, np.uint16))
    config = _config(folder)
    config.raw = f"{folder}/wide.zarr/raw"
    with pytest.raises(ValueError, match=r"annotate.raw=.* has dtype uint16, not uint8; scale it"):
        annotate.run(config, folder)


def test_the_window_saves_what_its_strokes_make_without_it(folder, monkeypatch):
    """Paints in place of a person: saves in the window, and closes it with a stroke more."""
    painted, saved = f"{folder}/cell.zarr/painted", []

    def show(painting, raw, region, title):
        painting.sheet.painted[:] = _strokes()[2:14, 4:40, :36]
        painting.save()
        saved.append(_read(folder / "cell.zarr/bodies/labels"))
        painting.sheet.painted[6, 20:28, 26:34] = 1
        painting.sheet.keep()

    monkeypatch.setattr(annotate, "check_window", lambda name: None)
    monkeypatch.setattr(annotate, "show", show)
    part = {"start": (2, 4, 0), "stop": (14, 40, 36), "strokes": None, "painted": painted}
    annotate.run(_config(folder, window="bodies", **part), folder)
    volume, last = open_volume(painted, missing_as_zero=True), _read(folder / "cell.zarr/bodies/labels")
    assert (volume.shape, volume.offset_nm) == ((12, 36, 36), (140.0, 40.0, -50.0))
    assert open_volume(folder / "cell.zarr/bodies/labels").offset_nm == (140.0, 40.0, -50.0)
    assert _f1(saved[0] == 1, _truth()[2:14, 4:40, :36]) > 0.85 and (saved[0] != last).any()
    monkeypatch.delattr(annotate, "show")
    annotate.run(_config(folder, **part), folder)
    np.testing.assert_array_equal(_read(folder / "cell.zarr/bodies/labels"), last)


def test_what_was_painted_counts_over_given_strokes(folder):
    correction = np.zeros(SHAPE, np.uint8)
    correction[8, 24:32, 26:34] = 2
    _write(folder / "cell.zarr/painted", correction)
    annotate.run(_config(folder, painted=f"{folder}/cell.zarr/painted"), folder)
    labels = _read(folder / "cell.zarr/bodies/labels")
    assert not labels[8, 24:32, 26:34].any() and labels[8, 11:14, 9:17].all()


def test_windows_that_cannot_be_are_refused(folder, monkeypatch):
    with pytest.raises(ValueError, match=r"annotate.window='golgi' is none of the annotations \(bodies\); name one"):
        annotate.run(_config(folder, window="golgi"), folder)
    with pytest.raises(ValueError, match=r"bodies.painted=None says nowhere to keep what is painted; give an address"):
        annotate.run(_config(folder, window="bodies"), folder)
    monkeypatch.setattr(annotate, "check_window", lambda name: pytest.fail("asked for") if name != "bodies" else None)
    with pytest.raises(
        ValueError, match=r"bodies.strokes=None, and nothing is painted yet in painted='.*'; name a vol"
    ):
        annotate.run(_config(folder, strokes=None, painted=f"{folder}/cell.zarr/painted"), folder)
    _write(folder / "cell.zarr/painted", _strokes()[1:], offset_nm=(120.0, 0.0, -50.0))
    with pytest.raises(ValueError, match=r"cell.zarr/painted exists already and differs"):
        annotate.run(_config(folder, window="bodies", painted=f"{folder}/cell.zarr/painted"), folder)


def test_a_lost_piece_of_the_graph_is_named(folder):
    annotate.run(_config(folder), folder)
    (folder / "graph/000000.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"000000.npz is not there, .* remove the supervoxels' target"):
        annotate.run(_config(folder), folder)
