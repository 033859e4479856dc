"""Every few voxels, counted from voxel 0: what changes slowly is found there, and read in between.

Law that holds (and is tested): what is read does not depend on the box.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Float3, Int3, int3

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Nodes:
    """Where values are found.

    Attributes:
      steps: every how many voxels a node lies, z y x; 1 = at each.
    """

    steps: Int3

    @classmethod
    def within(cls, most_nm: float, voxel_size_nm: Float3) -> Self:
        """Returns nodes that are no farther apart than `most_nm`, but at least one voxel."""
        return cls(int3([max(1, int(most_nm / size)) for size in voxel_size_nm], "steps"))

    def apart_nm(self, voxel_size_nm: Float3) -> Float3:
        """Returns the distance of the nodes, z y x."""
        z, y, x = (step * size for step, size in zip(self.steps, voxel_size_nm, strict=True))
        return z, y, x

    def around(self, box: Box) -> Box:
        """Returns the nodes between which the voxels of `box` lie."""
        start = [a // step for a, step in zip(box.start, self.steps, strict=True)]
        stop = [-((1 - b) // step) + 1 for b, step in zip(box.stop, self.steps, strict=True)]
        return Box(int3(start, "start"), int3(stop, "stop"))

    def read(self, values: Values, around: Box, box: Box) -> Values:
        """Returns values at voxels, by linear interpolation.

        Args:
          values: at the nodes `around`, float32 z y x.
          around: nodes that hold those around `box`.
          box: voxels.
        """
        near = self.around(box)
        values = values[near.shift([-a for a in around.start]).slices]
        # x first, while the array is small; z last, where rows lie side by side in memory.
        for axis in (2, 1, 0):
            ends = (box.start[axis], box.stop[axis])
            values = _between(values, axis, ends, step=self.steps[axis], first=near.start[axis])
        return values


def _between(values: Values, axis: int, ends: tuple[int, int], *, step: int, first: int) -> Values:
    """Returns `values`, which begin at node `first`, at the voxels between `ends` along an axis."""
    start, stop = ends
    if step == 1:
        return values[(slice(None),) * axis + (slice(start - first, stop - first),)]
    result = np.empty([stop - start if n == axis else length for n, length in enumerate(values.shape)], np.float32)
    before = (slice(None),) * axis
    for past in range(step):
        # All voxels that lie `past` voxels beyond a node at once.
        skipped = (past - start) % step
        part = result[(*before, slice(skipped, None, step))]
        node, number = (start + skipped) // step - first, part.shape[axis]
        below = values[(*before, slice(node, node + number))]
        if past == 0:
            part[...] = below
            continue
        above = values[(*before, slice(node + 1, node + 1 + number))]
        if 2 * past == step:
            np.add(below, above, out=part)
            part *= np.float32(0.5)
            continue
        np.subtract(above, below, out=part)
        part *= np.float32(past / step)
        part += below
    return result
