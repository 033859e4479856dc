"""Training as a user runs it: what it leaves behind, going on after a kill, and wrong settings."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tensorboardX.proto import event_pb2

from asem_jax.interruption import Interruption
from asem_jax.models.architecture import asem
from asem_jax.models.checkpoint import Checkpoints, load_model, load_state
from asem_jax.prediction.validation import Validation
from asem_jax.settings import SETTINGS
from asem_jax.stages import train
from asem_jax.stages.recipe import make_card, make_recipe, open_regions, read_architecture
from asem_jax.training.augment import Augmentation
from tests.phantoms import balls, train_config, write_volume

NONE = Augmentation((), ((0, 1, 2),), 0.0, 0.0)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell with raw and labels."""
    container = tmp_path_factory.mktemp("data") / "cell.zarr"
    raw, labels = balls((40, 40, 40))
    write_volume(container / "raw", raw)
    write_volume(container / "labels/mito", labels)
    return container


@pytest.fixture(scope="module")
def trained(container: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of an uninterrupted training."""
    workdir = tmp_path_factory.mktemp("run")
    train.run(train_config(container), workdir)
    return workdir


def records(workdir: Path) -> list[dict[str, object]]:
    """Returns metrics.jsonl without times."""
    timed = ("time", "steps_per_s", "mvoxel_per_s", "waiting_share")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


def test_the_config_of_the_tests_is_complete(container: Path) -> None:
    assert set(train_config(container)) == set(SETTINGS["train"])


def test_a_run_leaves_a_model_and_its_record(trained: Path) -> None:
    model = load_model(trained)
    assert model.card.organelles == ("mito",)
    assert model.card.architecture == asem(num_maps=4, pool_factors=((2, 2, 2),))
    assert model.card.training_regions[0].endswith("raw (0, 0, 0) to (40, 40, 40)")
    raw = balls((40, 40, 40))[0]
    assert model.card.grey_percentiles is not None
    np.testing.assert_allclose(model.card.grey_percentiles, np.percentile(raw, (1, 25, 50, 75, 99)), atol=3)
    lines = records(trained)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "validation" in line] == [4, 6]
    (validated,) = next(line for line in lines if line["step"] == 6 and "validation" in line)["validation"].values()
    assert load_model(trained / "checkpoints" / "6").card.thresholds == (validated["thresholds"]["mito"],)
    assert list(trained.glob("events.out.tfevents.*"))


def test_a_network_is_what_its_section_says(container: Path) -> None:
    network = train_config(container, network={"pool_factors": ((1, 2, 2), (2, 2, 2)), "padding": "same"}).network
    plain = asem(num_channels=3, num_maps=4, pool_factors=((1, 2, 2), (2, 2, 2)))
    assert read_architecture(network, num_channels=3) == replace(plain, padding="same")
    thin = train_config(container, network={"kernel_sizes": ((1, 3, 3), (3, 3, 3))}).network
    assert read_architecture(thin, num_channels=2).kernel_sizes == ((1, 3, 3), (3, 3, 3))


def test_a_network_of_another_kind_is_trained_and_validated(container: Path, tmp_path: Path) -> None:
    network = {
        **{"padding": "same", "upsampling": "constant", "kernel_sizes": ((1, 3, 3), (3, 3, 3))},
        **{"head_kernel_size": (1, 1, 1), "rematerialize": True},
    }
    config = train_config(container, network=network, input_shape=(16, 16, 16), num_train_steps=2)
    train.run(config, tmp_path)
    assert load_model(tmp_path).card.architecture == read_architecture(config.network, num_channels=2)
    assert [line["step"] for line in records(tmp_path) if "validation" in line] == [2]


def test_every_augmentation_can_be_switched_on(container: Path, tmp_path: Path) -> None:
    elastic = {
        **{"probability": 1.0, "spacing_nm": (160.0,) * 3, "jitter_nm": (10.0,) * 3, "rotation_degrees": 90.0},
        **{"shift_probability": 0.05, "slip_probability": 0.05, "max_misalign": 2},
    }
    defects = {
        **{"missing_probability": 0.1, "faint_probability": 0.1, "faint_contrast": 0.1},
        **{"dark_probability": 0.1, "dark_shift": 0.2},
    }
    changes = {"elastic": elastic, "gamma": (0.5, 2.0), "noise_std": 0.05, "defects": defects}
    train.run(train_config(container, num_train_steps=1, **changes), tmp_path)
    assert [line["step"] for line in records(tmp_path) if "loss" in line] == [1]


def test_an_interrupted_run_goes_on_and_ends_the_same(
    container: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = train._Training._next
    calls = []

    def failing(self: train._Training, batches: object) -> object:
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(self, batches)  # type: ignore[arg-type]

    monkeypatch.setattr(train._Training, "_next", failing)
    with pytest.raises(KeyboardInterrupt):
        train.run(train_config(container), tmp_path)
    train.run(train_config(container), tmp_path)
    assert len(calls) == 6 + 2
    assert records(tmp_path) == records(trained)
    states = []
    for workdir in (trained, tmp_path):
        with Checkpoints(workdir) as checkpoints:
            assert checkpoints.latest_step == 6
            states.append(load_model(workdir / "checkpoints" / "6").params)
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(
    container: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    real = train._Training._next

    def asked(self: train._Training, batches: object) -> object:
        if len(steps := [*self.losses, *records(tmp_path)]) == 2:
            os.kill(os.getpid(), number)
        assert len(steps) < 4, "it did not stop"
        return real(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(train._Training, "_next", asked)
        with pytest.raises(Interruption, match="step 3 is saved, the same command goes on from there"):
            train.run(train_config(container), tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 3
    train.run(train_config(container), tmp_path)
    assert records(tmp_path) == records(trained)
    for one, other in zip(*(jax.tree.leaves(load_model(run).params) for run in (trained, tmp_path)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_finished_run_is_left_as_it_is(container: Path, trained: Path) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    train.run(train_config(container), trained)
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_going_on_with_other_settings_is_refused(container: Path, trained: Path) -> None:
    with pytest.raises(ValueError, match=r"other settings \(learning_rate: 0\.003 -> 0\.5\); restore them"):
        train.run(train_config(container, learning_rate=0.5), trained)


def test_a_setting_that_was_added_since_and_is_off_is_no_other_setting(container: Path) -> None:
    config = train_config(container)
    saved = json.loads(json.dumps(config.to_dict()))
    for section, key in (
        (saved, "channels"),
        (saved["network"], "decoder_maps"),
        (saved["regions"]["all"], "annotation"),
    ):
        assert section.pop(key) is None
    train._check_same_settings(saved, config)
    with config.unlocked():
        config.network.decoder_maps = (5,)
    with pytest.raises(ValueError, match=r"other settings \(network\.decoder_maps: None -> \[5\]\)"):
        train._check_same_settings(saved, config)


def test_a_run_can_start_from_another_model(container: Path, trained: Path, tmp_path: Path) -> None:
    config = train_config(container, init_from=str(trained), learning_rate=1e-9, final_learning_rate=1e-9)
    train.run(config, tmp_path)
    params = [load_model(workdir).params for workdir in (trained, tmp_path)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *params)
    other = train_config(container, init_from=str(trained), network={"num_maps": 5})
    with pytest.raises(ValueError, match=r"init_from=.*: 1. of 14 parameters do not fit: .*; make config\.network"):
        train.run(other, tmp_path / "other")


def test_parts_of_another_model_can_be_kept_and_others_begin_anew(
    container: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"init_new": ("head/*",), "frozen": ("encoder_*", "decoder_*"), "num_train_steps": 2, "seed": 5}
    with caplog.at_level("INFO"):
        train.run(train_config(container, init_from=str(trained), **changes), tmp_path)
    assert "2 parameters begin anew (init_new): head/bias, head/kernel" in caplog.text
    before, after = load_model(trained).params, load_model(tmp_path).params
    jax.tree.map(np.testing.assert_array_equal, before["encoder_0"], after["encoder_0"])
    assert np.abs(before["head"]["kernel"] - after["head"]["kernel"]).max() > 0.05


def test_a_mean_of_the_parameters_is_what_is_validated_and_loaded(container: Path, tmp_path: Path) -> None:
    config = train_config(container, ema_decay=0.9, crops_at_once=1, num_train_steps=2)
    train.run(config, tmp_path)
    model = load_model(tmp_path)
    initial = train._first_state(config, make_recipe(config, model.card))
    state = load_state(tmp_path, initial)
    jax.tree.map(np.testing.assert_array_equal, model.params, state.averaged)
    assert np.abs(state.averaged["head"]["bias"] - state.params["head"]["bias"]).max() > 0
    without = load_state(tmp_path, initial._replace(averaged=None))
    jax.tree.map(np.testing.assert_array_equal, without.params, state.params)


@pytest.mark.parametrize(
    ("scores", "plateau"),
    [([], False), ([0.5], False), ([0.5, 0.6, 0.6], False), ([0.6, 0.5, 0.55], True), ([0.1, 0.7, 0.6, 0.7], True)],
)
def test_a_plateau_is_two_validations_without_a_better_score(scores: list[float], plateau: bool) -> None:
    assert train._is_plateau(scores, 2) is plateau
    assert not train._is_plateau(scores, None)


def test_a_run_ends_on_a_plateau_and_stays_ended(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, scores = train.validate, iter([0.5, 0.7, 0.6, 0.9])

    def worse(*arguments: object, **settings: object) -> Validation:
        found, score = real(*arguments, **settings), next(scores)
        return replace(found, scores={"mito": SimpleNamespace(f1=score, iou=score, precision=score, recall=score)})

    monkeypatch.setattr(train, "validate", worse)
    config = train_config(container, stop_after=1, validate_every=2, num_train_steps=20)
    train.run(config, tmp_path)
    assert [line["f1"] for line in records(tmp_path) if "validation" in line] == [0.5, 0.7, 0.6]
    assert records(tmp_path)[-1]["step"] == 6
    before = records(tmp_path)
    train.run(config, tmp_path)
    assert records(tmp_path) == before
    assert load_model(tmp_path / "checkpoints" / "4").card == load_model(tmp_path).card


def test_one_crop_is_learned_and_pictures_show_it(container: Path, tmp_path: Path) -> None:
    changes = {"overfit_one_crop": True, "images_every": 10, "log_every": 5, "checkpoint_every": 20}
    config = train_config(container, **changes, validate_every=20, num_train_steps=20, validation_regions={})
    assert make_recipe(config, make_card(config, open_regions("regions", config.regions, config))).augmentation == NONE
    train.run(config, tmp_path)
    losses = [line["loss"] for line in records(tmp_path) if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    (events,) = tmp_path.glob("events.out.tfevents.*")
    values = [value for event in read_events(events) for value in event.summary.value if value.image.width]
    assert [value.tag for value in values] == ["mito/labels", "mito/predicted", "raw"] * 2
    assert {(value.image.height, value.image.width) for value in values} == {(14, 14)}


def read_events(path: Path) -> list[event_pb2.Event]:
    """Returns what a TensorBoard file holds: records with their length before and checksums around."""
    content, events = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(event_pb2.Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return events


def test_steps_without_an_update_are_skipped_and_end_a_run_when_there_are_too_many(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, made = train.parallel_train_step, []

    def sometimes(bad: set[int]) -> object:
        def build(*arguments: object) -> object:
            update = real(*arguments)

            def step(state: object, batch: object) -> object:
                state, loss = update(state, batch)
                made.append(loss)
                return state, loss * np.nan if len(made) in bad else loss

            return step

        return build

    monkeypatch.setattr(train, "parallel_train_step", sometimes({2, 3, 5}))
    train.run(train_config(container, log_every=2), tmp_path)
    assert "step 3 is skipped: its loss or gradient is not finite (crops regions.all (" in caplog.text
    assert [line.get("skipped_steps", 0) for line in records(tmp_path) if "loss" in line] == [1, 1, 1]
    made.clear()
    monkeypatch.setattr(train, "parallel_train_step", sometimes({2, 3, 4}))
    with pytest.raises(ValueError, match=r"at step 4 .* 2 steps before it \(max_skipped_steps=2; crops regions\.all"):
        train.run(train_config(container), tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint_every": 3, "log_every": 2}, "checkpoint_every=3 is not a multiple of log_every=2"),
        ({"crops_at_once": 3, "batch_size": 16}, "crops_at_once=3 does not divide the 2 crops .* one of 1, 2"),
        ({"frozen": ("encodr_*",)}, r"frozen='encodr_\*' fits no parameter; there are 14, such as encoder_"),
        ({"batch_size": 6}, r"batch_size=6 does not divide among 8 devices; nearest: 8"),
        ({"voxel_size_nm": (8.0, 8.0, 8.0)}, r"regions\.all: raw has voxel size \(10\.0, 10\.0, 10\.0\) nm"),
        ({"organelles": ("er",)}, r"regions\.all\.labels has mito, config\.organelles is er"),
        ({"input_shape": (31, 32, 32)}, r"input_shape=\(31, 32, 32\).*nearest: \(30 or 32"),
        ({"network": {"padding": "smae"}}, r"config\.network=.*no network: padding='smae' is none of valid, same; did"),
        ({"network": {"pool_factors": (2, 2, 2)}}, r"config\.network=.*'pool_factors': \(2, 2, 2\).*no network"),
        ({"network": {"kernel_sizes": ((1, 3, 3),) * 3}}, r"no network: kernel_sizes=.* 3 entries for 1 poolings"),
    ],
)
def test_wrong_settings_are_found_before_work(
    container: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    config: ConfigDict = train_config(container, **changes)
    with pytest.raises(ValueError, match=message):
        train.run(config, tmp_path)
