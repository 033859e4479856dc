"""Shape arithmetic of a U-Net made of valid convolutions.

Every level has two 3x3x3 convolutions, so it consumes 4 voxels per axis; the linear head consumes 2 more. A
decoder level first crops its upsampled map so that what is left after its two convolutions is a multiple of the
poolings from there down ("crop to factor"): only then do all positions that differ by the network's stride see the
same arithmetic. Axes are independent. Laws that hold (and are tested):

* `output_shape(n + stride) == output_shape(n) + stride` on every axis;
* `n - output_shape(n) == 2 * context` for every valid n.

Source: Gallusser et al., J Cell Biol 2023; Funke et al., TPAMI 2019 (the crop to factor).
"""

from collections.abc import Sequence
from math import prod

from asem_jax.volumes.geometry import Int3, int3

PoolFactors = tuple[Int3, ...]

CONVOLUTIONS_OF_LEVEL = 4  # voxels that the two 3x3x3 convolutions of a level consume, per axis
CONVOLUTION_OF_HEAD = 2  # voxels that the 3x3x3 convolution of the head consumes, per axis


def stride(pool_factors: PoolFactors) -> Int3:
    """Returns the shift, in voxels z y x, under which the network is equivariant: the product of its poolings.

    Args:
      pool_factors: max-pooling factor per level, finest first, each z y x.

    Example:
      >>> stride(((2, 2, 2), (1, 2, 2)))
      (2, 4, 4)
    """
    return int3([prod(factor[axis] for factor in pool_factors) for axis in range(3)], "stride")


def output_shape(input_shape: Sequence[int], pool_factors: PoolFactors) -> Int3:
    """Returns how many voxels, z y x, the network predicts from `input_shape` voxels.

    Args:
      input_shape: voxels of raw, z y x.
      pool_factors: max-pooling factor per level, finest first, each z y x.

    Raises:
      ValueError: the shape does not fit; the message names the nearest shapes that do.

    Example:
      >>> output_shape((204, 204, 204), ((2, 2, 2),) * 3)
      (110, 110, 110)
    """
    sizes = [_axis_output(n, _axis(pool_factors, axis)) for axis, n in enumerate(input_shape)]
    if any(size is None for size in sizes):
        poolings = " and ".join(str(factor) for factor in pool_factors)
        raise ValueError(
            f"input_shape={tuple(input_shape)} does not fit poolings by {poolings} with valid 3x3x3 convolutions; "
            f"nearest: {_nearest(input_shape, pool_factors)} voxels (z, y, x)."
        )
    return int3([size or 0 for size in sizes], "output_shape")


def context(pool_factors: PoolFactors) -> Int3:
    """Returns the voxels of raw, z y x, that the network consumes on each side of what it predicts.

    Example:
      >>> context(((2, 2, 2),) * 3)
      (47, 47, 47)
    """
    smallest = valid_input_shape((1, 1, 1), pool_factors)
    predicted = output_shape(smallest, pool_factors)
    return int3([(n - m) // 2 for n, m in zip(smallest, predicted, strict=True)], "context")


def valid_input_shape(at_least: Sequence[int], pool_factors: PoolFactors) -> Int3:
    """Returns the smallest input shape, z y x, that fits the network and has no side below `at_least`.

    Example:
      >>> valid_input_shape((101, 204, 1), ((2, 2, 2),) * 3)
      (108, 204, 100)
    """
    sides = [_next_valid(n, _axis(pool_factors, axis)) for axis, n in enumerate(at_least)]
    return int3(sides, "input_shape")


def _axis(pool_factors: PoolFactors, axis: int) -> list[int]:
    return [factor[axis] for factor in pool_factors]


def _axis_output(size: int, factors: list[int]) -> int | None:
    """Follows one axis through the network; None where it does not fit."""
    for factor in factors:
        size -= CONVOLUTIONS_OF_LEVEL
        if size < factor or size % factor:
            return None
        size //= factor
    size -= CONVOLUTIONS_OF_LEVEL
    for level in reversed(range(len(factors))):
        size = crop_to_factor(size * factors[level], prod(factors[level:])) - CONVOLUTIONS_OF_LEVEL
        if size < 1:
            return None
    return size - CONVOLUTION_OF_HEAD if size > CONVOLUTION_OF_HEAD else None


def crop_to_factor(size: int, factor: int) -> int:
    """Returns the largest size, at most `size`, that the two convolutions leave as a multiple of `factor`.

    Args:
      size: voxels of the upsampled map along one axis.
      factor: product of the poolings from this level to the deepest.

    Example:
      >>> crop_to_factor(120, 8)
      116
    """
    return (size - CONVOLUTIONS_OF_LEVEL) // factor * factor + CONVOLUTIONS_OF_LEVEL


def _next_valid(at_least: int, factors: list[int]) -> int:
    size = max(1, at_least)
    while _axis_output(size, factors) is None:
        size += 1
    return size


def _nearest(input_shape: Sequence[int], pool_factors: PoolFactors) -> str:
    """Names, per axis, the valid sizes just below and above what was asked for."""
    names = []
    for axis, size in enumerate(input_shape):
        factors = _axis(pool_factors, axis)
        below = next((n for n in range(size, 0, -1) if _axis_output(n, factors)), None)
        above = _next_valid(size, factors)
        names.append(f"{above}" if below in (None, above) else f"{below} or {above}")
    return "(" + ", ".join(names) + ")"
