"""A 3D array that can be read by box, whatever the format: what stage convert needs to know of what it reads.

`Volume`, TIFF stacks, HDF5 datasets and MRC files all are sources. What a file says of itself is checked before
anything is read, since it may be damaged or made to do harm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3

MOST_VOXELS = 2**50
"""A quadrillion: more than any microscope has recorded, so that a larger number is damage."""


class Source(Protocol):
    """What can be read by box: an array z y x, with its place where the format tells it."""

    @property
    def address(self) -> str:
        """As the user wrote it."""

    @property
    def shape(self) -> Int3:
        """Voxels, z y x."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""

    @property
    def voxel_size_nm(self) -> Float3 | None:
        """Step between voxel centres, z y x; None where the source does not state it."""

    @property
    def offset_nm(self) -> Float3 | None:
        """Centre of the first voxel, z y x; None where the source does not state it."""

    @property
    def chunk_shape(self) -> Int3:
        """What is decoded at once, voxels z y x."""

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, [z, y, x]."""


@dataclass(frozen=True)
class Part:
    """A box of a source, as a source: its first voxel is that of the box, its place in nm stays.

    Attributes:
      source: all of it.
      box: voxels of `source`, inside it.
    """

    source: Source
    box: Box

    @property
    def address(self) -> str:
        """That of the source."""
        return self.source.address

    @property
    def shape(self) -> Int3:
        """Voxels, z y x."""
        return self.box.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the source."""
        return self.source.dtype

    @property
    def voxel_size_nm(self) -> Float3 | None:
        """That of the source."""
        return self.source.voxel_size_nm

    @property
    def offset_nm(self) -> Float3 | None:
        """Centre of the first voxel of the box; None where the source does not state its own."""
        size, offset = self.source.voxel_size_nm, self.source.offset_nm
        return None if offset is None or size is None else shifted_nm(offset, self.box.start, size)

    @property
    def chunk_shape(self) -> Int3:
        """That of the source."""
        return self.source.chunk_shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, counted from the first voxel of the part."""
        return self.source.read(box.shift(self.box.start))


def shifted_nm(offset_nm: Float3, voxels: Sequence[int], voxel_size_nm: Float3) -> Float3:
    """Returns the place `voxels` further on, nm, z y x."""
    steps = zip(offset_nm, voxels, voxel_size_nm, strict=True)
    return float3([o + n * size for o, n, size in steps], "offset_nm")


def take_part(source: Source, start: Sequence[int] | None, stop: Sequence[int] | None) -> Source:
    """Returns a box of a source, or all of it.

    Args:
      source: to read from.
      start: first voxel, z y x; None = that of the source.
      stop: one past the last voxel, z y x; None = the end of the source.

    Raises:
      ValueError: the box is empty or leaves the source.
    """
    if start is None and stop is None:
        return source
    box = Box(int3(start or (0, 0, 0), "start"), int3(stop or source.shape, "stop"))
    if box.num_voxels == 0 or not Box.of_shape(source.shape).contains(box):
        raise ValueError(
            f"{source.address} has the shape {source.shape}, the part from {box.start} to {box.stop} is not in it; "
            "give start and stop in voxels of the source, z y x."
        )
    return Part(source, box)


def check_source(source: Source) -> None:
    """Raises unless what a source says of itself is possible.

    Raises:
      ValueError: its shape, its type of voxels, its voxel size or its offset is none that a volume can have.
    """
    if min(source.shape) < 1 or math.prod(source.shape) > MOST_VOXELS:
        raise ValueError(
            f"{source.address} says that its shape is {source.shape}; a volume has at least 1 voxel per axis and "
            f"{MOST_VOXELS} at most: the file is damaged, or is no volume."
        )
    if source.dtype.kind not in "buif":
        raise ValueError(
            f"{source.address} has voxels of type {source.dtype}; whole or real numbers are needed: "
            "save it as one of uint8, uint16, uint32, uint64, float32."
        )
    size, offset = source.voxel_size_nm, source.offset_nm
    if size is not None and not all(0 < side < math.inf for side in size):
        raise ValueError(
            f"{source.address} says that its voxel size is {size} nm; it must be positive on every axis: "
            "correct it there, or give voxel_size_nm."
        )
    if offset is not None and not all(math.isfinite(start) for start in offset):
        raise ValueError(f"{source.address} says that it begins at {offset} nm; correct it there, or give offset_nm.")
