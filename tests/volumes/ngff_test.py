"""NGFF metadata: round trip, other programs' variants, atomic replacement, messages."""

import copy
import json

import pytest

from asem_jax.volumes import ngff

LEVELS = (
    ngff.Level("0", (4.56, 5.0, 5.0), (1.0, 0.25, 0.0)),
    ngff.Level("1", (9.12, 10.0, 10.0), (3.28, 2.75, 2.5)),
)


def image_with(change):
    """Returns the attributes of a valid 0.4 image after `change` edited its only multiscale."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    transforms = [
        {"type": "scale", "scale": [0.008, 0.004, 0.004]},
        {"type": "translation", "translation": [0, 0, 1]},
    ]
    dataset = {"path": "s0", "coordinateTransformations": transforms}
    multiscale = copy.deepcopy({"version": "0.4", "axes": axes, "datasets": [dataset]})
    change(multiscale)
    return {"multiscales": [multiscale]}


def read(folder, change):
    folder.mkdir(exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(image_with(change)))
    return ngff.read_image(folder, "cell.zarr/raw")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_written_is_read_back(tmp_path, zarr_format):
    image = ngff.Image(zarr_format, LEVELS, "mean", {"seed": 1})
    ngff.write_image(tmp_path / "raw", image)
    assert ngff.read_image(tmp_path / "raw", "raw") == image


def test_units_become_nanometres(tmp_path):
    level = read(tmp_path / "raw", lambda multiscale: None).levels[0]
    assert (level.voxel_size_nm, level.offset_nm) == ((8.0, 4.0, 4.0), (0.0, 0.0, 1000.0))


def test_transformations_of_the_whole_image_come_after_those_of_the_level(tmp_path):
    twice = [{"type": "scale", "scale": [2, 2, 2]}, {"type": "identity"}]
    level = read(tmp_path / "raw", lambda m: m.update(coordinateTransformations=twice)).levels[0]
    assert (level.voxel_size_nm, level.offset_nm) == ((16.0, 8.0, 8.0), (0.0, 0.0, 2000.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["axes"].insert(0, {"name": "phase"}), r"axes \['phase', 'z', 'y', 'x'\].*save one channel"),
        (lambda m: m["axes"].insert(0, {"name": "c"}), r"scale=.* not one number for each of the axes czyx"),
        (lambda m: m["axes"].pop(), r"axes \['z', 'y'\], a volume has z, y, x"),
        (lambda m: m["datasets"][0].update(path="../other/s0"), r"names an array '../other/s0' outside its own"),
        (lambda m: m["axes"][1].pop("unit"), "units .*None.*add the unit"),
        (lambda m: m["datasets"][0].pop("coordinateTransformations"), "level s0 has no scale.*add the scale"),
        (
            lambda m: m["datasets"][0]["coordinateTransformations"].append({"type": "affine"}),
            "transformation {'type': 'affine'}, only scale and translation",
        ),
    ],
)
def test_metadata_that_gives_no_place_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "raw", change)


def test_axes_in_another_order_have_the_sizes_of_their_names(tmp_path):
    def change(multiscale):
        names = [{"name": "c", "type": "channel"}, *({"name": n, "unit": "nanometer"} for n in "xyz")]
        scale = {"type": "scale", "scale": [1, 4, 5, 8]}
        multiscale.update(axes=names, datasets=[{"path": "0", "coordinateTransformations": [scale]}])

    image = read(tmp_path / "raw", change)
    assert (image.axes, image.levels[0].voxel_size_nm) == ("cxyz", (8, 5, 4))


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "holds list, not a JSON object")])
def test_broken_files_are_named(tmp_path, text, message):
    (tmp_path / ".zattrs").write_text(text)
    with pytest.raises(ValueError, match=f"zattrs {message}"):
        ngff.read_json(tmp_path / ".zattrs")


def test_images_are_found_in_nested_groups(tmp_path):
    for path in ("raw", "labels/mito", "labels/er"):
        ngff.write_group(tmp_path / path.split("/")[0], 2)
        ngff.write_image(tmp_path / path, ngff.Image(2, LEVELS))
    assert list(ngff.find_images(tmp_path)) == ["labels/er", "labels/mito", "raw"]
    assert list(ngff.find_images(tmp_path / "nowhere")) == []
