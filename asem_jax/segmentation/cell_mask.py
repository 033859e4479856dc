"""Where in a volume the cell is, and where only resin, from how much grey values vary.

Resin is smooth once noise is averaged out; a cell is full of membranes. So raw is averaged to the voxels of the mask,
the standard deviation of grey values is taken over a Gaussian window around each, and what lies above a threshold is
cell: the largest piece of it, or all that are large enough, with their holes filled (a nucleus may be smooth), grown or
shrunk by a margin. The window sees the plasma membrane from outside, so without a margin the mask reaches
about two windows beyond it.

Each step is a sweep over blocks of the mask's own, coarse grid, with the halo that it needs. Laws that hold (and are
tested):

* blocks of any shape give one mask;
* interrupted and started again equals uninterrupted;
* empty margins of a stack (0 or 255) are never cell, nor is the edge of what they cut off.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.segmentation.components import find_components
from asem_jax.segmentation.holes import fill_holes
from asem_jax.segmentation.parts import MakeVolume
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.geometry import Box, Float3, Int3, float3
from asem_jax.volumes.pyramid import coarsened
from asem_jax.volumes.reflect import read_reflected
from asem_jax.volumes.volume import Volume

REACH = 3.0
"""Standard deviations at which the window ends."""

LEVELS_PER_DOUBLING = 32
"""Of the stored texture: level n stands for a standard deviation of 2 ** (n / 32) - 1 grey values, up to 250."""

LEAST_WEIGHT = 0.05
"""Share of the window that lies in the volume's own grey values, below which nothing is said of a voxel."""

Grey = npt.NDArray[Any]
Levels = npt.NDArray[np.uint8]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellRule:
    """What is taken for the cell.

    Attributes:
      texture_nm: standard deviation of the Gaussian window.
      threshold: standard deviation of grey values from which a voxel is cell; None = what parts the volume best.
      min_um3: smaller pieces are left out; None = all but the largest are.
      max_hole_um3: larger holes stay; None = all are filled.
      margin_nm: by how much the mask is grown; negative = shrunk.
    """

    texture_nm: float
    threshold: float | None
    min_um3: float | None
    max_hole_um3: float | None
    margin_nm: float

    def __post_init__(self) -> None:
        for name in ("texture_nm", "threshold", "min_um3", "max_hole_um3"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value} must be above 0; give a positive number{_OR_NONE.get(name, '')}.")


_OR_NONE = {
    "threshold": ", or None to have it chosen",
    "min_um3": ", or None for the largest piece alone",
    "max_hole_um3": ", or None to fill all holes",
}


def write_cell_mask(raw: Volume, target: Volume, make: MakeVolume, *, rule: CellRule, job: BlockJob) -> float:
    """Writes where the cell is, and returns the standard deviation of grey values that was the threshold.

    Memory: per thread, a chunk of the mask with its halo in raw voxels, or a block with its halo of the margin.

    Args:
      raw: uint8.
      target: bool, on the grid of `raw` with voxels a whole number of times as large.
      make: creates the volumes in between, of the shape of `target`, by name.
      rule: what is taken for the cell.
      job: of this mask; its blocks are multiples of the chunks of `target`.
    """
    factors = _factors(raw, target)
    texture, kept, filled = (make(name, np.dtype(np.uint8)) for name in ("texture", "kept", "filled"))
    _write_texture(raw, factors, texture, rule.texture_nm, job)
    level = _level(texture, rule.threshold, job)
    _keep_pieces(texture, kept, level, rule.min_um3, job)
    most = math.inf if rule.max_hole_um3 is None else rule.max_hole_um3 * 1e9
    fill_holes(kept, filled, max_nm3=most, job=job.part("holes"))

    def grow(_: int, box: Box) -> None:
        halo = [math.ceil(abs(rule.margin_nm) / size) for size in target.voxel_size_nm]
        around = box.grow((halo[0], halo[1], halo[2])).intersect(filled.box)
        mask = grown(filled.read(around) != 0, rule.margin_nm, target.voxel_size_nm)
        target.write(box, mask[box.shift([-a for a in around.start]).slices])

    job.sweep(grow, target.box, name="grown", label=f"write {target.address}")
    return float(2 ** (level / LEVELS_PER_DOUBLING) - 1)


