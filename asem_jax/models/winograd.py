"""The 3x3x3 convolution of the CPU: Winograd's F(4, 3) along z, in blocks that stay in the cache.

Four output slices need six input slices. `INPUT` mixes these six, so that six instead of twelve products of
slices are left; `OUTPUT` mixes the six products into the four slices. The three taps along x are laid side
by side in the channels of the input, the three along y come out side by side in the channels of the
product, and are shifted and added at the end. So one batched matrix product per block does nearly all of
the arithmetic, half of that of the direct sum. A single input channel would leave that product too thin:
there the 27 taps of a slice are the rows of a matrix.

Arrays are `[b, z, y, x, c]` float32, kernels `[3, 3, 3, c_in, c_out]`. `x` has at least 6 slices and 3 rows
and columns. `dy` is *grown*: 2 zeros around it on each side, so it is as large as `x` plus 2.

What is held beyond the result: the temporaries of one block, and the kernel twice, its transformed copy. A
block has 512 to 4096 voxels, so its temporaries are some 10 MB (more for kernels of hundreds of channels,
by one transformed kernel in its gradient).

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4; F(4, 3) for
the points 0, 1, -1, 2, -2 and infinity.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from asem_jax.volumes.geometry import Int3

# fmt: off
INPUT = np.array([
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
], np.float32)
KERNEL = np.array([
    [6, 0, 0],
    [-4, -4, -4],
    [-4, 4, -4],
    [1, 2, 4],
    [1, -2, 4],
    [0, 0, 24],
], np.float32) / np.float32(24)
OUTPUT = np.array([
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
], np.float32)
# fmt: on
# Voxels times channels of a block, in and out: few enough for the cache, enough for the matrix product.
_BLOCK_VALUES = 2**17
# Columns of a block: of wider ones it would have few rows, of which each computes two more.
_WIDEST = 48


def convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns the valid convolution plus `bias` [c_out], `[b, z - 2, y - 2, x - 2, c_out]`."""
    return _forward(x, kernel, bias, relu=False)


def convolve_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns `max(convolve(x, kernel, bias), 0)`, rectified block by block."""
    return _forward(x, kernel, bias, relu=True)


def convolve_add_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array, other: jax.Array, start: Int3) -> jax.Array:
    """Returns `max(convolve(x, kernel, bias) + other, 0)`, added and rectified block by block.

    `x` has more than one channel; `other` `[b, z, y, x, c_out]` is seen from `start` (z y x) on.
    """
    return _forward_many(x, kernel, bias, relu=True, other=(other, start))


def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns the gradient for the kernel from the input and the grown `dy`, `[3, 3, 3, c_in, c_out]`."""
    return _kernel_gradient_one_channel(x, dy) if x.shape[4] == 1 else _kernel_gradient_many(x, dy)


def _forward(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, relu: bool) -> jax.Array:
    forward = _forward_one_channel if x.shape[4] == 1 else _forward_many
    return forward(x, kernel, bias, relu)


class _Blocks(NamedTuple):
    """Blocks of `4 * groups` slices, `rows` rows and `width` columns that cover a range; the last ones overlap.

    `places` is [blocks, 7]: where a block starts (b, z, y, x, c), and how many of its slices and of its rows
    an earlier block has covered.
    """

    groups: int
    rows: int
    width: int
    places: npt.NDArray[np.int32]


