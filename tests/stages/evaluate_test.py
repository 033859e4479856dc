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
            "regions": {n: {"labels": labels, "start": b.start, "stop": b.stop} for n, b in BOXES.items()},
            "exclude_inwards": 1,
            "exclude_outwards": 1,
            "baseline_sigmas": (0, 1),
            "block_shape": (16, 16, 16),
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
