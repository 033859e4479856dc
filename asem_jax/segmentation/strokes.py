"""Strokes in a region: where an annotator said object, and where background.

They come from label volumes of other programs (`GivenStrokes`), or are painted here (`Sheet`). Both are asked for boxes
of the region, and answer with kinds of voxels: 0 no stroke, 1 object, 2 background. Laws that hold (and are tested):

* where both have a stroke, what was painted counts;
* what a sheet kept is what it shows when it is opened again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.volume import Volume

Kinds = npt.NDArray[np.uint8]
# What strokes a box of the region has, uint8 [z, y, x].
Strokes = Callable[[Box], Kinds]


@dataclass(frozen=True)
class GivenStrokes:
    """Strokes in a label volume, and in a mask if label 0 may be one.

    Attributes:
      name: what they are called where the user wrote them, for messages.
      labels: any labels.
      mask: nonzero under strokes; None = all labels but 0 are strokes.
      labels_shift: what to add to a voxel of the region to find it in `labels`, z y x.
      mask_shift: the same for `mask`.
      object_ids: labels of object strokes; None = all but background_ids.
      background_ids: labels of background strokes.
    """

    name: str
    labels: Volume
    mask: Volume | None
    labels_shift: Int3
    mask_shift: Int3
    object_ids: tuple[int, ...] | None
    background_ids: tuple[int, ...]

    def __call__(self, box: Box) -> Kinds:
        """Returns what strokes a box of the region has.

        Raises:
          ValueError: a stroke has a label that is neither of objects nor of background.
        """
        labels = read_inside(self.labels, box.shift(self.labels_shift))
        stroked = labels != 0 if self.mask is None else read_inside(self.mask, box.shift(self.mask_shift)) != 0
        background = stroked & np.isin(labels, self.background_ids)
        objects = stroked & (~background if self.object_ids is None else np.isin(labels, self.object_ids))
        if (strange := stroked & ~objects & ~background).any():
            raise ValueError(
                f"{self.name}: {self.labels.address} has strokes of label "
                f"{np.unique(labels[strange])[:8].tolist()}, which are in neither object_ids nor background_ids; "
                "add them to one of the two, or object_ids=None for all that are not background."
            )
        return np.where(objects, 1, np.where(background, 2, 0)).astype(np.uint8)


class Sheet:
    """Strokes that are being painted: all of a region in memory, and a volume that keeps them.

    Memory: one byte for each voxel of the region, of which the system gives only what is painted on.

    Attributes:
      painted: uint8 [z, y, x] of the region, 0 no stroke, 1 object, 2 background; to be painted on.
      volume: what keeps them.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.painted = np.zeros(volume.shape, np.uint8)
        for block in self._blocks():
            if (kept := volume.read(block)).any():
                self.painted[block.slices] = kept

    def __call__(self, box: Box) -> Kinds:
        """Returns what strokes a box of the region has."""
        return self.painted[box.slices].copy()

    def keep(self) -> int:
        """Writes what has changed since it was last kept; returns how many voxels have strokes."""
        count = 0
        for block in self._blocks():
            painted = self.painted[block.slices]
            count += int(np.count_nonzero(painted))
            if (painted != self.volume.read(block)).any():
                self.volume.write(block, painted)
        return count

    def _blocks(self) -> list[Box]:
        """Returns boxes of whole files."""
        return list(tiles(self.volume.box, self.volume.chunk_shape))


def open_strokes(
    name: str,
    volumes: tuple[Volume, Volume | None],
    raw: Volume,
    region: Box,
    *,
    object_ids: Sequence[int] | None,
    background_ids: Sequence[int],
) -> GivenStrokes:
    """Returns the strokes of label volumes, after checking that they can be read where raw is.

    Args:
      name: what they are called where the user wrote them, for messages.
      volumes: labels, and the mask or None.
      raw: what is annotated.
      region: what of it, voxels of raw.
      object_ids: labels of object strokes; None = all but background_ids.
      background_ids: labels of background strokes.

    Raises:
      ValueError: the labels of strokes contradict each other, or strokes lie outside raw.
    """
    objects = None if object_ids is None else tuple(object_ids)
    background = tuple(background_ids)
    labels, mask = volumes
    if twice := sorted(set(objects or ()) & set(background)):
        raise ValueError(f"{name}: labels {twice} are in object_ids and in background_ids; leave them in one.")
    if mask is None and 0 in (*background, *(objects or ())):
        raise ValueError(f"{name}: label 0 is a stroke only where a mask says so, and mask=None; name the mask.")
    on_labels = place_in(labels, raw, region, name)
    on_mask = (0, 0, 0) if mask is None else place_in(mask, raw, region, name)
    return GivenStrokes(name, labels, mask, on_labels, on_mask, objects, background)


def place_in(volume: Volume, raw: Volume, region: Box, name: str) -> Int3:
    """Returns what to add to a voxel of a region to find it in a volume of strokes, z y x.

    Args:
      volume: of strokes.
      raw: what is annotated.
      region: voxels of raw.
      name: of the strokes, for the message.

    Raises:
      ValueError: the volume reaches beyond raw, or lies on another grid.
    """
    shift = grid_shift(volume, raw)
    covered = volume.box.shift([-a for a in shift])
    if not raw.box.contains(covered):
        raise ValueError(
            f"{name}: strokes {volume.address} cover voxels {covered.start}-{covered.stop} of raw, "
            f"whose shape is {raw.shape}; crop them to raw, or correct their offset_nm."
        )
    return int3(np.add(region.start, shift).tolist(), "shift")


def overlaid(below: Strokes, above: Strokes) -> Strokes:
    """Returns strokes of two kinds as one; where both are, those above count."""

    def strokes(box: Box) -> Kinds:
        over = above(box)
        return np.where(over != 0, over, below(box)).astype(np.uint8)

    return strokes


def read_inside(volume: Volume, box: Box) -> npt.NDArray[np.generic]:
    """Returns the voxels of a box, 0 where the volume has none."""
    inside = box.intersect(volume.box)
    values = np.zeros(box.shape, volume.dtype)
    if inside.num_voxels:
        values[inside.shift([-a for a in box.start]).slices] = volume.read(inside)
    return values
