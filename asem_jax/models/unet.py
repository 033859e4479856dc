"""The 3D U-Net as a Flax module, for every `Architecture`.

Arrays are `[b, z, y, x, c]`. Levels are numbered from the finest. With valid padding the output is smaller than the
input by the context that `shapes.context` states, and lies where `shapes.output_start` says; with padding "same" it is
as large. A decoder joins [skip, upsampled] in this order, both cropped about their centres. There is no
normalisation, no dropout and no residual: evaluation and training are the same function.

Parameters: `encoder_<level>/conv_<0 or 1>`, `decoder_<level>/conv_<0 or 1>`, `upsample_<level>` where upsampling is
learned, `upsample_final` and `final/conv_<0 or 1>` of a final upsampling, and one entry named as each head.

Source: Gallusser et al., J Cell Biol 2023, Fig. S3; Heinrich et al., Nature 2021; Funke et al., TPAMI 2019.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from asem_jax.models import convolution
from asem_jax.models import slabs as finest
from asem_jax.models.architecture import Architecture, Head
from asem_jax.models.shapes import axis_sizes, consumed_by_level, crop_to_factor, output_shape
from asem_jax.volumes.geometry import Int3


def bias_initializer(fan_in: int) -> nn.initializers.Initializer:
    """Returns an initialiser of biases, uniform in +-1/sqrt(fan_in), as PyTorch's convolutions have it."""
    bound = fan_in**-0.5

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


def kernel_initializer(kernel_gain: float) -> nn.initializers.Initializer:
    """Returns an initialiser of kernels, uniform in +-kernel_gain/sqrt(fan_in); with gain 1 that of PyTorch."""
    return variance_scaling(kernel_gain**2 / 3, "fan_in", "uniform")


