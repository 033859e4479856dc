"""Crops as a function of (seed, index): where they lie, what they hold, who asks."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from asem_jax.models.channels import exclusive
from asem_jax.training.crops import Crop, Sampling, read_batches, read_crop, region_shares
from asem_jax.training.regions import ChannelLabels, TrainingRegion
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


def region_of(volumes: tuple[Volume, Volume], box: Box) -> TrainingRegion:
    """Returns a region on the volumes."""
    return TrainingRegion("cell", volumes[0], (ChannelLabels(exclusive(["mito"])[0], volumes[1]),), None, box)


def assert_same(a: Crop, b: Crop) -> None:
    """Raises unless two crops are equal."""
    assert a.address == b.address
    for name in ("raw", "members", "known"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_raw_and_labels_of_a_crop_belong_together(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    raw, labels = balls((40, 48, 50))
    for index in range(12):
        crop = read_crop([region], SAMPLING, index)
        numbers = [int(n) for n in crop.address.replace("(", " ").replace(")", " ").replace(",", " ").split()[1:4]]
        box = Box.of_shape((8, 8, 8), numbers)
        np.testing.assert_array_equal(crop.members[..., 0], labels[box.slices])
        padded = np.pad(raw, 20, mode="reflect")
        np.testing.assert_array_equal(crop.raw, padded[box.grow(6).shift((20, 20, 20)).slices])
        assert crop.known.all()


def test_a_crop_depends_on_seed_and_index_alone(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    assert_same(read_crop([region], SAMPLING, 7), read_crop([region], SAMPLING, 7))
    addresses = {read_crop([region], SAMPLING, index).address for index in range(20)}
    assert len(addresses) > 15


def test_one_crop_can_stand_for_all(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    only = replace(SAMPLING, only=3)
    for index in (0, 3, 8):
        assert_same(read_crop([region], only, index), read_crop([region], SAMPLING, 3))


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
    np.testing.assert_array_equal(first_steps(range(4), first_step=2)[0]["known"], whole[2]["known"])
    np.testing.assert_array_equal(first_steps(range(4), first_step=2)[0]["raw"], whole[2]["raw"])


def test_foreground_is_sought_but_not_insisted_on(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    eager = Sampling(5, (20, 20, 20), (8, 8, 8), min_foreground=0.3, reject_probability=0.9)
    plain = Sampling(5, (20, 20, 20), (8, 8, 8), min_foreground=0.0, reject_probability=0.9)
    shares = [
        [float((read_crop([region], sampling, i).members > 0).mean() >= 0.3) for i in range(40)]
        for sampling in (eager, plain)
    ]
    assert np.mean(shares[0]) > np.mean(shares[1]) + 0.2


def test_positions_where_little_is_annotated_are_drawn_less_often(volumes: tuple[Volume, Volume]) -> None:
    narrow = region_of(volumes, Box((4, 8, 2), (10, 48, 50)))  # 6 of 8 slices of any crop
    some = [read_crop([narrow], replace(SAMPLING, min_foreground=0.0), index) for index in range(20)]
    assert {float(crop.known.mean()) for crop in some} == {0.75}
    wide = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    picky = replace(SAMPLING, min_foreground=0.0, min_known=0.8, reject_probability=0.999)
    crops = [read_crop([narrow, wide], picky, index) for index in range(20)]
    assert all(crop.known.all() for crop in crops)


def test_what_lies_outside_a_small_region_is_unknown_not_background(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((10, 10, 10), (15, 40, 40)))
    for index in range(5):
        crop = read_crop([region], SAMPLING, index)
        assert crop.known.sum() == 5 * 8 * 8
        assert not crop.members[~crop.known].any()


def test_labels_around_a_crop_change_neither_its_place_nor_its_middle(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    wide = replace(SAMPLING, label_margin=(1, 2, 0), label_padding=(0, 1, 4))
    for index in range(4):
        plain, crop = read_crop([region], SAMPLING, index), read_crop([region], wide, index)
        assert crop.members.shape == (10, 14, 16, 1)
        assert crop.address == plain.address
        np.testing.assert_array_equal(crop.members[1:-1, 3:-3, 4:-4], plain.members)
        np.testing.assert_array_equal(crop.raw, plain.raw)


def test_the_margin_of_raw_lies_around_what_the_network_sees(volumes: tuple[Volume, Volume]) -> None:
    region = region_of(volumes, Box((4, 8, 2), (40, 48, 50)))
    for index in range(4):
        plain, crop = (
            read_crop([region], SAMPLING, index),
            read_crop([region], replace(SAMPLING, margin=(1, 30, 5)), index),
        )
        assert crop.raw.shape == (22, 80, 30) and crop.address == plain.address
        np.testing.assert_array_equal(crop.raw[1:-1, 30:-30, 5:-5], plain.raw)
        np.testing.assert_array_equal(crop.members, plain.members)


def test_rejecting_for_ever_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reject_probability=1\.0 would never end"):
        Sampling(0, (20, 20, 20), (8, 8, 8), min_foreground=0.5, reject_probability=1.0)


# --- which region ---


@dataclass(frozen=True)
class Sized:
    """As much of a region as the shares depend on."""

    name: str
    box: Box
    weight: float | None
    organelles: tuple[str, ...] = ()

    def has_labels_of(self, organelle: str) -> bool:
        return organelle in self.organelles


def shares(*regions: tuple[int, float | None, tuple[str, ...]], favoured: str | None = None) -> list[float]:
    sized = [Sized(f"cell_{i}", Box.of_shape((n, 1, 1)), *more) for i, (n, *more) in enumerate(regions)]
    return region_shares(sized, favoured, 0.75).tolist()  # type: ignore[arg-type]


def test_regions_are_drawn_by_size_or_by_weight() -> None:
    assert shares((1, None, ()), (3, None, ())) == [0.25, 0.75]
    assert shares((1, 2.0, ()), (30, 3.0, ())) == [0.4, 0.6]


def test_regions_with_a_favoured_organelle_are_drawn_more_often() -> None:
    cells = (1, None, ("er",)), (2, None, ("mito",)), (3, None, ("mito", "er")), (2, None, ())
    np.testing.assert_allclose(shares(*cells, favoured="er"), [0.1875, 0.125, 0.5625, 0.125])
    assert shares(cells[0], cells[2], favoured="er") == [0.25, 0.75]


def test_weights_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights of the regions are cell_0 None, cell_1 2\.0; give a positive one"):
        shares((1, None, ()), (1, 2.0, ()))
    with pytest.raises(ValueError, match="give a positive one to each"):
        shares((1, 0.0, ()), (1, 2.0, ()))
    with pytest.raises(ValueError, match="favoured='golgi': no region has labels of it"):
        shares((1, None, ("er",)), favoured="golgi")
