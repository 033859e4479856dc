"""What a threshold on smoothed grey values would score: the number a trained network has to beat.

The smoothing, the threshold and whether organelles are taken to be bright or dark are all chosen on the very
voxels that are scored, so the baseline is better than anybody could make it on new data. Grey values are
rounded to whole numbers after smoothing, so that one histogram of 256 bins holds every threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.measurement.metrics import Counts, ProbabilityHistogram, f1
from asem_jax.measurement.scoring import Scores, scored_blocks, voxel_shift
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume


@dataclass(frozen=True)
class Baseline:
    """The best threshold that was found, and what it scores.

    Attributes:
      sigma: standard deviation of the Gaussian smoothing, voxels; 0 = none.
      threshold: grey value, 0 to 255, itself foreground.
      polarity: "bright": foreground is at or above the threshold, "dark": at or below.
      scores: on the voxels it was chosen on.
    """

    sigma: float
    threshold: int
    polarity: str
    scores: Scores


def smoothed(raw: Volume, box: Box, sigma: float) -> npt.NDArray[np.uint8]:
    """Returns `raw` after a Gaussian filter; blocks fit together, raw is reflected at its own border only.

    Args:
      raw: uint8 grey values.
      box: what to return, voxels of `raw`.
      sigma: standard deviation, voxels, the same on every axis; 0 = no smoothing.

    Returns:
      uint8 [z, y, x], rounded.

    Raises:
      ValueError: `raw` is not uint8, or `sigma` is negative.
    """
    if raw.dtype != np.uint8:
        raise ValueError(f"{raw.address} has dtype {raw.dtype}, not uint8; convert it (stage convert) first.")
    if sigma < 0:
        raise ValueError(f"sigma={sigma} is no smoothing; give voxels >= 0.")
    # SciPy cuts the Gaussian at four standard deviations.
    read_box = box.grow(int(4 * sigma + 0.5)).intersect(raw.box)
    grey = raw.read(read_box)
    if sigma > 0:
        grey = np.rint(ndimage.gaussian_filter(grey, sigma, output=np.float32, truncate=4.0)).astype(np.uint8)
    return grey[box.shift([-a for a in read_box.start]).slices]


def sweep_grey_values(
    raw: Volume,
    labels: Volume,
    *,
    box: Box,
    sigma: float,
    exclude_inwards: int,
    exclude_outwards: int,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> ProbabilityHistogram:
    """Returns the histogram of smoothed grey values in foreground and background; those of regions add up.

    Args:
      raw: uint8 grey values, on the grid of `labels`; its offset may differ by whole voxels.
      labels: ground truth, nonzero = there.
      box: what is scored, voxels of `labels`.
      sigma: standard deviation of the smoothing, voxels.
      exclude_inwards: voxels inside the objects' border that are not scored.
      exclude_outwards: voxels outside it that are not scored.
      mask: nonzero = score this voxel; None = all.
      block_shape: voxels read at a time, z y x.

    Raises:
      ValueError: the volumes do not fit each other, or `raw` is not uint8.
    """
    shift = voxel_shift(raw, labels, box)
    total = ProbabilityHistogram.empty()
    for block in scored_blocks(
        labels,
        box=box,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        mask=mask,
        block_shape=block_shape,
    ):
        grey = smoothed(raw, block.box.shift(shift), sigma)
        total += ProbabilityHistogram.of(grey, block.labels, block.used)
    return total


def best_baseline(sweeps: Mapping[float, ProbabilityHistogram]) -> Baseline:
    """Returns the smoothing, threshold and polarity with the highest F1.

    Args:
      sweeps: sigma (voxels) -> histogram of the grey values after that smoothing.

    Raises:
      ValueError: there is no smoothing to choose from, or no voxel is foreground.

    Example:
      >>> seen = ProbabilityHistogram.of(np.array([9, 200, 201], np.uint8), np.array([1, 0, 0]))
      >>> best = best_baseline({0.0: seen})
      >>> best.polarity, best.scores.f1
      ('dark', 1.0)
    """
    if not sweeps:
        raise ValueError("baseline_sigmas=() leaves no smoothing to choose from; give at least one sigma (0 = none).")
    candidates = [
        (sigma, polarity, round(255 * _as_bright(sweep, polarity).best_threshold()))
        for sigma, sweep in sweeps.items()
        for polarity in ("bright", "dark")
    ]
    scored = [(baseline_counts(sweeps[s], p, _grey(level, p)), s, p, level) for s, p, level in candidates]
    counts, sigma, polarity, level = max(scored, key=lambda found: f1(found[0]))
    return Baseline(sigma, _grey(level, polarity), polarity, Scores.of(counts))


def baseline_counts(sweep: ProbabilityHistogram, polarity: str, threshold: int) -> Counts:
    """Returns the counts of one threshold (grey value, itself foreground) on the voxels of `sweep`."""
    return _as_bright(sweep, polarity).counts_at(_grey(threshold, polarity))


def _as_bright(sweep: ProbabilityHistogram, polarity: str) -> ProbabilityHistogram:
    return sweep if polarity == "bright" else sweep.inverted()


def _grey(level: int, polarity: str) -> int:
    """Returns the level of an inverted histogram as a grey value, and the other way round."""
    return level if polarity == "bright" else 255 - level


def best_threshold_baseline(
    raw: Volume,
    labels: Volume,
    *,
    box: Box,
    sigmas: Sequence[float],
    exclude_inwards: int,
    exclude_outwards: int,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Baseline:
    """Returns the best smoothing and threshold for one box, chosen on that box itself.

    Args:
      raw: uint8 grey values, on the grid of `labels`.
      labels: ground truth, nonzero = there.
      box: what is scored, voxels of `labels`.
      sigmas: standard deviations to try, voxels; 0 = no smoothing.
      exclude_inwards: voxels inside the objects' border that are not scored.
      exclude_outwards: voxels outside it that are not scored.
      mask: nonzero = score this voxel; None = all.
      block_shape: voxels read at a time, z y x.

    Raises:
      ValueError: the volumes do not fit, `sigmas` is empty, or nothing in the box is foreground.
    """
    return best_baseline(
        {
            sigma: sweep_grey_values(
                raw,
                labels,
                box=box,
                sigma=sigma,
                exclude_inwards=exclude_inwards,
                exclude_outwards=exclude_outwards,
                block_shape=block_shape,
            )
            for sigma in sigmas
        }
    )
