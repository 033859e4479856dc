"""What is written: masked = unmasked and 0 elsewhere, thresholds, how it was made; gaps are 0 only when complete."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ome_zarr_models import open_ome_zarr

from asem_jax import __version__
from asem_jax.models.channels import Channel
from asem_jax.models.model import Model
from asem_jax.prediction import planner, predictor
from asem_jax.prediction.job import Job, make_job
from asem_jax.prediction.predictor import predict_volume, sweep_volume
from asem_jax.prediction.results import create_results
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.mask import read_mask
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, open_volume
from tests.phantoms import balls, small_model, write_volume

SHAPE = (30, 40, 46)
BLOCKS = (16, 16, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Volume:
    return write_volume(tmp_path / "cell.zarr/raw", balls(SHAPE)[0])


@pytest.fixture
def mask(tmp_path: Path) -> Volume:
    """A mask of 40 nm that asks for a part of 3 of 18 blocks."""
    values = np.zeros((8, 10, 12), np.uint8)
    values[1:3, 5:7, 2:9] = 1
    place = {"voxel_size_nm": (40.0, 40.0, 40.0), "offset_nm": (15.0, 15.0, 15.0)}
    return write_volume(tmp_path / "cell.zarr/mask", values, **place)


def test_a_masked_prediction_is_the_unmasked_one_and_0_elsewhere(raw: Volume, mask: Volume, tmp_path: Path) -> None:
    model = small_model()
    whole = predict_volume(model, raw, f"{tmp_path}/cell.zarr/whole", write_shape=BLOCKS)["mito"]
    part = predict_volume(model, raw, f"{tmp_path}/cell.zarr/part", write_shape=BLOCKS, mask=mask)["mito"]
    inside = read_mask(mask, raw.box, raw.voxel_size_nm, raw.offset_nm)
    assert 0 < inside.sum() == 8 * 8 * 28
    for name in ("probability", "segmentation"):
        found = open_volume(getattr(part, name).address)
        expected = getattr(whole, name).read(raw.box)
        assert expected[~inside].any()
        np.testing.assert_array_equal(found.read(raw.box), np.where(inside, expected, 0))
        coarse = open_volume(found.address, level=1)
        assert coarse.read(coarse.box).any() or name == "segmentation"
    chunks = [path for path in Path(part.probability.address, "0").glob("*/*/*") if path.is_file()]
    assert len(chunks) == 3


def test_coarser_levels_are_written_with_the_blocks(
    raw: Volume, mask: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CHUNK", 8)  # two per axis of a block
    for wanted in (None, mask):
        target = f"{tmp_path}/cell.zarr/{'part' if wanted else 'whole'}"
        made = predict_volume(small_model(), raw, target, write_shape=BLOCKS, mask=wanted)["mito"]
        for volume, labels in ((made.probability, False), (made.segmentation, True)):
            copy = write_volume(f"{volume.address}_copy", volume.read(volume.box), chunk_shape=(8, 8, 8))
            write_pyramid(copy, labels=labels)
            for level in (1, 2, 3):
                expected, found = (open_volume(address, level=level) for address in (copy.address, volume.address))
                np.testing.assert_array_equal(found.read(found.box), expected.read(expected.box))
    job = make_job(small_model(), raw, f"{tmp_path}/cell.zarr/part", write_shape=BLOCKS)
    assert [len(image.coarse) for image in create_results(job)["mito"].values()] == [1, 1]


def test_a_gap_is_0_only_when_the_prediction_is_complete(
    raw: Volume, mask: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(small_model(), raw, f"{tmp_path}/cell.zarr/part", write_shape=BLOCKS, mask=mask)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "complete_results", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep_volume(job)
    with pytest.raises(ValueError, match="never written"):
        open_volume(f"{job.address}/probability").read(raw.box)
    monkeypatch.undo()
    found = sweep_volume(job)["mito"].probability
    assert found.read(raw.box).any()
    assert open_volume(found.address).read(raw.box).any()


def test_several_models_write_what_each_writes_alone(raw: Volume, tmp_path: Path) -> None:
    one, two = small_model(), small_model(organelles=2)
    both = predict_volume({"cf": one, "all": two}, raw, f"{tmp_path}/cell.zarr/both", write_shape=BLOCKS)
    assert list(both) == ["cf", "all/mito", "all/er"]
    alone = predict_volume(two, raw, f"{tmp_path}/cell.zarr/alone", write_shape=BLOCKS)
    for name in ("probability", "segmentation"):
        found, expected = (getattr(p, name).read(raw.box).astype(int) for p in (both["all/er"], alone["er"]))
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 1e-3


def test_a_threshold_decides_the_segmentation_and_all_says_how_it_was_made(raw: Volume, tmp_path: Path) -> None:
    address = f"{tmp_path}/cell.zarr/p"
    job = make_job(small_model(organelles=2), raw, address, write_shape=BLOCKS, thresholds={"er": 0.3})
    results = sweep_volume(job, {"config": {"symmetries": "none"}})
    probability = results["er"].probability.read(raw.box)
    found = results["er"].segmentation.read(raw.box)
    np.testing.assert_array_equal(found, probability >= 77)
    said = open_volume(f"{address}/er/probability").attributes
    assert said["raw"] == raw.address
    assert said["config"] == {"symmetries": "none"}
    assert said["version"] == __version__
    assert said["fingerprint"]["model"] == job.fingerprint()["model"]
    assert said["coding"] == "round(255 probability)"
    assert open_volume(f"{address}/er/segmentation").attributes["threshold"] == 0.3
    assert open_volume(f"{address}/mito/segmentation").attributes["threshold"] is None
    reopened: Job = make_job(small_model(organelles=2), raw, address, write_shape=BLOCKS, thresholds={"er": 0.3})
    assert create_results(reopened)["er"]["probability"].finest.shape == SHAPE


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Volume]:
    """Results of a box inside a volume of anisotropic voxels that does not begin at 0; of a softmax and a distance."""
    folder, place = tmp_path_factory.mktemp("placed"), {"voxel_size_nm": (20.0, 5.0, 8.0), "offset_nm": (1e3, 0.5, -36)}
    raw = write_volume(folder / "cell.zarr/raw", balls(SHAPE)[0], **place)
    model = small_model(organelles=2)
    channels = (Channel("mito", "softmax", "mito"), Channel("er", "distance", "er"))
    model = Model(model.params, replace(model.card, voxel_size_nm=raw.voxel_size_nm, meanings=channels))
    box = Box((4, 8, 6), SHAPE)
    results = predict_volume(model, raw, f"{folder}/cell.zarr/p", box=box, write_shape=BLOCKS)
    return {
        f"{name}_{kind}": getattr(results[name], kind) for name in results for kind in ("probability", "segmentation")
    }


def test_all_results_are_valid_and_at_their_place(placed: dict[str, Volume]) -> None:
    zarr = pytest.importorskip("zarr")
    assert len(placed) == 4
    for volume in placed.values():
        image = open_ome_zarr(zarr.open_group(volume.address, mode="r"))
        (multiscale,) = image.attributes.multiscales
        assert multiscale.version == "0.4" and len(multiscale.datasets) > 1
        scale, translation = multiscale.datasets[0].coordinateTransformations
        assert (tuple(scale.scale), tuple(translation.translation)) == ((20.0, 5.0, 8.0), (1080.0, 40.5, 12.0))


def test_napari_finds_results_at_their_place(placed: dict[str, Volume]) -> None:
    plugin = pytest.importorskip("napari_ome_zarr", reason="napari-ome-zarr is not installed")
    if version("napari-ome-zarr") in ("0.9.0", "0.10.0"):
        pytest.skip("napari-ome-zarr 0.9.0 and 0.10.0 leave translations out")
    for name, volume in placed.items():
        ((levels, metadata, kind),) = plugin.napari_get_reader(volume.address)(volume.address)
        assert kind == ("labels" if name.endswith("segmentation") else "image")
        assert (tuple(metadata["scale"]), tuple(metadata["translate"])) == ((20.0, 5.0, 8.0), (1080.0, 40.5, 12.0))
        np.testing.assert_array_equal(np.asarray(levels[0]), volume.read(volume.box))
