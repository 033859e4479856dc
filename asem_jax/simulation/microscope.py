"""What a FIB-SEM does to grey values: blur, drift, curtains, shot noise, 8 bits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.simulation.texture import Axes, Stream, smooth_field, voxel_noise
from asem_jax.volumes.geometry import Box, Float3, Int3, int3

_MIDDLE_GREY = 128.0
_ENDLESS_NM = 1e9


@dataclass(frozen=True)
class Microscope:
    """The numbers of the simulated microscope.

    Attributes:
      blur_nm: standard deviation of the Gaussian point spread, nm.
      shot_noise_grey: standard deviation at grey value 128; its square grows with the signal.
      drift_grey: standard deviation of the brightness from section to section, grey values.
      drift_contrast: standard deviation of the contrast along z, as a fraction.
      drift_nm: distance along z over which both change.
      curtain_grey: standard deviation of the milling stripes, which run along y.
    """

    blur_nm: float
    shot_noise_grey: float
    drift_grey: float
    drift_contrast: float
    drift_nm: float
    curtain_grey: float

    def halo(self, voxel_size_nm: Float3) -> Int3:
        """Returns how many voxels around a box its image depends on, z y x."""
        return int3([int(np.ceil(3 * self.blur_nm / size)) for size in voxel_size_nm], "halo")


def image(
    microscope: Microscope,
    grey: npt.NDArray[np.float32],
    box: Box,
    *,
    voxel_size_nm: Float3,
    seed: int,
) -> npt.NDArray[np.uint8]:
    """Returns the image of `box`, uint8 z y x.

    Args:
      microscope: its numbers.
      grey: true grey values of `box` grown by `microscope.halo(voxel_size_nm)`, float32 z y x.
      box: voxels to make.
      voxel_size_nm: z y x.
      seed: of the whole cell.
    """
    halo = microscope.halo(voxel_size_nm)
    sigma = [microscope.blur_nm / size for size in voxel_size_nm]
    blurred = ndimage.gaussian_filter(grey, sigma, radius=halo) if microscope.blur_nm else grey
    signal = blurred[tuple(slice(h, h + n) for h, n in zip(halo, box.shape, strict=True))]
    axes = axes_of(box, voxel_size_nm)
    contrast, brightness = _drift(microscope, axes, seed)
    signal = (signal - np.float32(_MIDDLE_GREY)) * contrast + brightness + np.float32(_MIDDLE_GREY)
    if microscope.curtain_grey:
        stripes = smooth_field(seed, Stream.CURTAIN, (60.0, 4000.0, 30.0), axes)
        signal += stripes * np.float32(microscope.curtain_grey)
    if microscope.shot_noise_grey:
        strength = np.sqrt(np.clip(signal, 0, None) / np.float32(_MIDDLE_GREY))
        noise = voxel_noise(seed, Stream.SHOT_NOISE, box)
        signal += strength * noise * np.float32(microscope.shot_noise_grey)
    return np.clip(np.rint(signal), 0, 255).astype(np.uint8)


def axes_of(box: Box, voxel_size_nm: Float3) -> Axes:
    """Returns where the voxel centres of `box` lie in nm, one array per axis, z y x; voxel 0 is at 0 nm."""
    z, y, x = (
        np.arange(a, b, dtype=np.float64) * size for a, b, size in zip(box.start, box.stop, voxel_size_nm, strict=True)
    )
    return z, y, x


def _drift(microscope: Microscope, axes: Axes, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    pitch = (microscope.drift_nm, _ENDLESS_NM, _ENDLESS_NM)
    along = (axes[0], np.zeros(1), np.zeros(1))
    contrast = 1 + smooth_field(seed, Stream.CONTRAST, pitch, along) * np.float32(microscope.drift_contrast)
    return contrast, smooth_field(seed, Stream.BRIGHTNESS, pitch, along) * np.float32(microscope.drift_grey)
