import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax.measurement import metrics
from asem_jax.measurement.baseline import best_threshold_baseline
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.settings import SETTINGS
from asem_jax.stages import evaluate
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume

SHAPE = (20, 24, 28)
BOXES = {"front": Box((0, 0, 0), (8, 24, 28)), "back": Box((8, 0, 0), SHAPE)}


def _write(address, array):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=(5, 5, 5), chunk_shape=(16, 16, 16)
    )
    volume.write(volume.box, array)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) > 0.05).astype(np.uint8)
    raw = np.clip(120 + 50 * labels + 40 * rng.standard_normal(SHAPE), 0, 255).astype(np.uint8)
    return {"raw": raw, "labels": labels, "segmentation": np.roll(labels, 1, 1)}


@pytest.fixture
def config(tmp_path, arrays):
    for name, array in arrays.items():
        _write(f"{tmp_path}/cell.zarr/{name}", array)
    labels = f"{tmp_path}/cell.zarr/labels"
    return ConfigDict(
        {
            "segmentation": f"{tmp_path}/cell.zarr/segmentation",
            "raw": f"{tmp_path}/cell.zarr/raw",
            "regions": {
                n: {"labels": labels, "mask": None, "start": b.start, "stop": b.stop} for n, b in BOXES.items()
            },
            "exclude_inwards": 1,
            "exclude_outwards": 1,
            "baseline_sigmas": (0, 1),
            "block_shape": (16, 16, 16),
            "compared": {},
            "distance_cap_nm": 30.0,
            "tolerances_nm": (6.0,),
            "iou_thresholds": (0.5,),
            "min_object_voxels": 0,
            "bootstrap_samples": 20,
            "bootstrap_cell_shape": (4, 8, 14),
            "bootstrap_seed": 0,
        }
    )


def _scores(config, workdir):
    evaluate.run(config, workdir)
    return json.loads((workdir / "scores.json").read_text())


def test_config_holds_what_the_settings_list(config):
    assert set(config) == set(SETTINGS["evaluate"])


def test_scores_are_those_of_the_counted_voxels(config, tmp_path, arrays):
    scores = _scores(config, tmp_path)
    labels, found = arrays["labels"], arrays["segmentation"]
    zone = exclusion_zone(labels, inwards=1, outwards=1)
    for zone_name, used in (("all", np.ones(SHAPE, bool)), ("outside_exclusion_zone", ~zone)):
        for name, box in BOXES.items():
            counts = metrics.count(found[box.slices], labels[box.slices], used[box.slices])
            assert scores["regions"][name][zone_name]["f1"] == metrics.f1(counts)
        assert scores["total"][zone_name]["f1"] == metrics.f1(metrics.count(found, labels, used))


def test_baseline_is_chosen_on_all_regions_together(config, tmp_path):
    baseline = _scores(config, tmp_path)["baseline"]
    raw, labels = open_volume(config.raw), open_volume(f"{tmp_path}/cell.zarr/labels")
    best = best_threshold_baseline(raw, labels, box=labels.box, sigmas=(0, 1), exclude_inwards=1, exclude_outwards=1)
    assert (baseline["f1"], baseline["sigma"]) == (best.scores.f1, best.sigma)
    assert (baseline["threshold"], baseline["polarity"]) == (best.threshold, "bright")
    assert baseline["total"]["outside_exclusion_zone"]["counts"] == best.scores.as_json()["counts"]
    parts = [baseline["regions"][name]["all"]["counts"]["true_positive"] for name in BOXES]
    assert sum(parts) == baseline["total"]["all"]["counts"]["true_positive"]


def _compare(config, folder, arrays):
    """Adds a probability, the same again, and objects to what is scored."""
    grey = np.where(arrays["segmentation"] > 0, 200, np.arange(SHAPE[2]) % 180).astype(np.uint8)
    _write(f"{folder}/cell.zarr/probability", grey)
    _write(f"{folder}/cell.zarr/objects", ndimage.label(arrays["segmentation"])[0].astype(np.uint32))
    config.compared = ConfigDict(
        {
            "fixed": {"kind": "probability", "address": f"{folder}/cell.zarr/probability", "threshold": 0.75},
            "best": {"kind": "probability", "address": f"{folder}/cell.zarr/probability", "threshold": None},
            "objects": {"kind": "objects", "address": f"{folder}/cell.zarr/objects", "threshold": None},
        }
    )


def test_masked_voxels_are_not_scored_nor_chosen_on(config, tmp_path, arrays):
    unmasked = _scores(config, tmp_path)
    for region in config.regions.values():
        with config.ignore_type():
            region.mask = config.segmentation  # what was found alone: nothing can be missed
    scores = _scores(config, tmp_path)
    counts = scores["total"]["all"]["counts"]
    assert counts["false_negative"] == counts["true_negative"] == 0
    assert counts["true_positive"] == unmasked["total"]["all"]["counts"]["true_positive"]
    baseline = scores["baseline"]["total"]["all"]["counts"]
    assert sum(baseline.values()) == sum(counts.values())


