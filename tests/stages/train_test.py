"""Training as a user runs it: what it leaves behind, going on after a kill, and wrong settings."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.models.architecture import asem
from asem_jax.models.checkpoint import Checkpoints, load_model
from asem_jax.stages import train
from asem_jax.stages.settings import SETTINGS
from tests.phantoms import balls, train_config, write_volume


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
    assert list(trained.glob("events.out.tfevents.*"))


def test_a_network_is_what_its_section_says(container: Path) -> None:
    network = train_config(container, network={"pool_factors": ((1, 2, 2), (2, 2, 2)), "padding": "same"}).network
    plain = asem(num_channels=3, num_maps=4, pool_factors=((1, 2, 2), (2, 2, 2)))
    assert train.read_architecture(network, num_channels=3) == replace(plain, padding="same")
    thin = train_config(container, network={"kernel_sizes": ((1, 3, 3), (3, 3, 3))}).network
    assert train.read_architecture(thin, num_channels=2).kernel_sizes == ((1, 3, 3), (3, 3, 3))


def test_a_network_of_another_kind_is_trained_and_validated(container: Path, tmp_path: Path) -> None:
    network = {
        **{"padding": "same", "upsampling": "constant", "kernel_sizes": ((1, 3, 3), (3, 3, 3))},
        **{"head_kernel_size": (1, 1, 1), "rematerialize": True},
    }
    config = train_config(container, network=network, input_shape=(16, 16, 16), num_train_steps=2)
    train.run(config, tmp_path)
    assert load_model(tmp_path).card.architecture == train.read_architecture(config.network, num_channels=2)
    assert [line["step"] for line in records(tmp_path) if "validation" in line] == [2]


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


def test_a_finished_run_is_left_as_it_is(container: Path, trained: Path) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    train.run(train_config(container), trained)
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_going_on_with_other_settings_is_refused(container: Path, trained: Path) -> None:
    with pytest.raises(ValueError, match=r"other settings \(learning_rate: 0\.003 -> 0\.5\); restore them"):
        train.run(train_config(container, learning_rate=0.5), trained)


def test_a_run_can_start_from_another_model(container: Path, trained: Path, tmp_path: Path) -> None:
    config = train_config(container, init_from=str(trained), learning_rate=1e-9, final_learning_rate=1e-9)
    train.run(config, tmp_path)
    params = [load_model(workdir).params for workdir in (trained, tmp_path)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *params)
    other = train_config(container, init_from=str(trained), network={"num_maps": 5})
    with pytest.raises(ValueError, match=r"init_from=.* holds another network"):
        train.run(other, tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint_every": 3, "log_every": 2}, "checkpoint_every=3 is not a multiple of log_every=2"),
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
