"""A mask of another voxel size, counted by hand; tests/prediction/mask_test.py compares with every voxel's centre."""

from pathlib import Path

import numpy as np

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.mask import mask_box, read_mask
from tests.phantoms import write_volume


def test_a_mask_on_a_grid_of_its_own_is_read_where_it_lies(tmp_path: Path) -> None:
    # Voxels of 12 nm whose first covers voxels 2, 3, 4 of raw.
    raw = write_volume(tmp_path / "cell.zarr/raw", np.zeros((1, 1, 12), np.uint8), voxel_size_nm=(4, 4, 4))
    mask = write_volume(
        *(tmp_path / "cell.zarr/mask", np.array([[[True, False, True]]])),
        **{"voxel_size_nm": (12, 12, 12), "offset_nm": (0, 0, 12)},
    )
    found = read_mask(mask, Box((0, 0, 0), (1, 1, 12)), raw.voxel_size_nm, raw.offset_nm)
    assert found.ravel().astype(int).tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0]
    assert not read_mask(mask, Box((0, 0, 0), (1, 1, 2)), raw.voxel_size_nm, raw.offset_nm).any()
    assert mask_box(mask, Box((0, 0, 0), (1, 1, 6)), raw.voxel_size_nm, raw.offset_nm) == Box((0, 0, 0), (1, 1, 2))
