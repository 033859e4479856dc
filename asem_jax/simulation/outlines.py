"""Where the surfaces of tubes are, with their wobble: found at nodes, and read at voxels.

A distance changes so evenly that lines between nodes 10 nm apart are as good as voxels, but for tubes that are hardly
wider than that: theirs are found at voxels.
Law that holds (and is tested): what is read does not depend on the part of a block, and at nodes it is what was found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.canvas import Canvas
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.nodes import Nodes
from asem_jax.simulation.organelles import Grey
from asem_jax.simulation.populations import Population, populations
from asem_jax.simulation.tubes import Tube, TubeDistance, tube_distance
from asem_jax.volumes.geometry import Box, int3

# Tubes with a radius below this are not read between nodes.
_THIN_NM = 18.0


@dataclass(frozen=True, eq=False)
class Outlines:
    """The tubes around a part of a block.

    Attributes:
      nodes: which voxels they are.
      box: the nodes.
      wobble: how far surfaces lie from where they would be, nm, at the nodes.
      tubes: what they are and how far away the nodes near them are, in the order of painting.
    """

    nodes: Nodes
    box: Box
    wobble: Grey
    tubes: Sequence[tuple[Population, TubeDistance]]

    def over(self, canvas: Canvas) -> Iterator[tuple[Population, TubeDistance]]:
        """Yields the tubes that come within an edge of the voxels of a canvas, seen from those that they are near."""
        low, high = self._extents
        around = self.nodes.around(canvas.box)
        near = (low < canvas.box.stop) & (high > canvas.box.start)
        chosen = [self.tubes[number] for number in np.flatnonzero(near.all(1)).tolist()]
        thin = [self.nodes.steps != (1, 1, 1) and _is_thin(found.tube) for _, found in chosen]
        shaken = _Shaken(canvas.box, self.nodes.read(self.wobble, self.box, canvas.box)) if any(thin) else None
        for (population, found), is_thin in zip(chosen, thin, strict=True):
            if is_thin and shaken is not None:
                found = shaken.outline(canvas.cell, population, found.tube, canvas.edge_nm)
            else:
                found = self._read(found, canvas, around)
            if found.box.num_voxels:
                yield population, found

    @cached_property
    def _extents(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The voxels that may be near each tube, from and to, [n, 3]."""
        ends = [(found.box.start, found.box.stop) for _, found in self.tubes]
        low, high = np.array(ends, np.int64).reshape(-1, 2, 3).transpose(1, 0, 2)
        return low * self.nodes.steps, (high - 1) * self.nodes.steps + 1

    def _read(self, found: TubeDistance, canvas: Canvas, around: Box) -> TubeDistance:
        """Returns a tube as seen from voxels, `around` which these nodes lie."""
        low = [max(a, b) for a, b in zip(found.box.start, around.start, strict=True)]
        high = [max(a, min(b, c)) for a, b, c in zip(low, found.box.stop, around.stop, strict=True)]
        cut = Box(int3(low, "low"), int3(high, "high"))
        part = found.distance[cut.shift([-a for a in found.box.start]).slices]
        near = TubeDistance(found.tube, cut, part).where(part, canvas.edge_nm)
        if near.box.num_voxels == 0 or self.nodes.steps == (1, 1, 1):
            return near
        voxels = self._between(near.box, cut, canvas.box)
        if voxels.num_voxels == 0:
            return TubeDistance(found.tube, voxels, np.empty(voxels.shape, np.float32))
        distance = self.nodes.read(part, cut, voxels)
        return TubeDistance(found.tube, voxels, distance).where(distance, canvas.edge_nm)

    def _between(self, near: Box, cut: Box, box: Box) -> Box:
        """Returns the voxels of `box` with a node of `near` beside them, and all nodes around them in `cut`."""
        ends = zip(near.start, near.stop, cut.start, cut.stop, self.nodes.steps, box.start, box.stop, strict=True)
        sides = [
            (max((a - 1) * step + 1, first * step, start), min(b * step, (last - 1) * step + 1, stop))
            for a, b, first, last, step, start, stop in ends
        ]
        return Box(int3([a for a, _ in sides], "start"), int3([max(a, b) for a, b in sides], "stop"))


def reach_nm(cell: Cell) -> float:
    """Returns how far from the surface of a tube its distance is needed at nodes, to read it an edge away."""
    edge = sum(cell.voxel_size_nm) / 3
    return edge if cell.nodes.steps == (1, 1, 1) else edge + 2 * max(cell.at_nodes.voxel_size_nm)


def outlines(cell: Cell, box: Box, kinds: Sequence[Sequence[Tube]], wobble: Grey) -> Outlines:
    """Returns the tubes of a part of a block, given those near it, kind after kind.

    Args:
      cell: its numbers.
      box: voxels of the part.
      kinds: tubes of each of `populations`; what takes precedence there is painted last.
      wobble: how far surfaces lie from where they would be, nm, over `cell.nodes.around(box)`.
    """
    around, margin = cell.nodes.around(box), reach_nm(cell)
    shaken = _Shaken(around, wobble)
    found = [
        (population, shaken.outline(cell.at_nodes, population, tube, margin))
        for population, tubes in zip(reversed(populations(cell)), reversed(kinds), strict=True)
        for tube in tubes
    ]
    return Outlines(cell.nodes, around, wobble, [(kind, one) for kind, one in found if one.box.num_voxels])


@dataclass(frozen=True, eq=False)
class _Shaken:
    """Voxels or nodes, and how far surfaces lie from where they would be there, nm."""

    box: Box
    wobble: Grey

    def outline(self, cell: Cell, population: Population, tube: Tube, margin_nm: float) -> TubeDistance:
        """Returns the surface of a tube as seen from where it is nearer than `margin_nm`."""
        reach = margin_nm - self._deepest_nm
        field = tube_distance(tube, self.box, voxel_size_nm=cell.voxel_size_nm, margin_nm=reach)
        if field.box.num_voxels == 0:
            return field
        return field.where(population.surface(cell, field) + self.wobble[field.slices(self.box)], margin_nm)

    @cached_property
    def _deepest_nm(self) -> float:
        return float(self.wobble.min())


def _is_thin(tube: Tube) -> bool:
    return bool(tube.radii_nm.min() < _THIN_NM)
