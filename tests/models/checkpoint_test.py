"""Checkpoints: what is saved comes back, the latest and the best are kept, a torn one is passed over."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models.architecture import asem
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints, load_model, load_state
from asem_jax.models.model import ModelCard, Params
from asem_jax.training.optimizer import make_optimizer
from asem_jax.training.step import TrainState

CARD = ModelCard(
    organelles=("mito",),
    voxel_size_nm=(5.0, 5.0, 5.0),
    architecture=asem(num_maps=4, pool_factors=((2, 2, 2),)),
    compute_dtype="float32",
    polarity="membranes dark",
)
OPTIMIZER = make_optimizer(
    learning_rate=1e-3, final_learning_rate=1e-4, num_steps=9, weight_decay=0.0, max_gradient_norm=None
)


def state_at(step: int) -> TrainState:
    """Returns a state whose parameters tell its step."""
    params = {"head": {"kernel": jnp.full((3, 3), 0.1 + step), "bias": jnp.arange(3.0) + step}}
    return TrainState(jnp.int32(step), params, OPTIMIZER.init(params))


def save(workdir: Path, scores: dict[int, float]) -> None:
    """Saves a checkpoint per step and score, in a run of its own."""
    with Checkpoints(workdir) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_at(step), config={"seed": 1, "shape": (1, 2)}, card=CARD, score=score)


def assert_equal(a: Params, b: Params) -> None:
    """Raises unless two trees hold the same bits."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_state_comes_back_bit_for_bit_with_its_config(tmp_path: Path) -> None:
    save(tmp_path, {7: 0.5})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(state_at(0))
        assert checkpoints.read_config() == {"seed": 1, "shape": [1, 2]}
    assert_equal(restored._asdict(), state_at(7)._asdict())


def test_of_several_organelles_the_best_of_each_is_kept(tmp_path: Path) -> None:
    found = {1: (0.5, 0.9, 0.1), 2: (0.6, 0.6, 0.6), 3: (0.5, 0.1, 0.9), 4: (0.2, 0.3, float("nan"))}
    with Checkpoints(tmp_path / "run", ("mito", "er")) as checkpoints:
        for step, (score, mito, er) in found.items():
            scores = {"mito": mito, "er": er}
            checkpoints.save(step, state_at(step), config={}, card=CARD, score=score, score_of=scores)
    assert {int(folder.name) for folder in (tmp_path / "run/checkpoints").iterdir()} == {1, 2, 3, 4}
    for name, step in {"run": 2, "run:mito": 1, "run:er": 3}.items():
        assert_equal(load_model(tmp_path / name).params, state_at(step).params)
    with pytest.raises(ValueError, match=r"run:golgi: its checkpoints have scores of er, mito; name one of these"):
        load_model(tmp_path / "run:golgi")
    with pytest.raises(FileNotFoundError, match="other is neither a run folder"):
        load_model(tmp_path / "other:mito")


def test_the_best_and_the_latest_are_kept_across_runs(tmp_path: Path) -> None:
    save(tmp_path, {2: 0.4, 4: 0.9})
    save(tmp_path, {6: 0.3, 8: NOT_VALIDATED, 10: float("nan")})
    assert {int(folder.name) for folder in (tmp_path / "checkpoints").iterdir()} == {4, 10}
    assert_equal(load_model(tmp_path).params, state_at(4).params)
    assert_equal(load_model(tmp_path / "checkpoints" / "10").params, state_at(10).params)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 10


def test_the_whole_state_of_the_best_can_be_taken_over(tmp_path: Path) -> None:
    save(tmp_path, {2: 0.4, 4: 0.9, 6: 0.3})
    assert_equal(load_state(tmp_path, state_at(0))._asdict(), state_at(4)._asdict())
    assert_equal(load_state(tmp_path / "checkpoints" / "6", state_at(0))._asdict(), state_at(6)._asdict())
    with pytest.raises(ValueError, match=r"checkpoints/4 does not hold the state of this .*parameters only"):
        load_state(tmp_path, {"other": state_at(0)})
    wider = state_at(0)._replace(params={"head": {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)}})
    with pytest.raises(ValueError, match="does not hold the state of this network"):
        load_state(tmp_path, wider)


def test_without_validation_the_latest_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, {2: NOT_VALIDATED, 3: NOT_VALIDATED})
    model = load_model(tmp_path)
    assert_equal(model.params, state_at(3).params)
    assert model.card == CARD


def test_a_checkpoint_torn_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, {2: 0.5})
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 2
        assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["2"]
    save(tmp_path, {4: 0.6})
    assert_equal(load_model(tmp_path).params, state_at(4).params)


# In a process of its own: Orbax leaves its other writes behind when one fails.
_SAVE_ON_A_FULL_DISK = """
import resource, sys
import jax.numpy as jnp
import numpy as np
from asem_jax.models.checkpoint import Checkpoints
from tests.models.checkpoint_test import CARD, state_at

large = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(300, 1000)), jnp.float32)}
try:
    with Checkpoints(sys.argv[1]) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for step in map(int, sys.argv[2:]):
            checkpoints.save(step, state_at(step)._replace(params=large), config={}, card=CARD, score=0.6)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("steps", [["4"], ["4", "6"]])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, steps: list[str]) -> None:
    save(tmp_path, {2: 0.5})
    command = [sys.executable, "-c", _SAVE_ON_A_FULL_DISK, str(tmp_path), *steps]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    message = r"could not be written to .*checkpoints \(.*File too large.* is step 2: make room.*the same command again"
    assert re.search(message, done.stdout), done.stdout + done.stderr
    assert_equal(load_model(tmp_path).params, state_at(2).params)
    save(tmp_path, {4: 0.7})
    assert_equal(load_model(tmp_path).params, state_at(4).params)


def test_a_folder_without_a_model_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither a run folder .* give the --workdir"):
        load_model(tmp_path / "nothing")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match="no finished checkpoint; train first"):
        load_model(tmp_path)


def test_restoring_from_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match="no checkpoint to continue from"),
    ):
        checkpoints.restore(state_at(0))
