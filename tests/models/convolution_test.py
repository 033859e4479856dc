"""Convolution, pooling and upsampling against XLA's own, in float64 where that decides."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import PartitionSpec

from asem_jax.models.convolution import (
    convolve,
    convolve_relu,
    convolve_relu_joined,
    join,
    max_pool,
    mix_channels_relu,
    upsample_nearest,
    upsample_transposed,
)
from asem_jax.volumes.geometry import Int3

Operands = tuple[jax.Array, jax.Array, jax.Array]
ON_CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="bits are promised for the CPU only")


def operands(shape: tuple[int, ...], features: int, taps: Int3 = (3, 3, 3), seed: int = 0) -> Operands:
    """Returns x of unit variance, a kernel that keeps it, and a bias."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(*taps, shape[-1], features)) / np.sqrt(np.prod(taps) * shape[-1])
    arrays = rng.normal(size=shape), kernel, rng.normal(size=features)
    x, k, b = (jnp.asarray(array, jnp.float32) for array in arrays)
    return x, k, b


def reference(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    y = lax.conv_general_dilated(x, kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
    return y + bias[None, None, None, None]


def pulled_back(function: Callable[..., jax.Array], arrays: Operands) -> list[jax.Array]:
    """Returns the value of `function` and its three gradients for a fixed random direction."""
    y, pull = jax.vjp(function, *arrays)
    dy = np.random.default_rng(9).normal(size=y.shape)
    return [y, *pull(jnp.asarray(dy, y.dtype))]


def exact(arrays: Operands, relu: bool) -> list[np.ndarray]:
    """Returns what `pulled_back` should, summed in float64, tap by tap."""
    x, kernel, bias = (np.asarray(array, np.float64) for array in arrays)
    size = [n - k + 1 for n, k in zip(x.shape[1:4], kernel.shape[:3], strict=True)]
    windows = {
        tap: (slice(None), *(slice(t, t + n) for t, n in zip(tap, size, strict=True)))
        for tap in np.ndindex(*kernel.shape[:3])
    }
    y = sum(x[window] @ kernel[tap] for tap, window in windows.items()) + bias
    dy = np.random.default_rng(9).normal(size=y.shape)
    if relu:
        y, dy = np.maximum(y, 0), np.where(y > 0, dy, 0)
    dx, dk = np.zeros_like(x), np.zeros_like(kernel)
    for tap, window in windows.items():
        dx[window] += dy @ kernel[tap].T
        dk[tap] = np.einsum("bzyxc,bzyxo->co", x[window], dy, optimize=True)
    return [y, dx, dk, dy.sum((0, 1, 2, 3))]


def assert_close(actual: list[jax.Array], expected: list[np.ndarray], tolerance: float = 1e-5) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((1, 6, 3, 3, 1), 3),  # the smallest of the fast path, one channel in
        ((3, 9, 12, 7, 4), 5),  # last block overlaps in z, batch
        ((1, 13, 40, 29, 3), 2),
        ((2, 7, 5, 33, 1), 8),
        ((1, 14, 11, 3, 40), 6),  # three groups of slices in a block
        ((1, 6, 22, 62, 200), 60),  # several blocks of rows, the last overlaps in every pass
    ],
)
def test_values_and_gradients_equal_the_sum_over_taps(shape: tuple[int, ...], features: int) -> None:
    arrays = operands(shape, features)
    step = jax.jit(lambda *arrays: pulled_back(convolve_relu, arrays))
    assert_close(step(*arrays), exact(arrays, relu=True))


def test_without_relu_values_and_gradients_equal_the_sum_over_taps() -> None:
    arrays = operands((2, 10, 8, 9, 3), 4)
    step = jax.jit(lambda *arrays: pulled_back(convolve, arrays))
    assert_close(step(*arrays), exact(arrays, relu=False))


@pytest.mark.parametrize(
    ("shape", "taps"),
    [
        ((2, 3, 5, 6, 2), (3, 3, 3)),
        ((1, 5, 4, 3, 2), (3, 3, 3)),
        ((1, 7, 6, 5, 3), (1, 3, 3)),
        ((2, 9, 5, 4, 3), (5, 1, 1)),
        ((2, 6, 6, 6, 2), (1, 1, 1)),
    ],
)
def test_thin_inputs_and_other_kernels_equal_the_sum_over_taps(shape: tuple[int, ...], taps: Int3) -> None:
    arrays = operands(shape, 3, taps)
    assert_close(pulled_back(convolve, arrays), exact(arrays, relu=False))
    assert_close(pulled_back(convolve_relu, arrays), exact(arrays, relu=True))