class Convolution(nn.Module):
    """A convolution with stride 1; parameters `kernel` [kz, ky, kx, in, out] and `bias` [out].

    Attributes:
      num_maps: channels of the output.
      kernel_size: voxels, z y x.
      padding: "valid" or "same"; see `Architecture`.
      rectified: whether a ReLU follows.
      kernel_gain: see `UNet`.
      dtype: type of the arithmetic; parameters stay float32.
    """

    num_maps: int
    kernel_size: Int3
    padding: str
    rectified: bool
    kernel_gain: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, coarse: jax.Array | None = None, factor: Int3 = (1, 1, 1)) -> jax.Array:
        """Maps `[b, z, y, x, c]` to `[b, z', y', x', num_maps]`, valid: smaller by the kernel's size less 1.

        With a coarse map, its voxels repeated `factor` times are more channels of `x`; a ReLU follows.
        """
        if coarse is not None and self.padding == "same":
            x, coarse = convolution.join(x, coarse, factor), None
        channels = x.shape[-1] + (0 if coarse is None else coarse.shape[-1])
        shape = (*self.kernel_size, channels, self.num_maps)
        kernel = self.param("kernel", kernel_initializer(self.kernel_gain), shape).astype(self.dtype)
        bias = self.param("bias", bias_initializer(prod(shape[:4])), (self.num_maps,)).astype(self.dtype)
        if self.padding == "same":
            x = jnp.pad(x, [(0, 0), *((k // 2, k // 2) for k in self.kernel_size), (0, 0)])
        x = x.astype(self.dtype)
        if coarse is not None:
            return convolution.convolve_relu_joined(x, coarse.astype(self.dtype), kernel, bias, factor)
        operation = convolution.convolve_relu if self.rectified else convolution.convolve
        return operation(x, kernel, bias)


class Level(nn.Module):
    """Two rectified convolutions: what every level of the encoder and of the decoder does.

    Attributes:
      num_maps: channels of both outputs.
      kernel_size: of both.
      padding: of both.
      kernel_gain: see `UNet`.
      dtype: type of the arithmetic.
    """

    num_maps: int
    kernel_size: Int3
    padding: str
    kernel_gain: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, coarse: jax.Array | None = None, factor: Int3 = (1, 1, 1)) -> jax.Array:
        """Maps `[b, z, y, x, c]` to `[b, z', y', x', num_maps]`; `coarse` and `factor` as in `Convolution`."""
        first, second = (
            Convolution(
                self.num_maps,
                self.kernel_size,
                self.padding,
                rectified=True,
                kernel_gain=self.kernel_gain,
                dtype=self.dtype,
                name=f"conv_{number}",
            )
            for number in (0, 1)
        )
        return second(first(x, coarse, factor))


class LearnedUpsampling(nn.Module):
    """Upsampling with a `kernel` [fz, fy, fx, in, out] and `bias` [out]; "constant" has [1, 1, 1, in, out] alone.

    What "constant" returns has yet to be repeated.

    Attributes:
      kind: "transposed", "transposed_relu" or "constant"; see `Architecture`.
      factor: output voxels per voxel, z y x.
      num_maps: channels of the output.
      kernel_gain: see `UNet`.
      dtype: type of the arithmetic.
    """

    kind: str
    factor: Int3
    num_maps: int
    kernel_gain: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, z, y, x, c]` to `[b, z * fz, y * fy, x * fx, num_maps]`; "constant": `[b, z, y, x, num_maps]`."""
        taps = (1, 1, 1) if self.kind == "constant" else self.factor
        shape = (*taps, x.shape[-1], self.num_maps)
        kernel = self.param("kernel", kernel_initializer(self.kernel_gain), shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.kind == "constant":
            return convolution.mix_channels_relu(x, kernel)
        bias = self.param("bias", bias_initializer(prod(shape[:4])), (self.num_maps,)).astype(self.dtype)
        upsampled = convolution.upsample_transposed(x, kernel, bias)
        return jax.nn.relu(upsampled) if self.kind == "transposed_relu" else upsampled


class UNet(nn.Module):
    """The network: raw in, logits out.

    Attributes:
      architecture: what it is made of.
      kernel_gain: factor of the initial kernels over PyTorch's default, which ASEM has (1). With 6**0.5 (He et
        al. 2015) the signal keeps its size through the network, and training gets going many times sooner.
      dtype: type of the arithmetic; parameters, the last convolution and what it returns are float32.
      rematerialize: whether the maps within a level are computed again for the gradient instead of being kept: less
        memory, more time, the same values and gradients.
      slabs: into how many the finest level is divided along z, see `slabs`: less memory, the same values to rounding.
        For prediction, where `slabs.runs_in_slabs`; then the first head alone says something. 1 = whole.
    """

    architecture: Architecture
    kernel_gain: float = 1.0
    dtype: DTypeLike = jnp.float32
    rematerialize: bool = False
    slabs: int = 1

    def __call__(self, raw: jax.Array) -> jax.Array:
        """Returns what the first head says of the voxels in the middle of `raw`.

        Args:
          raw: `[b, z, y, x, 1]` float32 in [-1, 1]; a shape that `shapes.output_shape` accepts.

        Returns:
          `[b, z', y', x', c]` float32, logits, before softmax.

        Raises:
          ValueError: the shape does not fit; the message names the nearest that do.
        """
        return self.heads(raw)[self.architecture.heads[0].name]

    @nn.compact
    def heads(self, raw: jax.Array) -> dict[str, jax.Array]:
        """Returns what each head says, by its name; otherwise as `__call__`."""
        net = self.architecture
        if all(isinstance(n, int) for n in raw.shape):  # an exported program may have sizes that are not yet known
            output_shape(raw.shape[1:4], net)
        in_slabs = self.slabs > 1 and finest.runs_in_slabs(net)
        x, skips = raw, []
        for level, factor in enumerate(net.pool_factors):
            if in_slabs and level == 0:
                x, skip = self._encode_in_slabs(x)
            else:
                skip = self._level(f"encoder_{level}", net.encoder_maps[level], net.kernel_sizes[level], x)
                x = convolution.max_pool(skip, factor)
            skips.append(skip)
        x = self._level(f"encoder_{len(skips)}", net.encoder_maps[-1], net.kernel_sizes[-1], x)
        for level in reversed(range(len(skips))):
            coarse, factor = self._upsample(f"upsample_{level}", net.pool_factors[level], net.upsampled_maps[level], x)
            target = self._target(level, coarse, factor)
            if in_slabs and level == 0:
                return self._decode_in_slabs(skips[0], coarse, factor, target)
            skip = convolution.crop_centre(skips[level], target)
            num_maps, kernel_size = net.decoder_maps[level], net.kernel_sizes[level]
            x = self._level(f"decoder_{level}", num_maps, kernel_size, skip, coarse=coarse, factor=factor)
        if net.final_upsampling:
            final = net.final_upsampling
            coarse, factor = self._upsample("upsample_final", final.factor, final.num_maps, x)
            x = convolution.upsample_nearest(coarse, factor)
            x = self._level("final", final.num_maps, final.kernel_size, x)
        return self._read_out(x)

    def _level(
        self,
        name: str,
        num_maps: int,
        kernel_size: Int3,
        x: jax.Array,
        *,
        coarse: jax.Array | None = None,
        factor: Int3 = (1, 1, 1),
    ) -> jax.Array:
        kind = nn.remat(Level, static_argnums=(3,)) if self.rematerialize else Level
        level = kind(**self._of_level(num_maps, kernel_size), name=name)
        result: jax.Array = level(x, coarse, factor)
        return result

    def _encode_in_slabs(self, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the finest map of the encoder pooled, and what of its planes the decoder joins."""
        net = self.architecture
        sizes = [axis_sizes(n, net, axis) for axis, n in enumerate(raw.shape[1:4])]
        _, y, x = (size.cropped[0] for size in sizes if size)
        level = self._unbound(
            "encoder_0", Level(**self._of_level(net.encoder_maps[0], net.kernel_sizes[0]), parent=None)
        )
        consumed = consumed_by_level(net, 0)[0]
        return finest.encode(level, raw, net.pool_factors[0], consumed=consumed, plane=(y, x), number=self.slabs)

    def _decode_in_slabs(
        self, skip: jax.Array, coarse: jax.Array, factor: Int3, target: tuple[int, ...]
    ) -> dict[str, jax.Array]:
        """Returns what the first head says, from the finest map of the encoder and the coarse one to be joined."""
        net = self.architecture
        head = net.heads[0]
        level = self._unbound(
            "decoder_0", Level(**self._of_level(net.decoder_maps[0], net.kernel_sizes[0]), parent=None)
        )
        last = self._unbound(head.name, Convolution(**self._of_head(head), parent=None))

        def of_slab(fine: jax.Array, near: jax.Array) -> jax.Array:
            return _activated(head, last(level(fine, near, factor)))

        consumed = consumed_by_level(net, 0)[0] + head.kernel_size[0] - 1
        said = finest.decode(of_slab, skip, coarse, factor, cropped=target[0], consumed=consumed, number=self.slabs)
        return {head.name: said}

    def _unbound(self, name: str, module: nn.Module) -> Callable[..., jax.Array]:
        """Returns a part of the network as a function, which may be called inside a loop."""
        called: Any = partial(module.apply, {"params": self.variables["params"][name]})
        return called

    def _upsample(self, name: str, factor: Int3, num_maps: int, x: jax.Array) -> tuple[jax.Array, Int3]:
        """Returns what is joined to the skip, and how many times its voxels have yet to be repeated."""
        kind = self.architecture.upsampling
        if kind == "repeat":
            return x, factor
        learned = LearnedUpsampling(kind, factor, num_maps, self.kernel_gain, self.dtype, name=name)(x)
        return learned, factor if kind == "constant" else (1, 1, 1)

    def _target(self, level: int, coarse: jax.Array, factor: Int3) -> tuple[int, ...]:
        """Returns the shape, z y x, in which an upsampled map is joined to the encoder's map of its level."""
        net = self.architecture
        upsampled = [n * f for n, f in zip(coarse.shape[1:4], factor, strict=True)]
        if net.padding == "same" or not net.crop_to_factor:
            return tuple(upsampled)
        factors = [prod(factor[axis] for factor in net.pool_factors[level:]) for axis in range(3)]
        axes = zip(upsampled, factors, consumed_by_level(net, level), strict=True)
        return tuple(crop_to_factor(size, factor, consumed) for size, factor, consumed in axes)

    def _read_out(self, x: jax.Array) -> dict[str, jax.Array]:
        return {
            head.name: _activated(head, Convolution(**self._of_head(head), name=head.name)(x))
            for head in self.architecture.heads
        }

    def _of_level(self, num_maps: int, kernel_size: Int3) -> dict[str, Any]:
        """Returns the attributes of a level."""
        shared = {"padding": self.architecture.padding, "kernel_gain": self.kernel_gain, "dtype": self.dtype}
        return {"num_maps": num_maps, "kernel_size": kernel_size, **shared}

    def _of_head(self, head: Head) -> dict[str, Any]:
        """Returns the attributes of the last convolution."""
        shared = {"padding": self.architecture.padding, "kernel_gain": 1.0, "dtype": jnp.float32}
        return {"num_maps": head.num_channels, "kernel_size": head.kernel_size, "rectified": False, **shared}


def _activated(head: Head, x: jax.Array) -> jax.Array:
    return nn.sigmoid(x) if head.activation == "sigmoid" else x
