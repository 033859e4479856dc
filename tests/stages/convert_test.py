"""Stage convert: every format in and out, 16 bits, interrupted and continued, refused before work starts."""

import json

import h5py
import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import convert
from asem_jax.volumes.contrast import to_uint8
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.tiff import open_stack
from asem_jax.volumes.volume import open_volume
from tests.phantoms import write_volume


def entry(source, target, **changes):
    settings = {
        "source": str(source),
        "target": str(target),
        "labels": False,
        "voxel_size_nm": (8, 4.56, 4),
        "offset_nm": (0.0, 0.0, 100.0),
        "part": None,
        "annotation": None,
        "percentiles": None,
        "window": None,
        "invert": False,
        "polarity": None,
        "allow_gaps": False,
        "chunk_shape": (4, 8, 8),
        "shard_shape": None,
        "zarr_format": 2,
    }
    return settings | changes


def export(source, target, labels=True):
    return {"source": str(source), "target": str(target), "labels": labels}


def config(volumes, exports=()):
    return ConfigDict({"volumes": dict(volumes), "exports": dict(exports), "num_threads": 2})


def stack(path, dtype="uint8", shape=(10, 12, 9), **settings):
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path.parent.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(path, array, photometric="minisblack", **settings)
    return array


def test_the_settings_are_those_of_the_stage(tmp_path):
    assert set(entry("a", "b")) == set(SETTINGS["convert"]["volumes"]["*"])
    assert set(config([])) == set(SETTINGS["convert"])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_tiff_to_volume_to_tiff_is_the_same(tmp_path, dtype, zarr_format):
    array = stack(tmp_path / "in.tif", dtype)
    target = f"{tmp_path}/cell.zarr/labels/mito"
    volumes = {"mito": entry(tmp_path / "in.tif", target, labels=True, zarr_format=zarr_format)}
    exports = {
        "file": export(target, f"{tmp_path}/out.tif"),
        "sections": export(target, f"{tmp_path}/sections/"),
    }
    convert.run(config(volumes, exports), tmp_path / "run")
    volume = open_volume(target)
    assert (volume.voxel_size_nm, volume.offset_nm) == ((8, 4.56, 4), (0, 0, 100))
    assert open_volume(target, level=1).dtype == array.dtype
    for out in ("out.tif", "sections"):
        back = open_stack(tmp_path / out)
        assert back.voxel_size_nm == (8, 4.56, 4)
        np.testing.assert_array_equal(back.read(volume.box), array)


def test_sixteen_bits_are_scaled_by_percentiles_and_never_wrapped(tmp_path):
    array = stack(tmp_path / "in.tif", "uint16")
    volumes = {"raw": entry(tmp_path / "in.tif", f"{tmp_path}/cell.zarr/raw", percentiles=(5, 95))}
    convert.run(config(volumes), tmp_path)
    volume = open_volume(tmp_path / "cell.zarr/raw")
    low, high = np.percentile(array, (5, 95), method="inverted_cdf")
    assert volume.attributes["grey_range"] == [low, high]
    np.testing.assert_array_equal(volume.read(volume.box), to_uint8(array, low, high))


def test_the_voxel_size_comes_from_the_tags_where_the_config_has_none(tmp_path):
    metadata = {"spacing": 0.008, "unit": "um", "axes": "ZYX"}
    stack(tmp_path / "ij.tif", imagej=True, resolution=(200, 250), metadata=metadata)
    volumes = {"raw": entry(tmp_path / "ij.tif", f"{tmp_path}/cell.zarr/raw", voxel_size_nm=None)}
    convert.run(config(volumes), tmp_path)
    assert open_volume(tmp_path / "cell.zarr/raw").voxel_size_nm == pytest.approx((8, 4, 5))


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    array = stack(tmp_path / "in.tif", "uint16")
    settings = config({"raw": entry(tmp_path / "in.tif", f"{tmp_path}/cell.zarr/raw", percentiles=(0, 100))})
    original, written = convert._write_block, []

    def write(*arguments):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments[-1])
        original(*arguments)

    monkeypatch.setattr(convert, "_write_block", write)
    with pytest.raises(KeyboardInterrupt):
        convert.run(settings, tmp_path)
    monkeypatch.setattr(convert, "_write_block", lambda *a: written.append(a[-1]) or original(*a))
    monkeypatch.setattr(convert, "grey_range", None)  # the range that was found is kept
    convert.run(settings, tmp_path)
    assert len(written) == len(set(written)) == 3
    volume = open_volume(tmp_path / "cell.zarr/raw")
    np.testing.assert_array_equal(volume.read(volume.box), to_uint8(array, array.min(), array.max()))


