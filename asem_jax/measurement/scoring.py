"""A segmentation against ground truth, block by block.

The labels say where and on which grid is scored; the other volume is found through nanometres: both must have
one voxel size, their offsets may differ by whole voxels. Laws: the result does not depend on the block shape,
and the score of a volume is the score of the summed counts of its parts. Memory: a few arrays of one block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.measurement import metrics
from asem_jax.measurement.metrics import Counts, ProbabilityHistogram
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.volume import Volume, open_volume


@dataclass(frozen=True)
class Region:
    """A box of a volume with its labels.

    Attributes:
      name: what the config calls it.
      labels: ground truth, 0 = background.
      box: what is used of it, voxels of `labels`.
      mask: nonzero = score this voxel; None = all of the box.
    """

    name: str
    labels: Volume
    box: Box
    mask: Volume | None = None


@dataclass(frozen=True)
class Scores:
    """What a segmentation is worth; see `asem_jax.measurement.metrics` for the formulas and for 0/0."""

    f1: float
    iou: float
    precision: float
    recall: float
    counts: Counts

    @classmethod
    def of(cls, counts: Counts) -> "Scores":
        """Returns the scores that `counts` make.

        Example:
          >>> Scores.of(Counts(true_positive=2, false_positive=2)).precision
          0.5
        """
        return cls(metrics.f1(counts), metrics.iou(counts), metrics.precision(counts), metrics.recall(counts), counts)

    def as_json(self) -> dict[str, Any]:
        """Returns plain numbers in dicts; NaN becomes None, since JSON has no NaN."""
        numbers = asdict(self)
        return {name: None if value != value else value for name, value in numbers.items()}


@dataclass(frozen=True)
class ScoredBlock:
    """Ground truth of one block.

    Attributes:
      box: where, voxels of the labels volume.
      labels: [z, y, x], nonzero = there.
      used: bool [z, y, x], True = the voxel counts.
    """

    box: Box
    labels: npt.NDArray[Any]
    used: npt.NDArray[np.bool_]


def open_region(
    name: str, *, labels: str, mask: str | None, start: Sequence[int] | None, stop: Sequence[int] | None
) -> Region:
    """Returns a region as a config writes it.

    Args:
      name: what the config calls it.
      labels: address of the ground truth.
      mask: address of a volume on the grid of the labels, nonzero = score this voxel; None = all.
      start: first voxel of `labels`, z y x; None = the first there is.
      stop: one past the last voxel, z y x; None = the end of `labels`.

    Raises:
      ValueError: the box is empty or leaves the labels, or the mask does not cover it.
    """
    volume = open_volume(labels)
    box = Box(
        volume.box.start if start is None else int3(start, f"regions.{name}.start"),
        volume.box.stop if stop is None else int3(stop, f"regions.{name}.stop"),
    )
    if box.num_voxels == 0 or not volume.box.contains(box):
        raise ValueError(
            f"regions.{name}: start={box.start}, stop={box.stop} is empty or leaves {labels} of shape "
            f"{volume.shape}; give voxels of the labels, z y x."
        )
    chosen = None if mask is None else open_volume(mask)
    if chosen is not None:
        voxel_shift(chosen, volume, box)
    return Region(name, volume, box, chosen)


def voxel_shift(volume: Volume, labels: Volume, box: Box) -> Int3:
    """Returns by how many voxels a box of `labels` moves to be the same place in `volume`.

    Args:
      volume: what is read at that place.
      labels: whose voxels `box` counts.
      box: what will be read, voxels of `labels`.

    Raises:
      ValueError: the voxel sizes differ, the grids are apart by a fraction of a voxel, or `volume` does not
        contain the box.
    """
    shift = grid_shift(volume, labels)
    if not volume.box.contains(box.shift(shift)):
        there = box.shift(shift)
        raise ValueError(
            f"box {box.start} to {box.stop} of {labels.address} is {there.start} to {there.stop} in {volume.address}, "
            f"which has shape {volume.shape}; {_common(volume, labels, shift)}."
        )
    return shift


def _common(volume: Volume, labels: Volume, shift: Int3) -> str:
    """Returns, in words, which voxels of `labels` lie in `volume`."""
    z, y, x = shift
    common = labels.box.intersect(volume.box.shift((-z, -y, -x)))
    if common.num_voxels == 0:
        return f"they do not meet anywhere (offsets {labels.offset_nm} and {volume.offset_nm} nm): correct one of them"
    return f"give a box that both contain, at most {common.start} to {common.stop}"


def scored_blocks(
    labels: Volume,
    *,
    box: Box,
    exclude_inwards: int,
    exclude_outwards: int,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Iterator[ScoredBlock]:
    """Yields the ground truth of `box` in blocks, with the voxels that count.

    Labels around the box are read too, where there are any, so that the exclusion zone is that of the whole
    volume.

    Args:
      labels: ground truth, 0 = background.
      box: what is scored, voxels of `labels`.
      exclude_inwards: thickness of the exclusion zone inside the objects, voxels; 0 = none.
      exclude_outwards: its thickness outside the objects, voxels; 0 = none.
      mask: nonzero = score this voxel; None = all. Found through nanometres, like every other volume.
      block_shape: voxels read at a time, z y x.

    Raises:
      ValueError: `mask` does not fit `labels`, see `voxel_shift`.
    """
    mask_shift = None if mask is None else voxel_shift(mask, labels, box)
    halo = max(exclude_inwards, exclude_outwards)
    for block in tiles(box, block_shape):
        read_box = block.grow(halo).intersect(labels.box)
        values = labels.read(read_box)
        zone = exclusion_zone(values, inwards=exclude_inwards, outwards=exclude_outwards)
        inside = block.shift([-a for a in read_box.start]).slices
        used = ~zone[inside]
        if mask is not None and mask_shift is not None:
            used &= mask.read(block.shift(mask_shift)) != 0
        yield ScoredBlock(block, values[inside], used)


def evaluate_volumes(
    segmentation: Volume,
    labels: Volume,
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    box: Box | None = None,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Scores:
    """Returns how well `segmentation` agrees with `labels`, voxel by voxel.

    Args:
      segmentation: nonzero = found.
      labels: ground truth, nonzero = there; the same voxel size, its offset may differ by whole voxels.
      exclude_inwards: voxels inside the objects' border that are not scored; 0 = all are.
      exclude_outwards: voxels outside the objects' border that are not scored; 0 = all are.
      box: what is scored, voxels of `labels`; None = all of `labels`.
      mask: nonzero = score this voxel; None = all.
      block_shape: voxels read at a time, z y x; bounds the memory, not the result.

    Raises:
      ValueError: the volumes do not fit each other, see `voxel_shift`.
    """
    counted = count_blocks(
        segmentation,
        labels,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        box=box,
        mask=mask,
        block_shape=block_shape,
    )
    return Scores.of(sum((counts for _, counts in counted), Counts()))


def count_blocks(
    segmentation: Volume,
    labels: Volume,
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    box: Box | None = None,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Iterator[tuple[Box, Counts]]:
    """Yields each block (voxels of `labels`) with its counts; takes what `evaluate_volumes` takes."""
    box = labels.box if box is None else box
    shift = voxel_shift(segmentation, labels, box)
    for block in scored_blocks(
        labels,
        box=box,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        mask=mask,
        block_shape=block_shape,
    ):
        found = segmentation.read(block.box.shift(shift))
        yield block.box, metrics.count(found, block.labels, block.used)


def sweep_thresholds(
    probability: Volume,
    labels: Volume,
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    box: Box | None = None,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> ProbabilityHistogram:
    """Returns the histogram from which the scores of every threshold follow, in one pass over the volume.

    Args:
      probability: uint8, 255 = 1.
      labels: ground truth, nonzero = there.
      exclude_inwards: as for `evaluate_volumes`, like all that follow.
      exclude_outwards: see there.
      box: see there.
      mask: see there.
      block_shape: see there.

    Raises:
      ValueError: the volumes do not fit each other, see `voxel_shift`.
    """
    box = labels.box if box is None else box
    shift = voxel_shift(probability, labels, box)
    total = ProbabilityHistogram.empty()
    for block in scored_blocks(
        labels,
        box=box,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        mask=mask,
        block_shape=block_shape,
    ):
        total += ProbabilityHistogram.of(probability.read(block.box.shift(shift)), block.labels, block.used)
    return total
