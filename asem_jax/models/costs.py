"""How much arithmetic a network does on an input, known from shapes alone.

Counted are the multiplications of the direct sums of all convolutions, which decide which of several tiles costs least;
what a backend saves (Winograd, phases) it saves on all of them alike.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from asem_jax.models.architecture import Architecture
from asem_jax.models.shapes import AxisSizes, axis_sizes, consumed_by_level


def multiplications(input_shape: Sequence[int], architecture: Architecture) -> float:
    """Returns the multiplications of one pass.

    Args:
      input_shape: voxels of raw, z y x; one that fits the network, see `shapes.valid_input_shape`.
      architecture: of the network; of several heads only the first is counted.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> round(multiplications((204, 204, 204), asem()) / 1e9)
      788
    """
    axes = [widths([n], architecture, axis)[0] for axis, n in enumerate(input_shape)]
    return float((per_voxel(architecture) * axes[0] * axes[1] * axes[2]).sum())


def per_voxel(architecture: Architecture) -> npt.NDArray[np.float64]:
    """Returns the multiplications per voxel of the output of each convolution, in the order of `widths`."""
    found: list[float] = []

    def level(kernel: Sequence[int], c_in: int, c: int) -> None:
        found.extend((prod(kernel) * c_in * c, prod(kernel) * c * c))

    maps = 1
    for kernel, c in zip(architecture.kernel_sizes, architecture.encoder_maps, strict=True):
        level(kernel, maps, c)
        maps = c
    for number in reversed(range(len(architecture.pool_factors))):
        c_in = architecture.encoder_maps[number] + architecture.upsampled_maps[number]
        maps = architecture.decoder_maps[number]
        level(architecture.kernel_sizes[number], c_in, maps)
    if final := architecture.final_upsampling:
        level(final.kernel_size, final.num_maps, final.num_maps)
        maps = final.num_maps
    head = architecture.heads[0]
    return np.array([*found, prod(head.kernel_size) * maps * head.num_channels], np.float64)


def widths(sizes: Sequence[int], architecture: Architecture, axis: int) -> npt.NDArray[np.int64]:
    """Returns `[sizes, convolutions]`: voxels of the output of each convolution along one axis.

    Args:
      sizes: voxels of raw along the axis.
      architecture: of the network.
      axis: 0 = z, 1 = y, 2 = x.

    Raises:
      ValueError: a size does not fit the network.
    """
    return np.array([_widths(size, architecture, axis) for size in sizes], np.int64)


def _widths(size: int, architecture: Architecture, axis: int) -> list[int]:
    found = axis_sizes(size, architecture, axis)
    if found is None:
        raise ValueError(f"{size} voxels along axis {axis} do not fit the network; take a valid_input_shape.")
    depth = len(architecture.pool_factors)
    ends = [(level, found.encoder[level]) for level in range(depth + 1)]
    ends += [(level, found.decoder[level]) for level in reversed(range(depth))]
    pairs = [(end + consumed_by_level(architecture, level)[axis] // 2, end) for level, end in ends]
    return [*(n for pair in pairs for n in pair), *_behind(found, architecture, axis)]


def _behind(found: AxisSizes, architecture: Architecture, axis: int) -> list[int]:
    """Returns the widths of the convolutions behind the last level."""
    valid = architecture.padding == "valid"
    head = (architecture.heads[0].kernel_size[axis] - 1) * valid
    final = architecture.final_upsampling
    if final is None:
        return [found.output]
    return [found.output + head + (final.kernel_size[axis] - 1) * valid, found.output + head, found.output]
