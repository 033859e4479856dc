"""Masks of cells: found in a simulated one, the same in any blocks and after a crash, empty margins, messages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asem_jax.segmentation.cell_mask import CellRule, best_level, grown, texture_levels, write_cell_mask
from asem_jax.simulation import simulate_block
from asem_jax.simulation.surfaces import Surface, level, site
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume, create_volume
from tests.phantoms import write_volume
from tests.simulation.cells import CELLS

Array = npt.NDArray[Any]
RULE = CellRule(texture_nm=60.0, threshold=None, min_um3=None, max_hole_um3=None, margin_nm=0.0)
RAW_NM = 20.0


@pytest.fixture(scope="module")
def cell() -> tuple[Array, Array]:
    """Raw of a whole cell of two micrometres in resin, and how far each voxel is from its membrane, nm."""
    cells = replace(CELLS, voxel_size_nm=(RAW_NM,) * 3)
    shape = (130, 130, 130)
    places = np.stack(np.meshgrid(*(np.arange(n) * RAW_NM for n in shape), indexing="ij"), -1).reshape(-1, 3)
    distance = level(cells, Surface.PLASMA, site(cells, (0, 0, 0)), places).reshape(shape)
    return simulate_block(cells, Box.of_shape(shape)).raw, distance


def noise(shape: tuple[int, int, int], seed: int = 0, contrast: float = 0.0) -> Array:
    """Returns resin with noise; with `contrast`, a smooth-edged ball of texture in its middle."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (places**2).sum(0) < 0.3
    return np.clip(150 + rng.normal(0, 2, shape) + inside * rng.normal(0, contrast, shape), 1, 254).astype(np.uint8)


