"""A sweep whose storage fails: what could not be read or written comes again, is listed, and is never marked."""

import errno
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asem_jax.models.model import Model
from asem_jax.prediction import job
from asem_jax.prediction.job import make_job
from asem_jax.prediction.predictor import make_plan, predict_volume
from asem_jax.volumes import blockwise
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume
from tests.phantoms import balls, small_model, write_volume

RAW = balls((30, 40, 46))[0]
BLOCKS = (16, 16, 16)
BAD = 7  # number of the block that fails


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed blocks are tried again at once."""
    monkeypatch.setattr(blockwise, "PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def model() -> Model:
    """A network with one pooling and random parameters."""
    return small_model()


@pytest.fixture
def raw(tmp_path: Path) -> Volume:
    """A volume of three by three by two blocks."""
    return write_volume(tmp_path / "cell.zarr/raw", RAW)


class Failing:
    """Fails for one box, so many times."""

    def __init__(self, function: Callable[..., object], box: Box, times: int) -> None:
        self.function, self.box, self.left, self.calls = function, box, times, Counter[Box]()

    def __call__(self, *arguments: object) -> object:
        box = next(value for value in arguments if isinstance(value, Box))
        self.calls[box] += 1
        if box == self.box and self.left:
            self.left -= 1
            raise OSError(errno.EIO, "Input/output error")
        return self.function(*arguments)


def break_reading(monkeypatch: pytest.MonkeyPatch, box: Box, times: int) -> Failing:
    failing = Failing(job.read_reflected, box, times)
    monkeypatch.setattr(job, "read_reflected", failing)
    return failing


def break_writing(monkeypatch: pytest.MonkeyPatch, box: Box, times: int) -> Failing:
    original, failing = Pending.result, Failing(lambda box: None, box, times)

    def result(pending: Pending[object]) -> object:
        if "writing" in pending.what and "predictions/b/probability box" in pending.what:
            start = tuple(int(n) for n in pending.what.split(" box (")[1].split(")")[0].split(","))
            failing(Box.of_shape(BLOCKS, start))  # type: ignore[arg-type]
        return original(pending)

    monkeypatch.setattr(Pending, "result", result)
    return failing


@pytest.mark.parametrize("where", ["reading", "writing"])
@pytest.mark.parametrize("times", [2, 99])
def test_a_block_that_fails_is_tried_again_or_listed(
    raw: Volume, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, *, where: str, times: int
) -> None:
    plan = make_plan(model, raw.box, BLOCKS)
    bad = plan.write_boxes[BAD]
    run = partial(predict_volume, model, raw, write_shape=BLOCKS)
    expected = run(f"{tmp_path}/cell.zarr/predictions/a")["mito"]
    with monkeypatch.context() as patch:
        if where == "reading":
            failing = break_reading(patch, plan.tile_box(bad), times)
        else:
            failing = break_writing(patch, Box.of_shape(BLOCKS, bad.start), times)
        if times == 2:
            run(f"{tmp_path}/cell.zarr/predictions/b")
        else:
            message = f"1 of 18 blocks failed, each tried 3 times; what is finished.*block {BAD} of 18, .*Input/output"
            with pytest.raises(RuntimeError, match=f"(?s){message}"):
                run(f"{tmp_path}/cell.zarr/predictions/b")
            ledger = tmp_path / "cell.zarr/predictions/b/ledger.jsonl"
            settings = make_job(model, raw, str(ledger.parent), write_shape=BLOCKS).fingerprint()
            assert Ledger(ledger, settings).finished == set(range(18)) - {BAD}
            assert not Ledger(ledger, settings).is_complete
        assert failing.calls[failing.box] == 3 and len(failing.calls) == 18
    result = run(f"{tmp_path}/cell.zarr/predictions/b")["mito"]
    for name in ("probability", "segmentation"):
        np.testing.assert_array_equal(getattr(result, name).read(raw.box), getattr(expected, name).read(raw.box))