def test_predictions_of_every_kind_stand_beside_the_first(config, tmp_path, arrays, caplog):
    _compare(config, tmp_path, arrays)
    scores = _scores(config, tmp_path)
    found = scores["predictions"]
    assert list(found) == ["segmentation", "best", "fixed", "objects"]
    for zone in ("all", "outside_exclusion_zone"):
        first = {name: value for name, value in scores["total"][zone].items()}
        for name in ("segmentation", "fixed", "objects"):  # the same voxels, stored in three ways
            assert found[name]["total"][zone].items() >= first.items()
            assert found[name]["total"][zone]["f1_difference"] == 0
            assert found[name]["total"]["distances"] == found["segmentation"]["total"]["distances"]
    assert found["best"]["threshold_chosen_here"] and not found["fixed"]["threshold_chosen_here"]
    sweep = found["best"]["sweep"]["outside_exclusion_zone"]
    assert found["best"]["total"]["outside_exclusion_zone"]["f1"] == max(v for v in sweep["f1"] if v is not None)
    objects = found["objects"]["total"]["all"]["objects"]
    assert (objects["true_objects"], objects["voi_merge"]) == (2, 0)  # one label value, in two regions
    assert objects["found_objects"] > 2
    assert "holds 1 object in region front" in caplog.text
    assert found["fixed"]["total"]["all"]["objects"] is None


def test_comparison_has_a_row_for_each_prediction_region_and_zone(config, tmp_path, arrays):
    _compare(config, tmp_path, arrays)
    found = _scores(config, tmp_path)["predictions"]
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3 * 2
    last = rows[-1]
    assert (last["prediction"], last["region"], last["scored_on"]) == ("objects", "total", "outside_exclusion_zone")
    assert float(last["f1"]) == found["objects"]["total"]["outside_exclusion_zone"]["f1"]
    assert (last["mean_false_distance_nm"], rows[0]["object_pq_iou_0.5"]) == ("", "")


def test_prediction_that_has_the_name_of_the_first_is_refused(config, tmp_path):
    config.compared = ConfigDict({"segmentation": {"kind": "objects", "address": "x", "threshold": None}})
    with pytest.raises(ValueError, match=r"evaluate.compared.segmentation has the name .* give another name"):
        evaluate.run(config, tmp_path)


def test_broken_run_leaves_no_scores(config, tmp_path, monkeypatch):
    _scores(config, tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "tally_region", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(config, tmp_path)
    assert not (tmp_path / "scores.json").exists()
    assert not (tmp_path / "comparison.csv").exists()


def test_what_cannot_be_scored_is_refused_before_older_scores_are_removed(config, tmp_path):
    _scores(config, tmp_path)
    config.tolerances_nm = (50.0,)
    with pytest.raises(ValueError, match="raise distance_cap_nm"):
        evaluate.run(config, tmp_path)
    assert (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"voxel_size_nm": (5, 5, 6)}, r"voxel size \(5.0, 5.0, 6.0\) nm.* resample one of them"),
        ({"voxel_size_nm": (5, 5, 5), "offset_nm": (500, 0, 0)}, "they do not meet anywhere"),
    ],
)
def test_prediction_that_lies_elsewhere_is_refused_before_anything_is_scored(config, tmp_path, place, message):
    _scores(config, tmp_path)
    create_volume(f"{tmp_path}/cell.zarr/elsewhere", shape=SHAPE, dtype=np.uint8, **place)
    config.compared = ConfigDict(
        {"other": {"kind": "segmentation", "address": f"{tmp_path}/cell.zarr/elsewhere", "threshold": None}}
    )
    with pytest.raises(ValueError, match=message):
        evaluate.run(config, tmp_path)
    assert (tmp_path / "scores.json").exists()


def test_unwritten_blocks_of_a_prediction_are_no_background(config, tmp_path):
    address = f"{tmp_path}/cell.zarr/unfinished"
    volume = create_volume(address, shape=SHAPE, dtype=np.uint8, voxel_size_nm=(5, 5, 5), chunk_shape=(16, 16, 16))
    volume.write(Box((0, 0, 0), (16, 16, 16)), np.ones((16, 16, 16), np.uint8))
    config.segmentation = address
    with pytest.raises(ValueError, match="unfinished"):
        evaluate.run(config, tmp_path)
    assert not (tmp_path / "scores.json").exists()


def test_regions_that_overlap_are_said(config, tmp_path, caplog):
    config.regions.back.start = (7, 0, 0)
    evaluate.run(config, tmp_path)
    assert "regions back and front overlap; the total counts it twice" in caplog.text


def test_second_run_writes_the_same(config, tmp_path):
    assert _scores(config, tmp_path) == _scores(config, tmp_path)


def test_table_shows_every_region_and_the_baseline(config, tmp_path):
    scores = _scores(config, tmp_path)
    lines = evaluate.table(scores).splitlines()
    assert len(lines) == 1 + 2 * 3
    total = lines[-1]
    assert f"{scores['total']['outside_exclusion_zone']['f1']:.3f}" in total
    assert total.endswith(f"{scores['baseline']['f1']:.3f}")


def test_without_sigmas_raw_is_not_read(config, tmp_path):
    with config.ignore_type():
        config.baseline_sigmas, config.raw = (), None
    scores = _scores(config, tmp_path)
    assert scores["baseline"] is None
    assert evaluate.table(scores).splitlines()[-1].endswith("-")


def test_nothing_labelled_has_no_baseline_and_no_f1(config, tmp_path, arrays):
    _write(f"{tmp_path}/cell.zarr/none", 0 * arrays["labels"])
    _write(f"{tmp_path}/cell.zarr/nothing_found", 0 * arrays["labels"])
    config.segmentation = f"{tmp_path}/cell.zarr/nothing_found"
    for region in config.regions.values():
        region.labels = f"{tmp_path}/cell.zarr/none"
    scores = _scores(config, tmp_path)
    assert (scores["baseline"], scores["total"]["all"]["f1"], scores["total"]["all"]["iou"]) == (
        None,
        None,
        1,
    )


def test_no_region_is_refused(config, tmp_path):
    config.regions = ConfigDict()
    with pytest.raises(ValueError, match=r"evaluate.regions=\{\} leaves nothing to score; name at least one"):
        evaluate.run(config, tmp_path)