def texture_levels(grey: Grey, sigmas: Sequence[float]) -> Levels:
    """Returns how much grey values vary around each voxel; see `LEVELS_PER_DOUBLING`.

    Args:
      grey: `[z, y, x]`; voxels of 0 and 255, and those beside them, do not count.
      sigmas: of the window, voxels z y x.
    """
    valid = ndimage.minimum_filter((grey > 0) & (grey < 255), 3, mode="mirror")
    values = np.where(valid, grey, 0).astype(np.float64)

    def windowed(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(array, sigmas, mode="mirror", truncate=REACH)
        return smooth

    weight = windowed(valid.astype(np.float64))
    share = np.maximum(weight, LEAST_WEIGHT)
    variance = windowed(values**2) / share - (windowed(values) / share) ** 2
    levels = LEVELS_PER_DOUBLING * np.log2(1 + np.sqrt(np.maximum(variance, 0)))
    levels[weight < LEAST_WEIGHT] = 0
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def best_level(counts: npt.NDArray[np.int64]) -> int | None:
    """Returns the level from which on voxels are cell, if two kinds of them can be told apart (Otsu's method).

    Args:
      counts: of voxels per level, `[256]`; level 0, what is empty, does not count.

    Returns:
      None where the upper kind varies less than twice as much as the lower: there is but one.

    Source: N. Otsu, IEEE Transactions on Systems, Man, and Cybernetics 9(1) (1979).

    Example:
      >>> best_level(np.bincount([40] * 9 + [44] * 3 + [100] * 5, minlength=256))
      45
    """
    below = np.cumsum(counts[1:]).astype(np.float64)
    sums = np.cumsum(counts[1:] * np.arange(1, 256)).astype(np.float64)
    above = below[-1] - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return None
    lower, upper = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    best = int(np.argmax(np.where(parted, below * above * (upper - lower) ** 2, 0)))
    return best + 2 if upper[best] - lower[best] >= LEVELS_PER_DOUBLING else None


def grown(mask: npt.NDArray[np.bool_], margin_nm: float, voxel_size_nm: Float3) -> npt.NDArray[np.bool_]:
    """Returns a mask with all that lies within `margin_nm` of it; if negative, without what lies that near to its end.

    Beyond the array the mask goes on as it is: it neither comes in from there nor is shrunk from there.

    Example:
      >>> grown(np.array([[[True, False, False]]]), 5.0, (4.0, 4.0, 4.0)).tolist()
      [[[True, True, False]]]
    """
    if margin_nm == 0 or mask.all() or not mask.any():
        return mask
    outside = mask if margin_nm < 0 else ~mask
    distance = ndimage.distance_transform_edt(outside, sampling=voxel_size_nm)
    near: npt.NDArray[np.bool_] = distance <= abs(margin_nm)
    return mask & ~near if margin_nm < 0 else near


def _factors(raw: Volume, target: Volume) -> Int3:
    """Returns how many voxels of raw make one of the mask, per axis."""
    sizes = zip(target.voxel_size_nm, raw.voxel_size_nm, strict=True)
    z, y, x = (round(coarse / fine) for coarse, fine in sizes)
    return z, y, x


def _write_texture(raw: Volume, factors: Int3, texture: Volume, texture_nm: float, job: BlockJob) -> None:
    """Writes the texture of a volume, chunk by chunk: a chunk is many voxels of raw."""
    sigmas = float3([texture_nm / size for size in texture.voxel_size_nm], "texture_nm")
    halo = [int(REACH * sigma + 0.5) + 1 for sigma in sigmas]

    def write(_: int, box: Box) -> None:
        grey = coarsened(raw, factors, labels=False)  # here, as a view cannot go to a worker
        levels = texture_levels(read_reflected(grey, box.grow(halo)), sigmas)
        texture.write(box, np.ascontiguousarray(levels[Box.of_shape(box.shape, halo).slices]))

    chunks = replace(job, block_shape=texture.chunk_shape)
    chunks.sweep(write, texture.box, name="texture", label=f"texture of {raw.address}")


def _level(texture: Volume, threshold: float | None, job: BlockJob) -> int:
    """Returns the level that is stated, or the best one; 1, all that is not empty, where there is none."""
    if threshold is not None:
        return max(1, math.ceil(LEVELS_PER_DOUBLING * math.log2(1 + threshold)))
    counts = np.zeros(256, np.int64)
    for _, box in job.blocks(texture.box):
        counts += np.bincount(texture.read(box).ravel(), minlength=256)
    best = best_level(counts)
    if best is None:
        logger.warning(
            "%s: grey values vary alike everywhere, so no resin is told from cell and the mask is all that is not "
            "empty; give `threshold` if there is resin",
            texture.address,
        )
    return best or 1


def _keep_pieces(texture: Volume, kept: Volume, level: int, min_um3: float | None, job: BlockJob) -> None:
    """Writes those pieces of what lies above a level that are large enough."""
    pieces = find_components(
        lambda box: texture.read(box) >= level, texture.shape, connectivity=6, job=job, label=texture.address
    )
    if not len(pieces):
        raise ValueError(
            f"{texture.address}: no voxel varies by {2 ** (level / LEVELS_PER_DOUBLING) - 1:.1f} grey values, the "
            "threshold; give a lower one, or None to have it chosen."
        )
    if min_um3 is None:
        large = np.arange(len(pieces)) == np.argmax(pieces.sizes)
    else:
        large = pieces.sizes * math.prod(texture.voxel_size_nm) >= min_um3 * 1e9

    def write(index: int, box: Box) -> None:
        kept.write(box, pieces.paint(index, texture.read(box) >= level, large.astype(np.uint8)))

    job.sweep(write, kept.box, name="kept", label=f"pieces of {texture.address}")
