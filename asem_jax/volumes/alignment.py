"""Volumes on one grid: which voxel of one lies where a voxel of another is."""

import numpy as np

from asem_jax.volumes.geometry import Int3, int3, voxels_from_nm
from asem_jax.volumes.volume import Volume

VOXEL_SIZE_TOLERANCE = 1e-3  # relative: sizes rounded in metadata still count as equal
GRID_TOLERANCE = 0.01  # voxels that two grids may be apart and still count as one


def grid_shift(volume: Volume, reference: Volume) -> Int3:
    """Returns what to add to a voxel of `reference` to get the voxel of `volume` at the same place.

    Args:
      volume: what will be read.
      reference: whose voxels are counted.

    Raises:
      ValueError: the voxel sizes differ, or the grids are apart by a fraction of a voxel.
    """
    if not np.allclose(volume.voxel_size_nm, reference.voxel_size_nm, rtol=VOXEL_SIZE_TOLERANCE):
        raise ValueError(
            f"{volume.address} has voxel size {volume.voxel_size_nm} nm, {reference.address} has "
            f"{reference.voxel_size_nm} nm; resample one of them (stage preprocess)."
        )
    apart = voxels_from_nm(reference.offset_nm, volume.voxel_size_nm, volume.offset_nm)
    shift = int3([round(a) for a in apart], "shift")
    if max(abs(a - s) for a, s in zip(apart, shift, strict=True)) > GRID_TOLERANCE:
        raise ValueError(
            f"{volume.address} (offset {volume.offset_nm} nm) and {reference.address} (offset "
            f"{reference.offset_nm} nm) are {tuple(round(a, 3) for a in apart)} voxels apart, "
            "not whole voxels; resample one onto the grid of the other (stage preprocess) or correct its "
            "offset_nm."
        )
    return shift