def test_a_finished_import_is_left_alone_and_an_export_follows_its_volume(tmp_path, caplog):
    stack(tmp_path / "in.tif")
    target = tmp_path / "cell.zarr/raw"
    settings = config(
        {"raw": entry(tmp_path / "in.tif", target)},
        {"out": export(target, f"{tmp_path}/out.tif")},
    )
    convert.run(settings, tmp_path)
    changed = open_volume(target)
    changed.write(changed.box, np.full(changed.shape, 7, changed.dtype))
    caplog.set_level("INFO", logger="asem_jax")
    convert.run(settings, tmp_path)
    assert (changed.read(changed.box) == 7).all()
    assert "is converted already; nothing to do" in caplog.text
    assert (open_stack(tmp_path / "out.tif").read(changed.box) == 7).all()
    target.rename(tmp_path / "elsewhere")
    (tmp_path / "out.tif").unlink()
    convert.run(settings, tmp_path)
    assert open_stack(tmp_path / "out.tif").shape == open_volume(target).shape


@pytest.mark.parametrize(
    ("dtype", "changes", "message"),
    [
        ("uint16", {}, r"volumes.b: .*type uint16, written as uint8; give the percentiles"),
        ("float32", {"labels": True}, "volumes.b: labels of type float32 .*save them as integers"),
        (
            "uint8",
            {"labels": True, "percentiles": (1, 99)},
            r"percentiles=\(1, 99\); labels are .* never scaled",
        ),
        (
            "uint8",
            {"voxel_size_nm": None},
            "volumes.b.voxel_size_nm=None, but .*b.tif states no whole size.*; give it in nm",
        ),
        ("uint8", {"target": "b.tif"}, "volumes.b.target='b.tif': .*convert.exports"),
    ],
)
def test_every_entry_is_checked_before_the_first_is_written(tmp_path, dtype, changes, message):
    stack(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.ones((3, 4, 5), dtype), photometric="minisblack")
    bad = entry(tmp_path / "b.tif", tmp_path / "cell.zarr/b") | changes
    with pytest.raises(ValueError, match=message):
        convert.run(config({"a": entry(tmp_path / "a.tif", tmp_path / "cell.zarr/a"), "b": bad}), tmp_path)
    assert not (tmp_path / "cell.zarr").exists()


def test_exports_need_a_source_and_a_free_place(tmp_path):
    stack(tmp_path / "a.tif")
    volumes = {"a": entry(tmp_path / "a.tif", tmp_path / "cell.zarr/a")}
    for bad, error, message in (
        (export("no.zarr/a", "a.tif"), FileNotFoundError, "no.zarr/a is not there"),
        (
            export(volumes["a"]["target"], "out"),
            ValueError,
            "exports.out.target: 'out' is no place for an export; .*in /",
        ),
        (
            export(volumes["a"]["target"], f"{tmp_path}/a.tif"),
            ValueError,
            "a.tif' exists already; remove it",
        ),
        (
            export("a", tmp_path / "cell.zarr/a"),
            ValueError,
            "two entries have the target",
        ),
    ):
        with pytest.raises(error, match=message):
            convert.run(config(volumes, {"out": bad}), tmp_path)
    with pytest.raises(ValueError, match="two entries have the name 'a'; give each its own"):
        convert.run(config(volumes, {"a": export("x", "y.tif")}), tmp_path)


