"""Smoothing by short symmetric kernels, axis by axis, in the order that keeps a voxel's value free of its block.

Law that holds (and is tested): a voxel is the same whatever box it is smoothed in.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]


def gaussian(deviation: float, radius: int) -> list[float]:
    """Returns the weights of a Gaussian from its middle outwards; with both halves they add up to 1.

    Args:
      deviation: standard deviation in voxels.
      radius: last voxel that counts; 0 = no smoothing.
    """
    if radius == 0:
        return [1.0]
    half = np.exp(-0.5 * (np.arange(radius + 1) / deviation) ** 2)
    return (half / (half.sum() + half[1:].sum())).tolist()


def smoothed(values: Values, kernels: Sequence[Sequence[float]]) -> Values:
    """Returns `values` convolved along z, y and x, smaller by the radius of each kernel at both ends.

    Args:
      values: float32 z y x.
      kernels: weights from the middle outwards, one list per axis.
    """
    for axis, kernel in enumerate(kernels):
        if len(kernel) > 1:
            values = _along(values, kernel, axis)
    return values


def _along(values: Values, kernel: Sequence[float], axis: int) -> Values:
    radius = len(kernel) - 1
    length = values.shape[axis] - 2 * radius

    def shifted(by: int) -> Values:
        part = slice(radius + by, radius + by + length)
        return values[(slice(None),) * axis + (part,)]

    total: Values = shifted(0) * np.float32(kernel[0])
    pair = np.empty_like(total)
    for off, weight in enumerate(kernel[1:], 1):
        np.add(shifted(-off), shifted(off), out=pair)
        pair *= np.float32(weight)
        total += pair
    return total
