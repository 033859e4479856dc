"""Matching of grey values: what it is matched to comes out, order stays, masks lie where they should, messages."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.matching import INVERTED, grey_counts, matching_table, read_mask
from tests.phantoms import write_volume

Array = npt.NDArray[Any]


def tissue(seed: int, shape: tuple[int, int, int] = (40, 40, 40)) -> Array:
    """Returns two kinds of voxels, dark and bright."""
    rng = np.random.default_rng(seed)
    return np.clip(np.where(rng.random(shape) < 0.3, 80, 150) + rng.normal(0, 12, shape), 1, 254).astype(np.uint8)


def counts_of(array: Array) -> Array:
    counts = np.bincount(array.ravel(), minlength=256)
    counts[[0, 255]] = 0
    return counts


def test_another_specimen_comes_to_look_like_the_reference() -> None:
    reference, other = tissue(0), (tissue(1) * 0.5 + 90).astype(np.uint8)
    table = matching_table(counts_of(other), counts_of(reference))
    percents = (1, 10, 30, 50, 90, 99)
    np.testing.assert_allclose(np.percentile(table[other], percents), np.percentile(reference, percents), atol=2)
    assert abs(float(np.median(other)) - float(np.median(reference))) > 10


def test_a_volume_matched_to_itself_stays_what_it_is() -> None:
    array = tissue(0)
    table = matching_table(counts_of(array), counts_of(array))
    np.testing.assert_array_equal(table[array], array)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_brighter_never_becomes_darker_and_margins_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = matching_table(*(rng.integers(0, 3, 256) * rng.integers(0, 9000, 256) for _ in range(2)))
    assert (np.diff(table.astype(int)) >= 0).all()
    assert (table[0], table[255]) == (0, 255)


def test_polarity_turned_round_twice_is_as_before() -> None:
    assert INVERTED[[0, 55, 255]].tolist() == [255, 200, 0]
    np.testing.assert_array_equal(INVERTED[INVERTED], np.arange(256))


def test_the_sample_leaves_out_margins_and_what_is_masked(tmp_path: Path) -> None:
    array = np.zeros((34, 34, 80), np.uint8)
    array[:, :, 10:40], array[:, :, 40:] = 90, 200
    raw = write_volume(tmp_path / "cell.zarr/raw", array, voxel_size_nm=(4, 4, 4))
    counts = grey_counts(raw, None)
    assert counts[0] == 0 and counts[90] > 10_000 and counts[200] > 10_000
    half = np.zeros((9, 9, 20), bool)
    half[:, :, :10] = True
    mask = write_volume(tmp_path / "cell.zarr/mask", half, voxel_size_nm=(16, 16, 16), offset_nm=(6, 6, 6))
    counts = grey_counts(raw, mask)
    assert counts[90] > 10_000 and counts[200] == 0


def test_a_mask_on_a_grid_of_its_own_is_read_where_it_lies(tmp_path: Path) -> None:
    # Voxels of 12 nm whose first covers voxels 2, 3, 4 of raw.
    raw = write_volume(tmp_path / "cell.zarr/raw", np.zeros((1, 1, 12), np.uint8), voxel_size_nm=(4, 4, 4))
    mask = write_volume(
        *(tmp_path / "cell.zarr/mask", np.array([[[True, False, True]]])),
        **{"voxel_size_nm": (12, 12, 12), "offset_nm": (0, 0, 12)},
    )
    found = read_mask(mask, raw, Box((0, 0, 0), (1, 1, 12)))
    assert found.ravel().astype(int).tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0]
    assert not read_mask(mask, raw, Box((0, 0, 0), (1, 1, 2))).any()


def test_a_volume_without_tissue_is_refused(tmp_path: Path) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", np.zeros((20, 20, 20), np.uint8))
    with pytest.raises(ValueError, match=r"raw only 0 voxels are neither 0 nor 255, too few .*give a volume with"):
        grey_counts(raw, None)
    full = write_volume(tmp_path / "cell.zarr/full", tissue(0, (20, 20, 20)))
    nowhere = write_volume(tmp_path / "cell.zarr/nowhere", np.zeros((20, 20, 20), bool))
    with pytest.raises(ValueError, match=r"only 0 voxels .* and lie in .*nowhere, too few"):
        grey_counts(full, nowhere)
