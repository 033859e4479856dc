"""Stage simulate_annotations: three ways to annotate two boxes, what they cost, and going on after a stop."""

import json
import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.simulation.annotation import Outlines, outlined, read_box
from asem_jax.stages import simulate_annotations
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume

SHAPE = (8, 32, 40)
EXACT = {"section_step": 1, "missed_share": 0.0, "offset_nm": 0.0, "offset_pitch_nm": 100.0}
LOOSE = {"section_step": 4, "missed_share": 0.0, "offset_nm": 15.0, "offset_pitch_nm": 100.0}
STROKES = {
    "section_step": 4,
    "foreground_pitch_nm": 80.0,
    "background_pitch_nm": 100.0,
    "length_nm": 60.0,
    "radius_nm": 10.0,
}


@pytest.fixture
def labels(tmp_path):
    """Objects 1 and 300, of 10 by 20 and 12 by 10 voxels on each section, in a volume that begins elsewhere."""
    array = np.zeros(SHAPE, np.uint16)
    array[:, 4:14, 4:24], array[:, 18:30, 26:36] = 1, 300
    volume = create_volume(
        tmp_path / "cell.zarr/labels",
        shape=SHAPE,
        dtype="uint16",
        voxel_size_nm=(20.0, 10.0, 10.0),
        offset_nm=(40.0, 0.0, 0.0),
        chunk_shape=(8, 16, 16),
    )
    volume.write(volume.box, array)
    return array


def _config(folder, kinds, block_shape=(8, 16, 16), **changes):
    return ConfigDict(
        {
            "annotations": {
                name: {
                    "labels": f"{folder}/cell.zarr/labels",
                    "target": f"{folder}/{name}.zarr",
                    "seed": 2,
                    "outlines": None,
                    "strokes": None,
                    **kind,
                }
                for name, kind in kinds.items()
            },
            "pace": {
                "section_s": 5.0,
                "object_s": 3.0,
                "outline_s_per_um": 4.0,
                "stroke_s": 1.0,
                "stroke_s_per_um": 2.0,
            },
            "block_shape": block_shape,
            "chunk_shape": (8, 16, 16),
            "num_threads": 2,
            **changes,
        }
    )


def _read(folder, name):
    volumes = [open_volume(f"{folder}/{name}.zarr/{part}") for part in ("labels", "mask")]
    return [volume.read(volume.box) for volume in volumes]


def test_exact_annotations_are_the_labels_and_cost_what_can_be_counted(tmp_path, labels):
    simulate_annotations.run(_config(tmp_path, {"exact": {"outlines": EXACT}}), tmp_path)
    drawn, mask = _read(tmp_path, "exact")
    np.testing.assert_array_equal(drawn, labels)
    assert (mask == 1).all()
    (row,) = json.loads((tmp_path / "annotations.json").read_text()).values()
    assert (row["sections"], row["objects"], row["strokes"]) == (8, 16, 0)
    # Sides of 10 + 20 + 10 + 20 and 12 + 10 + 12 + 10 voxels of 10 nm, as if they ran in all directions.
    assert row["outline_um"] == pytest.approx(8 * (60 + 44) / 100 * math.pi / 4)
    assert row["seconds"] == pytest.approx(8 * 5 + 16 * 3 + 4 * row["outline_um"])


def test_annotations_and_costs_do_not_depend_on_blocks(tmp_path, labels):
    kinds = {"loose": {"outlines": LOOSE}, "strokes": {"strokes": STROKES}}
    for folder, block_shape in (("a", (8, 16, 16)), ("b", (8, 32, 48))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cell.zarr").symlink_to(tmp_path / "cell.zarr")
        config = _config(tmp_path / folder, kinds, block_shape)
        simulate_annotations.run(config, tmp_path / folder)
    for name in kinds:
        for one, other in zip(_read(tmp_path / "a", name), _read(tmp_path / "b", name), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.any() and not one.all()
    one, other = (json.loads((tmp_path / folder / "annotations.json").read_text()) for folder in "ab")
    for name, row in one.items():
        assert row == pytest.approx(other[name])
        assert row["sections"] == 2
    assert one["strokes"]["strokes"] >= 8 and one["strokes"]["objects"] == 4 and one["loose"]["strokes"] == 0
    drawn, mask = _read(tmp_path / "a", "loose")
    box = Box.of_shape(SHAPE)
    around = read_box(box, Outlines(**LOOSE).halo((20.0, 10.0, 10.0)), box)
    expected = outlined(Outlines(**LOOSE), labels, box, labels_box=around, voxel_size_nm=(20.0, 10.0, 10.0), seed=2)
    np.testing.assert_array_equal(drawn, expected[0])
    np.testing.assert_array_equal(mask, expected[1])


def test_a_volume_keeps_its_place_and_says_how_it_was_made(tmp_path, labels):
    simulate_annotations.run(_config(tmp_path, {"strokes": {"strokes": STROKES}}), tmp_path)
    volume = open_volume(f"{tmp_path}/strokes.zarr/labels")
    assert volume.voxel_size_nm == (20.0, 10.0, 10.0) and volume.offset_nm == (40.0, 0.0, 0.0)
    assert volume.dtype == np.uint16 and volume.attributes["settings"]["strokes"]["radius_nm"] == 10.0
    assert open_volume(volume.address, level=1).shape != volume.shape


def test_it_goes_on_where_it_was_stopped_and_then_only_counts(tmp_path, labels, monkeypatch, caplog):
    made = []

    def failing(annotator, exact, box, **rest):
        if len(made) == 3:
            raise RuntimeError("stopped")
        made.append(box)
        return outlined(annotator, exact, box, **rest)

    config = _config(tmp_path, {"loose": {"outlines": LOOSE}}, num_threads=1)
    monkeypatch.setattr(simulate_annotations, "outlined", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        simulate_annotations.run(config, tmp_path)
    again = []
    monkeypatch.setattr(
        simulate_annotations, "outlined", lambda a, e, box, **rest: again.append(box) or outlined(a, e, box, **rest)
    )
    simulate_annotations.run(config, tmp_path)
    assert len(again) == 3 and not set(again) & set(made)
    with caplog.at_level("INFO"):
        simulate_annotations.run(config, tmp_path)
    assert len(again) == 3 and "is annotated already" in caplog.text
    assert "annotation" in caplog.text and "loose                   2        4" in caplog.text


@pytest.mark.parametrize(
    ("kind", "message"),
    [({}, "has neither outlines nor strokes"), ({"outlines": EXACT, "strokes": STROKES}, "has outlines and strokes")],
)
def test_an_annotation_is_of_one_kind(tmp_path, labels, kind, message):
    with pytest.raises(ValueError, match=rf"annotations.odd {message}; give one of the two, and None"):
        simulate_annotations.run(_config(tmp_path, {"odd": kind}), tmp_path)


def test_blocks_that_share_a_chunk_are_refused(tmp_path, labels):
    with pytest.raises(ValueError, match=r"block_shape=\(8, 24, 16\) is not a multiple .* make it one"):
        simulate_annotations.run(_config(tmp_path, {}, (8, 24, 16)), tmp_path)
