"""The sliding window: tiled = whole, any order, any number of devices, interrupted = uninterrupted."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.models.architecture import asem, cosem_8to4nm, multitask
from asem_jax.models.channels import Channel
from asem_jax.models.model import Model, scale_raw
from asem_jax.models.shapes import context, output_start, stride, valid_input_shape
from asem_jax.models.torch_import import Facts, import_checkpoint
from asem_jax.prediction import predictor
from asem_jax.prediction.job import make_job
from asem_jax.prediction.planner import scaled
from asem_jax.prediction.predictor import make_plan, predict, predict_blocks, predict_together, predict_volume
from asem_jax.prediction.program import all_outputs
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected, reflect_block
from asem_jax.volumes.volume import open_volume
from tests.phantoms import balls, small_model, write_volume

SHAPE = (30, 40, 46)
RAW = balls(SHAPE)[0]
LEVELS = {"pool_factors": ((2, 2, 2),), "kernel_sizes": ((3, 3, 3),) * 2, "encoder_maps": (4, 8)}
FINER = replace(cosem_8to4nm(2, num_maps=1), **LEVELS, decoder_maps=(6,), upsampled_maps=(6,))


@pytest.fixture(scope="module")
def model() -> Model:
    """A network with one pooling and random parameters."""
    return small_model()


@pytest.fixture(scope="module")
def whole(model: Model) -> npt.NDArray[np.float32]:
    """Probabilities of RAW from one pass of the network over all of it."""
    return in_one_pass(model)


def in_one_pass(model: Model) -> npt.NDArray[np.float32]:
    """Returns the probabilities of RAW, reflected at its edge, that the network gives at once."""
    network = model.card.architecture
    margin = context(network)
    if network.padding == "same":  # its poolings begin where the volume does
        margin = tuple(-(-c // s) * s for c, s in zip(margin, stride(network), strict=True))
    needed = [n + 2 * c for n, c in zip(SHAPE, margin, strict=True)]
    tile = Box.of_shape(valid_input_shape(needed, network), [-c for c in margin])
    everything = Box.of_shape(SHAPE)
    raw = scale_raw(reflect_block(RAW, everything, tile, everything)[None, ..., None])
    axes = zip(margin, SHAPE, network.final_factor, output_start(network), strict=True)
    kept = tuple(slice(c * r - a, (c + n) * r - a) for c, n, r, a in axes)
    return np.asarray(jax.nn.softmax(model(raw)[0][kept]))


def test_a_block_in_memory_is_predicted_whole(model: Model, whole: npt.NDArray[np.float32]) -> None:
    probability = predict(model, RAW)
    assert probability.shape == (*SHAPE, 2)
    assert probability.dtype == np.float32
    assert whole[..., 1].std() > 0.01
    np.testing.assert_allclose(probability, whole, atol=1e-5)


@pytest.mark.parametrize("write_shape", [(16, 16, 16), (30, 20, 12)])
def test_tiled_equals_whole(model: Model, whole: npt.NDArray[np.float32], write_shape: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(tiled(model, write_shape), whole, atol=1e-5)


SAME = replace(asem(num_maps=4, pool_factors=((2, 2, 2),)), padding="same")
OTHERS = {
    "finer": FINER,
    "finer_same": replace(FINER, padding="same"),
    "two_heads": replace(multitask(), **LEVELS, decoder_maps=(4,), upsampled_maps=(8,)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_tiled_equals_whole_for_every_kind_of_network(name: str) -> None:
    other = small_model(architecture=OTHERS[name])
    expected = in_one_pass(other)
    ratio = other.card.architecture.final_factor[0]
    assert expected.shape == (*(n * ratio for n in SHAPE), 2)
    assert expected[..., 1].std() > 1e-3
    np.testing.assert_allclose(predict(other, RAW), expected, atol=1e-5)
    box = Box((3, 5, 7), (22, 30, 40))
    part = scaled(box, other.card.architecture.final_factor).slices
    found = tiled(other, (16, 12, 18), box=box)
    np.testing.assert_allclose(found[part], expected[part], atol=1e-5)
    assert np.isnan(found[0, 0, 0, 0])


def test_same_padding_says_what_it_says_of_the_bare_volume_away_from_its_edge() -> None:
    other = small_model(architecture=SAME)
    bare = jax.nn.softmax(other(scale_raw(RAW[None, ..., None])))[0]
    (margin, *_) = context(other.card.architecture)
    inside = (slice(margin, -margin),) * 3
    np.testing.assert_allclose(predict(other, RAW)[inside], bare[inside], atol=1e-5)


def test_order_and_number_of_devices_change_no_bit(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiled(model, (16, 16, 16))
    np.testing.assert_array_equal(tiled(model, (16, 16, 16), backwards=True), expected)
    one = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("data",))
    monkeypatch.setattr(predictor, "make_local_mesh", lambda: one)
    np.testing.assert_array_equal(tiled(model, (16, 16, 16)), expected)


def test_a_part_is_predicted_as_in_the_whole(model: Model, whole: npt.NDArray[np.float32]) -> None:
    box = Box((3, 5, 7), (22, 30, 40))
    np.testing.assert_allclose(tiled(model, (16, 16, 16), box=box)[box.slices], whole[box.slices], atol=1e-5)


def test_a_volume_gets_probability_and_segmentation_at_its_place(
    tmp_path: Path, model: Model, whole: npt.NDArray[np.float32]
) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW, offset_nm=(100.0, 0.0, 50.0))
    box = Box((2, 4, 6), (28, 36, 46))
    address = f"{tmp_path}/cell.zarr/predictions/mito"
    predict_volume(model, raw, address, box=box, write_shape=(16, 16, 16))
    probability, segmentation = open_volume(f"{address}/probability"), open_volume(f"{address}/segmentation")
    assert probability.offset_nm == (120.0, 40.0, 110.0)
    assert probability.attributes["model"]["organelles"] == ["mito"]
    expected = whole[box.slices]
    values = probability.read(probability.box).astype(float)
    assert np.abs(values - 255 * expected[..., 1]).max() <= 0.51
    clear = np.abs(expected[..., 1] - 0.5) > 1e-4
    found = segmentation.read(segmentation.box)
    np.testing.assert_array_equal(found[clear], (expected[..., 1] > 0.5)[clear])
    assert 0 < found.mean() < 1


def test_a_finer_network_writes_smaller_voxels_over_the_same_nanometres(tmp_path: Path) -> None:
    other = small_model(architecture=OTHERS["finer"])
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW, offset_nm=(100.0, 0.0, 50.0))
    box = Box((2, 4, 6), (28, 36, 46))
    result = predict_volume(other, raw, f"{tmp_path}/cell.zarr/p", box=box, write_shape=(16, 16, 16))["mito"]
    probability = open_volume(result.probability.address)
    assert probability.shape == (52, 64, 80)
    assert probability.voxel_size_nm == other.card.output_voxel_size_nm == (5.0, 5.0, 5.0)
    assert probability.offset_nm == (117.5, 37.5, 107.5)  # half a small voxel behind the begin of the first of raw
    expected = 255 * in_one_pass(other)[scaled(box, (2, 2, 2)).slices][..., 1]
    assert np.abs(probability.read(probability.box) - expected).max() <= 0.51


def test_several_organelles_get_a_folder_each(tmp_path: Path) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    results = predict_volume(small_model(organelles=2), raw, f"{tmp_path}/cell.zarr/predictions/both")
    both = [results[name].segmentation for name in ("mito", "er")]
    assert both[1].address.endswith("predictions/both/er/segmentation")
    assert not np.any(both[0].read(raw.box) & both[1].read(raw.box))


def test_channels_of_other_kinds_are_segmented_where_they_are_at_least_half_sure(tmp_path: Path) -> None:
    plain = small_model(organelles=2)
    logits = plain(scale_raw(RAW[None, ..., None]))
    head = {**plain.params["head"], "bias": plain.params["head"]["bias"] - jnp.median(logits, axis=(0, 1, 2, 3))}
    plain = Model({**plain.params, "head": head}, plain.card)
    channels = (Channel("golgi", "softmax", "golgi"), Channel("mito", "distance", "all", (3,)))
    mixed = Model(plain.params, replace(plain.card, organelles=("golgi", "mito"), meanings=channels))
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    results = predict_volume(mixed, raw, f"{tmp_path}/cell.zarr/predictions/mixed")
    sure = predict(mixed, RAW)
    three = predict(plain, RAW)  # the same logits in one softmax
    np.testing.assert_allclose(sure[..., 1], three[..., 1] / (three[..., 0] + three[..., 1]), atol=1e-5)
    for place, name in enumerate(("golgi", "mito"), start=1):
        stored = results[name].probability.read(raw.box)
        coded = 256 * sure[..., place] - 1 if name == "mito" else 255 * sure[..., place]
        assert np.abs(stored - np.maximum(coded, 0)).max() <= 0.51
        found = results[name].segmentation.read(raw.box)
        clear = np.abs(sure[..., place] - 0.5) > 3e-3  # of a distance, the first level inside is 1/256 above
        np.testing.assert_array_equal(found[clear], (sure[..., place] > 0.5)[clear])
        assert 0 < found.mean() < 1


def test_an_interrupted_sweep_goes_on_and_ends_the_same(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    whole_run, broken_run = (f"{tmp_path}/cell.zarr/predictions/{name}" for name in ("a", "b"))
    expected = predict_volume(model, raw, whole_run, write_shape=(16, 16, 16))["mito"]
    original, read_blocks = predictor.start_writes, []

    def failing(*arguments: object) -> object:
        read_blocks.append(arguments[2])
        if len(read_blocks) == 7:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predictor, "start_writes", failing)
    with pytest.raises(KeyboardInterrupt):
        predict_volume(model, raw, broken_run, write_shape=(16, 16, 16))
    result = predict_volume(model, raw, broken_run, write_shape=(16, 16, 16))["mito"]
    assert 18 < len(read_blocks) < 18 + 7
    for name in ("probability", "segmentation"):
        np.testing.assert_array_equal(getattr(result, name).read(raw.box), getattr(expected, name).read(raw.box))


def test_a_sweep_with_other_parameters_is_not_mixed_in(tmp_path: Path, model: Model) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    address = f"{tmp_path}/cell.zarr/predictions/mito"
    predict_volume(model, raw, address)
    other = Model(jax.tree.map(lambda leaf: leaf * 1.01, model.params), model.card)
    with pytest.raises(ValueError, match="other settings"):
        predict_volume(other, raw, address)


def test_raw_that_does_not_fit_is_refused(tmp_path: Path, model: Model) -> None:
    coarse = write_volume(tmp_path / "a.zarr/raw", RAW, voxel_size_nm=(8.0, 10.0, 10.0))
    with pytest.raises(ValueError, match=r"trained at \(10\.0, 10\.0, 10\.0\) nm; resample"):
        predict_volume(model, coarse, f"{tmp_path}/a.zarr/p")
    deep = write_volume(tmp_path / "b.zarr/raw", RAW.astype(np.uint16))
    with pytest.raises(ValueError, match="has dtype uint16, the model reads uint8"):
        predict_volume(model, deep, f"{tmp_path}/b.zarr/p")
    raw = write_volume(tmp_path / "c.zarr/raw", RAW)
    with pytest.raises(ValueError, match=r"whose shape is \(30, 40, 46\)"):
        predict_volume(model, raw, f"{tmp_path}/c.zarr/p", box=Box((0, 0, 0), (31, 2, 2)))
    with pytest.raises(ValueError, match=r"shape \(4, 4\) and dtype uint8; give uint8 grey values"):
        predict(model, np.zeros((4, 4), np.uint8))


@pytest.mark.slow
def test_the_original_tiling_says_what_the_original_said(cases_dir: Path) -> None:
    folder = cases_dir / "predict"
    facts = Facts(("mito",), (5.0, 5.0, 5.0), "membranes dark", None, ((2, 2, 2),) * 3, ())
    model = import_checkpoint(folder / "model_checkpoint_90000", facts, "float32").model
    raw = open_volume(f"{folder}/cell.zarr/volumes/raw", missing_as_zero=True)
    job = make_job(model, raw, "unused.zarr/p", tiling="incasem")
    probability = np.full((*raw.shape, 2), np.nan, np.float32)
    for box, values in predict_together(
        job.ensembles, partial(read_reflected, raw), job.plan, job.write_boxes, all_outputs
    ):
        assert np.isnan(probability[box.slices]).all()
        probability[box.slices] = values[0]
    expected = np.load(folder / "expected.npz")
    core = probability[(slice(47, -47),) * 3]
    assert np.isnan(probability).sum() == 2 * (np.prod(raw.shape) - core[..., 1].size)
    found = core[..., 1]
    np.testing.assert_allclose(found[::3, ::3, ::3], expected["prob1_core_stride3_u16"] / 65535, atol=2e-4)
    planes = zip("zyx", expected["plane_index"], strict=True)
    for axis, (name, place) in enumerate(planes):
        np.testing.assert_allclose(found.take(place, axis), expected[f"prob1_core_plane_{name}"], atol=2e-4)
    mask = open_volume(f"{folder}/cell.zarr/volumes/mask", missing_as_zero=True)
    wanted = mask.read(mask.box)[(slice(47, -47),) * 3] != 0
    segmentation = np.unpackbits(expected["segmentation_core_packed"], count=found.size).reshape(found.shape)
    clear = np.abs(found - 0.5) > 2e-4
    np.testing.assert_array_equal(((found > 0.5) & wanted)[clear], segmentation[clear] != 0)


def test_the_original_tiling_leaves_a_rim_of_0(tmp_path: Path, model: Model) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", RAW)
    written = predict_volume(model, raw, f"{tmp_path}/cell.zarr/p", write_shape=(12, 12, 12), tiling="incasem")
    found = open_volume(written["mito"].probability.address).read(raw.box)
    (margin, *_) = context(model.card.architecture)
    inside = (slice(margin, -margin),) * 3
    rim = np.ones(SHAPE, bool)
    rim[inside] = False
    assert not found[rim].any()
    first = (slice(0, 12 + 2 * margin),) * 3
    expected = 255 * jax.nn.softmax(model(scale_raw(RAW[first][None, ..., None])))[0, ..., 1]
    assert np.abs(found[inside][:12, :12, :12] - expected).max() <= 0.51


def tiled(
    model: Model, write_shape: tuple[int, int, int], *, box: Box | None = None, backwards: bool = False
) -> npt.NDArray[np.float32]:
    """Returns the probabilities of RAW, predicted in blocks."""
    everything = Box.of_shape(SHAPE)
    plan = make_plan(model, box or everything, write_shape)
    boxes = plan.write_boxes[::-1] if backwards else plan.write_boxes
    result = np.full((*scaled(everything, plan.scale).shape, 2), np.nan, np.float32)
    for block, values in predict_blocks(
        model, lambda b: reflect_block(RAW, everything, b, everything), plan, boxes, all_outputs
    ):
        result[scaled(block, plan.scale).slices] = values
    return result