def _blocks(shape: Sequence[int], channels: int, widest: int | None = None) -> _Blocks:
    """Returns the blocks of a range [b, z, y, x]; `channels` are those of input and output together.

    `widest` limits their columns; None = all columns.
    """
    batch, depth, height, width = shape
    voxels = min(max(_BLOCK_VALUES // channels, 512), 4096)
    columns = width if widest is None else even(width, widest)
    rows = even(height, max(8, voxels // columns))
    groups = even(depth // 4, min(max(voxels // (rows * columns), 1), 3))
    z, z_done = starts(depth, 4 * groups)
    y, y_done = starts(height, rows)
    x, _ = starts(width, columns)
    b, i, j, k = (index.ravel() for index in np.indices((batch, len(z), len(y), len(x))))
    places = np.stack([b, z[i], y[j], x[k], np.zeros_like(b), z_done[i], y_done[j]], axis=1)
    return _Blocks(groups, rows, columns, places.astype(np.int32))


def even(total: int, largest: int) -> int:
    """Returns the size, at most `largest`, of the fewest equal parts that cover `total`."""
    return math.ceil(total / math.ceil(total / largest))


def starts(total: int, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns where the parts of an axis start, and how much of each the part before it covers."""
    wanted = np.arange(0, total, size)
    starts = np.minimum(wanted, total - size)
    return starts, wanted - starts


def _banded(matrix: npt.NDArray[np.float32], groups: int) -> npt.NDArray[np.float32]:
    """Returns `matrix` [6, n] repeated every 4 columns, `[6 * groups, n + 4 * (groups - 1)]`."""
    n = matrix.shape[1]
    banded = np.zeros((6, groups, n + 4 * (groups - 1)), np.float32)
    for group in range(groups):
        banded[:, group, 4 * group : 4 * group + n] = matrix
    return banded.reshape(6 * groups, -1)


def _mix(matrix: npt.ArrayLike | jax.Array, x: jax.Array) -> jax.Array:
    """Returns weighted sums of the slices of `x` along its first axis, one for each row of `matrix`.

    A matrix product, although many weights are 0 or 1: additions are as fast but compile twice as long.
    """
    mixed = lax.dot(jnp.asarray(matrix), x.reshape(x.shape[0], -1))
    return mixed.reshape(-1, *x.shape[1:])


def cut(x: jax.Array, start: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """Returns `[z, y, x, c]`: `shape` voxels of one batch entry of `x`."""
    piece = lax.dynamic_slice(x, start, (1, *shape, x.shape[4]), allow_negative_indices=False)
    return piece.reshape(piece.shape[1:])


def _taps(x: jax.Array, place: jax.Array, blocks: _Blocks, rows: int) -> jax.Array:
    """Returns `[6, groups * rows * width, 3 * c]`: mixed slices, the taps along x in the channels."""
    slab = cut(x, place[:5], (4 * blocks.groups + 2, rows, blocks.width + 2))
    mixed = _mix(_banded(INPUT, blocks.groups), slab)
    taps = jnp.concatenate([mixed[:, :, i : i + blocks.width] for i in range(3)], axis=-1)
    return taps.reshape(6, -1, taps.shape[-1])


def _forward_many(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, relu: bool, other: tuple[jax.Array, Int3] | None = None
) -> jax.Array:
    b, z, y, w = _output_shape(x)
    c, features = kernel.shape[3:]
    blocks = _blocks((b, z, y, w), c + features, widest=_WIDEST)
    mix_output = _banded(OUTPUT.T, blocks.groups).T
    mixed_kernel = _mix(KERNEL, kernel).transpose(0, 2, 3, 1, 4).reshape(6, 3 * c, 3 * features)

    def block(out: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        taps = _taps(x, place, blocks, blocks.rows + 2)
        products = lax.dot_general(taps, mixed_kernel, (((2,), (1,)), ((0,), (0,))))
        slices = _mix(mix_output, products.reshape(-1, blocks.rows + 2, blocks.width, 3 * features))
        parts = [slices[:, j : j + blocks.rows, :, j * features : (j + 1) * features] for j in range(3)]
        total = parts[0] + parts[1] + parts[2]
        if other is not None:
            addend, start = other
            total += cut(
                addend, place[:5] + np.array([0, *start, 0], np.int32), (4 * blocks.groups, blocks.rows, blocks.width)
            )
        return _put(out, total[None], place, bias, relu), None

    return lax.scan(block, jnp.zeros((b, z, y, w, features), x.dtype), jnp.asarray(blocks.places))[0]


def _put(out: jax.Array, y: jax.Array, place: jax.Array, bias: jax.Array, relu: bool) -> jax.Array:
    """Returns `out` with `y` plus bias, rectified if `relu`, at `place`."""
    y = y + bias.reshape(1, 1, 1, 1, -1)
    y = jnp.maximum(y, 0) if relu else y
    return lax.dynamic_update_slice(out, y, place[:5], allow_negative_indices=False)


def _output_shape(x: jax.Array) -> tuple[int, int, int, int]:
    b, z, y, w, _ = x.shape
    return b, z - 2, y - 2, w - 2


def _kernel_gradient_many(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns the gradient for the kernel; the blocks cover rows of the input, so `dy` is the grown one."""
    b, z, y, w = _output_shape(x)
    c, features = x.shape[4], dy.shape[4]
    blocks = _blocks((b, z, y + 2, w), c + features)
    rows, span = blocks.rows, 4 * blocks.groups
    mix_dy = _banded(OUTPUT.T, blocks.groups)

    def block(total: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        taps = _taps(x, place, blocks, rows)
        new_slices = lax.iota(jnp.int32, span) >= place[5]
        new_rows = lax.iota(jnp.int32, rows) >= place[6]
        slab = cut(dy, place[:5] + np.array([0, 2, 0, 2, 0], np.int32), (span, rows + 2, w))
        mixed = _mix(jnp.where(new_slices[None], mix_dy, 0), slab)
        shifted = jnp.concatenate([mixed[:, 2 - j : 2 - j + rows] for j in range(3)], axis=-1)
        shifted = jnp.where(new_rows[None, :, None, None], shifted, 0).reshape(6, -1, 3 * features)
        return total + lax.dot_general(taps, shifted, (((1,), (1,)), ((0,), (0,)))), None

    total = lax.scan(block, jnp.zeros((6, 3 * c, 3 * features), x.dtype), jnp.asarray(blocks.places))[0]
    return _mix(KERNEL.T, total).reshape(3, 3, c, 3, features).transpose(0, 3, 1, 2, 4)


# --- one input channel: the 27 taps of a slice as the rows of a matrix ---


def _patches(x: jax.Array, place: jax.Array) -> jax.Array:
    """Returns `[27, y * x]`: what each tap sees of an output slice (contiguous copies, unlike taps last)."""
    _, _, y, w = _output_shape(x)
    slab = cut(x, place, (3, y + 2, w + 2))
    taps = [slab[i, j : j + y, k : k + w] for i in range(3) for j in range(3) for k in range(3)]
    return jnp.concatenate(taps).reshape(27, y * w)


def _slices(x: jax.Array) -> npt.NDArray[np.int32]:
    """Returns `[slices, 5]`: where each output slice starts (b, z, y, x, c)."""
    b, z, _, _ = _output_shape(x)
    return np.indices((b, z, 1, 1, 1)).reshape(5, -1).T.astype(np.int32)


def _forward_one_channel(x: jax.Array, kernel: jax.Array, bias: jax.Array, relu: bool) -> jax.Array:
    b, z, y, w = _output_shape(x)
    features = kernel.shape[4]

    def block(out: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        products = lax.dot_general(_patches(x, place), kernel.reshape(27, features), (((0,), (0,)), ((), ())))
        return _put(out, products.reshape(1, 1, y, w, features), place, bias, relu), None

    return lax.scan(block, jnp.zeros((b, z, y, w, features), x.dtype), jnp.asarray(_slices(x)))[0]


def _kernel_gradient_one_channel(x: jax.Array, dy: jax.Array) -> jax.Array:
    _, _, y, w = _output_shape(x)
    features = dy.shape[4]

    def block(total: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        slab = cut(dy, place + np.array([0, 2, 2, 2, 0], np.int32), (1, y, w))
        return total + lax.dot(_patches(x, place), slab.reshape(y * w, features)), None

    total = lax.scan(block, jnp.zeros((27, features), x.dtype), jnp.asarray(_slices(x)))[0]
    return total.reshape(3, 3, 3, 1, features)
