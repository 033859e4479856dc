"""Valid convolution, pooling and upsampling that are fast on every backend.

Arrays are `[b, z, y, x, c]`, kernels `[kz, ky, kx, c_in, c_out]`, biases `[c_out]`. `convolve` is what
`lax.conv_general_dilated` computes with stride 1 and without padding, plus a bias. On GPU and TPU it *is*
that call; on the CPU a float32 3x3x3 kernel goes through `winograd`, because XLA's own 3D convolution is
several times slower there (`benchmarks/convolution.py`). The choice falls when the function is lowered for
a platform, so one exported program serves all of them. A 1x1x1 kernel is a matrix product
everywhere, and so is a transposed convolution whose stride is its kernel: XLA's own is slow on all backends.

Laws that hold (and are tested):

* values and all gradients equal the sum over the taps to float32 rounding, 1e-5 of the largest;
* on the CPU one shape gives the same bits on every call, alone or next to others in a batch;
* beyond its result, the CPU path holds what `winograd` says, and in the gradients one copy of dy, grown by
  2 zeros on each side.

`vmap`, `jit`, `shard_map(check_vma=False)` and `jax.export` go through, forward-mode differentiation does
not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from asem_jax.models import phases, winograd
from asem_jax.models.phases import Window
from asem_jax.volumes.geometry import Int3, int3


def convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns the valid convolution of `x` with `kernel`, plus `bias`.

    Args:
      x: `[b, z, y, x, c_in]`.
      kernel: `[kz, ky, kx, c_in, c_out]`, dtype of `x`. Only float32 with 3x3x3 taps and at least 4 slices of
        output takes the fast path on the CPU; 1x1x1 is a matrix product, everything else XLA's convolution.
      bias: `[c_out]`, dtype of `x`.

    Returns:
      `[b, z - kz + 1, y - ky + 1, x - kx + 1, c_out]`.

    Raises:
      ValueError: shapes or dtypes do not fit each other.
    """
    _check(x, kernel, bias)
    if _fits(x, kernel):
        return _linear(x, kernel, bias)
    return _xla(x, kernel) + _per_channel(bias)


def convolve_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns `max(convolve(x, kernel, bias), 0)`; its gradient needs the result only, not the sum before it.

    Args:
      x: as for `convolve`.
      kernel: as for `convolve`.
      bias: as for `convolve`.

    Raises:
      ValueError: shapes or dtypes do not fit each other.
    """
    _check(x, kernel, bias)
    if _fits(x, kernel):
        return _rectified(x, kernel, bias)
    return jax.nn.relu(_xla(x, kernel) + _per_channel(bias))


def convolve_relu_joined(
    skip: jax.Array, coarse: jax.Array, kernel: jax.Array, bias: jax.Array, factor: Int3
) -> jax.Array:
    """Returns `convolve_relu` of [skip, repeated coarse map], joined on the channel axis.

    The coarse map is repeated `factor` times and cropped about its centre to the shape of `skip`. On the CPU that is
    what its part of the sum is, not what happens: see `phases`.

    Args:
      skip: `[b, z, y, x, c]`.
      coarse: `[b, z', y', x', d]`; repeated it is at least as large as `skip`.
      kernel: `[kz, ky, kx, c + d, c_out]`.
      bias: `[c_out]`.
      factor: repetitions, z y x.

    Raises:
      ValueError: shapes or dtypes do not fit each other.
    """
    if not _fits_phases(skip, coarse, kernel, factor):
        return convolve_relu(join(skip, coarse, factor), kernel, bias)
    return _joined(skip, coarse, kernel, bias, _window(skip, coarse, factor))


def _fits_phases(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, factor: Int3) -> bool:
    """Says whether the CPU path can do it, and is worth it: with a factor of 1 the phases save nothing."""
    fits = _fits(skip, kernel) and skip.shape[4] > 1 and coarse.dtype == skip.dtype
    return fits and all(isinstance(n, int) for n in coarse.shape) and all(f in (2, 3) for f in factor)


def _window(skip: jax.Array, coarse: jax.Array, factor: Int3) -> Window:
    """Returns what of the repeated coarse map the convolution sees."""
    sizes = list(zip(coarse.shape[1:4], factor, skip.shape[1:4], strict=True))
    start = int3([(n * f - size) // 2 for n, f, size in sizes], "start")
    return Window(factor, start, int3([size - 2 for _, _, size in sizes], "shape"))


def _check(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> None:
    shapes = f"x {x.dtype}{x.shape}, kernel {kernel.dtype}{kernel.shape}, bias {bias.dtype}{bias.shape}"
    if x.ndim != 5 or kernel.ndim != 5 or x.shape[4] != kernel.shape[3] or bias.shape != kernel.shape[4:]:
        wanted = "x [b, z, y, x, c_in], kernel [kz, ky, kx, c_in, c_out] and bias [c_out]"
        raise ValueError(f"{shapes} do not fit; give {wanted}.")
    if not x.dtype == kernel.dtype == bias.dtype:
        raise ValueError(f"{shapes} differ in dtype; cast them to one.")
    if any(n < k for n, k in zip(x.shape[1:4], kernel.shape[:3], strict=True)):
        raise ValueError(f"{shapes}: the kernel is larger than x; give at least {kernel.shape[:3]} voxels (z y x).")


def _fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Says whether the CPU path can do it; an exported program may have sizes that are not yet known."""
    if x.dtype != jnp.float32 or kernel.shape[:3] != (3, 3, 3) or not all(isinstance(n, int) for n in x.shape):
        return False
    return x.shape[1] >= 6 and x.size > 0 and kernel.size > 0


