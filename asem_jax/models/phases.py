"""The 3x3x3 convolution of a repeated map, computed before the repetition.

Where every voxel of a coarse map stands for `factor` equal voxels, the three taps of a kernel along an axis fall on two
coarse voxels only, and on which ones depends on where in its cell an output voxel lies: its *phase*. So the
convolution is one of 2x2x2 taps on the coarse map, with as many kernels as a cell has voxels, whose results are then
laid out in space. That is 8 instead of 27 products of channels per output voxel, and the repeated map is never made.

Arrays are `[b, z, y, x, c]` float32; factors are 2 or 3 per axis. A `Window` says which voxels of the repeated map are
seen: they start at `start` of it, and the output has `shape` voxels. Results lie on whole cells: `margin` voxels of
them come before the output.

Source: the identity is exact; Shi et al., CVPR 2016 (section 3.2) use it for networks that end in a larger image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from asem_jax.models.winograd import cut, even, starts
from asem_jax.volumes.geometry import Int3, int3

# Values of a block, the channels of its taps and of its results together: few enough for the cache.
_BLOCK_VALUES = 2**19


class Window(NamedTuple):
    """What a convolution sees of a map repeated `factor` times: `shape` voxels of output, from `start` on."""

    factor: Int3
    start: Int3
    shape: Int3

    @property
    def first_cell(self) -> Int3:
        """The coarse voxel that the first output voxel lies in."""
        return int3([a // f for a, f in zip(self.start, self.factor, strict=True)], "first_cell")

    @property
    def margin(self) -> Int3:
        """How many voxels of the first cell come before the output."""
        return int3([a % f for a, f in zip(self.start, self.factor, strict=True)], "margin")

    @property
    def cells(self) -> Int3:
        """How many cells the output voxels lie in."""
        sizes = [-(-(m + n) // f) for m, n, f in zip(self.margin, self.shape, self.factor, strict=True)]
        return int3(sizes, "cells")


def convolve(coarse: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Returns the convolution of the repeated map on whole cells.

    Args:
      coarse: `[b, z, y, x, c_in]`.
      kernel: `[3, 3, 3, c_in, c_out]`.
      window: the part of the repeated map.

    Returns:
      `[b, *(cells * factor), c_out]`; the output starts at `window.margin`.
    """
    batch, (nz, ny, nx), (fz, fy, fx) = coarse.shape[0], window.cells, window.factor
    features = kernel.shape[4]
    coarse = _reach(coarse, window)
    of_phases = _of_phases(kernel, window.factor)
    rows, places = _blocks(batch, window, sum(of_phases.shape))

    def block(out: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        cells = lax.dot(_taps(coarse, place, rows, nx), of_phases).reshape(rows, nx, fz, fy, fx, features)
        laid_out = cells.transpose(2, 0, 3, 1, 4, 5).reshape(1, fz, rows * fy, nx * fx, features)
        start = place[:5] * np.array([1, fz, fy, fx, 1], np.int32)
        return lax.dynamic_update_slice(out, laid_out, start, allow_negative_indices=False), None

    empty = jnp.zeros((batch, nz * fz, ny * fy, nx * fx, features), coarse.dtype)
    return lax.scan(block, empty, jnp.asarray(places))[0]


def gradients(coarse: jax.Array, kernel: jax.Array, dy: jax.Array, window: Window) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients for the coarse map and for the kernel.

    Args:
      coarse: as for `convolve`.
      kernel: as for `convolve`.
      dy: of the output, `window.shape` voxels and 2 zeros around them, `[b, z, y, x, c_out]`.
      window: as for `convolve`.
    """
    batch, (_, _, nx), (fz, fy, fx) = coarse.shape[0], window.cells, window.factor
    c, features = kernel.shape[3:]
    reached = _reach(coarse, window)
    of_phases = _of_phases(kernel, window.factor)
    rows, places = _blocks(batch, window, sum(of_phases.shape))
    to_dy = np.array([0, *(2 - m for m in window.margin), 0], np.int32)

    def block(carry: tuple[jax.Array, jax.Array], place: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        d_reached, d_phases = carry
        start = place[:5] * np.array([1, fz, fy, fx, 1], np.int32) + to_dy
        cells = cut(dy, start, (fz, rows * fy, nx * fx)).reshape(fz, rows, fy, nx, fx, features)
        cells = cells.transpose(1, 3, 0, 2, 4, 5).reshape(rows, nx, -1)
        new_rows = lax.iota(jnp.int32, rows) >= place[5]
        cells = jnp.where(new_rows[:, None, None], cells, 0).reshape(rows * nx, -1)
        d_phases += lax.dot_general(_taps(reached, place, rows, nx), cells, (((0,), (0,)), ((), ())))
        d_taps = lax.dot_general(cells, of_phases, (((1,), (1,)), ((), ()))).reshape(rows, nx, 2, 2, 2, c)
        return (_add_taps(d_reached, d_taps, place), d_phases), None

    empty = jnp.zeros_like(reached), jnp.zeros_like(of_phases)
    (d_reached, d_phases), _ = lax.scan(block, empty, jnp.asarray(places))
    return _reach_transposed(d_reached, coarse.shape, window), _of_phases_transposed(d_phases, kernel, window.factor)


def _reach(coarse: jax.Array, window: Window) -> jax.Array:
    """Returns the coarse voxels that the taps of all cells fall on, `[b, *(cells + 1), c]`; zeros where none are."""
    return lax.pad(coarse, jnp.zeros((), coarse.dtype), _edges(coarse.shape, window))


def _reach_transposed(gradient: jax.Array, shape: tuple[int, ...], window: Window) -> jax.Array:
    edges = [(-before, -after, 0) for before, after, _ in _edges(shape, window)]
    return lax.pad(gradient, jnp.zeros((), gradient.dtype), edges)


def _edges(shape: tuple[int, ...], window: Window) -> list[tuple[int, int, int]]:
    """Returns what `_reach` puts before and after each axis: nearly always less than nothing."""
    spatial = [
        (-first, first + cells + 1 - size, 0)
        for first, cells, size in zip(window.first_cell, window.cells, shape[1:4], strict=True)
    ]
    return [(0, 0, 0), *spatial, (0, 0, 0)]


def _spread(factor: int) -> npt.NDArray[np.float32]:
    """Returns `[factor, 2, 3]`: whether, in each phase, each tap of three falls on each of two coarse voxels."""
    phase, near, tap = np.indices((factor, 2, 3))
    return ((phase + tap) // factor == near).astype(np.float32)


def _of_phases(kernel: jax.Array, factor: Int3) -> jax.Array:
    """Returns the kernels of all phases as one matrix, `[8 * c_in, phases * c_out]`."""
    z, y, x = (jnp.asarray(_spread(f)) for f in factor)
    kernels = jnp.einsum("xai,ybj,zck,ijkuo->abcuxyzo", z, y, x, kernel)
    return kernels.reshape(8 * kernel.shape[3], -1)


def _of_phases_transposed(gradient: jax.Array, kernel: jax.Array, factor: Int3) -> jax.Array:
    """Returns the gradient for the kernel, `[3, 3, 3, c_in, c_out]`."""
    z, y, x = (jnp.asarray(_spread(f)) for f in factor)
    kernels = gradient.reshape(2, 2, 2, kernel.shape[3], *factor, kernel.shape[4])
    return jnp.einsum("xai,ybj,zck,abcuxyzo->ijkuo", z, y, x, kernels)


def _blocks(batch: int, window: Window, values: int) -> tuple[int, npt.NDArray[np.int32]]:
    """Returns the rows of a block, and `[blocks, 6]`: its start (b, z, y, x, c) and how many rows are done already."""
    nz, ny, nx = window.cells
    rows = even(ny, max(1, min(_BLOCK_VALUES // values, 4096) // nx))
    y, done = starts(ny, rows)
    b, z, i = (index.ravel() for index in np.indices((batch, nz, len(y))))
    zero = np.zeros_like(b)
    return rows, np.stack([b, z, y[i], zero, zero, done[i]], axis=1).astype(np.int32)


def _taps(coarse: jax.Array, place: jax.Array, rows: int, width: int) -> jax.Array:
    """Returns `[rows * width, 8 * c]`: the 2x2x2 coarse voxels that each cell of a block sees."""
    slab = cut(coarse, place[:5], (2, rows + 1, width + 1))
    taps = [slab[i, j : j + rows, k : k + width] for i, j, k in np.ndindex(2, 2, 2)]
    return jnp.concatenate(taps, axis=-1).reshape(rows * width, -1)


def _add_taps(total: jax.Array, taps: jax.Array, place: jax.Array) -> jax.Array:
    """Returns `total` with `taps` `[rows, width, 2, 2, 2, c]` added where `_taps` took them from."""
    rows, width = taps.shape[:2]
    along_x = _shift_and_add(taps[..., 0, :], taps[..., 1, :], axis=1)
    along_y = _shift_and_add(along_x[..., 0, :], along_x[..., 1, :], axis=0)
    slab = cut(total, place[:5], (2, rows + 1, width + 1)) + along_y.transpose(2, 0, 1, 3)
    return lax.dynamic_update_slice(total, slab[None], place[:5], allow_negative_indices=False)


def _shift_and_add(first: jax.Array, second: jax.Array, axis: int) -> jax.Array:
    """Returns the sum of both, the second one place further along `axis`."""
    edges = [(0, 0)] * first.ndim
    before, after = list(edges), list(edges)
    before[axis], after[axis] = (1, 0), (0, 1)
    return jnp.pad(first, after) + jnp.pad(second, before)
