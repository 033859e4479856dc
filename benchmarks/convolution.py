"""Times the convolution of asem_jax against XLA's own, on the layers of the ASEM network.

    python -m benchmarks.convolution [--quick] [--compile]

Both take turns, so that a busy machine slows both; the ratio is the median over pairs. GF/s counts the
direct sum, 2 * 27 * c_in * c_out per output voxel, once for the forward pass and three times for value and
gradients (twice where the input needs no gradient, in the first layer). `--compile` also measures how long
XLA takes to compile value and gradients of the 15 layers in one program. Writes
benchmarks/results/convolution.json.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asem_jax.models.convolution import convolve_relu
from benchmarks.records import RESULTS, circumstances, save

RECORD = RESULTS / "convolution.json"
# Input voxels per axis, c_in, c_out. The first three are the short run.
LAYERS = (
    (66, 32, 32),
    (40, 12, 12),
    (30, 64, 64),
    (134, 1, 32),
    (134, 32, 32),
    (66, 32, 64),
    (64, 64, 64),
    (32, 64, 128),
    (30, 128, 128),
    (16, 128, 256),
    (14, 256, 256),
    (22, 384, 128),
    (40, 192, 64),
    (60, 96, 32),
    (56, 32, 2),
)
Layer = Callable[[jax.Array, jax.Array, jax.Array], Any]


def convolve_relu_xla(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns what `convolve_relu` does, by XLA's convolution, arrays `[b, z, y, x, c]`."""
    y = lax.conv_general_dilated(x, kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
    return jax.nn.relu(y + bias.reshape(1, 1, 1, 1, -1))


def value_and_gradients(function: Layer, with_input: bool) -> Layer:
    """Returns the sum of squares of `function` and its gradients; for the input only on request."""
    argnums = (0, 1, 2) if with_input else (1, 2)
    return jax.value_and_grad(lambda *arrays: (function(*arrays) ** 2).sum(), argnums)


def operands(size: int, c_in: int, c_out: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns a cube of `size` voxels per axis of unit variance, a kernel that keeps it, and a bias of 0."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 3, c_in, c_out), np.float32) * np.float32((27 * c_in) ** -0.5)
    x = rng.standard_normal((1, size, size, size, c_in), np.float32)
    return jnp.asarray(x), jnp.asarray(kernel), jnp.zeros(c_out)


def seconds(function: Callable[..., Any], *arrays: jax.Array) -> float:
    """Returns how long one call takes, its result included."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arrays))
    return time.perf_counter() - start


def compare(fast: Layer, slow: Layer, arrays: tuple[jax.Array, ...], repeats: int) -> dict[str, float]:
    """Returns median seconds of both, taking turns, and the median ratio of the pairs."""
    jitted = jax.jit(fast), jax.jit(slow)
    for function in jitted:
        seconds(function, *arrays)
    pairs = np.array([[seconds(function, *arrays) for function in jitted] for _ in range(repeats)])
    fast_s, slow_s = np.median(pairs, axis=0)
    return {"seconds": fast_s, "xla_seconds": slow_s, "ratio": float(np.median(pairs[:, 1] / pairs[:, 0]))}


def measure(layer: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """Returns the figures of one layer and prints its line of the table."""
    size, c_in, c_out = layer
    arrays, with_input = operands(*layer), c_in > 1
    gigaflop = 2 * 27 * c_in * c_out * (size - 2) ** 3 / 1e9
    figures = {
        "forward": compare(convolve_relu, convolve_relu_xla, arrays, repeats),
        "value_and_gradients": compare(
            value_and_gradients(convolve_relu, with_input),
            value_and_gradients(convolve_relu_xla, with_input),
            arrays,
            repeats,
        ),
    }
    cells = [f"{size:4d}^3 {c_in:4d} -> {c_out:3d}"]
    for figure, passes in zip(figures.values(), (1, 3 if with_input else 2), strict=True):
        figure["gflops"], figure["xla_gflops"] = (
            passes * gigaflop / figure[name] for name in ("seconds", "xla_seconds")
        )
        cells.append(f"{figure['gflops']:7.1f} {figure['xla_gflops']:7.1f} {figure['ratio']:6.2f}x")
    print(" | ".join(cells), flush=True)
    return {"size": size, "c_in": c_in, "c_out": c_out, **figures}


def compile_seconds(function: Layer, num_maps: int) -> float:
    """Returns how long value and gradients of 15 layers take to trace and compile, one after the other."""
    wide = [num_maps * 2**level for level in (0, 1, 2, 3, 2, 1, 0)]
    widths = [1, *(n for n in wide for _ in range(2)), 2]
    kernels = [jnp.zeros((3, 3, 3, a, b)) for a, b in pairwise(widths)]

    def loss(kernels: list[jax.Array], x: jax.Array) -> jax.Array:
        for kernel in kernels:
            x = function(x, kernel, jnp.zeros(kernel.shape[4]))
        return x.sum()

    x = jnp.zeros((1, 40, 40, 40, 1))
    start = time.perf_counter()
    jax.jit(jax.value_and_grad(loss)).lower(kernels, x).compile()
    return time.perf_counter() - start


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three layers, three pairs each")
    parser.add_argument("--compile", action="store_true", help="also time the compilation of 15 layers")
    arguments = parser.parse_args()
    layers, repeats = (LAYERS[:3], 3) if arguments.quick else (LAYERS, 7)
    print("input     layer | forward GF/s, XLA's, ratio | value and gradients GF/s, XLA's, ratio")
    results: dict[str, Any] = {
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "layers": [measure(layer, repeats) for layer in layers],
    }
    if arguments.compile:
        pair = compile_seconds(convolve_relu, 12), compile_seconds(convolve_relu_xla, 12)
        results["compile_seconds"], results["xla_compile_seconds"] = pair
        print(f"15 layers compile in {pair[0]:.1f} s, with XLA's convolution in {pair[1]:.1f} s")
    save(RECORD, results)


if __name__ == "__main__":
    main()