def test_real_stacks_are_converted_once_their_voxel_size_is_given(tmp_path, data_dir):
    source = data_dir / "fib25_medulla_z000-169_bodies.tif"
    settings = {"labels": True, "chunk_shape": (64, 64, 64)}
    target = f"{tmp_path}/cell.zarr/bodies"
    with pytest.raises(ValueError, match=r"fib25.* states no whole size"):
        convert.run(config({"bodies": entry(source, target, voxel_size_nm=None, **settings)}), tmp_path)
    convert.run(config({"bodies": entry(source, target, voxel_size_nm=(10, 10, 10), **settings)}), tmp_path)
    volume = open_volume(target)
    np.testing.assert_array_equal(volume.read(volume.box), tifffile.imread(source))
    coarse = open_volume(target, level=2)
    assert set(np.unique(coarse.read(coarse.box))) <= set(np.unique(tifffile.imread(source)))


@pytest.mark.parametrize("target", ["a.h5/volumes/raw", "a.n5/em/raw", "a.precomputed/raw"])
@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_out_to_another_format_and_in_again_is_the_same(tmp_path, target, dtype):
    array = np.random.default_rng(0).integers(0, 200, (10, 12, 9)).astype(dtype)
    place = {"voxel_size_nm": (8, 4.56, 4), "offset_nm": (16.0, 4.56, -4.0)}
    first = write_volume(tmp_path / "first.zarr/raw", array, chunk_shape=(4, 8, 8), **place)
    there = {"there": export(first.address, f"{tmp_path}/{target}", labels=dtype == "uint64")}
    convert.run(config([], there), tmp_path / "out")
    settings = {"labels": True, "voxel_size_nm": None, "offset_nm": None}
    again = {"raw": entry(f"{tmp_path}/{target}", f"{tmp_path}/again.zarr/raw", **settings)}
    convert.run(config(again), tmp_path / "back")
    back = open_volume(tmp_path / "again.zarr/raw")
    np.testing.assert_array_equal(back.read(back.box), array)
    assert back.dtype == first.dtype and back.voxel_size_nm == pytest.approx(first.voxel_size_nm)
    assert back.offset_nm == pytest.approx(first.offset_nm)


def test_published_containers_become_volumes_with_their_place(tmp_path, cases_dir):
    n5, zarr = cases_dir / "published_like_n5", cases_dir / "incasem_zarr/cell_a.zarr/volumes"
    settings = {"voxel_size_nm": None, "offset_nm": None, "labels": True}
    volumes = {
        "crop": entry(n5 / "jrc_tiny.n5/labels/gt/0003/crop7/labels/all", tmp_path / "a.zarr/crop", **settings),
        "er": entry(zarr / "labels/er", tmp_path / "a.zarr/er", **settings),
        "coarse": entry(
            n5 / "jrc_tiny.n5/em/fibsem-uint16", tmp_path / "a.zarr/coarse", **settings | {"part": LEVEL_1}
        ),
    }
    convert.run(config(volumes), tmp_path)
    expected, arrays = json.loads((n5 / "expected.json").read_text()), np.load(n5 / "expected_zyx.npz")
    for name, path in (("crop", "labels/gt/0003/crop7/labels/all"), ("coarse", "em/fibsem-uint16/s1")):
        volume = open_volume(tmp_path / "a.zarr" / name)
        np.testing.assert_array_equal(volume.read(volume.box), arrays[path.replace("/", ".")])
        np.testing.assert_allclose(volume.offset_nm, expected[path]["translate_nm_zyx"], atol=1e-6)
    er, source = open_volume(tmp_path / "a.zarr/er"), open_volume(zarr / "labels/er")
    assert (er.offset_nm, er.voxel_size_nm) == (source.offset_nm, source.voxel_size_nm)
    np.testing.assert_array_equal(er.read(er.box), source.read(source.box))


def part(**choices):
    return {"level": 0, "channel": None, "axes": None, "start": None, "stop": None} | choices


LEVEL_1 = part(level=1)


