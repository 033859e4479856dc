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
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from asem_jax.models.architecture import Architecture
from asem_jax.models.shapes import context, output_shape, output_start, stride, valid_input_shape
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, nm_from_voxels, tiles

CHUNK = 64  # voxels per axis of a stored chunk of a prediction, or the multiple of the stride that is nearest to it
BYTES_PER_VOXEL_AND_MAP = 16  # of float32 activations alive at once, an estimate


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
      chunk_shape: of the stored result, in its voxels; no chunk is shared by two blocks.
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

    @property
    def write_boxes(self) -> Sequence[Box]:
        """The blocks, in voxels of raw, in the order of the ledger's numbers."""
        return tiles(self.box, self.write_shape)

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
    scale, start = architecture.final_factor, output_start(architecture)
    begins = [ceil(o / r) for o, r in zip(start, scale, strict=True)]  # of the output behind that of the tile
    axes = zip(box.start, begins, margin, step, strict=True)
    lead = int3([(a + b - c) % s for a, b, c, s in axes], "lead")
    needed = [side + d + 2 * c for side, d, c in zip(sides, lead, margin, strict=True)]
    tile_shape = valid_input_shape(needed, architecture)
    skipped = [(d + c) * r - a for d, c, r, a in zip(lead, margin, scale, start, strict=True)]
    units = zip(sides, _units(architecture), scale, strict=True)
    return Plan(
        box,
        write_shape=sides,
        tile_shape=tile_shape,
        output_shape=output_shape(tile_shape, architecture),
        lead=lead,
        context=margin,
        skipped=int3(skipped, "skipped"),
        scale=scale,
        chunk_shape=int3([(side if side % unit else unit) * r for side, unit, r in units], "chunk_shape"),
    )


def choose_write_shape(box: Box, architecture: Architecture, max_bytes: float) -> Int3:
    """Returns the block shape that wastes least on context within the memory at hand.

    Starts with the whole box as one block and halves, thirds ... the longest side of the tile until it fits.

    Args:
      box: what to predict, in voxels of raw.
      architecture: of the network.
      max_bytes: memory for activations.

    Raises:
      ValueError: not even the smallest tile fits.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> network = asem(num_maps=8, pool_factors=((2, 2, 2), (2, 2, 2)))
      >>> choose_write_shape(Box.of_shape((100, 100, 700)), network, max_bytes=2e9)
      (100, 100, 700)
    """
    blocks, units = [1, 1, 1], _units(architecture)
    while True:
        sides = _sides(box, architecture, blocks)
        plan = plan_sweep(box, architecture, sides)
        num_bytes = _activation_bytes(plan, architecture)
        if num_bytes <= max_bytes:
            return sides
        tile = plan.tile_shape
        axis = max((a for a in range(3)), key=lambda a: (sides[a] > units[a], tile[a]))
        if sides[axis] <= units[axis]:
            raise ValueError(
                f"max_bytes={max_bytes:.3g} holds no tile of this network: the smallest, {tile}, needs "
                f"{num_bytes:.3g}; give more memory, or blocks smaller than {units} voxels by write_shape."
            )
        while _sides(box, architecture, blocks)[axis] == sides[axis]:
            blocks[axis] += 1


def _activation_bytes(plan: Plan, architecture: Architecture) -> float:
    """Estimates the memory of one tile from the largest maps on its way: a level's, or those on a finer grid."""
    levels, cells = [float(architecture.encoder_maps[0])], 1
    for factor, maps in zip(architecture.pool_factors, architecture.encoder_maps[1:], strict=True):
        cells *= prod(factor)
        levels.append(maps / cells)
    final = architecture.final_upsampling
    last = max(architecture.decoder_maps[0] / prod(plan.scale), final.num_maps if final else 0)
    values = max(max(levels) * prod(plan.tile_shape), last * prod(plan.output_shape))
    return BYTES_PER_VOXEL_AND_MAP * values


def _sides(box: Box, architecture: Architecture, blocks: Sequence[int]) -> Int3:
    """Write shape for a number of blocks per axis: whole chunks and strides where an axis has several."""
    sides = []
    axes = zip(box.shape, stride(architecture), _units(architecture), blocks, strict=True)
    for extent, step, chunk, number in axes:
        unit = step if number == 1 else chunk
        sides.append(ceil(ceil(extent / number) / unit) * unit)
    return int3(sides, "write_shape")


def _units(architecture: Architecture) -> Int3:
    """Voxels of raw, z y x, whose prediction fills a chunk: so many strides that it has about `CHUNK` voxels."""
    steps = zip(stride(architecture), architecture.final_factor, strict=True)
    return int3([max(1, round(CHUNK / (step * scale))) * step for step, scale in steps], "chunk")
