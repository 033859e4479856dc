"""Plans: blocks cover the box once, tiles hold what they need, sizes fit chunks, stride and memory."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from asem_jax.models.architecture import Architecture, FinalUpsampling, asem, cosem_8to4nm
from asem_jax.models.costs import multiplications
from asem_jax.models.shapes import output_start, stride
from asem_jax.prediction.planner import (
    activation_bytes,
    choose_write_shape,
    plan_shared,
    plan_snapped,
    plan_sweep,
)
from asem_jax.volumes.geometry import Box
from tests.phantoms import NARROW_NETWORKS

NETWORK = asem(num_maps=16, pool_factors=((2, 2, 2),) * 2)
FINER = cosem_8to4nm(num_channels=2)


@pytest.mark.parametrize("start", [(0, 0, 0), (3, 5, 2)])
@pytest.mark.parametrize("write_shape", [(64, 64, 64), (20, 24, 64), (60, 100, 72)])
def test_blocks_cover_the_box_once(start: tuple[int, int, int], write_shape: tuple[int, int, int]) -> None:
    box = Box.of_shape((60, 100, 70), start)
    plan = plan_sweep(box, NETWORK, write_shape)
    assert sum(b.num_voxels for b in plan.write_boxes) == box.num_voxels
    assert len(set(plan.write_boxes)) == len(plan.write_boxes)
    assert all(box.contains(b) for b in plan.write_boxes)


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_every_tile_has_one_shape_and_one_phase_and_holds_what_its_block_needs(name: str) -> None:
    network = NARROW_NETWORKS[name]
    step = stride(network)
    box = Box.of_shape([4 * s + 1 for s in step], (3, 5, 2))
    plan = plan_sweep(box, network, (3 * step[0], 2 * step[1], step[2]))
    assert len(plan.write_boxes) == 2 * 3 * 5
    for block in plan.write_boxes:
        tile = plan.tile_box(block)
        assert tile.shape == plan.tile_shape
        assert tile.contains(block.grow(plan.context))
        # The network's output begins here, and the write box where the plan says behind it.
        begins = [a * r + o for a, r, o in zip(tile.start, plan.scale, output_start(network), strict=True)]
        assert all(b % (s * r) == 0 for b, s, r in zip(begins, step, plan.scale, strict=True))
        assert [b + s for b, s in zip(begins, plan.skipped, strict=True)] == [
            a * r for a, r in zip(block.start, plan.scale, strict=True)
        ]
    needed = [w * r + s for w, r, s in zip(plan.write_shape, plan.scale, plan.skipped, strict=True)]
    assert all(s >= 0 for s in plan.skipped)
    assert all(n <= o for n, o in zip(needed, plan.output_shape, strict=True))


def test_what_zeros_beyond_a_tile_reach_is_not_used() -> None:
    network = replace(NETWORK, padding="same")
    plan = plan_sweep(Box.of_shape((100, 100, 100)), network, (64, 64, 64))
    margins = [
        (first, out - first - w)
        for first, out, w in zip(plan.skipped, plan.output_shape, plan.write_shape, strict=True)
    ]
    assert all(min(margin) >= c for margin, c in zip(margins, plan.context, strict=True))


def test_no_chunk_is_shared_by_two_blocks() -> None:
    for shape in ((64, 128, 192), (20, 24, 64), (100, 100, 700)):
        plan = plan_sweep(Box.of_shape((300, 300, 800)), NETWORK, shape)
        assert all(w % c == 0 for w, c in zip(plan.write_shape, plan.chunk_shape, strict=True))


def test_a_finer_result_has_chunks_of_its_own_and_lies_where_raw_does() -> None:
    box = Box((2, 0, 5), (900, 800, 700))
    plan = plan_sweep(box, FINER, (72, 36, 72))
    assert plan.chunk_shape == (72, 72, 72)  # whole strides of 18 voxels of raw
    assert all(w * 2 % c == 0 for w, c in zip(plan.write_shape, plan.chunk_shape, strict=True))
    assert plan.result_box(Box((4, 6, 8), (5, 8, 9))) == Box((4, 12, 6), (6, 16, 8))
    size, offset = plan.result_place((8.0, 8.0, 10.0), (100.0, 0.0, 0.0))
    assert size == (4.0, 4.0, 5.0)
    # Voxel 2 of raw fills 112 to 120 nm, the first of the result its first half.
    np.testing.assert_allclose(offset, (114.0, -2.0, 47.5))


def work_of(box: Box, write_shape: tuple[int, int, int]) -> float:
    """Returns the multiplications of a sweep in all."""
    plan = plan_sweep(box, NETWORK, write_shape)
    return len(plan.write_boxes) * multiplications(plan.tile_shape, NETWORK)


@pytest.mark.parametrize("max_bytes", [2e8, 1e9, 8e9])  # the tile of one chunk needs 1e8
def test_more_memory_means_larger_blocks_and_less_work(max_bytes: float) -> None:
    box = Box.of_shape((500, 700, 900))
    shape = choose_write_shape(box, [NETWORK], max_bytes=max_bytes)
    plan = plan_shared(box, [NETWORK], shape)
    assert activation_bytes(plan, [NETWORK]) <= max_bytes
    assert all(32 <= n <= 96 for n in plan.plans[0].chunk_shape)
    wider = choose_write_shape(box, [NETWORK], max_bytes=2 * max_bytes)
    assert work_of(box, wider) < work_of(box, shape)


def test_no_block_shape_near_the_chosen_one_takes_less_work() -> None:
    box, limit = Box.of_shape((220, 220, 220)), 5e8
    chosen = choose_write_shape(box, [NETWORK], max_bytes=limit)
    for sides in product((64, 76, 88, 112, 152, 220), repeat=3):
        if activation_bytes(plan_shared(box, [NETWORK], sides), [NETWORK]) <= limit:
            assert work_of(box, chosen) <= work_of(box, sides)
    assert all(len(range(0, n, side)) * side - n < 12 for n, side in zip(box.shape, chosen, strict=True))


def test_a_small_volume_is_one_block() -> None:
    assert choose_write_shape(Box.of_shape((30, 41, 52)), [NETWORK], max_bytes=1e9) == (32, 44, 52)


def test_maps_that_are_wider_below_or_on_a_finer_grid_count_for_the_memory() -> None:
    box = Box.of_shape((64, 64, 64))

    def bytes_needed(network: Architecture) -> float:
        with pytest.raises(ValueError, match="holds no tile") as caught:
            choose_write_shape(box, [network], max_bytes=1.0)
        return float(str(caught.value).split("needs ")[1].split(";")[0])

    tile = plan_sweep(box, NETWORK, (64, 64, 64)).tile_shape
    joined = 4 * 16 * tile[0] * 64 * 64  # bytes of the map that is left of the finest level
    assert bytes_needed(NETWORK) == pytest.approx(16 * 4 * tile[0] ** 3 + joined, rel=0.05)
    grown = replace(NETWORK, encoder_maps=(16, 640, 64), upsampled_maps=(32, 64))
    assert bytes_needed(grown) == pytest.approx(16 * 80 * tile[0] ** 3 + joined, rel=0.05)
    assert bytes_needed(replace(NETWORK, padding="same")) > 2 * bytes_needed(NETWORK)
    finer = replace(FINER, final_upsampling=FinalUpsampling((2, 2, 2), 720, (3, 3, 3)))
    final = plan_sweep(box, finer, (36, 36, 36))  # the smallest with several blocks: two strides
    assert bytes_needed(finer) == pytest.approx(16 * 720 * final.output_shape[0] ** 3, rel=0.01)


def test_too_little_memory_is_said_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"max_bytes=1e\+06 holds no tile .* give more memory"):
        choose_write_shape(Box.of_shape((300, 300, 300)), [NETWORK], max_bytes=1e6)


def test_the_original_tiling_moves_the_last_block_back() -> None:
    plan = plan_snapped(Box.of_shape((220, 204, 334), (17, 0, 240)), asem(num_maps=3), (110, 110, 110))
    assert plan.tile_shape == (204, 204, 204)
    starts = [sorted({box.start[axis] for box in plan.write_boxes}) for axis in range(3)]
    assert starts == [[64, 80], [47], [287, 397, 417]]
    covered = np.zeros(plan.box.shape, int)
    for box in plan.write_boxes:
        covered[plan.result_box(box).slices] += 1
        tile = plan.tile_box(box)
        assert plan.box.contains(tile)
        assert tile == Box.of_shape((204, 204, 204), [a - 47 for a in box.start])
    inside = covered[47:-47, 47:-47, 47:-47]
    assert inside.min() == inside.max() == 1
    assert covered.sum() == inside.size
    with pytest.raises(ValueError, match=r"write_shape=\(111, 110, 110\) is not what .*nearest \(118, 110, 110\)"):
        plan_snapped(plan.box, asem(num_maps=3), (111, 110, 110))
    with pytest.raises(
        ValueError, match=r"a box of \(203, 204, 204\) voxels holds no tile .*\(204, 204, 204\); give a"
    ):
        plan_snapped(Box.of_shape((203, 204, 204)), asem(num_maps=3), (110, 110, 110))


def test_networks_that_share_a_sweep_find_their_tiles_in_what_is_read() -> None:
    box = Box((3, 5, 2), (200, 210, 220))
    deeper = asem(num_maps=4, pool_factors=((2, 2, 2),) * 3)
    sides = choose_write_shape(box, [NETWORK, FINER, deeper], 2e10)
    assert all(side % (8 * 9) == 0 or side >= n for side, n in zip(sides, box.shape, strict=True))
    plan = plan_shared(box, [NETWORK, FINER, deeper], (72, 72, 72))
    for block in plan.write_boxes:
        read = plan.read_box(block)
        assert read.shape == plan.read_shape
        for part, cut in zip(plan.plans, plan.cuts, strict=True):
            assert cut.shift(read.start) == part.tile_box(block)


def test_blocks_off_the_stride_are_refused() -> None:
    with pytest.raises(ValueError, match=r"write_shape=\(64, 63, 64\).*leaves seams; nearest: \(64, 64, 64\)"):
        plan_sweep(Box.of_shape((100, 100, 100)), NETWORK, (64, 63, 64))
