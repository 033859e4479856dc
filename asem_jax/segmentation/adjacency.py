"""The graph of supervoxels: what each looks like, and which touch.

Blocks are looked at one by one, and give `Piece`s; together they are the `Graph` of the region. Laws that hold (and are
tested):

* two supervoxels touch if voxels of theirs share a face, and only then; the face counts once;
* pieces of blocks of any shape make the same graph, to the rounding of sums.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.segmentation.supervoxels import Floats, Ids, slope, smoothed
from asem_jax.volumes.geometry import Box, Float3, Int3

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """What a block tells of the supervoxels that lie in it, wholly or in part.

    Attributes:
      ids: uint32 [n], ascending.
      sizes: float64 [n], voxels in the block.
      sums: float64 [n, 3 * sigmas + 2], over these voxels: grey, gradient and Laplacian after each smoothing, then raw
        grey and its square.
      pairs: uint32 [m, 2], ids of two that touch on a face that belongs to the block, the smaller first, in order.
      area_nm2: float64 [m], of these faces.
      gradient: float64 [m], mean over them of the gradient, grey values per finest voxel side.
    """

    ids: Ids
    sizes: Doubles
    sums: Doubles
    pairs: Ids
    area_nm2: Doubles
    gradient: Doubles


@dataclass(frozen=True)
class Graph:
    """The supervoxels of a region.

    Attributes:
      sizes: float64 [n], voxels.
      looks: float32 [n, 3 * sigmas + 1], means of what `Piece.sums` adds up, then the standard deviation of raw.
      pairs: uint32 [m, 2], ids of two that touch, the smaller first, in order.
      area_nm2: float64 [m], of their contact.
      gradient: float64 [m], mean on that contact, grey values per finest voxel side.
    """

    sizes: Doubles
    looks: Floats
    pairs: Ids
    area_nm2: Doubles
    gradient: Doubles


def piece_of(
    raw: npt.NDArray[np.uint8],
    inner: Box,
    ids: Ids,
    gradient: Floats,
    *,
    sigmas_nm: Sequence[float],
    voxel_size_nm: Float3,
) -> Piece:
    """Returns what a block tells.

    Args:
      raw: the block with the `supervoxels.halo` of `sigmas_nm`, or what of that lies in the volume, [z, y, x].
      inner: the block, counted from the first voxel of `raw`.
      ids: supervoxels of the block, and of one voxel more behind it along each axis, where the region goes on.
      gradient: in the shape of `ids`, grey values per finest voxel side.
      sigmas_nm: of the smoothing.
      voxel_size_nm: z y x.
    """
    found, place = np.unique(ids[tuple(slice(n) for n in inner.shape)], return_inverse=True)
    place = place.ravel()
    sums = [np.bincount(place, part[inner.slices].ravel()) for part in _channels(raw, sigmas_nm, voxel_size_nm)]
    grey = raw[inner.slices].astype(np.float64).ravel()
    sums += [np.bincount(place, power) for power in (grey, grey * grey)]
    touching = contacts(ids, gradient, inner.shape, voxel_size_nm)
    return Piece(found, np.bincount(place).astype(np.float64), np.stack(sums, 1), *touching)


def join(pieces: Sequence[Piece], count: int) -> Graph:
    """Returns the graph of a region of `count` supervoxels from the pieces of all its blocks."""
    where = np.concatenate([piece.ids for piece in pieces])
    sizes = _summed(where, np.concatenate([piece.sizes for piece in pieces]), count)
    columns = np.concatenate([piece.sums for piece in pieces]).T
    means = [_summed(where, column, count) / sizes for column in columns]
    spread = np.sqrt(np.maximum(means[-1] - means[-2] ** 2, 0.0))
    looks = np.stack([*means[:-2], spread], 1).astype(np.float32)
    parts = [np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("pairs", "area_nm2", "gradient")]
    return Graph(sizes, looks, *_merged(*parts))


def contacts(ids: Ids, gradient: Floats, inner: Int3, voxel_size_nm: Float3) -> tuple[Ids, Doubles, Doubles]:
    """Returns pairs, area and gradient of the contacts that belong to a block, as `Piece` holds them.

    Args:
      ids: of the block and of one voxel more behind it along each axis, where the region goes on, [z, y, x].
      gradient: in the shape of `ids`.
      inner: shape of the block itself; a face belongs to the block of the voxel before it.
      voxel_size_nm: z y x.

    Example:
      >>> row = np.array([4, 4, 2, 4], np.uint32).reshape(1, 1, 4)
      >>> pairs, area, _ = contacts(row, np.zeros(row.shape, np.float32), (1, 1, 4), (1.0, 5.0, 2.0))
      >>> pairs.tolist(), area.tolist()
      ([[2, 4]], [10.0])
    """
    first, second, area, mean = [], [], [], []
    for axis in range(3):
        # Behind the block only what lies behind it along this axis shares a face with it.
        part = tuple(slice(None) if a == axis else slice(n) for a, n in enumerate(inner))
        one, other = (np.moveaxis(ids[part], axis, 0)[end] for end in (slice(None, -1), slice(1, None)))
        low, high = (np.moveaxis(gradient[part], axis, 0)[end] for end in (slice(None, -1), slice(1, None)))
        touch = one != other
        first.append(np.minimum(one, other)[touch])
        second.append(np.maximum(one, other)[touch])
        mean.append((low[touch].astype(np.float64) + high[touch]) / 2)
        area.append(np.full(len(first[-1]), math.prod(voxel_size_nm) / voxel_size_nm[axis]))
    pairs = np.stack([np.concatenate(first), np.concatenate(second)], 1)
    return _merged(pairs, np.concatenate(area), np.concatenate(mean))


def _merged(pairs: Ids, area: Doubles, gradient: Doubles) -> tuple[Ids, Doubles, Doubles]:
    """Returns each pair once, its areas added up and its gradients averaged over them."""
    keys = (pairs[:, 0].astype(np.uint64) << np.uint64(32)) | pairs[:, 1]
    found, which = np.unique(keys, return_inverse=True)
    total = _summed(which, area, len(found))
    mean = _summed(which, area * gradient, len(found)) / total
    both = np.stack([found >> np.uint64(32), found & np.uint64(2**32 - 1)], 1)
    return both.astype(np.uint32), total, mean


def _summed(which: npt.NDArray[Any], values: Doubles, count: int) -> Doubles:
    """Returns the sum of the values of each of `count` groups."""
    return np.bincount(which, values, minlength=count).astype(np.float64, copy=False)


def _channels(raw: npt.NDArray[np.uint8], sigmas_nm: Sequence[float], voxel_size_nm: Float3) -> Iterator[Floats]:
    """Yields what voxels look like, one array at a time: grey, gradient, Laplacian."""
    for sigma in sigmas_nm:
        smooth = smoothed(raw, sigma, voxel_size_nm)
        yield smooth
        yield slope(smooth, voxel_size_nm)
        curved = np.zeros_like(smooth)
        for axis, size in enumerate(voxel_size_nm):
            curved += ndimage.correlate1d(smooth, [1, -2, 1], axis) * np.float32((sigma / size) ** 2)
        yield curved
