import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax.measurement import metrics
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.settings import SETTINGS
from asem_jax.stages import postprocess
from asem_jax.volumes import blockwise
from asem_jax.volumes.volume import create_volume, open_volume

SHAPE = (20, 24, 28)


def _write(address, array, voxel_size_nm=(8.0, 8.0, 8.0), offset_nm=(0.0, 0.0, 0.0)):
    volume = create_volume(
        address,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=voxel_size_nm,
        offset_nm=offset_nm,
        chunk_shape=(16, 16, 16),
    )
    volume.write(volume.box, array)
    return volume


@pytest.fixture
def probability():
    """Values around a ball, so that another threshold is another radius."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    distance = np.sqrt((z - 9.5) ** 2 + (y - 12) ** 2 + (x - 13) ** 2)
    return np.clip(255 - 20 * distance, 0, 255).astype(np.uint8)


@pytest.fixture
def config(tmp_path, probability):
    cell = f"{tmp_path}/cell.zarr"
    _write(f"{cell}/predictions/mito/probability", probability)
    _write(f"{cell}/labels/mito", (probability > 99).astype(np.uint32))
    region = {"labels": f"{cell}/labels/mito", "mask": None, "start": (0, 0, 0), "stop": SHAPE}
    return ConfigDict(
        {
            "probability": f"{cell}/predictions/mito/probability",
            "target": f"{cell}/predictions/final",
            "voxel_size_nm": None,
            "threshold": None,
            "threshold_probability": None,
            "threshold_regions": {"tuning": region},
            "smoothing_nm": None,
            "fill_holes_nm3": None,
            "objects": None,
            "block_shape": None,
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "chunk_shape": (16, 16, 16),
            "shard_shape": None,
            "zarr_format": 2,
            "num_threads": 2,
            "retries": 0,
            "cluster": None,
        },
        convert_dict=True,
    )


def _notes(tmp_path):
    return json.loads((tmp_path / "postprocess.json").read_text())


def test_config_holds_what_the_settings_list(config):
    assert set(config) == set(SETTINGS["postprocess"])


def test_best_threshold_finds_the_labels_again(config, tmp_path, probability):
    postprocess.run(config, tmp_path)
    segmentation = open_volume(f"{config.target}/segmentation")
    np.testing.assert_array_equal(segmentation.read(segmentation.box), (probability > 99).astype(np.uint8))
    notes = _notes(tmp_path)
    assert (notes["fixed"], notes["regions"]) == (False, ["tuning"])
    best = notes["sweep"]["threshold"].index(notes["threshold"])
    assert notes["sweep"]["f1"][best] == max(v for v in notes["sweep"]["f1"] if v is not None) == 1


def test_sweep_is_scored_outside_the_exclusion_zone(config, tmp_path, probability):
    config.exclude_inwards, config.exclude_outwards = 1, 2
    postprocess.run(config, tmp_path)
    labels = probability > 99
    used = ~exclusion_zone(labels, inwards=1, outwards=2)
    expected = [metrics.recall(metrics.count(probability >= level, labels, used)) for level in range(256)]
    assert _notes(tmp_path)["sweep"]["recall"] == expected


def test_fixed_threshold_needs_no_region(config, tmp_path, probability):
    config.threshold, config.threshold_regions = 0.5, ConfigDict()
    postprocess.run(config, tmp_path)
    segmentation = open_volume(f"{config.target}/segmentation")
    np.testing.assert_array_equal(segmentation.read(segmentation.box), (probability >= 128).astype(np.uint8))
    assert (_notes(tmp_path)["fixed"], _notes(tmp_path)["sweep"]) == (True, None)


def test_pyramid_is_written(config, tmp_path):
    postprocess.run(config, tmp_path)
    coarse = open_volume(f"{config.target}/segmentation", level=1)
    assert coarse.voxel_size_nm == (16.0, 16.0, 16.0)
    assert set(np.unique(coarse.read(coarse.box))) == {0, 1}


def test_finer_segmentation_lies_on_the_labels(config, tmp_path):
    z, y, x = np.ogrid[:40, :48, :56]
    # The surface of the ball in the coarse probability, where it crosses 99.5.
    fine = (np.sqrt((z - 19.5) ** 2 + (y - 24.5) ** 2 + (x - 26.5) ** 2) < 2 * 155.5 / 20).astype(np.uint8)
    labels = f"{tmp_path}/cell.zarr/labels/fine"
    # Voxel centres of the finer grid lie a quarter of a coarse voxel before those of the coarse one.
    _write(labels, fine, (4.0, 4.0, 4.0), (-2.0, -2.0, -2.0))
    config.voxel_size_nm = (4.0, 4.0, 4.0)
    config.threshold_regions.tuning.labels = labels
    config.threshold_regions.tuning.stop = fine.shape
    postprocess.run(config, tmp_path)
    segmentation = open_volume(f"{config.target}/segmentation")
    assert (segmentation.shape, segmentation.voxel_size_nm) == (fine.shape, (4.0, 4.0, 4.0))
    assert segmentation.offset_nm == (-2.0, -2.0, -2.0)
    scores = _notes(tmp_path)["sweep"]["f1"]
    assert max(v for v in scores if v is not None) > 0.99


def test_interrupted_and_started_again_equals_uninterrupted(config, tmp_path, monkeypatch):
    done = []

    def fails_late(values, threshold):
        if len(done) == 3:
            raise RuntimeError("power cut")
        done.append(threshold)
        return values >= threshold * 255

    config.num_threads = 1
    with monkeypatch.context() as patch:
        patch.setattr(postprocess, "apply_threshold", fails_late)
        with pytest.raises(RuntimeError, match="power cut"):
            postprocess.run(config, tmp_path)
    config.num_threads = 2
    postprocess.run(config, tmp_path)
    segmentation = open_volume(f"{config.target}/segmentation")
    probability = open_volume(config.probability)
    expected = probability.read(probability.box) > 99
    np.testing.assert_array_equal(segmentation.read(segmentation.box) != 0, expected)
    assert len(done) == 3


def test_finished_run_does_nothing(config, tmp_path, monkeypatch):
    postprocess.run(config, tmp_path)
    monkeypatch.delattr(postprocess, "apply_threshold")
    monkeypatch.delattr(postprocess, "write_pyramid")
    monkeypatch.delattr(postprocess, "choose_threshold")
    postprocess.run(config, tmp_path)


@pytest.fixture
def cluttered(config, probability):
    """Settings for every step, on the ball with a hole, a speck, and noise; and the probability itself."""
    probability[8:10, 11:13, 12:14] = 0
    probability[1, 1:3, 1:3] = 200
    with config.ignore_type():
        config.update({"threshold": 0.4, "fill_holes_nm3": 8 * 8.0**3, "block_shape": (16, 32, 16)})
        objects = {"connectivity": 26, "min_nm3": 5 * 8.0**3, "split_depth_nm": None, "split_reach_nm": None}
        config.objects = ConfigDict(objects)
    config.probability += "_cluttered"
    _write(config.probability, probability)
    return config, probability


def test_holes_are_filled_and_small_objects_left_out(cluttered, tmp_path, probability):
    config, values = cluttered
    postprocess.run(config, tmp_path)
    mask = values >= 102
    mask[8:10, 11:13, 12:14] = True
    mask[1] = False
    for name, dtype in (("segmentation", np.uint8), ("objects", np.uint32)):
        volume = open_volume(f"{config.target}/{name}")
        np.testing.assert_array_equal(volume.read(volume.box), mask.astype(dtype))
        assert volume.attributes["threshold"] == 0.4
        assert volume.dtype == dtype and open_volume(volume.address, level=1).dtype == dtype
    assert _notes(tmp_path)["steps"] == {
        "filled": {"holes": 1, "voxels": 8},
        "objects": {"found": 2, "kept": 1, "voxels": int(mask.sum()), "dropped_voxels": 4},
    }
    assert not (tmp_path / "cell.zarr/predictions/final/steps").exists()
    assert [path.name for path in (tmp_path / "ledgers").iterdir()] == ["postprocess-segmentation.jsonl"]


def test_holes_alone_make_no_objects(cluttered, tmp_path):
    config, values = cluttered
    with config.ignore_type():
        config.objects = None
    postprocess.run(config, tmp_path)
    volume = open_volume(f"{config.target}/segmentation")
    assert volume.read(volume.box).sum() == (values >= 102).sum() + 8
    assert not (tmp_path / "cell.zarr/predictions/final/objects").exists()


def test_smooth_probability_is_thresholded_and_split_objects_are_numbered(cluttered, tmp_path):
    config, values = cluttered
    with config.ignore_type():
        config.smoothing_nm, config.fill_holes_nm3 = 8.0, None
        config.objects.update({"min_nm3": None, "split_depth_nm": 16.0, "split_reach_nm": 64.0})
    postprocess.run(config, tmp_path)
    smooth = ndimage.gaussian_filter(values.astype(np.float32), 1.0, mode="mirror")
    volume = open_volume(f"{config.target}/segmentation")
    np.testing.assert_array_equal(volume.read(volume.box), np.rint(smooth) >= 102)
    objects = open_volume(f"{config.target}/objects")
    assert objects.read(objects.box).max() == _notes(tmp_path)["steps"]["objects"]["kept"]


def test_workers_of_a_cluster_write_what_threads_write(cluttered, tmp_path, cluster, monkeypatch):
    config, _ = cluttered
    config.threshold_regions, written = ConfigDict(), []
    monkeypatch.setattr(postprocess, "write_pyramid", lambda volume, **how: None)
    for name, section in (("threads", None), ("workers", cluster)):
        if section:
            monkeypatch.delattr(blockwise, "ThreadPoolExecutor")
        with config.ignore_type():
            config.update({"voxel_size_nm": (4.0, 8.0, 8.0), "smoothing_nm": 8.0, "cluster": section})
            config.objects.update({"split_depth_nm": 16.0, "split_reach_nm": 64.0})
        config.target = f"{tmp_path}/{name}.zarr"
        postprocess.run(config, tmp_path / name)
        folder = tmp_path / f"{name}.zarr"
        files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        written.append((files, _notes(tmp_path / name)))
    assert len(written[0][0]) > 50
    assert written[0] == written[1]


@pytest.mark.parametrize("step", ["fill_holes", "find_parts", "write_objects", "write_pyramid"])
def test_steps_that_were_interrupted_go_on(cluttered, tmp_path, monkeypatch, step):
    config, _ = cluttered

    def fails(*words, **more):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(postprocess, step, fails)
        with pytest.raises(RuntimeError, match="power cut"):
            postprocess.run(config, tmp_path)
    postprocess.run(config, tmp_path)
    objects = open_volume(f"{config.target}/objects")
    assert objects.read(objects.box).max() == 1
    with monkeypatch.context() as patch:
        patch.delattr(postprocess, "refine")
        postprocess.run(config, tmp_path)


def test_blocks_that_share_a_file_are_refused(cluttered, tmp_path):
    config, _ = cluttered
    config.block_shape = (16, 24, 16)
    message = r"block_shape=\(16, 24, 16\) is not a multiple of \(16, 16, 16\), what a file holds .* or give None"
    with pytest.raises(ValueError, match=message):
        postprocess.run(config, tmp_path)


def test_other_settings_in_the_same_folder_are_refused(config, tmp_path):
    postprocess.run(config, tmp_path)
    config.threshold = 0.5
    with pytest.raises(ValueError, match=r"threshold: None -> 0.5"):
        postprocess.run(config, tmp_path)


def test_threshold_is_chosen_on_another_volume(config, tmp_path, probability):
    other = f"{tmp_path}/annotated.zarr"
    _write(f"{other}/probability", probability // 2)
    _write(f"{other}/labels", (probability > 61).astype(np.uint8))
    config.threshold_regions.tuning.labels = f"{other}/labels"
    with config.ignore_type():
        config.threshold_probability = f"{other}/probability"
    postprocess.run(config, tmp_path)
    notes = json.loads((tmp_path / "postprocess.json").read_text())
    assert 30 / 255 < notes["threshold"] <= 41 / 255
    written = open_volume(f"{config.target}/segmentation")
    np.testing.assert_array_equal(written.read(written.box), probability >= round(255 * notes["threshold"]))


@pytest.mark.parametrize(
    ("dtype", "changes"),
    [(np.float32, {}), (np.uint8, {"smoothing_nm": 5.0}), (np.uint8, {"voxel_size_nm": (5, 5, 5)})],
)
def test_threshold_of_a_volume_that_is_another_kind_is_refused(config, tmp_path, probability, dtype, changes):
    _write(f"{tmp_path}/annotated.zarr/probability", probability.astype(dtype))
    with config.ignore_type():
        config.update({"threshold_probability": f"{tmp_path}/annotated.zarr/probability", **changes})
    words = next(iter(changes), "nothing")
    with pytest.raises(ValueError, match=f"threshold_probability=.* has dtype .*{words}.*; give what stage predict"):
        postprocess.run(config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"threshold_regions": ConfigDict()},
            r"threshold=None needs postprocess.threshold_regions .* name a lab",
        ),
        ({"threshold": 128.0}, r"postprocess.threshold=128.0 is not a probability; give 0 to 1"),
    ],
)
def test_threshold_that_cannot_be_known_is_refused_before_any_work(config, tmp_path, changes, message):
    with config.ignore_type():
        config.update(changes)
        for name, value in changes.items():
            config[name] = value
    with pytest.raises(ValueError, match=message):
        postprocess.run(config, tmp_path)
    assert not (tmp_path / "cell.zarr/predictions/final").exists()


def test_probability_of_another_type_is_refused(config, tmp_path, probability):
    config.probability = f"{tmp_path}/cell.zarr/float"
    _write(config.probability, probability.astype(np.float32))
    with pytest.raises(ValueError, match=r"float has dtype float32, not uint8 with 255 = 1; give what stage predict"):
        postprocess.run(config, tmp_path)