def test_a_part_and_a_channel_are_converted_where_they_lie(tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (2, 10, 12, 9), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["probabilities"] = array
    chosen = part(axes="cxyz", channel=1, start=(1, 2, 3), stop=(9, 12, 9))
    settings = {"part": chosen, "offset_nm": None}
    convert.run(config({"raw": entry(tmp_path / "a.h5", tmp_path / "cell.zarr/raw", **settings)}), tmp_path)
    volume = open_volume(tmp_path / "cell.zarr/raw")
    np.testing.assert_array_equal(volume.read(volume.box), array[1].T[1:, 2:, 3:9])
    assert volume.offset_nm == pytest.approx((8, 9.12, 12))


def test_a_window_is_scaled_and_inverted_on_request(tmp_path):
    array = stack(tmp_path / "in.tif", "uint16")
    settings = {"window": (1000, 50000), "invert": True}
    volumes = {
        "raw": entry(tmp_path / "in.tif", tmp_path / "cell.zarr/raw", **settings),
        "plain": entry(tmp_path / "eight.tif", tmp_path / "cell.zarr/plain", invert=True),
    }
    eight = stack(tmp_path / "eight.tif")
    convert.run(config(volumes), tmp_path)
    raw, plain = open_volume(tmp_path / "cell.zarr/raw"), open_volume(tmp_path / "cell.zarr/plain")
    np.testing.assert_array_equal(raw.read(raw.box), 255 - to_uint8(array, 1000, 50000))
    np.testing.assert_array_equal(plain.read(plain.box), 255 - eight)
    assert (raw.attributes["grey_range"], raw.attributes["inverted"]) == ([1000, 50000], True)


@pytest.mark.parametrize(
    ("dark", "invert", "warned"), [(True, False, False), (False, False, True), (False, True, False)]
)
def test_membranes_of_the_other_polarity_are_warned_of(tmp_path, caplog, dark, invert, warned):
    z, y, x = np.indices((24, 24, 24)) - 12.0
    shell = np.abs(np.sqrt(z**2 + y**2 + x**2) - 7) < 1.5
    tifffile.imwrite(tmp_path / "in.tif", np.where(shell == dark, 70, 160).astype(np.uint8), photometric="minisblack")
    settings = {"polarity": "dark", "invert": invert}
    convert.run(config({"raw": entry(tmp_path / "in.tif", tmp_path / "cell.zarr/raw", **settings)}), tmp_path)
    assert (f"look bright, so with invert={invert} they will not be dark" in caplog.text) == warned


def test_annotations_are_renumbered_by_name(tmp_path):
    array = np.array([0, 3, 4, 9], np.uint16)[np.random.default_rng(0).integers(0, 4, (10, 12, 9))]
    tifffile.imwrite(tmp_path / "vast.tif", array, photometric="minisblack")
    rest = "0 " * 12
    lines = [
        f'{n} {rest} {parent} {"0 " * 10} "{name}"' for n, parent, name in ((3, 0, "mito"), (4, 3, "m1"), (9, 0, "x"))
    ]
    (tmp_path / "names.txt").write_text("% VAST\n" + "\n".join(lines))
    annotation = {"names": {"mito": 1}, "names_file": f"{tmp_path}/names.txt", "raw": None}
    settings = {"labels": True, "annotation": annotation}
    convert.run(config({"mito": entry(tmp_path / "vast.tif", tmp_path / "cell.zarr/mito", **settings)}), tmp_path)
    volume = open_volume(tmp_path / "cell.zarr/mito")
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume.read(volume.box), np.isin(array, (3, 4)))
    annotation["names"] = {"mitos": 1}
    wrong = {"mitos": entry(tmp_path / "vast.tif", tmp_path / "cell.zarr/mitos", **settings)}
    with pytest.raises(
        ValueError, match=r"volumes.mitos.annotation.names: no segment is called 'mitos'; nearest: mito"
    ):
        convert.run(config(wrong), tmp_path)


