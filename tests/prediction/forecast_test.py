"""What is said before a prediction: nothing that it takes is more."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asem_jax.prediction import forecast as module
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.forecast import check_disk, forecast
from asem_jax.prediction.job import make_job
from asem_jax.prediction.predictor import num_finished, sweep_volume
from asem_jax.volumes.geometry import Int3
from asem_jax.volumes.volume import Volume, create_volume
from tests.phantoms import small_model, write_volume

SHAPE = (30, 40, 46)
BLOCKS = (16, 16, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Volume:
    values = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    return write_volume(tmp_path / "cell.zarr/raw", values)


def on_disk(folder: str) -> int:
    """Bytes that the chunks in a folder take."""
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("[0-9]*") if path.is_file())


def test_what_is_written_is_at_most_what_was_said(raw: Volume, tmp_path: Path) -> None:
    job = make_job(small_model(organelles=2), raw, f"{tmp_path}/cell.zarr/p", write_shape=BLOCKS)
    cost = forecast(job)
    assert (cost.blocks, cost.skipped, cost.left, cost.voxels) == (18, 0, 18, 30 * 40 * 46)
    tiles = [job.plan.read_box(box).intersect(raw.box).num_voxels for box in job.write_boxes]
    assert cost.read_bytes == sum(tiles)
    assert cost.seconds is None
    sweep_volume(job)
    assert 0.3 * cost.written_bytes < on_disk(job.address) <= cost.written_bytes
    again = forecast(job, num_finished(job))
    assert (again.left, again.written_bytes, again.voxels) == (0, 0, 0)


def test_random_voxels_take_at_most_the_share_that_is_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for top, share in ((2, module.SEGMENTATION_SHARE), (256, 1.0)):
        shape = (64, 64, 64)
        volume = create_volume(tmp_path / f"{top}.zarr/a", shape=shape, dtype=np.uint8, voxel_size_nm=(4, 4, 4))
        volume.write(volume.box, rng.integers(0, top, shape, np.uint8))
        assert (tmp_path / f"{top}.zarr/a/0/0/0/0").stat().st_size <= share * 64**3 + module.BLOSC_HEADER


def test_blocks_without_mask_are_counted_and_hours_are_those_of_the_rest(
    raw: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros((3, 4, 5), np.uint8)
    values[0, 0] = 1
    place = {"voxel_size_nm": (100.0, 100.0, 100.0), "offset_nm": (45.0, 45.0, 45.0)}
    mask = write_volume(tmp_path / "cell.zarr/mask", values, **place)
    job = make_job(small_model(), raw, f"{tmp_path}/cell.zarr/p", write_shape=BLOCKS, mask=mask)
    monkeypatch.setattr(module, "seconds_per_block", lambda job: 7200.0)
    cost = forecast(job, finished=1, timed=True)
    assert (cost.blocks, cost.skipped, cost.left) == (18, 15, 2)
    assert cost.seconds == 2 * 7200.0
    text = "\n".join(cost.describe(job))
    assert "2 of 18 blocks" in text
    assert "15 skipped by the mask, 1 finished before" in text
    assert "about 4.0 h on this machine" in text


@pytest.mark.parametrize(
    ("symmetries", "blocks", "expected"),
    [
        ("none", BLOCKS, []),
        ("mirrors", (16, 16, 24), ["every block is predicted in 8 orientations"]),
        ("all", BLOCKS, ["every block is predicted in 48 orientations"]),
        (
            "all",
            (16, 16, 24),
            ["every block is predicted in 16 orientations, not 48: for those give a write_shape with equal sides"],
        ),
    ],
)
def test_orientations_are_said(raw: Volume, tmp_path: Path, symmetries: str, blocks: Int3, expected: list[str]) -> None:
    model = Ensemble((small_model(),), symmetries)
    job = make_job(model, raw, f"{tmp_path}/cell.zarr/p", write_shape=blocks)
    assert [line for line in forecast(job).describe(job) if "orientation" in line] == expected


def test_time_is_that_of_a_few_blocks(raw: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    job, asked = make_job(small_model(), raw, "p", write_shape=(4, 40, 46)), []

    def instant(models: object, read: object, plan: object, boxes: list, finish: object) -> object:
        asked.append(len(boxes))
        return iter([(box, ()) for box in boxes])

    monkeypatch.setattr(module, "predict_together", instant)
    assert 0 <= module.seconds_per_block(job) < 0.01
    assert asked == [len(job.write_boxes)]  # 8 devices, so this one batch is all


def test_a_disk_that_is_too_small_is_refused(raw: Volume, tmp_path: Path) -> None:
    job = make_job(small_model(), raw, f"{tmp_path}/cell.zarr/p", write_shape=BLOCKS)
    cost = forecast(job)
    check_disk(job, cost)
    with pytest.raises(ValueError, match=r"the prediction may take .* and 1 kB are free there; free more, write to"):
        check_disk(job, replace(cost, free_bytes=1000))
