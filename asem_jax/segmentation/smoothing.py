"""A Gaussian over a probability, so that single voxels neither make nor break an object.

Law (tested): block by block, with a halo, equals the whole volume at once, bit for bit.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Float3
from asem_jax.volumes.reflect import read_reflected
from asem_jax.volumes.volume import Volume

REACH = 4.0
"""Standard deviations at which the Gaussian ends; what lies beyond is 6e-5 of it."""


def smooth_volume(probability: Volume, target: Volume, *, sigma_nm: float, job: BlockJob) -> None:
    """Writes `probability`, smoothed, into `target`; beyond the volume's edge it is mirrored.

    Memory: per thread, a block with its halo of 4 standard deviations, 9 bytes per voxel.

    Args:
      probability: uint8, 255 = 1.
      target: of the same shape and type.
      sigma_nm: standard deviation, nm, > 0; the same along every axis, whatever the voxels are.
      job: of this step.

    Raises:
      ValueError: `sigma_nm` is not positive.
    """
    if not sigma_nm > 0:
        raise ValueError(f"smoothing_nm={sigma_nm} smooths nothing; give a standard deviation in nm, or None.")
    sigmas = [sigma_nm / size for size in probability.voxel_size_nm]
    halo = [int(REACH * sigma + 0.5) for sigma in sigmas]

    def smooth(_: int, block: Box) -> None:
        values = _gaussian(read_reflected(probability, block.grow(halo)), (sigmas[0], sigmas[1], sigmas[2]))
        inside = Box.of_shape(block.shape, halo).slices
        target.write(block, np.ascontiguousarray(values[inside]))

    job.sweep(smooth, target.box, name="smoothed", label=f"smooth {probability.address}")


def _gaussian(values: npt.NDArray[np.generic], sigmas: Float3) -> npt.NDArray[np.uint8]:
    """Returns uint8 values smoothed by a Gaussian of `sigmas` voxels."""
    smooth = ndimage.gaussian_filter(values.astype(np.float32), sigmas, mode="mirror", truncate=REACH)
    return np.rint(smooth).astype(np.uint8)