def test_labels_must_overlap_the_raw_that_they_annotate(tmp_path):
    stack(tmp_path / "raw.tif")
    stack(tmp_path / "labels.tif", shape=(2, 3, 3))
    raw = entry(tmp_path / "raw.tif", tmp_path / "cell.zarr/raw", offset_nm=(0, 0, 0))

    def labels(offset_nm):
        annotation = {"names": None, "names_file": None, "raw": raw["target"]}
        settings = {"labels": True, "annotation": annotation, "offset_nm": offset_nm}
        return entry(tmp_path / "labels.tif", tmp_path / "cell.zarr/labels", **settings)

    with pytest.raises(
        ValueError, match=r"volumes.labels: the labels reach from \[76.0, .* share nothing; correct offset_nm"
    ):
        convert.run(config({"raw": raw, "labels": labels((80, 0, 0))}), tmp_path)
    assert not (tmp_path / "cell.zarr").exists()
    convert.run(config({"raw": raw, "labels": labels((72, 0, 0))}), tmp_path)
    with pytest.raises(ValueError, match="share nothing"):
        convert.run(config({"labels": labels((80, 0, 0))}), tmp_path)


def test_an_unreadable_chunk_stops_the_work_and_nothing_looks_finished(tmp_path):
    first = write_volume(tmp_path / "first.zarr/raw", np.ones((10, 12, 9), np.uint8), chunk_shape=(4, 8, 8))
    chunk = tmp_path / "first.zarr/raw/0/2/1/0"
    content = chunk.read_bytes()
    settings = config({"raw": entry(first.address, tmp_path / "cell.zarr/raw")})
    for damage, message in (
        (lambda: chunk.write_bytes(b"no chunk"), "reading .* failed"),
        (chunk.unlink, "never written"),
    ):
        damage()
        with pytest.raises(RuntimeError, match=message):
            convert.run(settings, tmp_path)
        with pytest.raises(ValueError, match="never written"):
            target = open_volume(tmp_path / "cell.zarr/raw")
            target.read(target.box)
    exports = {
        name: export(first.address, f"{tmp_path}/{name}") for name in ("a.h5/raw", "a.n5/raw", "a.precomputed/raw")
    }
    for name, target in exports.items():
        with pytest.raises(RuntimeError, match="never written"):
            convert.run(config([], {name.replace(".", "-").replace("/", "-"): target}), tmp_path)
        with pytest.raises((FileNotFoundError, ValueError), match=r"not there|names no dataset|no image"):
            open_source(target["target"])
    chunk.write_bytes(content)
    convert.run(settings, tmp_path)
    assert open_volume(tmp_path / "cell.zarr/raw").read(Box((0, 0, 0), (10, 12, 9))).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "{source}"}, "source and target are both"),
        ({"percentiles": (1, 99), "window": (0, 100)}, r"percentiles=\(1, 99\) and window=.*give one"),
        ({"window": (100, 100)}, r"b.window=\(100, 100\) is empty; give \(lower, upper\)"),
        ({"polarity": "black"}, "b.polarity='black' is unknown; give \"dark\""),
        ({"annotation": {"names": None, "names_file": None, "raw": None}}, "b.annotation=.* is for labels; give None"),
        ({"labels": True, "invert": True}, "invert=True; labels are whole numbers and never scaled or inverted"),
        ({"part": part(level=3)}, "has no level 3"),
        ({"part": part(stop=(99, 1, 1))}, r"the part from \(0, 0, 0\) to \(99, 1, 1\) is not in it"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, changes, message):
    volume = write_volume(tmp_path / "first.zarr/raw", np.ones((3, 4, 5), np.uint8))
    changes = {key: volume.address if value == "{source}" else value for key, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        convert.run(config({"b": entry(volume.address, tmp_path / "cell.zarr/b") | changes}), tmp_path)


def test_blocks_are_whole_chunks_within_their_limit(tmp_path, monkeypatch):
    array = stack(tmp_path / "in.tif", shape=(9, 40, 33))
    for limit, expected in ((2**25, (4, 40, 40)), (4 * 8 * 40 * 2, (4, 16, 40)), (1, (4, 8, 8))):
        monkeypatch.setattr(convert, "BLOCK_BYTES", limit)
        assert convert._block_shape(open_stack(tmp_path / "in.tif"), (4, 8, 8)) == expected
    volumes = {"raw": entry(tmp_path / "in.tif", tmp_path / "cell.zarr/raw")}
    convert.run(config(volumes), tmp_path)
    volume = open_volume(tmp_path / "cell.zarr/raw")
    np.testing.assert_array_equal(volume.read(volume.box), array)
