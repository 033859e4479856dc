"""Labels of a region from strokes: the cut of its graph, read box by box.

A `Region` is divided once and cut as often as strokes change. Laws that hold (and are tested):

* what a box of a cut holds does not depend on the boxes that it is read in;
* a voxel under a stroke has the label of its stroke, and is sure.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.adjacency import Graph
from asem_jax.segmentation.graph_cut import BOTH, Kinds, kinds_of, label_supervoxels, paint, stroked_ids
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.segmentation.strokes import Strokes
from asem_jax.segmentation.supervoxels import Lattice
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume


@dataclass(frozen=True)
class Region:
    """A region that is divided into supervoxels.

    Attributes:
      ids: the supervoxel of each voxel, uint32.
      graph: of the supervoxels.
      lattice: that they grew from.
      blocks: boxes that cover `ids`, in work at a time.
    """

    ids: Volume
    graph: Graph
    lattice: Lattice
    blocks: Sequence[Box]


@dataclass(frozen=True)
class Cut:
    """Object and background of a region.

    Attributes:
      region: that was cut.
      strokes: that it was cut by.
      kinds: uint8 [n], which strokes each supervoxel has, see `graph_cut.kinds_of`.
      objects: bool [n], which supervoxels are object.
      seconds: that the cut took.
    """

    region: Region
    strokes: Strokes
    kinds: Kinds
    objects: npt.NDArray[np.bool_]
    seconds: float

    def labels(self, box: Box) -> Kinds:
        """Returns the labels of a box of the region, uint8 [z, y, x], 1 = object."""
        ids = self.region.ids.read(box)
        around = box
        if (self.kinds[ids] == BOTH).any():
            # A supervoxel that is divided has to be seen as a whole.
            around = box.grow(2 * self.region.lattice.reach).intersect(self.region.ids.box)
            ids = self.region.ids.read(around)
        size = self.region.ids.voxel_size_nm
        found = paint(self.objects, self.kinds, ids, self.strokes(around), voxel_size_nm=size)
        return found[box.shift([-a for a in around.start]).slices]

    def labels_and_mask(self, box: Box, *, border_inwards: int, border_outwards: int) -> tuple[Kinds, Kinds]:
        """Returns the labels of a box, and where they are sure: uint8 [z, y, x], 1 = object, 1 = sure.

        Args:
          box: of the region.
          border_inwards: voxels inside the object's border that are not sure, unless there is a stroke.
          border_outwards: the same outside it.
        """
        border = max(border_inwards, border_outwards)
        around = box.grow(border).intersect(self.region.ids.box)
        found = self.labels(around)
        unsure = exclusion_zone(found, inwards=border_inwards, outwards=border_outwards)
        inner = box.shift([-a for a in around.start]).slices
        return found[inner], (~unsure[inner] | (self.strokes(box) != 0)).astype(np.uint8)

    def row(self) -> dict[str, Any]:
        """Returns what the cut consists of, as annotate.json holds it."""
        graph = self.region.graph
        return {
            "supervoxels": self.region.lattice.count,
            "contacts": len(graph.pairs),
            "stroked": stroked_counts(self.kinds),
            "seconds_to_cut": self.seconds,
            "object_voxels_share": float((self.objects * graph.sizes).sum() / graph.sizes.sum()),
        }


def cut_region(
    region: Region, strokes: Strokes, *, name: str, smoothness: float, ridge: float, surroundings: int, bias: float
) -> Cut:
    """Returns the least cut of a region's graph, given strokes; see `graph_cut.label_supervoxels`.

    Args:
      region: to be cut.
      strokes: of boxes of the region.
      name: what the strokes are called where the user wrote them, for messages.
      smoothness: see `graph_cut.contact_costs`.
      ridge: see `stroke_odds`.
      surroundings: steps around a supervoxel, 1 or more.
      bias: added to the natural logarithm of the odds.

    Raises:
      ValueError: strokes of a kind are missing, or a number is impossible.
    """
    began = time.monotonic()
    stroked = [stroked_ids(region.ids.read(block), kinds) for block in region.blocks if (kinds := strokes(block)).any()]
    if not stroked:
        raise ValueError(f"{name} has no strokes in the region; draw some there, or change annotate.start and stop.")
    kinds = kinds_of(stroked, region.lattice.count)
    counts = stroked_counts(kinds)
    if not (counts["object"] and counts["background"]):
        raise ValueError(
            f"{name} has {counts['object']} supervoxels under object strokes alone and {counts['background']} under "
            "background strokes alone, both kinds are needed: add strokes."
        )
    objects = label_supervoxels(
        region.graph, kinds, smoothness=smoothness, ridge=ridge, surroundings=surroundings, bias=bias
    )
    return Cut(region, strokes, kinds, objects, round(time.monotonic() - began, 2))


def stroked_counts(kinds: Kinds) -> dict[str, int]:
    """Returns how many supervoxels have strokes of which kind.

    Example:
      >>> stroked_counts(np.array([0, 1, 3, 2, 1], np.uint8))
      {'object': 2, 'background': 1, 'both': 1}
    """
    return {kind: int((kinds == number).sum()) for number, kind in ((1, "object"), (2, "background"), (3, "both"))}
