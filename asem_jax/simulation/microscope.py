"""What a FIB-SEM does to grey values: blur, thickness, charging, misalignment, drift, curtains, shot noise, 8 bits.

A section is painted on `depth_samples` planes over its thickness and becomes their mean. Each effect looks at a
bounded neighbourhood of a voxel, or at random numbers that belong to its place. Laws that hold (and are tested):

* a voxel of the image is the same whatever box it is asked for with;
* an effect whose number is 0 (depth_samples 1, window_grey (0, 255)) changes no bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.charging import Charging
from asem_jax.simulation.smoothing import gaussian, smoothed
from asem_jax.simulation.texture import Axes, Stream, random_words, smooth_field, voxel_noise
from asem_jax.volumes.geometry import Box, Float3, Int3, int3, tiles

_MIDDLE_GREY = 128.0
_ENDLESS_NM = 1e9
# Voxels imaged at once, z y x: few enough that what they need stays near the processor.
_SLAB = (16, 128, 256)
_NOT_NEGATIVE = (
    *("blur_nm", "charging", "charging_nm", "streak_nm", "shift_nm"),
    *("shot_noise_grey", "drift_grey", "drift_contrast", "curtain_grey"),
)

Grey = npt.NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Microscope:
    """The numbers of the simulated microscope.

    Attributes:
      blur_nm: standard deviation of the Gaussian point spread, nm.
      depth_samples: planes painted over the thickness of a section, whose mean it shows; odd. 1 = its middle
        plane alone, which is what voxels as deep as wide need.
      charging: grey values that an image gains per grey value of charge; 0 = none. The charge of a place is by how
        much its surroundings are brighter than the upper, or (counted negative) darker than the lower of
        `charging_greys`: empty resin lights up with a dark streak behind it, a dense place the reverse.
      charging_greys: mean grey values between which nothing charges.
      charging_nm: standard deviation of the Gaussian over which surroundings count: the size of the halo.
      streak_nm: how far the streak reaches along +x, the way of the beam; 0 = no streak.
      shift_nm: largest misalignment of a section, along y and along x; most sections are shifted by far less.
      shot_noise_grey: standard deviation at grey value 128; its square grows with the signal.
      drift_grey: standard deviation of the brightness from section to section, grey values.
      drift_contrast: standard deviation of the contrast along z, as a fraction.
      drift_nm: distance along z over which both change.
      curtain_grey: standard deviation of the milling stripes, which run along y.
      window_grey: grey values that become 0 and 255; (0, 255) = as they are. What lies outside is clipped.
    """

    blur_nm: float
    depth_samples: int
    charging: float
    charging_greys: tuple[float, float]
    charging_nm: float
    streak_nm: float
    shift_nm: float
    shot_noise_grey: float
    drift_grey: float
    drift_contrast: float
    drift_nm: float
    curtain_grey: float
    window_grey: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("charging_greys", "window_grey"):
            object.__setattr__(self, name, _ascending(getattr(self, name), name))
        negative = [name for name in _NOT_NEGATIVE if getattr(self, name) < 0]
        if negative:
            raise ValueError(f"{negative[0]}={getattr(self, negative[0])} is negative; give 0 (none) or more.")
        if self.depth_samples < 1 or self.depth_samples % 2 != 1:
            raise ValueError(
                f"depth_samples={self.depth_samples} has no middle plane; give an odd number, 1 = that plane alone."
            )

    def halo(self, voxel_size_nm: Float3) -> Int3:
        """Returns how many painted voxels around a box its image depends on, z y x."""
        reach = self._blur_radius(voxel_size_nm) + self._shift_radius(voxel_size_nm)
        return int3(reach.tolist(), "halo")

    def painted_voxel_nm(self, voxel_size_nm: Float3) -> Float3:
        """Returns the size of the voxels to paint: those of the image, thinner if sections have several planes."""
        z, y, x = voxel_size_nm
        return z / self.depth_samples, y, x

    def painted_box(self, box: Box, voxel_size_nm: Float3) -> Box:
        """Returns the painted voxels that the image of `box` depends on; painted voxel 0 is at 0 nm, too.

        With one plane per section these are `box` and a halo.
        """
        return self._planes(box).grow(self.halo(voxel_size_nm))

    def charging_on(self, voxel_size_nm: Float3) -> Charging:
        """Returns how charge spreads over the image."""
        return Charging.on(self.charging_greys, self.charging_nm, self.streak_nm, voxel_size_nm)

    def charging_box(self, box: Box, voxel_size_nm: Float3) -> Box:
        """Returns the painted voxels, as large as the charge's pixels ask for, that the charge in `box` depends on."""
        charge = self.charging_on(voxel_size_nm)
        pixels = charge.pixels(box.grow(self._shift_radius(voxel_size_nm).tolist()))
        return self._planes(pixels).grow(self._blur_radius(charge.pixel_nm).tolist())

    def _planes(self, box: Box) -> Box:
        """Returns the planes to paint for the sections of `box`."""
        planes = self.depth_samples
        first = planes * box.start[0] - planes // 2
        return Box.of_shape((planes * box.shape[0], *box.shape[1:]), (first, *box.start[1:]))

    def _blur_radius(self, voxel_size_nm: Float3) -> npt.NDArray[np.int64]:
        return _voxels((3 * self.blur_nm,) * 3, self.painted_voxel_nm(voxel_size_nm))

    def _shift_radius(self, voxel_size_nm: Float3) -> npt.NDArray[np.int64]:
        if not self.shift_nm:
            return np.zeros(3, np.int64)
        # Two more: the cubic between four voxels.
        return _voxels((0, self.shift_nm, self.shift_nm), voxel_size_nm) + np.array([0, 2, 2])


