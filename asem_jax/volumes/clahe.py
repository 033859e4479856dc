"""Contrast-limited adaptive histogram equalisation (CLAHE) in three dimensions, a block at a time.

Around every point of a grid, `kernel_shape` voxels apart, the grey values of one kernel are counted. The counts are
clipped, what was cut off is shared among all bins, and their running sum is the grey mapping of that place. A voxel
gets the mean of the mappings of its eight nearest grid points, weighted by how near they are. So a voxel depends on
the voxels within one and a half kernels and on nothing else: not on the block it is computed in. Laws that hold (and
are tested):

* where all of these lie inside the volume, the result is that of the original, bit for bit;
* at the border it is that of the original on a volume that goes on as its own mirror image; the original fills up
  with the mean of each block, which leaves a seam at every block border and a flat rim;
* blocks of any shape give one result.

Memory: a kernel and a block per thread, and 512 bytes for each of the `MAPPINGS_KEPT` latest mappings. What is read
equalised, without being written first, is what would have been written.

Source: K. Zuiderveld, Graphics Gems IV (1994); the arithmetic is that of scikit-image's `equalize_adapthist` in three
dimensions, as the original (Gallusser et al., J Cell Biol 222(2), e202208005) applies it to uint8.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, prod
from threading import Lock
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.reflect import reflecting
from asem_jax.volumes.volume import Volume

NUM_BINS = 256
TOP = 2**14 - 1
"""Brightest value of the mappings, which are finer than the 256 grey values; that of scikit-image."""

MAPPINGS_KEPT = 2**16
"""Latest mappings: more than two layers of the grid have, so that none is made twice in a sweep."""

EQUALISATION = "equalisation"
"""The attribute of a volume that says how it was equalised; see `Equalisation`."""

_BYTES_OF_MAPPING = 1024  # with its key, and what the cache adds
_LOCKS = 64  # mappings that different threads may make at one time

PIECE_SHAPE = (4, 64, 64)
"""Voxels interpolated at once: so few that all that is computed of them stays in the processor's cache."""

