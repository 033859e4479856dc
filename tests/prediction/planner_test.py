"""Plans: blocks cover the box once, tiles hold what they need, sizes fit chunks, stride and memory."""

import pytest

from asem_jax.models.shapes import stride
from asem_jax.prediction.planner import BYTES_PER_VOXEL_AND_MAP, choose_write_shape, plan_sweep
from asem_jax.volumes.geometry import Box

POOLS = ((2, 2, 2),) * 2


@pytest.mark.parametrize("start", [(0, 0, 0), (3, 5, 2)])
@pytest.mark.parametrize("write_shape", [(64, 64, 64), (20, 24, 64), (60, 100, 72)])
def test_blocks_cover_the_box_once(start: tuple[int, int, int], write_shape: tuple[int, int, int]) -> None:
    box = Box.of_shape((60, 100, 70), start)
    plan = plan_sweep(box, POOLS, write_shape)
    assert sum(b.num_voxels for b in plan.write_boxes) == box.num_voxels
    assert len(set(plan.write_boxes)) == len(plan.write_boxes)
    assert all(box.contains(b) for b in plan.write_boxes)


def test_every_tile_has_one_shape_and_one_phase_and_holds_what_its_block_needs() -> None:
    plan = plan_sweep(Box((3, 5, 2), (200, 90, 70)), POOLS, (64, 48, 20))
    for block in plan.write_boxes:
        tile = plan.tile_box(block)
        assert tile.shape == plan.tile_shape
        assert tile.contains(block.grow(plan.context))
        starts = zip(tile.start, plan.context, stride(POOLS), strict=True)
        assert all((a + c) % s == 0 for a, c, s in starts)
    needed = [w + d for w, d in zip(plan.write_shape, plan.lead, strict=True)]
    assert all(n <= o for n, o in zip(needed, plan.output_shape, strict=True))


def test_no_chunk_is_shared_by_two_blocks() -> None:
    for shape in ((64, 128, 192), (20, 24, 64), (100, 100, 700)):
        plan = plan_sweep(Box.of_shape((300, 300, 800)), POOLS, shape)
        assert all(w % c == 0 for w, c in zip(plan.write_shape, plan.chunk_shape, strict=True))


@pytest.mark.parametrize("max_bytes", [4e8, 1e9, 8e9])  # the tile of one chunk needs 3.2e8
def test_more_memory_means_larger_blocks_and_less_context(max_bytes: float) -> None:
    box = Box.of_shape((500, 700, 900))
    shape = choose_write_shape(box, POOLS, num_maps=16, max_bytes=max_bytes)
    tile = plan_sweep(box, POOLS, shape).tile_shape
    assert tile[0] * tile[1] * tile[2] * 16 * BYTES_PER_VOXEL_AND_MAP <= max_bytes
    wider = choose_write_shape(box, POOLS, num_maps=16, max_bytes=2 * max_bytes)
    assert sum(wider) > sum(shape)


def test_a_small_volume_is_one_block() -> None:
    assert choose_write_shape(Box.of_shape((30, 41, 52)), POOLS, num_maps=4, max_bytes=1e9) == (32, 44, 52)


def test_too_little_memory_is_said_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"max_bytes=1e\+06 holds no tile .* give more memory"):
        choose_write_shape(Box.of_shape((300, 300, 300)), POOLS, num_maps=32, max_bytes=1e6)


def test_blocks_off_the_stride_are_refused() -> None:
    with pytest.raises(ValueError, match=r"write_shape=\(64, 63, 64\).*leaves seams; nearest: \(64, 64, 64\)"):
        plan_sweep(Box.of_shape((100, 100, 100)), POOLS, (64, 63, 64))