def image(
    microscope: Microscope,
    grey: Grey,
    box: Box,
    *,
    surroundings: Grey | None,
    voxel_size_nm: Float3,
    seed: int,
) -> npt.NDArray[np.uint8]:
    """Returns the image of `box`, uint8 z y x.

    Args:
      microscope: its numbers.
      grey: true grey values over `microscope.painted_box(box, voxel_size_nm)`, float32 z y x.
      box: voxels to make.
      surroundings: true grey values over `microscope.charging_box(box, voxel_size_nm)`; None if nothing charges.
      voxel_size_nm: of the image, z y x.
      seed: of the whole cell.
    """
    seen = np.empty(box.shape, np.uint8)
    painted = microscope.painted_box(box, voxel_size_nm)
    charge = None if surroundings is None else _charge(microscope, surroundings, voxel_size_nm)
    drift = _drift(microscope, axes_of(box, voxel_size_nm), seed)
    for slab in tiles(box, _SLAB):
        part = grey[_within(microscope.painted_box(slab, voxel_size_nm), painted)]
        signal = _sections(microscope, part, voxel_size_nm)
        if charge is not None:
            reach = microscope._shift_radius(voxel_size_nm).tolist()
            signal += microscope.charging_on(voxel_size_nm).read(charge, box.grow(reach), slab.grow(reach))
        if microscope.shift_nm:
            signal = _misaligned(microscope, signal, slab, voxel_size_nm=voxel_size_nm, seed=seed)
        cut = _within(slab, box)
        here = [one[cut[0]] for one in drift]
        seen[cut] = _recorded(microscope, signal, slab, drift=here, voxel_size_nm=voxel_size_nm, seed=seed)
    return seen


