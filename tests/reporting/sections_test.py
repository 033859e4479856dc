import numpy as np
import pytest

from asem_jax.measurement.metrics import Counts
from asem_jax.measurement.scoring import Region, Scores
from asem_jax.reporting import sections
from asem_jax.volumes.volume import create_volume


def _scores(regions, baseline=None):
    both = {zone: Scores.of(Counts(6, 2, 2, 90)).as_json() for zone in sections.ZONES}
    total = {zone: Scores.of(Counts(9, 1, 1, 89)).as_json() for zone in sections.ZONES}
    return {
        "regions": dict.fromkeys(regions, both),
        "total": total,
        "exclude_inwards": 3,
        "exclude_outwards": 5,
        "baseline": baseline,
    }


def _volume(folder, name, array, **place):
    given = {"voxel_size_nm": (5, 5, 5), "chunk_shape": (4, 4, 4), **place}
    volume = create_volume(f"{folder}/cell.zarr/{name}", shape=array.shape, dtype=array.dtype, **given)
    volume.write(volume.box, array)
    return volume


def test_headline_is_the_score_of_all_regions_together():
    html = "".join(sections.scores_section(_scores(["a", "b"])))
    assert "<b>0.900</b><span>F1, outside the exclusion zone</span>" in html
    assert "3 voxels inside and 5 voxels outside" in html


@pytest.mark.parametrize(("regions", "num_rows"), [(["a"], 2), (["a", "b"], 6)])
def test_total_stands_only_below_several_regions(regions, num_rows):
    html = "".join(sections.scores_section(_scores(regions)))
    assert html.count("<tr><td>") + html.count("<tr class=strong>") == num_rows
    assert ("<td>total</td>" in html) == (len(regions) > 1)


@pytest.mark.parametrize(("polarity", "words"), [("bright", "at or above 77"), ("dark", "at or below 77")])
def test_baseline_says_how_it_was_made(polarity, words):
    total = _scores([])["total"]
    choice = {"f1": 0.9, "sigma": 1.5, "threshold": 77, "polarity": polarity}
    html = "".join(sections.scores_section(_scores(["a"], {**choice, "regions": {"a": total}, "total": total})))
    assert f"sigma 1.5 voxels, then grey values {words}" in html
    assert "best grey-value threshold" in html


def test_no_baseline_is_said():
    assert "No baseline was computed" in "".join(sections.scores_section(_scores(["a"])))


def test_threshold_that_was_given_has_no_sweep():
    notes = {"threshold": 0.25, "fixed": True, "regions": [], "sweep": None}
    html = "".join(sections.threshold_section(notes))
    assert "The threshold 0.250 was given." in html
    assert "names no region" in html


def test_training_without_a_score_is_drawn():
    records = [{"step": 1, "validation": {"a": {"loss": 0.5, "f1": None}}, "f1": None}]
    assert "Best mean F1" not in "".join(sections.training_section(records))


def test_segmentation_without_errors_has_no_worst_block(tmp_path):
    labels = _volume(tmp_path, "labels", np.ones((4, 4, 4), np.uint8))
    region = Region("val", labels, labels.box)
    html = "".join(
        sections.worst_blocks_section(
            labels,
            labels,
            [region],
            exclude_inwards=0,
            exclude_outwards=0,
            block_shape=(2, 2, 2),
            num_worst_blocks=3,
        )
    )
    assert "No block with an error" in html
    assert "<table" not in html


def test_window_smaller_than_the_region_is_said(tmp_path):
    volume = _volume(tmp_path, "labels", np.ones((6, 6, 6), np.uint8))
    parts = sections.overlay_section(
        volume,
        volume,
        [Region("val", volume, volume.box)],
        exclude_inwards=0,
        exclude_outwards=0,
        planes_per_axis=0,
        picture_shape=(6, 2, 2),
    )
    assert "shown is its middle, (0, 2, 2) to (6, 4, 4)" in "".join(parts)


def test_fingerprint_changes_with_voxels_and_with_the_place(tmp_path):
    array = np.arange(512, dtype=np.uint16).reshape(8, 8, 8)
    other = array.copy()
    other[-1, -1, -1] += 1
    volumes = [
        _volume(tmp_path, "a", array),
        _volume(tmp_path, "b", other),
        _volume(tmp_path, "c", array, voxel_size_nm=(4, 5, 5)),
        _volume(tmp_path, "d", array, offset_nm=(0, 0, 5)),
    ]
    assert len({sections.fingerprint(volume) for volume in volumes}) == 4
    assert sections.fingerprint(_volume(tmp_path, "same", array)) == sections.fingerprint(volumes[0])