@pytest.mark.parametrize("taps", [(1, 3, 3), (3, 3, 1), (5, 5, 5), (1, 1, 1)])
def test_other_kernels_and_their_gradients_equal_those_of_xla(taps: Int3) -> None:
    arrays = operands((2, 8, 7, 6, 3), 4, taps)
    for ours, theirs in ((convolve, reference), (convolve_relu, lambda *a: jax.nn.relu(reference(*a)))):
        expected = [np.asarray(array) for array in pulled_back(theirs, arrays)]
        assert_close(pulled_back(ours, arrays), expected)


def test_a_kernel_of_one_voxel_is_a_matrix_product_on_every_platform() -> None:
    arrays = operands((1, 8, 7, 6, 3), 2, (1, 1, 1))
    step = jax.jit(lambda *arrays: pulled_back(convolve, arrays)).trace(*arrays)
    for platform in ("cpu", "cuda"):
        assert "stablehlo.convolution" not in step.lower(lowering_platforms=(platform,)).as_text()


def test_bfloat16_equals_the_convolution_of_xla() -> None:
    x, kernel, bias = (array.astype(jnp.bfloat16) for array in operands((1, 8, 7, 6, 4), 3))
    assert convolve(x, kernel, bias).dtype == jnp.bfloat16
    np.testing.assert_array_equal(convolve(x, kernel, bias), reference(x, kernel, bias))


def test_flipping_the_input_and_the_kernel_flips_the_output() -> None:
    x, kernel, bias = operands((1, 11, 9, 8, 3), 2)
    flipped = convolve(x[:, ::-1, ::-1, ::-1], kernel[::-1, ::-1, ::-1], bias)
    np.testing.assert_allclose(flipped[:, ::-1, ::-1, ::-1], convolve(x, kernel, bias), rtol=0, atol=1e-5)


@ON_CPU
@pytest.mark.parametrize("channels", [1, 24])
def test_one_shape_gives_the_same_bits_alone_and_in_a_batch(channels: int) -> None:
    arrays = operands((3, 14, 24, 25, channels), 24)
    step = jax.jit(lambda *arrays: pulled_back(convolve_relu, arrays))
    first = step(*arrays)
    for _ in range(3):
        for one, other in zip(step(*arrays), first, strict=True):
            np.testing.assert_array_equal(one, other)
    alone = jax.jit(convolve_relu)(arrays[0][1:2], *arrays[1:])
    np.testing.assert_array_equal(alone, first[0][1:2])


