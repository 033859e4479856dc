"""Crops as a function of (seed, index): where they lie, what they hold, who asks."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from asem_jax.training.crops import Crop, Sampling, TrainingRegion, read_batches, read_crop
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume
from tests.phantoms import balls, write_volume

SAMPLING = Sampling(
    seed=5, input_shape=(20, 20, 20), output_shape=(8, 8, 8), min_foreground=0.05, reject_probability=0.9
)


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Volume, Volume]:
    """Raw and labels on disk; the labels begin (4, 8, 2) voxels further on."""
    raw, labels = balls((40, 48, 50))
    part = np.ascontiguousarray(labels[4:, 8:, 2:])
    return (
        write_volume(tmp_path / "cell.zarr/raw", raw),
        write_volume(tmp_path / "cell.zarr/labels/mito", part, offset_nm=(40.0, 80.0, 20.0)),
    )


def region_of(volumes: tuple[Volume, Volume], box: Box, mask: Volume | None = None) -> TrainingRegion:
    """Returns a region on the volumes."""
    return TrainingRegion("cell", volumes[0], (volumes[1],), mask, box)


def assert_same(a: Crop, b: Crop) -> None:
    """Raises unless two crops are equal."""
    assert a.address == b.address
    for name in ("raw", "target", "mask"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_raw_and_target_of_a_crop_belong_together(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    raw, labels = balls((40, 48, 50))
    for index in range(12):
        crop = read_crop([region], SAMPLING, index)
        numbers = [int(n) for n in crop.address.replace("(", " ").replace(")", " ").replace(",", " ").split()[1:4]]
        box = Box.of_shape((8, 8, 8), numbers)
        np.testing.assert_array_equal(crop.target, labels[box.slices])
        padded = np.pad(raw, 20, mode="reflect")
        np.testing.assert_array_equal(crop.raw, padded[box.grow(6).shift((20, 20, 20)).slices])
        assert crop.mask.all()


def test_a_crop_depends_on_seed_and_index_alone(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    assert_same(read_crop([region], SAMPLING, 7), read_crop([region], SAMPLING, 7))
    addresses = {read_crop([region], SAMPLING, index).address for index in range(20)}
    assert len(addresses) > 15


def test_two_processes_read_what_one_reads(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))

    def first_steps(slots: range, first_step: int = 0) -> list[dict[str, np.ndarray]]:
        batches = read_batches(
            [region],
            SAMPLING,
            first_step=first_step,
            slots=slots,
            batch_size=4,
            batches_ahead=2,
            num_threads=2,
        )
        return [dict(batch) for batch, _ in islice(batches, 3)]

    whole, left, right = first_steps(range(4)), first_steps(range(2)), first_steps(range(2, 4))
    for step in range(3):
        both = np.concatenate([left[step]["raw"], right[step]["raw"]])
        np.testing.assert_array_equal(both, whole[step]["raw"])
        assert whole[step]["raw"].shape == (4, 20, 20, 20, 1)
    np.testing.assert_array_equal(first_steps(range(4), first_step=2)[0]["mask"], whole[2]["mask"])
    np.testing.assert_array_equal(first_steps(range(4), first_step=2)[0]["raw"], whole[2]["raw"])


def test_foreground_is_sought_but_not_insisted_on(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    eager = Sampling(5, (20, 20, 20), (8, 8, 8), min_foreground=0.3, reject_probability=0.9)
    plain = Sampling(5, (20, 20, 20), (8, 8, 8), min_foreground=0.0, reject_probability=0.9)
    shares = [
        [float((read_crop([region], sampling, i).target > 0).mean() >= 0.3) for i in range(40)]
        for sampling in (eager, plain)
    ]
    assert np.mean(shares[0]) > np.mean(shares[1]) + 0.2


def test_what_lies_outside_a_small_region_is_masked_not_background(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((10, 10, 10), (15, 40, 40)))
    for index in range(5):
        crop = read_crop([region], SAMPLING, index)
        assert crop.mask.sum() == 5 * 8 * 8
        assert not crop.target[~crop.mask].any()


def test_a_mask_volume_is_honoured(tmp_path: Path, volumes: tuple[Volume, Volume]) -> None:
    annotated = np.zeros((40, 48, 50), np.uint8)
    annotated[:, 24:] = 1
    mask = write_volume(tmp_path / "cell.zarr/mask", annotated)
    crop = region_of(volumes, Box((4, 8, 2), (40, 48, 50)), mask).read_target(Box((4, 20, 2), (5, 28, 3)))[1]
    np.testing.assert_array_equal(crop[0, :, 0], [False] * 4 + [True] * 4)


def test_a_region_outside_its_volumes_is_refused(volumes: tuple[Volume, Volume]) -> None:
    with pytest.raises(ValueError, match=r"leaves raw, whose shape is \(40, 48, 50\)"):
        region_of(volumes, Box((0, 0, 0), (41, 48, 50)))
    with pytest.raises(ValueError, match=r"needs \(-4, -8, -2\) to .* make the region smaller"):
        region_of(volumes, Box((0, 0, 0), (20, 20, 20)))


def test_raw_must_be_8_bit(tmp_path: Path, volumes: tuple[Volume, Volume]) -> None:
    deep = write_volume(tmp_path / "deep.zarr/raw", np.zeros((40, 48, 50), np.uint16))
    with pytest.raises(ValueError, match="dtype uint16, training reads uint8; convert it first"):
        region_of((deep, volumes[1]), Box((4, 8, 2), (20, 20, 20)))


def test_rejecting_for_ever_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reject_probability=1\.0 would never end"):
        Sampling(0, (20, 20, 20), (8, 8, 8), min_foreground=0.5, reject_probability=1.0)