_FINE_OF_GREY = np.rint(np.arange(256) * 257 * (TOP / 65535))
_BIN_OF_GREY = (_FINE_OF_GREY // (1 + (TOP + 1) // NUM_BINS)).astype(np.intp)
_GREY_OF_FINE = (255 * np.arange(TOP + 1) // TOP).astype(np.uint8)

Grey = npt.NDArray[np.uint8]
Reader = Callable[[Box], Grey]


@dataclass(frozen=True)
class Equalisation:
    """How a volume is equalised.

    Attributes:
      kernel_shape: voxels over which grey values are counted, z y x, even; the original 128.
      clip_limit: largest share of a kernel's voxels that one grey value keeps, above 0; 1 = all. The original 0.02.
    """

    kernel_shape: Int3
    clip_limit: float

    def __post_init__(self) -> None:
        check_equalisation(self.kernel_shape, self.clip_limit)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns what JSON has of an equalisation."""
        return cls(int3(values["kernel_shape"], "kernel_shape"), float(values["clip_limit"]))

    def reader(self, volume: Volume) -> Reader:
        """Returns a function that reads any box of a volume equalised, also beyond its edge; see `equalised`."""
        read = equalised(volume.read, volume.shape, kernel_shape=self.kernel_shape, clip_limit=self.clip_limit)
        return reflecting(read, volume.shape)

    def num_bytes(self, shape: Int3, box_shape: Int3, num_threads: int) -> int:
        """Returns what reading takes at its peak, besides the blocks that are returned.

        Args:
          shape: voxels of the volume, z y x.
          box_shape: of what is read at a time.
          num_threads: that read.
        """
        points = prod(n // side + 2 for n, side in zip(shape, self.kernel_shape, strict=True))
        around = prod(ceil(n / side) + 2 for n, side in zip(box_shape, self.kernel_shape, strict=True))
        # A kernel's voxels are counted as integers of 8 bytes. A block as it was read, and the mappings around it as
        # floats, are there while it is interpolated; what was freed before may still belong to the process.
        block = 10 * prod(self.kernel_shape) + 2 * prod(box_shape) + 3 * 8 * 256 * around
        return min(MAPPINGS_KEPT, points) * _BYTES_OF_MAPPING + num_threads * block


def common_equalisation(volumes: Iterable[Volume]) -> Equalisation | None:
    """Returns how volumes were equalised, as their attributes say; None where that is not known, or not the same."""
    said = [volume.attributes.get(EQUALISATION) for volume in volumes]
    found = {None if values is None else Equalisation.from_dict(values) for values in said}
    return found.pop() if len(found) == 1 else None


def equalised(read: Reader, shape: Sequence[int], *, kernel_shape: Sequence[int], clip_limit: float) -> Reader:
    """Returns a function that reads any box of a volume equalised.

    It may be called from several threads. Each mapping is made once, when it is first needed, from its kernel's voxels.

    Args:
      read: returns the uint8 voxels of a box inside the volume, z y x.
      shape: voxels of the volume, z y x.
      kernel_shape: voxels over which grey values are counted, z y x, even; the original 128.
      clip_limit: largest share of a kernel's voxels that one grey value keeps, above 0; 1 = all. The original 0.02.

    Raises:
      ValueError: as `check_equalisation`.
    """
    check_equalisation(kernel_shape, clip_limit)
    kernel, read_any = int3(kernel_shape, "kernel_shape"), reflecting(read, int3(shape, "shape"))
    locks = [Lock() for _ in range(_LOCKS)]

    @lru_cache(MAPPINGS_KEPT)
    def mapping(point: Int3) -> npt.NDArray[np.uint16]:
        box = Box.of_shape(kernel, [n * side - side // 2 for n, side in zip(point, kernel, strict=True)])
        return grey_mapping(read_any(box), clip_limit)

    def mapping_once(point: Int3) -> npt.NDArray[np.uint16]:
        with locks[hash(point) % _LOCKS]:  # others that need it wait, instead of making it too
            return mapping(point)

    def read_equalised(box: Box) -> Grey:
        points = Box(
            int3([a // side for a, side in zip(box.start, kernel, strict=True)], "start"),
            int3([(b - 1) // side + 2 for b, side in zip(box.stop, kernel, strict=True)], "stop"),
        )
        around = product(*(range(a, b) for a, b in zip(points.start, points.stop, strict=True)))
        mappings = np.stack([mapping_once(int3(point, "point")) for point in around])
        start = int3([a % side for a, side in zip(box.start, kernel, strict=True)], "start")
        return interpolate(read(box), mappings.reshape(*points.shape, 256), start, kernel)

    return read_equalised


def check_equalisation(kernel_shape: Sequence[int], clip_limit: float) -> None:
    """Raises unless a volume can be equalised so; see `equalised`.

    Raises:
      ValueError: a side of the kernel is odd or not positive, or the limit is no share.
    """
    kernel = int3(kernel_shape, "kernel_shape")
    if min(kernel) < 2 or any(side % 2 for side in kernel):
        raise ValueError(f"kernel_shape={kernel} has an odd or empty side; give even numbers of voxels, e.g. 128.")
    if not 0 < clip_limit <= 1:
        raise ValueError(f"clip_limit={clip_limit} is no share of voxels; give one above 0, up to 1 (usual: 0.02).")


def grey_mapping(block: npt.NDArray[np.generic], clip_limit: float) -> npt.NDArray[np.uint16]:
    """Returns what each grey value becomes where the surroundings look like `block`.

    Args:
      block: uint8, a kernel's voxels.
      clip_limit: largest share of them that one grey value keeps.

    Returns:
      `[256]`, 0 to `TOP`, never falling.
    """
    counts = np.bincount(block.ravel(), minlength=256)
    bins = np.bincount(_BIN_OF_GREY, counts, NUM_BINS).astype(np.int64)
    ranks = np.cumsum(clipped(bins, max(1, int(clip_limit * block.size))))
    return np.minimum(ranks * (TOP / block.size), TOP).astype(np.uint16)[_BIN_OF_GREY]


def clipped(counts: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Returns counts of which none is above `limit`, what was cut off shared among those with room.

    Args:
      counts: per bin.
      limit: at least 1.

    Example:
      >>> clipped(np.array([9, 0, 1, 2]), 5).tolist()
      [5, 1, 2, 4]
    """
    kept = np.minimum(counts, limit)
    excess = int(counts.sum() - kept.sum())
    share = excess // kept.size
    # Twice the share: what has room for one share, but not for two, is filled up. That is scikit-image's arithmetic.
    shared = np.where(kept < limit - 2 * share, kept + share, limit)
    excess -= int(shared.sum() - kept.sum())
    while excess > 0 and (shared < limit).any():
        for first in range(shared.size):
            step = max(1, int(np.count_nonzero(shared < limit)) // excess)
            room = shared[first::step] < limit
            shared[first::step] += room
            excess -= int(np.count_nonzero(room))
            if excess <= 0:
                break
    return shared


def interpolate(block: Grey, mappings: npt.NDArray[np.uint16], start: Int3, kernel_shape: Int3) -> Grey:
    """Returns a block, each voxel mapped by the eight points of the grid around it.

    Args:
      block: `[z, y, x]`.
      mappings: `[z', y', x', 256]`, of the points before, in and one after the block.
      start: voxels from the first point to the first voxel, z y x, less than a kernel.
      kernel_shape: voxels from point to point, z y x.
    """
    table = mappings.astype(np.float64).ravel()
    steps = [256 * mappings.shape[1] * mappings.shape[2], 256 * mappings.shape[2], 256]
    places, weights = [], []
    for axis, (first, side) in enumerate(zip(start, kernel_shape, strict=True)):
        point, beyond = np.divmod(first + np.arange(block.shape[axis]), side)
        places.append(point * steps[axis])
        weights.append((1 - beyond / side, beyond / side))
    out = np.empty_like(block)
    for piece in tiles(Box.of_shape(block.shape), PIECE_SHAPE):
        z, y, x = piece.slices
        place = block[z, y, x].astype(np.intp)
        place += places[0][z, None, None]
        place += places[1][y, None]
        place += places[2][x]
        # Order and types of the sum are scikit-image's: it is cut to whole numbers, so a rounding may show.
        total = np.zeros(piece.shape, np.float32)
        for corner in product((0, 1), repeat=3):
            weight = weights[2][corner[2]][x] * weights[1][corner[1]][y, None]
            part = table[np.dot(corner, steps) :].take(place)
            part *= weight * weights[0][corner[0]][z, None, None]
            total += part.astype(np.float32)
        out[z, y, x] = _GREY_OF_FINE.take(total.astype(np.intp))
    return out
