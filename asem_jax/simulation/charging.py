"""Charge on a section: bright places light up with a dark streak behind them, dark ones the reverse.

Charge gathers over tens of nm and streaks reach far, so it is found on pixels that are wider than those of the image:
what they show has to be painted, but they are few.
Law that holds (and is tested): the change at a voxel does not depend on the box.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.nodes import Nodes
from asem_jax.simulation.smoothing import gaussian, smoothed
from asem_jax.volumes.geometry import Box, Float3, Int3

# Pixels per standard deviation of the Gaussian that gathers charge, at least; and where it is cut off.
_PIXELS_PER_DEVIATION = 1.5
_DEVIATIONS = 2.0

Grey = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Charging:
    """How charge spreads; see the attributes of `Microscope`.

    Attributes:
      greys: mean grey values between which nothing charges.
      gather_nm: standard deviation of the Gaussian over which surroundings count.
      streak_nm: how far the streak reaches along +x.
      nodes: the pixels, as voxels of the image.
      pixel_nm: width of a pixel, z y x.
    """

    greys: tuple[float, float]
    gather_nm: float
    streak_nm: float
    nodes: Nodes
    pixel_nm: Float3

    @classmethod
    def on(cls, greys: tuple[float, float], gather_nm: float, streak_nm: float, voxel_size_nm: Float3) -> "Charging":
        """Returns the charging of an image with these voxels."""
        nodes = Nodes.within(gather_nm / _PIXELS_PER_DEVIATION, voxel_size_nm)
        return cls(greys, gather_nm, streak_nm, nodes, nodes.apart_nm(voxel_size_nm))

    def pixels(self, box: Box) -> Box:
        """Returns the pixels on which the charge in a box of image voxels depends; pixel 0 is at 0 nm, too."""
        near = self.nodes.around(box).grow(self._radius)
        z, y, x = near.start
        return Box((z, y, x - self._length), near.stop)

    def change(self, signal: Grey) -> Grey:
        """Returns the charge with its streaks, grey values, on the pixels between which the voxels of a box lie.

        Args:
          signal: the image on `pixels(box)`, float32 z y x.
        """
        kernels = [gaussian(self.gather_nm / n, r) for n, r in zip(self.pixel_nm, self._radius, strict=True)]
        local = smoothed(signal, kernels)
        dense, empty = self.greys
        return self._streaked(
            np.clip(local - np.float32(empty), 0, np.inf) - np.clip(np.float32(dense) - local, 0, np.inf)
        )

    def read(self, change: Grey, box: Box, part: Box) -> Grey:
        """Returns `change` at the voxels of a part of a box, by linear interpolation between the pixels."""
        return self.nodes.read(change, self.nodes.around(box), part)

    @property
    def _radius(self) -> Int3:
        """How many pixels the Gaussian reaches; it gathers from the same section alone."""
        y, x = (int(np.ceil(_DEVIATIONS * self.gather_nm / size)) for size in self.pixel_nm[1:])
        return 0, y, x

    @property
    def _length(self) -> int:
        return int(np.ceil(self.streak_nm / self.pixel_nm[2]))

    def _streaked(self, charge: Grey) -> Grey:
        """Returns what charge adds to its pixel less what streaks from the pixels before take away."""
        length, width = self._length, charge.shape[2] - self._length
        change: Grey = charge[:, :, length:].copy()
        # The streak fades in proportion to the distance, and holds as much charge as the place that it comes from.
        fading = np.maximum(1 - (np.arange(length) + 0.5) * self.pixel_nm[2] / max(self.streak_nm, 1e-9), 0)
        for behind, weight in enumerate(fading / max(fading.sum(), 1e-9), 1):
            change -= charge[:, :, length - behind : length - behind + width] * np.float32(weight)
        return change
