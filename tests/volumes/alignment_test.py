"""Volumes on one grid: the shift between them, and grids that do not fit."""

import pytest

from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.volume import create_volume


def volume(tmp_path, name, *, voxel_size_nm=(5, 5, 5), offset_nm=(0, 0, 0)):
    return create_volume(
        tmp_path / f"cell.zarr/{name}",
        shape=(4, 4, 4),
        dtype="uint8",
        voxel_size_nm=voxel_size_nm,
        offset_nm=offset_nm,
    )


def test_the_shift_leads_from_one_grid_to_the_other(tmp_path):
    raw = volume(tmp_path, "raw", offset_nm=(10, 0, -5))
    labels = volume(tmp_path, "labels", offset_nm=(30, 10.001, 0))
    assert grid_shift(raw, labels) == (4, 2, 1)
    assert grid_shift(labels, raw) == (-4, -2, -1)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"voxel_size_nm": (5, 5, 10)}, r"voxel size .* has \(5.0, 5.0, 10.0\) nm; resample one of them"),
        ({"offset_nm": (0, 2.5, 0)}, r"\(0.0, 0.5, 0.0\) voxels apart, not whole voxels; resample one onto"),
    ],
)
def test_grids_that_do_not_fit_are_refused(tmp_path, place, message):
    with pytest.raises(ValueError, match=message):
        grid_shift(volume(tmp_path, "raw"), volume(tmp_path, "labels", **place))
