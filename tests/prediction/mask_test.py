"""A mask of another voxel size, placed in nm: the same as asking for every voxel's centre."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.models.architecture import Architecture, cosem_8to4nm
from asem_jax.prediction.mask import wanted_blocks
from asem_jax.prediction.planner import Plan, plan_sweep
from asem_jax.volumes.geometry import Box, Float3
from asem_jax.volumes.mask import read_mask
from asem_jax.volumes.volume import Volume
from tests.phantoms import small_model, write_volume

SHAPE = (30, 40, 46)
NETWORK = small_model().card.architecture
LEVELS = {"pool_factors": ((2, 2, 2),), "kernel_sizes": ((3, 3, 3),) * 2, "encoder_maps": (4, 8)}
FINER = replace(cosem_8to4nm(2, num_maps=1), **LEVELS, decoder_maps=(6,), upsampled_maps=(6,))


def voxel_by_voxel(mask: Volume, plan: Plan, raw: Volume) -> npt.NDArray[np.bool_]:
    """Returns where a result is wanted, each voxel asked for alone."""
    size, offset = plan.result_place(raw.voxel_size_nm, raw.offset_nm)
    values, wanted = mask.read(mask.box), np.zeros(plan.result_box(plan.box).shape, bool)
    for place in np.ndindex(wanted.shape):
        nm = np.array(offset) + np.array(place) * size
        voxel = np.floor((nm - mask.offset_nm) / mask.voxel_size_nm + 0.5 + 1e-6).astype(int)
        inside = np.all((voxel >= 0) & (voxel < mask.shape))
        wanted[place] = inside and values[tuple(voxel)] != 0
    return wanted


@pytest.mark.parametrize(
    ("network", "voxel_size_nm"),
    [(NETWORK, (40.0, 40.0, 40.0)), (FINER, (30.0, 25.0, 70.0)), (NETWORK, (10.0, 10.0, 10.0))],
)
def test_each_voxel_asks_the_mask_at_its_centre(tmp_path: Path, network: Architecture, voxel_size_nm: Float3) -> None:
    raw = write_volume(tmp_path / "a.zarr/raw", np.zeros(SHAPE, np.uint8), offset_nm=(100.0, 50.0, -20.0))
    values = (np.random.default_rng(0).random((6, 9, 5)) < 0.3).astype(np.uint8)
    values[2:] = 0
    mask = write_volume(tmp_path / "a.zarr/mask", values, voxel_size_nm=voxel_size_nm, offset_nm=(117.0, 40.0, 31.0))
    plan = plan_sweep(Box((2, 4, 6), (18, 24, 30)), network, (8, 8, 8))
    expected = voxel_by_voxel(mask, plan, raw)
    place = plan.result_place(raw.voxel_size_nm, raw.offset_nm)
    np.testing.assert_array_equal(read_mask(mask, plan.result_box(plan.box), *place), expected)
    blocks = [box for box in plan.write_boxes if expected[plan.result_box(box).slices].any()]
    found = wanted_blocks(mask, plan, raw)
    assert 0 < len(blocks) < len(plan.write_boxes)
    assert found == blocks
    part = Box((3, 4, 5), (9, 8, 11))
    np.testing.assert_array_equal(read_mask(mask, part, *place), expected[part.slices])


def test_a_mask_elsewhere_wants_nothing(tmp_path: Path) -> None:
    raw = write_volume(tmp_path / "a.zarr/raw", np.zeros(SHAPE, np.uint8))
    mask = write_volume(tmp_path / "a.zarr/mask", np.ones((4, 4, 4), np.uint8), offset_nm=(1e5, 0.0, 0.0))
    plan = plan_sweep(raw.box, NETWORK, (16, 16, 16))
    assert wanted_blocks(mask, plan, raw) == []
    assert not read_mask(mask, raw.box, raw.voxel_size_nm, raw.offset_nm).any()
