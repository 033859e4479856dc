"""Which voxels are predicted together: the plan of a sweep, made before anything runs.

A sweep covers a box with write boxes, each voxel in exactly one. For a write box the network needs its tile: the
write box, grown by the context, begun at a multiple of the network's stride (counted from the volume's first
voxel, so that a voxel's value does not depend on which box was asked for) and grown to a size that fits. All tiles
of a sweep have one shape, so one program is compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, lcm

from asem_jax.models.shapes import PoolFactors, context, output_shape, stride, valid_input_shape
from asem_jax.volumes.geometry import Box, Int3, int3, tiles

CHUNK = 64  # voxels per axis of a stored chunk of a prediction
BYTES_PER_VOXEL_AND_MAP = 16  # of float32 activations alive at once, an estimate


@dataclass(frozen=True)
class Plan:
    """A sweep over a box.

    Attributes:
      box: what is predicted, in voxels of raw.
      write_shape: voxels written per block, z y x; less at the end of the box.
      tile_shape: voxels of raw that the network is given per block.
      output_shape: voxels that the network returns per block.
      lead: voxels at the start of the network's output that come before the write box.
      context: voxels of raw that the network consumes on each side.
    """

    box: Box
    write_shape: Int3
    tile_shape: Int3
    output_shape: Int3
    lead: Int3
    context: Int3

    @property
    def write_boxes(self) -> list[Box]:
        """The blocks, in voxels of raw, in the order of the ledger's numbers."""
        return list(tiles(self.box, self.write_shape))

    @property
    def chunk_shape(self) -> Int3:
        """Chunk of the stored result: no chunk is shared by two blocks."""
        return _chunk_shape(self.write_shape)

    def tile_box(self, write_box: Box) -> Box:
        """Returns the voxels of raw that the network needs for a write box; may leave the volume."""
        starts = zip(write_box.start, self.lead, self.context, strict=True)
        return Box.of_shape(self.tile_shape, [a - lead - c for a, lead, c in starts])


def plan_sweep(box: Box, pool_factors: PoolFactors, write_shape: Sequence[int]) -> Plan:
    """Returns the plan for blocks of a given shape.

    Args:
      box: what to predict, in voxels of raw.
      pool_factors: of the network, finest first, each z y x.
      write_shape: voxels written per block, z y x; where an axis needs several blocks, a multiple of the stride.

    Raises:
      ValueError: `write_shape` is no multiple of the stride.
    """
    step, margin, sides = stride(pool_factors), context(pool_factors), int3(write_shape, "write_shape")
    if any(side % s and side < n for side, s, n in zip(sides, step, box.shape, strict=True)):
        nearest = [max(s, round(side / s) * s) for side, s in zip(sides, step, strict=True)]
        raise ValueError(
            f"write_shape={sides} would shift tiles by something other than a multiple of the network's stride "
            f"{step}, which leaves seams; nearest: {tuple(nearest)}."
        )
    lead = int3([a % s for a, s in zip(box.start, step, strict=True)], "lead")
    needed = [side + d + 2 * c for side, d, c in zip(sides, lead, margin, strict=True)]
    tile_shape = valid_input_shape(needed, pool_factors)
    return Plan(box, sides, tile_shape, output_shape(tile_shape, pool_factors), lead, margin)


def choose_write_shape(box: Box, pool_factors: PoolFactors, num_maps: int, max_bytes: float) -> Int3:
    """Returns the block shape that wastes least on context within the memory at hand.

    Starts with the whole box as one block and halves, thirds ... the longest side of the tile until it fits.

    Args:
      box: what to predict, in voxels of raw.
      pool_factors: of the network.
      num_maps: maps of the network's finest level.
      max_bytes: memory for activations.

    Raises:
      ValueError: not even the smallest tile fits.

    Example:
      >>> choose_write_shape(Box.of_shape((100, 100, 700)), ((2, 2, 2),) * 2, num_maps=8, max_bytes=2e9)
      (100, 100, 700)
    """
    blocks = [1, 1, 1]
    while True:
        sides = _sides(box, pool_factors, blocks)
        tile = plan_sweep(box, pool_factors, sides).tile_shape
        num_bytes = BYTES_PER_VOXEL_AND_MAP * num_maps * tile[0] * tile[1] * tile[2]
        if num_bytes <= max_bytes:
            return sides
        axis = max((a for a in range(3)), key=lambda a: (sides[a] > CHUNK, tile[a]))
        if sides[axis] <= CHUNK:
            raise ValueError(
                f"max_bytes={max_bytes:.3g} holds no tile of this network: the smallest, {tile}, needs "
                f"{num_bytes:.3g}; give more memory, or blocks below {CHUNK} voxels by write_shape."
            )
        while _sides(box, pool_factors, blocks)[axis] == sides[axis]:
            blocks[axis] += 1


def _sides(box: Box, pool_factors: PoolFactors, blocks: Sequence[int]) -> Int3:
    """Write shape for a number of blocks per axis: whole chunks and strides where an axis has several."""
    sides = []
    for extent, step, number in zip(box.shape, stride(pool_factors), blocks, strict=True):
        unit = step if number == 1 else lcm(step, CHUNK)
        sides.append(ceil(ceil(extent / number) / unit) * unit)
    return int3(sides, "write_shape")


def _chunk_shape(write_shape: Int3) -> Int3:
    return int3([CHUNK if side % CHUNK == 0 else side for side in write_shape], "chunk_shape")