def test_vmap_equals_a_loop() -> None:
    x, kernel, bias = operands((2, 8, 7, 6, 3), 2)
    gradient = jax.grad(lambda k, x: (convolve_relu(x, k, bias) ** 2).sum())
    together = jax.jit(jax.vmap(gradient, (None, 0)))(kernel, x[:, None])
    for i in range(2):
        np.testing.assert_allclose(together[i], gradient(kernel, x[i : i + 1]), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_gradients_summed_over_devices_equal_those_of_the_batch() -> None:
    x, kernel, bias = operands((2, 8, 7, 6, 3), 2)
    gradient = jax.grad(lambda k, x: (convolve_relu(x, k, bias) ** 2).sum())
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    here, shared = PartitionSpec("data"), PartitionSpec()
    summed = jax.shard_map(
        lambda k, x: lax.psum(gradient(k, x), "data"),
        mesh=mesh,
        in_specs=(shared, here),
        out_specs=shared,
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(summed)(kernel, x), gradient(kernel, x), rtol=1e-5, atol=1e-5)


def test_each_platform_gets_its_own_convolution() -> None:
    arrays = operands((1, 8, 7, 6, 3), 2)
    step = jax.jit(lambda *arrays: pulled_back(convolve_relu, arrays)).trace(*arrays)
    on_cpu, on_gpu = (step.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda"))
    assert on_cpu.count("stablehlo.convolution") == 0
    assert on_gpu.count("stablehlo.convolution") == 3
    assert "stablehlo.while" not in on_gpu
    assert "conditional(" not in step.lower().compile().as_text()


def test_one_exported_program_serves_several_platforms() -> None:
    arrays = operands((1, 8, 7, 6, 3), 2)
    step = jax.jit(lambda *arrays: pulled_back(convolve_relu, arrays))
    exported = export.export(step, platforms=("cpu", "cuda", "tpu"))(*arrays)
    for one, other in zip(exported.call(*arrays), step(*arrays), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_an_exported_program_may_leave_the_batch_open() -> None:
    x, kernel, bias = operands((2, 8, 7, 6, 3), 2)
    (b,) = export.symbolic_shape("b")
    exported = export.export(jax.jit(convolve))(jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype), kernel, bias)
    np.testing.assert_allclose(exported.call(x, kernel, bias), convolve(x, kernel, bias), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "kernel", "bias", "message"),
    [
        ((1, 8, 8, 8, 3), (3, 3, 3, 2, 4), (4,), r"\(1, 8, 8, 8, 3\).*do not fit; give x"),
        ((1, 8, 8, 8, 2), (3, 3, 3, 2, 4), (3,), r"bias float32\(3,\) do not fit"),
        ((8, 8, 8, 2), (3, 3, 3, 2, 4), (4,), r"do not fit; give x \[b, z, y, x, c_in\]"),
        ((1, 8, 2, 8, 2), (3, 3, 3, 2, 4), (4,), r"larger than x; give at least \(3, 3, 3\) voxels"),
    ],
)
@pytest.mark.parametrize("function", [convolve, convolve_relu])
def test_shapes_that_do_not_fit_are_named(
    function: Callable[..., jax.Array],
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    bias: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        function(jnp.zeros(x), jnp.zeros(kernel), jnp.zeros(bias))


def test_different_dtypes_are_named() -> None:
    x, kernel, bias = operands((1, 6, 6, 6, 1), 2)
    with pytest.raises(ValueError, match=r"x bfloat16.*kernel float32.*cast them to one"):
        convolve(x.astype(jnp.bfloat16), kernel, bias)


def test_max_pool_equals_that_of_xla_with_its_gradient_where_nothing_ties() -> None:
    x = operands((2, 4, 9, 6, 3), 1)[0]
    pooled, pull = jax.vjp(lambda x: max_pool(x, (1, 3, 2)), x)
    window = (1, 1, 3, 2, 1)
    expected, expected_pull = jax.vjp(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID"), x)
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(pull(pooled)[0], expected_pull(pooled)[0])


def test_equal_maxima_all_receive_the_gradient() -> None:
    x = jnp.asarray([[1.0, 3.0], [3.0, 0.0]]).reshape(1, 1, 2, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x, (1, 2, 2)).sum())(x)
    np.testing.assert_array_equal(gradient.reshape(2, 2), [[0, 1], [1, 0]])


def test_a_side_that_does_not_divide_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5, 6\) voxels is not divisible by factor=\(2, 2, 2\)"):
        max_pool(jnp.zeros((1, 4, 5, 6, 1)), (2, 2, 2))


def test_upsampling_repeats_voxels_and_its_gradient_sums_them() -> None:
    x = operands((2, 2, 3, 4, 2), 1)[0]
    factor = (1, 3, 2)
    up, pull = jax.vjp(lambda x: upsample_nearest(x, factor), x)
    np.testing.assert_array_equal(up, np.kron(x, np.ones((1, *factor, 1), np.float32)))
    np.testing.assert_allclose(pull(up)[0], 6 * x, rtol=1e-6)


@pytest.mark.parametrize("factor", [(2, 2, 2), (1, 3, 2)])
def test_transposed_upsampling_and_its_gradients_equal_the_convolution_of_a_spread_input(factor: Int3) -> None:
    arrays = operands((2, 3, 4, 5, 3), 4, factor)

    def spread(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        """Puts zeros between the voxels, and slides the turned kernel over them."""
        y = lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1, ::-1],
            (1, 1, 1),
            [(f - 1, f - 1) for f in factor],
            lhs_dilation=factor,
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
        return y + bias[None, None, None, None]

    expected = [np.asarray(array) for array in pulled_back(spread, arrays)]
    assert expected[0].shape == (2, 3 * factor[0], 4 * factor[1], 5 * factor[2], 4)
    assert_close(pulled_back(upsample_transposed, arrays), expected)


def test_mixed_channels_repeated_are_a_rectified_transposed_convolution_with_one_kernel_for_all_its_voxels() -> None:
    x, kernel, _ = operands((2, 3, 4, 5, 3), 4, (1, 1, 1))
    factor = (1, 3, 2)
    same_everywhere = jnp.broadcast_to(kernel, (*factor, *kernel.shape[3:]))
    expected = jax.nn.relu(upsample_transposed(x, same_everywhere, jnp.zeros(4)))
    np.testing.assert_allclose(upsample_nearest(mix_channels_relu(x, kernel), factor), expected, rtol=0, atol=1e-6)


# --- a map joined to a repeated one ---


def joined_operands(size: Int3, coarse_size: Int3, batch: int = 1) -> tuple[jax.Array, ...]:
    """Returns a skip of 4 channels, a coarse map of 6, a kernel and a bias."""
    rng = np.random.default_rng(1)
    arrays = rng.normal(size=(batch, *size, 4)), rng.normal(size=(batch, *coarse_size, 6))
    arrays += rng.normal(size=(3, 3, 3, 10, 5)) / 16, rng.normal(size=5)
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def joined(factor: Int3) -> Callable[..., jax.Array]:
    return partial(convolve_relu_joined, factor=factor)


@pytest.mark.parametrize(
    ("size", "coarse_size", "factor"),
    [
        ((12, 12, 12), (8, 8, 8), (2, 2, 2)),  # crop by whole cells
        ((11, 9, 13), (9, 6, 8), (2, 2, 2)),  # the output starts within a cell
        ((12, 13, 14), (9, 5, 6), (3, 3, 3)),  # each of three places in a cell
        ((13, 12, 12), (5, 7, 4), (3, 2, 3)),  # all of the coarse map is seen
        ((12, 70, 200), (6, 36, 102), (2, 2, 2)),  # several blocks, the last overlaps
    ],
)
def test_a_repeated_map_is_convolved_as_if_it_were_there(size: Int3, coarse_size: Int3, factor: Int3) -> None:
    skip, coarse, kernel, bias = joined_operands(size, coarse_size, batch=2)
    y, pull = jax.vjp(joined(factor), skip, coarse, kernel, bias)
    whole, repeat_pull = jax.vjp(lambda skip, coarse: join(skip, coarse, factor), skip, coarse)
    expected, dwhole, dkernel, dbias = exact((whole, kernel, bias), relu=True)
    dskip, dcoarse = repeat_pull(jnp.asarray(dwhole, jnp.float32))
    dy = jnp.asarray(np.random.default_rng(9).normal(size=y.shape), jnp.float32)
    assert_close([y, *pull(dy)], [expected, np.asarray(dskip), np.asarray(dcoarse), dkernel, dbias])


def test_where_phases_save_nothing_the_maps_are_joined() -> None:
    skip, coarse, kernel, bias = joined_operands((12, 12, 12), (14, 7, 7))
    factor = (1, 2, 2)
    expected = convolve_relu(join(skip, coarse, factor), kernel, bias)
    np.testing.assert_array_equal(convolve_relu_joined(skip, coarse, kernel, bias, factor), expected)


def test_only_the_cpu_computes_by_phases() -> None:
    arguments = joined_operands((12, 12, 12), (8, 8, 8))
    pull = jax.jit(jax.grad(lambda *a: joined((2, 2, 2))(*a).sum(), (0, 1, 2, 3)))
    for platform, convolves in (("cpu", False), ("cuda", True)):
        program = export.export(pull, platforms=[platform])(*arguments).mlir_module()
        assert ("stablehlo.convolution" in program) == convolves


def test_elsewhere_a_repeated_map_is_made_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = joined_operands((11, 12, 13), (9, 8, 8))
    expected, pull = jax.vjp(joined((2, 2, 2)), *arguments)
    monkeypatch.setattr(lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays))
    y, other_pull = jax.vjp(joined((2, 2, 2)), *arguments)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    for one, other in zip(other_pull(y), pull(y), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * float(jnp.abs(other).max()))
