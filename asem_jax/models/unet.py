"""The 3D U-Net of ASEM as a Flax module.

Arrays are `[b, z, y, x, c]`. Convolutions are valid, so the output is smaller than the input by the context that
`shapes.context` states, and lies centred in it. Levels are numbered from the finest; level l has
`num_maps * map_growth**l` maps. Upsampling repeats voxels and holds no parameters; a decoder concatenates
[skip, upsampled] in this order. There is no normalisation, no dropout and no residual: evaluation and training are
the same function.

Source: Gallusser et al., J Cell Biol 2023, Fig. S3.
"""

from math import prod

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from asem_jax.models.convolution import convolve, convolve_relu, max_pool, upsample_nearest
from asem_jax.models.shapes import PoolFactors, crop_to_factor, output_shape
from asem_jax.volumes.geometry import Int3, int3


def bias_initializer(fan_in: int) -> nn.initializers.Initializer:
    """Returns an initialiser of biases, uniform in +-1/sqrt(fan_in), as PyTorch's convolutions have it."""
    bound = fan_in**-0.5

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


class Convolution(nn.Module):
    """A valid 3x3x3 convolution; parameters `kernel` [3, 3, 3, in, out] and `bias` [out].

    Attributes:
      num_maps: channels of the output.
      rectified: whether a ReLU follows.
      kernel_gain: see `UNet`.
      dtype: type of the arithmetic; parameters stay float32.
    """

    num_maps: int
    rectified: bool
    kernel_gain: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, z, y, x, c]` to `[b, z - 2, y - 2, x - 2, num_maps]`."""
        fan_in = 27 * x.shape[-1]
        initializer = variance_scaling(self.kernel_gain**2 / 3, "fan_in", "uniform")
        kernel = self.param("kernel", initializer, (3, 3, 3, x.shape[-1], self.num_maps))
        bias = self.param("bias", bias_initializer(fan_in), (self.num_maps,))
        operation = convolve_relu if self.rectified else convolve
        return operation(x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype))


class Level(nn.Module):
    """Two rectified convolutions: what every level of the encoder and of the decoder does.

    Attributes:
      num_maps: channels of both outputs.
      kernel_gain: see `UNet`.
      dtype: type of the arithmetic.
    """

    num_maps: int
    kernel_gain: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, z, y, x, c]` to `[b, z - 4, y - 4, x - 4, num_maps]`."""
        for number in (0, 1):
            x = Convolution(self.num_maps, True, self.kernel_gain, self.dtype, name=f"conv_{number}")(x)
        return x


class UNet(nn.Module):
    """The network: raw in, logits out.

    Attributes:
      num_maps: maps of the finest level; ASEM has 32.
      map_growth: factor of maps from a level to the next coarser one; ASEM has 2.
      pool_factors: max-pooling per level, finest first, each z y x; ASEM has three times (2, 2, 2).
      num_channels: output channels (background and organelles); ASEM has 2.
      kernel_gain: factor of the initial kernels over PyTorch's default, which ASEM has (1). With 6**0.5 (He et
        al. 2015) the signal keeps its size through the network, and training gets going many times sooner.
      dtype: type of the arithmetic; parameters and logits are float32.
    """

    num_maps: int = 32
    map_growth: int = 2
    pool_factors: PoolFactors = ((2, 2, 2),) * 3
    num_channels: int = 2
    kernel_gain: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, raw: jax.Array) -> jax.Array:
        """Returns logits of the voxels in the middle of `raw`.

        Args:
          raw: `[b, z, y, x, 1]` float32 in [-1, 1]; a shape that `shapes.output_shape` accepts.

        Returns:
          `[b, z', y', x', num_channels]` float32, before softmax.

        Raises:
          ValueError: the shape does not fit; the message names the nearest that do.
        """
        output_shape(raw.shape[1:4], self.pool_factors)
        depth = len(self.pool_factors)
        maps = [self.num_maps * self.map_growth**level for level in range(depth + 1)]
        x, skips = raw, []
        for level, factor in enumerate(self.pool_factors):
            x = Level(maps[level], self.kernel_gain, self.dtype, name=f"encoder_{level}")(x)
            skips.append(x)
            x = max_pool(x, factor)
        x = Level(maps[depth], self.kernel_gain, self.dtype, name=f"encoder_{depth}")(x)
        for level in reversed(range(depth)):
            x = merge_skip(skips[level], upsample_nearest(x, self.pool_factors[level]), self._factor(level))
            x = Level(maps[level], self.kernel_gain, self.dtype, name=f"decoder_{level}")(x)
        return Convolution(self.num_channels, False, 1.0, jnp.float32, name="head")(x)

    def _factor(self, level: int) -> Int3:
        coarser = self.pool_factors[level:]
        return int3([prod(factor[axis] for factor in coarser) for axis in range(3)], "factor")


def merge_skip(skip: jax.Array, upsampled: jax.Array, factor: Int3) -> jax.Array:
    """Returns [skip, upsampled] on the channel axis, both cropped about their centres.

    Args:
      skip: `[b, z, y, x, c]` of the encoder, at least as large as the other.
      upsampled: `[b, z, y, x, d]` from the next coarser level.
      factor: product of the poolings from this level down, z y x; see `shapes.crop_to_factor`.

    Returns:
      `[b, z', y', x', c + d]`.
    """
    target = int3([crop_to_factor(n, f) for n, f in zip(upsampled.shape[1:4], factor, strict=True)], "target")
    return jnp.concatenate([crop_centre(skip, target), crop_centre(upsampled, target)], axis=-1)


def crop_centre(x: jax.Array, shape: Int3) -> jax.Array:
    """Returns the middle `shape` voxels of `[b, z, y, x, c]`; the start is rounded down."""
    starts = [(n - m) // 2 for n, m in zip(x.shape[1:4], shape, strict=True)]
    z, y, x_axis = (slice(a, a + m) for a, m in zip(starts, shape, strict=True))
    return x[:, z, y, x_axis, :]