def _mix_channels(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns `[b, z, y, x, k]`: the channels of each voxel times `matrix` [c, k]."""
    return lax.dot_general(x, matrix, (((4,), (0,)), ((), ())))


def _per_channel(bias: jax.Array) -> jax.Array:
    return bias.reshape(1, 1, 1, 1, -1)


def _xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if kernel.shape[:3] == (1, 1, 1):
        return _mix_channels(x, kernel.reshape(kernel.shape[3:]))
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


# --- gradients ---


@jax.custom_vjp
def _linear(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return _forward(x, kernel, bias, relu=False)


@jax.custom_vjp
def _rectified(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return _forward(x, kernel, bias, relu=True)


_Two = tuple[jax.Array, jax.Array]
_Three = tuple[jax.Array, jax.Array, jax.Array]


def _linear_keep(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, _Two]:
    return _linear(x, kernel, bias), (x, kernel)


def _linear_gradient(kept: _Two, dy: jax.Array) -> _Three:
    x, kernel = kept
    dy = _grow(dy)
    return _input_gradient(dy, kernel), _kernel_gradient(x, dy), dy.sum((0, 1, 2, 3))


def _rectified_keep(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, _Three]:
    y = _rectified(x, kernel, bias)
    return y, (x, kernel, y)


def _rectified_gradient(kept: _Three, dy: jax.Array) -> _Three:
    x, kernel, y = kept
    return _linear_gradient((x, kernel), jnp.where(y > 0, dy, 0))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _joined(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, bias: jax.Array, window: Window) -> jax.Array:
    channels = skip.shape[4]

    def cpu(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        repeated = phases.convolve(coarse, kernel[..., channels:, :], window)
        return winograd.convolve_add_relu(skip, kernel[..., :channels, :], bias, repeated, window.margin)

    def elsewhere(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return jax.nn.relu(_xla(join(skip, coarse, window.factor), kernel) + _per_channel(bias))

    return lax.platform_dependent(skip, coarse, kernel, bias, cpu=cpu, default=elsewhere)


_Four = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _joined_keep(
    skip: jax.Array, coarse: jax.Array, kernel: jax.Array, bias: jax.Array, window: Window
) -> tuple[jax.Array, _Four]:
    y = _joined(skip, coarse, kernel, bias, window)
    return y, (skip, coarse, kernel, y)


def _joined_gradient(window: Window, kept: _Four, dy: jax.Array) -> _Four:
    skip, coarse, kernel, y = kept
    dy = jnp.where(y > 0, dy, 0)

    def cpu(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, dy: jax.Array) -> _Three:
        of_skip, of_coarse = kernel[..., : skip.shape[4], :], kernel[..., skip.shape[4] :, :]
        dy = _grow(dy)
        d_coarse, d_of_coarse = phases.gradients(coarse, of_coarse, dy, window)
        d_kernel = jnp.concatenate([winograd.kernel_gradient(skip, dy), d_of_coarse], axis=3)
        return _input_gradient(dy, of_skip), d_coarse, d_kernel

    def elsewhere(skip: jax.Array, coarse: jax.Array, kernel: jax.Array, dy: jax.Array) -> _Three:
        _, pull = jax.vjp(lambda s, c, k: _xla(join(s, c, window.factor), k), skip, coarse, kernel)
        d_skip, d_coarse, d_kernel = pull(dy)
        return d_skip, d_coarse, d_kernel

    gradients = lax.platform_dependent(skip, coarse, kernel, dy, cpu=cpu, default=elsewhere)
    return (*gradients, dy.sum((0, 1, 2, 3)))


_joined.defvjp(_joined_keep, _joined_gradient)
_linear.defvjp(_linear_keep, _linear_gradient)
_rectified.defvjp(_rectified_keep, _rectified_gradient)


def _grow(dy: jax.Array) -> jax.Array:
    """Returns `dy` with 2 zeros around, as the gradient for the input needs it."""
    return jnp.pad(dy, ((0, 0), (2, 2), (2, 2), (2, 2), (0, 0)))


def _forward(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, relu: bool) -> jax.Array:
    def elsewhere(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        y = _xla(x, kernel) + _per_channel(bias)
        return jax.nn.relu(y) if relu else y

    cpu = winograd.convolve_relu if relu else winograd.convolve
    return lax.platform_dependent(x, kernel, bias, cpu=cpu, default=elsewhere)


def _input_gradient(dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the gradient for the input: grown `dy` convolved with the flipped, transposed kernel."""
    flipped = kernel[::-1, ::-1, ::-1].swapaxes(3, 4)
    return _forward(dy, flipped, jnp.zeros(kernel.shape[3], dy.dtype), relu=False)


def _kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns the gradient for the kernel, from the input and the grown `dy`."""

    def elsewhere(x: jax.Array, dy: jax.Array) -> jax.Array:
        kernel = jax.ShapeDtypeStruct((3, 3, 3, x.shape[-1], dy.shape[-1]), x.dtype)
        (gradient,) = jax.linear_transpose(lambda k: _xla(x, k), kernel)(dy[:, 2:-2, 2:-2, 2:-2])
        return gradient

    return lax.platform_dependent(x, dy, cpu=winograd.kernel_gradient, default=elsewhere)


# --- pooling and upsampling ---


@jax.custom_vjp
def _pool(cells: jax.Array) -> jax.Array:
    return cells.max((2, 4, 6))


def _pool_keep(cells: jax.Array) -> tuple[jax.Array, _Two]:
    largest = _pool(cells)
    return largest, (cells, largest)


def _pool_gradient(kept: _Two, gradient: jax.Array) -> tuple[jax.Array]:
    cells, largest = kept
    within = (2, 4, 6)
    return (jnp.where(cells == jnp.expand_dims(largest, within), jnp.expand_dims(gradient, within), 0),)


_pool.defvjp(_pool_keep, _pool_gradient)


def max_pool(x: jax.Array, factor: Int3) -> jax.Array:
    """Returns the largest value of each cell of `factor` voxels.

    Equal maxima of one cell all receive its whole gradient (PyTorch: the first alone), which saves XLA's slow
    scatter. Behind a relu, ties are nearly always at 0, where the relu lets no gradient through.

    Args:
      x: `[b, z, y, x, c]`, sides divisible by `factor`.
      factor: voxels of a cell, z y x.

    Returns:
      `[b, z // fz, y // fy, x // fx, c]`.

    Raises:
      ValueError: a side of `x` is not divisible by `factor`.
    """
    return _pool(_cells(x, factor))


def _cells(x: jax.Array, factor: Int3) -> jax.Array:
    b, z, y, w, c = x.shape
    fz, fy, fx = factor
    if z % fz or y % fy or w % fx:
        raise ValueError(f"x of {(z, y, w)} voxels is not divisible by factor={factor}; choose a valid input shape.")
    return x.reshape(b, z // fz, fz, y // fy, fy, w // fx, fx, c)


def join(skip: jax.Array, coarse: jax.Array, factor: Int3) -> jax.Array:
    """Returns [skip, coarse] on the channel axis, the second repeated `factor` times and cropped about its centre.

    Args:
      skip: `[b, z, y, x, c]`.
      coarse: `[b, z', y', x', d]`.
      factor: repetitions, z y x.

    Returns:
      `[b, z, y, x, c + d]`.
    """
    return jnp.concatenate([skip, crop_centre(upsample_nearest(coarse, factor), skip.shape[1:4])], axis=-1)


def crop_centre(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns the middle `shape` voxels of `[b, z, y, x, c]`; the start is rounded down."""
    starts = [(n - m) // 2 for n, m in zip(x.shape[1:4], shape, strict=True)]
    z, y, x_axis = (slice(a, a + m) for a, m in zip(starts, shape, strict=True))
    return x[:, z, y, x_axis, :]


def upsample_nearest(x: jax.Array, factor: Int3) -> jax.Array:
    """Returns `x` with each voxel repeated `factor` times; the gradient is the sum over each cell.

    Args:
      x: `[b, z, y, x, c]`.
      factor: repetitions, z y x.

    Returns:
      `[b, z * fz, y * fy, x * fx, c]`.
    """
    b, z, y, w, c = x.shape
    fz, fy, fx = factor
    cells = jnp.broadcast_to(x[:, :, None, :, None, :, None], (b, z, fz, y, fy, w, fx, c))
    return cells.reshape(b, z * fz, y * fy, w * fx, c)


def mix_channels_relu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the rectified 1x1x1 convolution of `x`, without a bias.

    Repeated, that is a transposed convolution whose kernel is the same at all its voxels, and a ReLU.

    Args:
      x: `[b, z, y, x, c_in]`.
      kernel: `[1, 1, 1, c_in, c_out]`, dtype of `x`.

    Source: Heinrich et al., Nature 2021 (code: the constant upsampling).
    """
    return jax.nn.relu(_xla(x, kernel))


def upsample_transposed(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns the transposed convolution whose stride is the size of its kernel, plus `bias`.

    Each voxel of `x` becomes a cell of its own: a matrix product, whose channels are then laid out in space.

    Args:
      x: `[b, z, y, x, c_in]`.
      kernel: `[fz, fy, fx, c_in, c_out]`, dtype of `x`; voxel (i, j, k) of a cell is made by kernel[i, j, k].
      bias: `[c_out]`, dtype of `x`.

    Returns:
      `[b, z * fz, y * fy, x * fx, c_out]`.
    """
    b, z, y, w, c = x.shape
    fz, fy, fx, _, features = kernel.shape
    cells = _mix_channels(x, kernel.transpose(3, 0, 1, 2, 4).reshape(c, -1)).reshape(b, z, y, w, fz, fy, fx, features)
    return cells.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, z * fz, y * fy, w * fx, features) + _per_channel(bias)
