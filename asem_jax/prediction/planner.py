"""Which voxels are predicted together: the plan of a sweep, made before anything runs.

A sweep covers a box with write boxes, each voxel in exactly one. For a write box the network needs its tile: the
write box, grown by the context, begun so that the network's output begins at a multiple of its stride (counted from
the volume's first voxel, so that a voxel's value does not depend on which box was asked for) and grown to a size that
fits. All tiles of a sweep have one shape, so one program is compiled.

A network with padding "same" returns as much as it is given, but sees zeros beyond its input; there the context is how
far they are felt, and what is returned of it is dropped. So no tile border shows, and at the edge of the volume the
network sees raw reflected, where one pass over just the volume would show it zeros.

Boxes are voxels of raw. A network with a final upsampling predicts smaller voxels, `scale` per voxel of raw: results
are on that grid, whose voxels fill those of raw.

Several networks can share a sweep: then a block is read once, as the smallest box that holds the tiles of all of them.
For comparison with what the original program published there is its own tiling, with seams (`plan_snapped`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, lcm, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.models.architecture import Architecture
from asem_jax.models.costs import per_voxel, widths
from asem_jax.models.shapes import context, output_shape, output_start, stride, valid_input_shape
from asem_jax.models.slabs import SLABS, runs_in_slabs
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, nm_from_voxels, tiles

CHUNK = 64  # voxels per axis of a stored chunk of a prediction, or the multiple of the stride that is nearest to it
BYTES_PER_VOXEL_AND_MAP = 16  # of float32 activations alive at once, an estimate; `memory` asks the compiler


@dataclass(frozen=True)
class Plan:
    """A sweep over a box.

    Attributes:
      box: what is predicted, in voxels of raw.
      write_shape: voxels of raw whose prediction is written per block, z y x; less at the end of the box.
      tile_shape: voxels of raw that the network is given per block.
      output_shape: voxels, on the grid of the result, that the network returns per block.
      lead: voxels of raw between the context at the begin of a tile and its write box.
      context: voxels of raw that the network needs on each side.
      skipped: voxels of the network's output that come before the write box, z y x, on the grid of the result.
      scale: voxels of the result per voxel of raw, z y x.
      chunk_shape: of the stored result, in its voxels; no chunk is shared by two blocks unless `snapped`.
      rim: voxels of raw at the ends of the box that are left unpredicted.
      snapped: whether the last block of an axis is moved back instead of cut, as the original program does.
    """

    box: Box
    write_shape: Int3
    tile_shape: Int3
    output_shape: Int3
    lead: Int3
    context: Int3
    skipped: Int3
    scale: Int3
    chunk_shape: Int3
    rim: Int3 = (0, 0, 0)
    snapped: bool = False

    @property
    def write_boxes(self) -> Sequence[Box]:
        """The blocks, in voxels of raw, in the order of the ledger's numbers."""
        if not self.snapped:
            return tiles(self.box, self.write_shape)
        core = self.box.grow([-r for r in self.rim])
        axes = [_snapped(*axis) for axis in zip(core.start, core.stop, self.write_shape, strict=True)]
        return [Box((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in product(*axes)]

    @property
    def kept(self) -> Box:
        """What of the network's output belongs to a write box of full size."""
        return Box.of_shape(scaled(Box.of_shape(self.write_shape), self.scale).shape, self.skipped)

    def tile_box(self, write_box: Box) -> Box:
        """Returns the voxels of raw that the network needs for a write box; may leave the volume."""
        starts = zip(write_box.start, self.lead, self.context, strict=True)
        return Box.of_shape(self.tile_shape, [a - lead - c for a, lead, c in starts])

    def result_box(self, write_box: Box) -> Box:
        """Returns where the prediction of a write box lies in the result, which begins where `box` does."""
        return scaled(write_box.shift([-a for a in self.box.start]), self.scale)

    def result_place(self, voxel_size_nm: Float3, offset_nm: Float3) -> tuple[Float3, Float3]:
        """Returns voxel size and offset of the result, in nm z y x.

        Args:
          voxel_size_nm: of raw.
          offset_nm: of raw, the centre of its first voxel.
        """
        size = float3([s / r for s, r in zip(voxel_size_nm, self.scale, strict=True)], "voxel_size_nm")
        # Centres of the first of r voxels in a row that fill one of raw, counted in voxels of raw.
        first = [a - 0.5 + 0.5 / r for a, r in zip(self.box.start, self.scale, strict=True)]
        return size, nm_from_voxels(first, voxel_size_nm, offset_nm)


@dataclass(frozen=True)
class SharedPlan:
    """Sweeps of several networks over one box, block by block together; or of one network alone.

    Attributes:
      plans: one per network, with one box and one write shape.
    """

    plans: tuple[Plan, ...]

    @property
    def box(self) -> Box:
        """What is predicted, in voxels of raw."""
        return self.plans[0].box

    @property
    def write_shape(self) -> Int3:
        """Voxels of raw whose prediction is written per block, z y x; less at the end of the box."""
        return self.plans[0].write_shape

    @property
    def write_boxes(self) -> Sequence[Box]:
        """The blocks, in voxels of raw, in the order of the ledger's numbers."""
        return self.plans[0].write_boxes

    @property
    def read_shape(self) -> Int3:
        """Voxels of raw that are read per block, z y x."""
        return self.read_box(Box.of_shape(self.write_shape)).shape

    def read_box(self, write_box: Box) -> Box:
        """Returns the voxels of raw that the networks need for a write box; may leave the volume."""
        parts = [plan.tile_box(write_box) for plan in self.plans]
        start = int3([min(axis) for axis in zip(*(part.start for part in parts), strict=True)], "start")
        return Box(start, int3([max(axis) for axis in zip(*(part.stop for part in parts), strict=True)], "stop"))

    @property
    def cuts(self) -> tuple[Box, ...]:
        """Where the tile of each network lies in what is read."""
        block = Box.of_shape(self.write_shape)
        back = [-a for a in self.read_box(block).start]
        return tuple(plan.tile_box(block).shift(back) for plan in self.plans)


def scaled(box: Box, scale: Int3) -> Box:
    """Returns a box in voxels that are `scale` times smaller, z y x.

    Example:
      >>> scaled(Box((0, 1, 2), (1, 3, 4)), (2, 2, 1))
      Box(start=(0, 2, 2), stop=(2, 6, 4))
    """
    ends = [[a * r for a, r in zip(end, scale, strict=True)] for end in (box.start, box.stop)]
    return Box(int3(ends[0], "start"), int3(ends[1], "stop"))


def plan_sweep(box: Box, architecture: Architecture, write_shape: Sequence[int]) -> Plan:
    """Returns the plan for blocks of a given shape.

    Args:
      box: what to predict, in voxels of raw.
      architecture: of the network.
      write_shape: voxels of raw per block, z y x; where an axis needs several blocks, a multiple of the stride.

    Raises:
      ValueError: `write_shape` is no multiple of the stride.
    """
    step, margin, sides = stride(architecture), context(architecture), int3(write_shape, "write_shape")
    if any(side % s and side < n for side, s, n in zip(sides, step, box.shape, strict=True)):
        nearest = [max(s, round(side / s) * s) for side, s in zip(sides, step, strict=True)]
        raise ValueError(
            f"write_shape={sides} would shift tiles by something other than a multiple of the network's stride "
            f"{step}, which leaves seams; nearest: {tuple(nearest)}."
        )
    scale, start, lead = architecture.final_factor, output_start(architecture), _lead(box, architecture)
    needed = [side + d + 2 * c for side, d, c in zip(sides, lead, margin, strict=True)]
    tile_shape = valid_input_shape(needed, architecture)
    skipped = [(d + c) * r - a for d, c, r, a in zip(lead, margin, scale, start, strict=True)]
    chunks = zip(sides, _units(step, scale), scale, strict=True)
    return Plan(
        box,
        write_shape=sides,
        tile_shape=tile_shape,
        output_shape=output_shape(tile_shape, architecture),
        lead=lead,
        context=margin,
        skipped=int3(skipped, "skipped"),
        scale=scale,
        chunk_shape=int3([_chunk(side, unit) * r for side, unit, r in chunks], "chunk_shape"),
    )


def _lead(box: Box, architecture: Architecture) -> Int3:
    """Returns what a tile has between its context and the write box, so that the output begins at whole strides."""
    pairs = zip(output_start(architecture), architecture.final_factor, strict=True)
    begins = [ceil(o / r) for o, r in pairs]  # of the output behind that of the tile
    axes = zip(box.start, begins, context(architecture), stride(architecture), strict=True)
    return int3([(a + b - c) % s for a, b, c, s in axes], "lead")


def plan_shared(box: Box, architectures: Sequence[Architecture], write_shape: Sequence[int]) -> SharedPlan:
    """Returns the plans of several networks over one box; arguments and errors as for `plan_sweep`."""
    return SharedPlan(tuple(plan_sweep(box, architecture, write_shape) for architecture in architectures))


def plan_snapped(box: Box, architecture: Architecture, write_shape: Sequence[int]) -> Plan:
    """Returns the plan by which the original program predicts, for comparison with what it published.

    Blocks follow each other at a distance that is no multiple of the network's stride, and the last of an axis is moved
    back so that it ends with the box: where two of them meet is a seam. As many voxels as the context at the ends of
    the box are not predicted, so nothing is read from beyond it.

    Args:
      box: what to predict, in voxels of raw.
      architecture: of the network; its convolutions take no padding, and its voxels are those of raw.
      write_shape: voxels z y x that the network returns for a tile; (110, 110, 110) for a tile of 204 in the original.

    Raises:
      ValueError: the network never returns `write_shape`, or the box less its rim is smaller.

    Source: gunpowder's Scan node, as incasem's PredictionBaseline uses it.
    """
    sides, margin = int3(write_shape, "write_shape"), context(architecture)
    tile_shape = valid_input_shape([side + 2 * c for side, c in zip(sides, margin, strict=True)], architecture)
    returned = output_shape(tile_shape, architecture)
    if returned != sides or output_start(architecture) != margin:
        raise ValueError(
            f"write_shape={sides} is not what this network returns for a tile (nearest {returned}), as the original's "
            "tiling needs; give another, or use tiling='seamless'."
        )
    if any(n - 2 * c < side for n, c, side in zip(box.shape, margin, sides, strict=True)):
        least = tuple(side + 2 * c for side, c in zip(sides, margin, strict=True))
        raise ValueError(
            f"a box of {box.shape} voxels holds no tile of the original's tiling, {least}; give a larger box, or use "
            "tiling='seamless'."
        )
    nothing = (0, 0, 0)
    return Plan(
        box,
        write_shape=sides,
        tile_shape=tile_shape,
        output_shape=returned,
        lead=nothing,
        context=margin,
        skipped=nothing,
        scale=(1, 1, 1),
        chunk_shape=(CHUNK, CHUNK, CHUNK),
        rim=margin,
        snapped=True,
    )


def _snapped(start: int, stop: int, side: int) -> list[tuple[int, int]]:
    """Returns what each block of an axis writes: up to the next, which overwrites what it shares with this one."""
    starts = [*range(start, stop - side, side), stop - side]
    return list(zip(starts, [*starts[1:], stop], strict=True))


def choose_write_shape(box: Box, architectures: Sequence[Architecture], max_bytes: float) -> Int3:
    """Returns the block shape with the least arithmetic in all, among those that fit the memory at hand.

    Large blocks have little context, but what sticks out of the box at its end is computed for nothing: both count.

    Args:
      box: what to predict, in voxels of raw.
      architectures: of the networks that share the sweep.
      max_bytes: memory for activations, compared with `activation_bytes`.

    Raises:
      ValueError: not even the smallest tile fits.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> network = asem(num_maps=8, pool_factors=((2, 2, 2), (2, 2, 2)))
      >>> choose_write_shape(Box.of_shape((100, 100, 700)), [network], max_bytes=2e9)
      (100, 100, 700)
    """
    steps = int3([lcm(*axis) for axis in zip(*map(stride, architectures), strict=True)], "stride")
    finest = zip(*(architecture.final_factor for architecture in architectures), strict=True)
    units = _units(steps, int3([max(axis) for axis in finest], "scale"))
    sides = [_candidates(*axis) for axis in zip(box.shape, steps, units, strict=True)]
    each = [_candidate_costs(box, architecture, sides) for architecture in architectures]
    needed = np.max([num_bytes for _, num_bytes in each], axis=0)
    if needed.min() > max_bytes:
        smallest = int3([axis[np.argmin(axis)] for axis in sides], "write_shape")
        tile = plan_shared(box, architectures, smallest).read_shape
        raise ValueError(
            f"max_bytes={max_bytes:.3g} holds no tile of this network: the smallest, {tile}, needs "
            f"{needed.min():.3g}; give more memory, or blocks smaller than {units} voxels by write_shape."
        )
    numbers = [np.array([ceil(n / side) for side in axis]) for n, axis in zip(box.shape, sides, strict=True)]
    work = sum(cost for cost, _ in each) * _outer(*numbers)
    best = np.unravel_index(np.argmin(np.where(needed <= max_bytes, work, np.inf)), work.shape)
    return int3([axis[place] for axis, place in zip(sides, best, strict=True)], "write_shape")


def _candidates(extent: int, step: int, unit: int) -> list[int]:
    """Returns sides of blocks for an axis: all of it, or parts that are whole strides and whole chunks near `unit`."""
    found, number = [ceil(extent / step) * step], 2
    while ceil(extent / number) > unit:
        side = ceil(ceil(extent / number) / step) * step
        found += [side] if 0.75 * unit <= _chunk(side, unit) <= 1.5 * unit else []
        number = max(number + 1, round(1.1 * number))
    return sorted({*found, min(unit, found[0])})


def _candidate_costs(
    box: Box, architecture: Architecture, sides: Sequence[Sequence[int]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns multiplications and activation bytes of one tile, for all combinations of sides, `[z, y, x]`."""
    margin, lead = context(architecture), _lead(box, architecture)
    tile_sides = [
        [valid_input_shape([side + lead[axis] + 2 * margin[axis]] * 3, architecture)[axis] for side in candidates]
        for axis, candidates in enumerate(sides)
    ]
    axes = [widths(tile, architecture, axis) for axis, tile in enumerate(tile_sides)]
    work = np.einsum("c,ic,jc,kc->ijk", per_voxel(architecture), *axes)
    outputs = [axis[:, -1] for axis in axes]
    return work, _activation_bytes(architecture, [np.array(tile) for tile in tile_sides], outputs)


def _outer(z: npt.NDArray[Any], y: npt.NDArray[Any], x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = z[:, None, None] * y[:, None] * x
    return found


def activation_bytes(plan: SharedPlan, architectures: Sequence[Architecture]) -> float:
    """Estimates the memory of one block, in which the networks follow each other, without compiling anything."""

    def of(part: Plan, architecture: Architecture) -> float:
        tile, output = ([np.array([n]) for n in shape] for shape in (part.tile_shape, part.output_shape))
        return float(_activation_bytes(architecture, tile, output)[0, 0, 0])

    return max(of(*pair) for pair in zip(plan.plans, architectures, strict=True))


def _activation_bytes(
    architecture: Architecture, tile: Sequence[npt.NDArray[Any]], output: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """Estimates the memory of tiles from the largest maps on their way: a level's, or those on a finer grid.

    Of the finest level only what its decoder joins is whole, see `models.slabs`.
    """
    levels, cells = [float(architecture.encoder_maps[0])], 1
    for factor, maps in zip(architecture.pool_factors, architecture.encoder_maps[1:], strict=True):
        cells *= prod(factor)
        levels.append(maps / cells)
    final = architecture.final_upsampling
    scale = prod(architecture.final_factor)
    last = max(architecture.decoder_maps[0] / scale, final.num_maps if final else 0)
    voxels, returned = _outer(*tile), _outer(*output)
    if not runs_in_slabs(architecture):
        return BYTES_PER_VOXEL_AND_MAP * np.maximum(max(levels) * voxels, last * returned)
    joined = levels[0] * _outer(tile[0], output[1], output[2])
    return BYTES_PER_VOXEL_AND_MAP * (max([levels[0] / SLABS, *levels[1:]]) * voxels + joined / 4)


def _units(steps: Int3, scale: Int3) -> Int3:
    """Voxels of raw, z y x, whose prediction fills a chunk: so many strides that it has about `CHUNK` voxels."""
    axes = zip(steps, scale, strict=True)
    return int3([max(1, round(CHUNK / (step * factor))) * step for step, factor in axes], "chunk")


def _chunk(side: int, unit: int) -> int:
    """Returns voxels of raw per chunk of an axis: of what divides the block, so that blocks share none, about `unit`.

    Best are 2, 4 ... chunks: then blocks fill chunks of coarser levels too.
    """
    divisors = [n for n in range(1, side + 1) if side % n == 0]
    nearest = sorted(divisors, key=lambda n: max(n / unit, unit / n))
    near = [n for n in nearest if 0.75 * unit <= n <= 1.5 * unit] or nearest[:1]
    return max(near, key=lambda n: _twos(side // n))


def _twos(number: int) -> int:
    """Returns how often a number can be halved."""
    return (number & -number).bit_length() - 1