def mask_of(folder: Path, raw: Volume, rule: CellRule, *, size_nm: float, chunk: int = 16, block: int = 32) -> Array:
    """Returns the mask of a volume."""
    factor = round(size_nm / raw.voxel_size_nm[0])
    place: dict[str, Any] = {
        "shape": [-(-n // factor) for n in raw.shape],
        "voxel_size_nm": (size_nm,) * 3,
        "chunk_shape": (chunk,) * 3,
    }

    def make(name: str, dtype: np.dtype[Any]) -> Volume:
        return create_volume(f"{folder}/steps.zarr/{name}", dtype=dtype, **place)

    target = create_volume(f"{folder}/cell.zarr/mask", dtype=bool, **place)
    job = BlockJob(folder / "job", (block,) * 3, 2, {})
    write_cell_mask(raw, target, make, rule=rule, job=job)
    return target.read(target.box)


def test_a_simulated_cell_is_found_and_its_rim_is_where_the_window_puts_it(
    tmp_path: Path, cell: tuple[Array, Array]
) -> None:
    grey, distance = cell
    raw = write_volume(tmp_path / "cell.zarr/raw", grey, voxel_size_nm=(RAW_NM,) * 3)
    wide = mask_of(tmp_path / "wide", raw, RULE, size_nm=40.0)
    coarse = distance.reshape(65, 2, 65, 2, 65, 2).mean((1, 3, 5))
    assert wide[coarse < 0].all()  # holes, nucleus and all
    assert not wide[coarse > 200].any()
    tight = mask_of(tmp_path / "tight", raw, replace(RULE, margin_nm=-140.0), size_nm=40.0)
    inside = coarse < 0
    f1 = 2 * (tight & inside).sum() / (tight.sum() + inside.sum())
    assert f1 > 0.97
    margin = mask_of(tmp_path / "margin", raw, replace(RULE, margin_nm=160.0), size_nm=40.0)
    assert margin[coarse < 200].all() and margin.sum() > wide.sum()


def test_blocks_of_any_shape_give_one_mask(tmp_path: Path) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", noise((46, 50, 41), contrast=30.0), voxel_size_nm=(8, 8, 8))
    rule = replace(RULE, texture_nm=12.0, margin_nm=20.0)
    small, large = (mask_of(tmp_path / f"{n}", raw, rule, size_nm=8.0, chunk=n, block=2 * n) for n in (12, 40))
    assert 0.05 < large.mean() < 0.6
    np.testing.assert_array_equal(small, large)


def test_only_pieces_that_are_large_enough_stay_and_their_holes_go(tmp_path: Path) -> None:
    grey = np.full((40, 40, 60), 150, np.uint8)
    rng = np.random.default_rng(0)
    for start, stop in (((4, 4, 4), (36, 36, 36)), ((10, 10, 46), (20, 20, 56))):
        box = Box(start, stop)
        grey[box.slices] = rng.integers(100, 200, box.shape)
    grey[17:23, 17:23, 17:23] = 150  # smooth, inside
    raw = write_volume(tmp_path / "cell.zarr/raw", grey, voxel_size_nm=(10, 10, 10))
    rule = replace(RULE, texture_nm=10.0, threshold=5.0)
    largest = mask_of(tmp_path / "largest", raw, rule, size_nm=10.0)
    assert largest[20, 20, 20] and not largest[15, 15, 51]
    both = mask_of(tmp_path / "both", raw, replace(rule, min_um3=1e-3, max_hole_um3=1e-6), size_nm=10.0)
    assert both[15, 15, 51] and not both[20, 20, 20]
    with pytest.raises(ValueError, match=r"texture: no voxel varies by 9\d\.\d grey values, the threshold; give a low"):
        mask_of(tmp_path / "none", raw, replace(rule, threshold=90.0), size_nm=10.0)


def test_killed_between_blocks_it_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", noise((40, 40, 40), contrast=30.0), voxel_size_nm=(8, 8, 8))
    rule = replace(RULE, texture_nm=12.0, margin_nm=-8.0)
    whole = mask_of(tmp_path / "whole", raw, rule, size_nm=8.0)
    write, written = Volume.write, []

    def fail_later(volume: Volume, box: Box, array: Array) -> None:
        written.append(box)
        if len(written) in (5, 30, 40):
            raise KeyboardInterrupt
        write(volume, box, array)

    monkeypatch.setattr(Volume, "write", fail_later)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            mask_of(tmp_path / "killed", raw, rule, size_nm=8.0)
    np.testing.assert_array_equal(mask_of(tmp_path / "killed", raw, rule, size_nm=8.0), whole)


def test_empty_margins_and_their_edges_have_no_texture() -> None:
    grey = noise((30, 30, 30))
    plain = texture_levels(grey, (2.0, 2.0, 2.0))
    grey[:, :, :10], grey[:10] = 0, 255
    levels = texture_levels(grey, (2.0, 2.0, 2.0))
    assert levels.max() <= plain.max() + 8
    assert not levels[:, :, :4].any()


def test_texture_is_the_standard_deviation_of_grey_values() -> None:
    grey = np.random.default_rng(0).normal(120, 15, (40, 40, 40))
    found = texture_levels(grey, (6.0, 6.0, 6.0))
    np.testing.assert_allclose(2 ** (found[20, 20, 20] / 32) - 1, 15, rtol=0.08)


def test_where_all_is_alike_all_that_is_not_empty_is_cell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = noise((30, 30, 30))
    grey[:, :, :12] = 0
    raw = write_volume(tmp_path / "cell.zarr/raw", grey, voxel_size_nm=(8, 8, 8))
    mask = mask_of(tmp_path, raw, replace(RULE, texture_nm=10.0), size_nm=8.0)
    assert mask[:, :, 13:].all() and not mask[:, :, :8].any()
    assert "grey values vary alike everywhere" in caplog.text
    assert best_level(np.bincount([0, 0, 70, 75, 80], minlength=256)) is None
    assert best_level(np.bincount([0] * 5, minlength=256)) is None


def test_growing_and_shrinking_go_as_far_as_stated() -> None:
    mask = np.zeros((1, 1, 12), bool)
    mask[..., 5:9] = True
    assert np.flatnonzero(grown(mask, 9.0, (4.0, 4.0, 4.0))).tolist() == list(range(3, 11))
    assert np.flatnonzero(grown(mask, -4.0, (4.0, 4.0, 4.0))).tolist() == [6, 7]
    assert grown(mask, 0.0, (4.0, 4.0, 4.0)) is mask
    full = np.ones((2, 2, 2), bool)
    assert grown(full, -8.0, (4.0, 4.0, 4.0)).all() and not grown(~full, 8.0, (4.0, 4.0, 4.0)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texture_nm": 0.0}, r"texture_nm=0.0 must be above 0; give a positive number\."),
        ({"threshold": -1.0}, r"threshold=-1.0 must be above 0; .*, or None to have it chosen\."),
        ({"min_um3": 0}, "min_um3=0 must be .* or None for the largest piece alone"),
        ({"max_hole_um3": 0}, "max_hole_um3=0 must be .* or None to fill all holes"),
    ],
)
def test_impossible_rules_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULE, **changes)