def visible_labels(
    microscope: Microscope,
    labels: npt.NDArray[Scalar],
    box: Box,
    *,
    voxel_size_nm: Float3,
    seed: int,
) -> npt.NDArray[Scalar]:
    """Returns the labels of the voxels of `box` as the image shows them: shifted with its sections.

    Args:
      microscope: its numbers.
      labels: over `microscope.painted_box(box, voxel_size_nm)`, any dtype, z y x.
      box: voxels to make.
      voxel_size_nm: of the image, z y x.
      seed: of the whole cell.

    Returns:
      The labels of the sections' middle planes, each moved by its misalignment in whole voxels.
    """
    radius = microscope.halo(voxel_size_nm)
    inner = _cut(labels, np.array(radius))
    inner = inner[microscope.depth_samples // 2 :: microscope.depth_samples]
    if not microscope.shift_nm:
        return inner
    shifts = section_shifts_nm(microscope, box.start[0], box.stop[0], seed) / np.array(voxel_size_nm[1:])
    moved = np.empty_like(inner)
    for section, (y, x) in enumerate(np.floor(0.5 - shifts).astype(int)):
        plane = labels[radius[0] + microscope.depth_samples * section + microscope.depth_samples // 2]
        top, left = radius[1] + y, radius[2] + x
        moved[section] = plane[top : top + box.shape[1], left : left + box.shape[2]]
    return moved


def section_shifts_nm(microscope: Microscope, start: int, stop: int, seed: int) -> npt.NDArray[np.float64]:
    """Returns how far sections `start` to `stop` - 1 are shifted along y and x, nm, shape [stop - start, 2].

    What lies at a place of the tissue is seen at that place plus the shift. A shift is `shift_nm` times the third
    power of a uniform number in -1..1: its standard deviation is 0.38 `shift_nm`.
    """
    words = random_words(seed, Stream.SECTION_SHIFT, Box((start, 0, 0), (stop, 1, 2)))[:, 0]
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    return microscope.shift_nm * uniform**3


def axes_of(box: Box, voxel_size_nm: Float3) -> Axes:
    """Returns where the voxel centres of `box` lie in nm, one array per axis, z y x; voxel 0 is at 0 nm."""
    z, y, x = (
        np.arange(a, b, dtype=np.float64) * size for a, b, size in zip(box.start, box.stop, voxel_size_nm, strict=True)
    )
    return z, y, x


def _recorded(
    microscope: Microscope, signal: Grey, box: Box, *, drift: Sequence[Grey], voxel_size_nm: Float3, seed: int
) -> Grey:
    """Returns grey values after drift, curtains, shot noise and the window, whole numbers 0..255; changes `signal`."""
    contrast, brightness = drift
    signal -= np.float32(_MIDDLE_GREY)
    signal *= contrast
    signal += brightness
    signal += np.float32(_MIDDLE_GREY)
    if microscope.curtain_grey:
        stripes = smooth_field(seed, Stream.CURTAIN, (60.0, 4000.0, 30.0), axes_of(box, voxel_size_nm))
        stripes *= np.float32(microscope.curtain_grey)
        signal += stripes
    if microscope.shot_noise_grey:
        strength = np.maximum(signal, 0)
        strength *= np.float32(1 / _MIDDLE_GREY)
        noise = voxel_noise(seed, Stream.SHOT_NOISE, box)
        noise *= np.sqrt(strength, out=strength)
        noise *= np.float32(microscope.shot_noise_grey)
        signal += noise
    low, high = microscope.window_grey
    if (low, high) != (0.0, 255.0):
        signal -= np.float32(low)
        signal *= np.float32(255 / (high - low))
    return np.clip(np.rint(signal, out=signal), 0, 255, out=signal)


def _drift(microscope: Microscope, axes: Axes, seed: int) -> tuple[Grey, Grey]:
    """Returns contrast and brightness of each section, [sections, 1, 1]."""
    pitch = (microscope.drift_nm, _ENDLESS_NM, _ENDLESS_NM)
    along = (axes[0], np.zeros(1), np.zeros(1))
    contrast = 1 + smooth_field(seed, Stream.CONTRAST, pitch, along) * np.float32(microscope.drift_contrast)
    return contrast, smooth_field(seed, Stream.BRIGHTNESS, pitch, along) * np.float32(microscope.drift_grey)


def _sections(microscope: Microscope, grey: Grey, voxel_size_nm: Float3) -> Grey:
    """Returns the blurred planes, averaged over each section's thickness, without the halo of the blur."""
    sizes = microscope.painted_voxel_nm(voxel_size_nm)
    radius = microscope._blur_radius(voxel_size_nm).tolist()
    planes = smoothed(grey, [gaussian(microscope.blur_nm / size, r) for size, r in zip(sizes, radius, strict=True)])
    total = planes[0 :: microscope.depth_samples].copy()
    for plane in range(1, microscope.depth_samples):
        total += planes[plane :: microscope.depth_samples]
    if microscope.depth_samples > 1:
        total *= np.float32(1 / microscope.depth_samples)
    return total


def _charge(microscope: Microscope, surroundings: Grey, voxel_size_nm: Float3) -> Grey:
    """Returns what charge adds to the signal, on the pixels of the charge."""
    charging = microscope.charging_on(voxel_size_nm)
    change = charging.change(_sections(microscope, surroundings, charging.pixel_nm))
    change *= np.float32(microscope.charging)
    return change


def _misaligned(microscope: Microscope, signal: Grey, box: Box, *, voxel_size_nm: Float3, seed: int) -> Grey:
    """Returns each section moved by its shift, by cubic convolution; smaller by what a shift can reach."""
    radius = microscope._shift_radius(voxel_size_nm)
    moved = np.empty(box.shape, np.float32)
    for section, shift in enumerate(section_shifts_nm(microscope, box.start[0], box.stop[0], seed)):
        plane = signal[section]
        for axis in (0, 1):
            plane = _moved(plane, shift[axis] / voxel_size_nm[1 + axis], axis, int(radius[1 + axis]))
        moved[section] = plane
    return moved


def _moved(plane: Grey, shift: float, axis: int, radius: int) -> Grey:
    """Returns `plane` moved by `shift` voxels along an axis, `radius` voxels shorter at both ends.

    Source: Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29 (1981), eq. 15.
    """
    whole = int(np.floor(-shift))
    t = -shift - whole
    weights = (
        *(((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2),
        *(((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2),
    )
    length, first = plane.shape[axis] - 2 * radius, radius + whole - 1
    before = (slice(None),) * axis
    taps = [plane[(*before, slice(first + tap, first + tap + length))] for tap in range(4)]
    result: Grey = taps[0] * np.float32(weights[0])
    part = np.empty_like(result)
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        result += np.multiply(tap, np.float32(weight), out=part)
    return result


def _voxels(lengths_nm: Sequence[float], voxel_size_nm: Float3) -> npt.NDArray[np.int64]:
    """Returns how many voxels lengths reach, rounded up."""
    return np.ceil(np.divide(lengths_nm, voxel_size_nm)).astype(np.int64)


def _cut(values: npt.NDArray[Scalar], radius: npt.NDArray[np.int64]) -> npt.NDArray[Scalar]:
    """Returns `values` without `radius` voxels at both ends of each axis."""
    return values[tuple(slice(r, n - r) for r, n in zip(radius.tolist(), values.shape, strict=True))]


def _within(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    return inner.shift([-a for a in outer.start]).slices


def _ascending(values: Sequence[float], name: str) -> tuple[float, float]:
    """Returns two numbers, the second larger, as a tuple; `name` is used in the message."""
    bounds = tuple(values)
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise ValueError(f"{name}={bounds} is no range; give two grey values, the second above the first.")
    return float(bounds[0]), float(bounds[1])
