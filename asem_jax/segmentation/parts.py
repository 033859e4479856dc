"""What a volume consists of, as a table: the number, size and first voxel of each part.

Parts are numbered from 1 in any order; `final_numbers` orders them by their first voxel and leaves small ones out, so
what is written does not show how the parts were found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.components import Components, Integers, ReadMask, id_dtype
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume

MakeVolume = Callable[[str, np.dtype[Any]], Volume]
"""Creates a volume of a name and type, or opens the one that is there."""


@dataclass(frozen=True)
class Parts:
    """The parts of a volume, numbered from 1.

    Attributes:
      read: index and box of a block -> the part of each voxel, 0 = none; [z, y, x].
      sizes: int64 [part - 1], voxels.
      firsts: int64 [part - 1], flat index (C order, z y x) of the first voxel.
    """

    read: Callable[[int, Box], Integers]
    sizes: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]

    def final_numbers(self, min_voxels: float) -> npt.NDArray[Any]:
        """Returns what each part is called in the end, [part], entry 0 being no part.

        Args:
          min_voxels: parts with fewer become 0; the others are 1, 2, ... by their first voxel.

        Example:
          >>> Parts(None, np.array([9, 2, 5]), np.array([70, 0, 30])).final_numbers(3)
          array([0, 2, 0, 1], dtype=uint32)
        """
        keep = np.flatnonzero(self.sizes >= min_voxels)
        numbers = np.zeros(len(self.sizes) + 1, id_dtype(len(keep)))
        numbers[keep[np.argsort(self.firsts[keep])] + 1] = np.arange(1, len(keep) + 1)
        return numbers


def parts_of(components: Components, read: ReadMask) -> Parts:
    """Returns the components of a mask as parts.

    Args:
      components: of the mask.
      read: box -> the mask there.
    """
    numbers = np.arange(1, len(components) + 1, dtype=id_dtype(len(components)))
    return Parts(lambda index, box: components.paint(index, read(box), numbers), components.sizes, components.firsts)


def tabulate(read: Callable[[int, Box], Integers], count: int, box: Box, *, job: BlockJob, label: str) -> Parts:
    """Returns the table of parts that are read block by block.

    Memory: per thread, a few arrays of a block; besides, about 50 bytes for each part in each block.

    Args:
      read: index and box of a block -> the part of each voxel, 0 = none.
      count: the largest number of a part; each of 1 .. count occurs.
      box: the whole volume.
      job: keeps what the blocks find.
      label: what is counted, for the progress display.
    """

    def count_block(index: int, block: Box) -> None:
        flat = read(index, block).ravel()
        where = np.flatnonzero(flat)
        numbers, first, sizes = np.unique(flat[where], return_index=True, return_counts=True)
        places = np.unravel_index(where[first], block.shape)
        corner = [p + a for p, a in zip(places, block.start, strict=True)]
        firsts = np.ravel_multi_index(tuple(corner), box.shape)
        job.keep(f"block{index}", numbers=numbers.astype(np.int64), firsts=firsts, sizes=sizes)

    job.sweep(count_block, box, name="counted", label=label)
    sizes, firsts = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
    for index, _ in job.blocks(box):
        found = job.kept(f"block{index}")
        sizes[found["numbers"] - 1] += found["sizes"]
        np.minimum.at(firsts, found["numbers"] - 1, found["firsts"])
    return Parts(read, sizes, firsts)


def write_objects(parts: Parts, objects: Volume, segmentation: Volume, *, min_voxels: float, job: BlockJob) -> None:
    """Writes the parts that are large enough as objects, and where they are as a segmentation.

    Args:
      parts: of the volume.
      objects: uint32 or uint64; 1, 2, ... by the first voxel, 0 = none.
      segmentation: uint8; 1 = an object.
      min_voxels: smaller parts are left out.
      job: of this step.
    """
    numbers = parts.final_numbers(min_voxels).astype(objects.dtype)

    def write(index: int, box: Box) -> None:
        found = numbers[parts.read(index, box)]
        landing = objects.write_async(box, found)
        segmentation.write(box, (found != 0).astype(np.uint8))
        landing.result()

    job.sweep(write, objects.box, name="written", label=f"write {objects.address}")
