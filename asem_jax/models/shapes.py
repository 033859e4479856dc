"""Shape arithmetic of a U-Net: which inputs fit, what comes out, and where it lies.

Axes are independent. A valid convolution consumes its kernel's size less 1; a decoder level whose architecture says
`crop_to_factor` first crops its upsampled map so that what is left after its two convolutions is a multiple of the
poolings from there down. A convolution with padding "same" consumes nothing, but sees zeros beyond the border; how far
their influence reaches is the context of such a network. Laws that hold (and are tested), n voxels in and m out, with
r output voxels per voxel of raw:

* `m(n + stride) == m(n) + r * stride` on every axis;
* a valid network's output begins `output_start` output voxels behind the input's begin, whatever n is;
* what lies at least `context` voxels of raw inside the input does not depend on what is beyond the input.

Source: Gallusser et al., J Cell Biol 2023; Funke et al., TPAMI 2019; Heinrich et al., Nature 2021 (the crop to factor).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple

from asem_jax.models.architecture import Architecture
from asem_jax.volumes.geometry import Int3, int3


class AxisSizes(NamedTuple):
    """Voxels along one axis on the way through a network, finest level first.

    Attributes:
      encoder: what each level of the encoder returns; the deepest is the last.
      upsampled: what is upsampled to each level of the decoder.
      cropped: what is left of it, and of the encoder's map, to be joined.
      decoder: what each level of the decoder returns.
      output: what the first head returns.
    """

    encoder: tuple[int, ...]
    upsampled: tuple[int, ...]
    cropped: tuple[int, ...]
    decoder: tuple[int, ...]
    output: int


def stride(architecture: Architecture) -> Int3:
    """Returns the shift, in voxels of raw z y x, under which the network is equivariant: the product of its poolings.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> stride(asem(pool_factors=((2, 2, 2), (1, 2, 2))))
      (2, 4, 4)
    """
    return int3([prod(_Axis.of(architecture, axis).factors) for axis in range(3)], "stride")


def output_shape(input_shape: Sequence[int], architecture: Architecture) -> Int3:
    """Returns how many voxels, z y x, the first head predicts from `input_shape` voxels; on the grid of the output.

    Args:
      input_shape: voxels of raw, z y x.
      architecture: of the network.

    Raises:
      ValueError: the shape does not fit; the message names the nearest shapes that do.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> output_shape((204, 204, 204), asem())
      (110, 110, 110)
    """
    sizes = [axis_sizes(n, architecture, axis) for axis, n in enumerate(input_shape)]
    if any(size is None for size in sizes):
        poolings = " and ".join(str(factor) for factor in architecture.pool_factors)
        raise ValueError(
            f"input_shape={tuple(input_shape)} does not fit poolings by {poolings} with {architecture.padding} "
            f"{_kernels(architecture)} convolutions; nearest: {_nearest(input_shape, architecture)} voxels (z, y, x)."
        )
    return int3([size.output for size in sizes if size], "output_shape")


def axis_sizes(size: int, architecture: Architecture, axis: int) -> AxisSizes | None:
    """Follows one axis through the network; None where it does not fit.

    Args:
      size: voxels of raw along the axis.
      architecture: of the network.
      axis: 0 = z, 1 = y, 2 = x.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> sizes = axis_sizes(204, asem(), axis=0)
      >>> sizes.encoder, sizes.upsampled, sizes.cropped, sizes.output
      ((200, 96, 44, 18), (120, 64, 36), (116, 64, 36), 110)
    """
    return _Axis.of(architecture, axis).follow(size)


def context(architecture: Architecture) -> Int3:
    """Returns the voxels of raw, z y x, that are needed on each side of what is predicted.

    For valid padding these are the voxels that the network consumes. A network with padding "same" consumes none, but
    what it says closer than this to the border of its input is mixed with the zeros beyond it.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> context(asem())
      (47, 47, 47)
    """
    axes = [_Axis.of(architecture, axis) for axis in range(3)]
    return int3([ceil(axis.reach() / axis.final_factor) for axis in axes], "context")


def output_start(architecture: Architecture) -> Int3:
    """Returns how far behind the first voxel of the input the output begins, in output voxels, z y x.

    For most networks that is the context; those with padding "same" have 0, those with a final upsampling count in
    their smaller voxels (`Architecture.final_factor` of them per voxel of raw).

    Example:
      >>> from asem_jax.models.architecture import cosem_8to4nm
      >>> output_start(cosem_8to4nm(num_channels=2)), context(cosem_8to4nm(num_channels=2))
      ((182, 182, 182), (91, 91, 91))
    """
    return int3([_Axis.of(architecture, axis).start() for axis in range(3)], "output_start")


def valid_input_shape(at_least: Sequence[int], architecture: Architecture) -> Int3:
    """Returns the smallest input shape, z y x, that fits the network and has no side below `at_least`.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> valid_input_shape((101, 204, 1), asem())
      (108, 204, 100)
    """
    sides = [_Axis.of(architecture, axis).valid(n) for axis, n in enumerate(at_least)]
    return int3(sides, "input_shape")


def crop_to_factor(size: int, factor: int, consumed: int) -> int:
    """Returns the largest size, at most `size`, that a level's convolutions leave as a multiple of `factor`.

    Args:
      size: voxels of the upsampled map along one axis.
      factor: product of the poolings from this level to the deepest.
      consumed: voxels that the two convolutions of the level consume.

    Example:
      >>> crop_to_factor(120, 8, consumed=4)
      116
    """
    return (size - consumed) // factor * factor + consumed


def consumed_by_level(architecture: Architecture, level: int) -> Int3:
    """Returns the voxels, z y x, that the two convolutions of a level consume; 0 for padding "same".

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> consumed_by_level(asem(), 0)
      (4, 4, 4)
    """
    return int3([_Axis.of(architecture, axis).levels[level] for axis in range(3)], "consumed")


class _Axis(NamedTuple):
    """One axis of an architecture, finest level first.

    `levels`, `final` and `head` are the voxels that the convolutions of a level, of the final upsampling and of the
    head consume; `radii` and `last_radius` how far the zeros of padding "same" reach in a level, and behind all.
    """

    factors: tuple[int, ...]
    levels: tuple[int, ...]
    radii: tuple[int, ...]
    final_factor: int
    final: int
    head: int
    last_radius: int
    crops: bool

    @classmethod
    def of(cls, architecture: Architecture, axis: int) -> "_Axis":
        """Returns an axis, 0 = z."""
        valid = architecture.padding == "valid"
        radii = tuple(size[axis] - 1 for size in architecture.kernel_sizes)  # of two convolutions
        final = architecture.final_upsampling
        final_radius = 0 if final is None else final.kernel_size[axis] - 1
        head_radius = architecture.heads[0].kernel_size[axis] // 2
        return cls(
            factors=tuple(factor[axis] for factor in architecture.pool_factors),
            levels=tuple(2 * radius * valid for radius in radii),
            radii=tuple(radius * (not valid) for radius in radii),
            final_factor=architecture.final_factor[axis],
            final=2 * final_radius * valid,
            head=2 * head_radius * valid,
            last_radius=(final_radius + head_radius) * (not valid),
            crops=architecture.crop_to_factor and valid,
        )

    def follow(self, size: int) -> AxisSizes | None:
        """Returns the sizes on the way of `size` voxels, or None where they do not fit."""
        depth = len(self.factors)
        encoder, upsampled, cropped, decoder = [0] * (depth + 1), [0] * depth, [0] * depth, [0] * depth
        for level, factor in enumerate(self.factors):
            encoder[level] = size - self.levels[level]
            if encoder[level] < factor or encoder[level] % factor:
                return None
            size = encoder[level] // factor
        size = encoder[depth] = size - self.levels[depth]
        for level in reversed(range(depth)):
            upsampled[level] = size * self.factors[level]
            cropped[level] = self._crop(upsampled[level], level)
            size = decoder[level] = cropped[level] - self.levels[level]
            if size < 1:
                return None
        output = size * self.final_factor - self.final - self.head
        sizes = AxisSizes(tuple(encoder), tuple(upsampled), tuple(cropped), tuple(decoder), output)
        return sizes if output > 0 else None

    def _crop(self, size: int, level: int) -> int:
        return crop_to_factor(size, prod(self.factors[level:]), self.levels[level]) if self.crops else size

    def valid(self, at_least: int) -> int:
        """Returns the smallest size that fits and is not below `at_least`."""
        size, _ = _first(self)
        step = prod(self.factors)
        return size + max(0, ceil((at_least - size) / step)) * step

    def start(self) -> int:
        """Returns where the output begins, in output voxels."""
        size, sizes = _first(self)
        # Maps of the encoder are cropped about their centres, the start rounded down: so lies what the U-Net returns.
        return (size - sizes.decoder[0]) // 2 * self.final_factor + (self.final + self.head) // 2

    def reach(self) -> int:
        """Returns the output voxels on each side that are not returned, or that zeros beyond the input change."""
        size, sizes = _first(self)
        consumed = size * self.final_factor - sizes.output - self.start()  # on the far side, which may have one more
        return consumed + self._blurred()

    def _blurred(self) -> int:
        """Returns how many output voxels from the border the zeros of padding "same" are felt."""
        felt, skips = 0, []
        for factor, radius in zip(self.factors, self.radii, strict=False):
            skips.append(felt + radius)
            felt = ceil(skips[-1] / factor)
        felt += self.radii[len(self.factors)]
        for factor, radius, skip in reversed(list(zip(self.factors, self.radii, skips, strict=False))):
            felt = max(skip, felt * factor) + radius
        return felt * self.final_factor + self.last_radius


@lru_cache(maxsize=64)
def _first(axis: _Axis) -> tuple[int, AxisSizes]:
    """Returns the smallest size that fits, and its way through the network; the others are whole strides above."""
    size = 1
    while (sizes := axis.follow(size)) is None:
        size += 1
    return size, sizes


def _kernels(architecture: Architecture) -> str:
    sizes = ["x".join(map(str, size)) for size in dict.fromkeys(architecture.kernel_sizes)]
    return " and ".join(sizes)


def _nearest(input_shape: Sequence[int], architecture: Architecture) -> str:
    """Names, per axis, the valid sizes just below and above what was asked for."""
    names = []
    for number, size in enumerate(input_shape):
        axis = _Axis.of(architecture, number)
        above = axis.valid(size)
        below = above - prod(axis.factors)
        names.append(f"{above}" if above == size or axis.follow(below) is None else f"{below} or {above}")
    return "(" + ", ".join(names) + ")"
