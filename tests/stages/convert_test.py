"""Stage convert: TIFF -> OME-Zarr -> TIFF, 16 bits, interrupted and continued, refused before work starts."""

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import convert
from asem_jax.volumes.contrast import to_uint8
from asem_jax.volumes.formats import open_stack
from asem_jax.volumes.volume import open_volume


def entry(source, target, **changes):
    settings = {
        "source": str(source),
        "target": str(target),
        "labels": False,
        "voxel_size_nm": (8, 4.56, 4),
        "offset_nm": (0.0, 0.0, 100.0),
        "percentiles": None,
        "allow_gaps": False,
        "chunk_shape": (4, 8, 8),
        "shard_shape": None,
        "zarr_format": 2,
    }
    return settings | changes


def config(volumes, exports=()):
    speed = {"num_threads": 2, "retries": 0, "cluster": None}
    return ConfigDict({"volumes": dict(volumes), "exports": dict(exports), **speed})


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
        "file": {"source": target, "target": f"{tmp_path}/out.tif"},
        "sections": {"source": target, "target": f"{tmp_path}/sections/"},
    }
    convert.run(config(volumes, exports), tmp_path / "run")
    volume = open_volume(target)
    assert (volume.voxel_size_nm, volume.offset_nm) == ((8, 4.56, 4), (0, 0, 100))
    assert open_volume(target, level=1).dtype == array.dtype
    for out in ("out.tif", "sections"):
        back = open_stack(tmp_path / out)
        assert back.voxel_size_nm == (8, 4.56, 4)
        np.testing.assert_array_equal(back.read(0, 10), array)


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
    original, written = convert._write_slab, []

    def write(*arguments):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments[-1])
        original(*arguments)

    monkeypatch.setattr(convert, "_write_slab", write)
    with pytest.raises(KeyboardInterrupt):
        convert.run(settings, tmp_path)
    monkeypatch.setattr(convert, "_write_slab", lambda *a: written.append(a[-1]) or original(*a))
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
        {"out": {"source": str(target), "target": f"{tmp_path}/out.tif"}},
    )
    convert.run(settings, tmp_path)
    changed = open_volume(target)
    changed.write(changed.box, np.full(changed.shape, 7, changed.dtype))
    caplog.set_level("INFO", logger="asem_jax")
    convert.run(settings, tmp_path)
    assert (changed.read(changed.box) == 7).all()
    assert "is converted already; nothing to do" in caplog.text
    assert (open_stack(tmp_path / "out.tif").read(0, 1) == 7).all()
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
        ("uint8", {"voxel_size_nm": None}, "volumes.b.voxel_size_nm=None, but the tags .*; give it in nm"),
        ("uint8", {"target": "b.tif"}, "volumes.b.target='b.tif': .*convert.exports"),
        ("uint8", {"source": "a.zarr/raw"}, "volumes.b.source='a.zarr/raw': .*stage preprocess"),
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
    for export, error, message in (
        ({"source": "no.zarr/a", "target": "a.tif"}, FileNotFoundError, "no.zarr/a is not there"),
        (
            {"source": volumes["a"]["target"], "target": "out"},
            ValueError,
            "'out' is no place for TIFF; .*in /",
        ),
        (
            {"source": volumes["a"]["target"], "target": f"{tmp_path}/a.tif"},
            ValueError,
            "a.tif' exists already; remove it",
        ),
        (
            {"source": "a", "target": str(tmp_path / "cell.zarr/a/")},
            ValueError,
            "two entries have the target",
        ),
    ):
        with pytest.raises(error, match=message):
            convert.run(config(volumes, {"out": export}), tmp_path)
    with pytest.raises(ValueError, match="two entries have the name 'a'; give each its own"):
        convert.run(config(volumes, {"a": {"source": "x", "target": "y.tif"}}), tmp_path)


def test_real_stacks_are_converted_once_their_voxel_size_is_given(tmp_path, data_dir):
    source = data_dir / "fib25_medulla_z000-169_bodies.tif"
    settings = {"labels": True, "chunk_shape": (64, 64, 64)}
    target = f"{tmp_path}/cell.zarr/bodies"
    with pytest.raises(ValueError, match=r"tags of .*fib25.* state no whole size"):
        convert.run(config({"bodies": entry(source, target, voxel_size_nm=None, **settings)}), tmp_path)
    convert.run(config({"bodies": entry(source, target, voxel_size_nm=(10, 10, 10), **settings)}), tmp_path)
    volume = open_volume(target)
    np.testing.assert_array_equal(volume.read(volume.box), tifffile.imread(source))
    coarse = open_volume(target, level=2)
    assert set(np.unique(coarse.read(coarse.box))) <= set(np.unique(tifffile.imread(source)))
