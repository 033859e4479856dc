"""How far a segmentation and its labels are apart, in nm, block by block.

Every found voxel has a distance to the nearest true voxel (0 where it is one itself), every true voxel one to the
nearest found voxel; and every voxel on the surface of either one to the nearest on the surface of the other. A voxel
is on the surface if one of its 6 neighbours is background. Distances lie between the centres of voxels and are
counted in steps of `STEP_NM`, so they add up over blocks exactly, like `Counts`. Laws:

* distances above a cap count as the cap. So a block read with a halo of the cap holds all that its distances depend
  on, and the result does not depend on the block shape, bit for bit;
* around the scored box both volumes are read as far as they reach, so its border is none of an object;
* an object cut by the end of a volume is taken to go on, so it has no surface along the cut;
* the exclusion zone has no part in it: a tolerance says the same more gently.

Where one side has no voxel at all, its distances have no mean (NaN), and those of the other side are all the cap:

| | nothing there nor found | nothing there | nothing found |
|---|---|---|---|
| precision and recall with tolerance | 0 | 0 | 0 |
| F1 with tolerance | NaN | 0 | 0 |
| mean false distance | NaN | NaN | NaN |
| surface distances | NaN | the cap | the cap |

Memory: a few arrays of one block with its halo, and 48 bytes for each voxel of a surface in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from asem_jax.measurement.scoring import voxel_shift
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.geometry import Box, Float3, Int3, int3, tiles
from asem_jax.volumes.volume import Volume

STEP_NM = 0.01  # far below what is known of a voxel size
SHARE_OF_MOST = 0.95  # of the surface that is nearer than `surface_distance_95_nm`

FOUND, THERE, FOUND_SURFACE, TRUE_SURFACE = range(4)
MEANS = ("false_positive_distance_nm", "false_negative_distance_nm", "mean_false_distance_nm", "surface_distance_nm")

Bools = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DistanceCounts:
    """How many voxels are how far from the other side.

    Attributes:
      steps: int64 [4, n]; found voxels, true voxels, and those on the surface of either, by their distance in steps of
        `STEP_NM`; the last column is the cap.
    """

    steps: Steps

    @classmethod
    def empty(cls, cap_nm: float) -> Self:
        """Returns the counts of no voxel: where a sum begins.

        Args:
          cap_nm: largest distance.

        Raises:
          ValueError: the cap is not positive.
        """
        if not 0 < cap_nm < float("inf"):
            raise ValueError(f"distance_cap_nm={cap_nm} is no distance; give nm above 0, e.g. 200.")
        return cls(np.zeros((4, round(cap_nm / STEP_NM) + 1), np.int64))

    def __add__(self, other: "DistanceCounts") -> "DistanceCounts":
        """Returns the counts of both, as if their voxels had been counted together."""
        return DistanceCounts(self.steps + other.steps)

    @property
    def cap_nm(self) -> float:
        """Largest distance; those beyond count as it."""
        return (self.steps.shape[1] - 1) * STEP_NM

    def sums(self, tolerances_nm: Sequence[float]) -> Steps:
        """Returns what means and shares are made of; adds up over blocks.

        Args:
          tolerances_nm: distances that still count as right, below the cap.

        Returns:
          int64 [4, 2 + tolerances]: per row of `steps` the number of voxels, the sum of their distances in steps, and
          how many are within each tolerance.

        Raises:
          ValueError: a tolerance is negative or not below the cap.
        """
        for tolerance in tolerances_nm:
            if not 0 <= tolerance < self.cap_nm:
                raise ValueError(
                    f"tolerances_nm={tuple(tolerances_nm)}: {tolerance} nm is negative or not below the cap of "
                    f"{self.cap_nm:g} nm; raise distance_cap_nm."
                )
        within = [self.steps[:, : round(t / STEP_NM) + 1].sum(1) for t in tolerances_nm]
        lengths = self.steps @ np.arange(self.steps.shape[1])
        return np.stack([self.steps.sum(1), lengths, *within], axis=1)

    def quantile_nm(self, row: int, share: float) -> float:
        """Returns the distance that at least `share` of the voxels of a row do not exceed; NaN without voxels."""
        below = np.cumsum(self.steps[row])
        if below[-1] == 0:
            return float("nan")
        return int(np.searchsorted(below, share * below[-1])) * STEP_NM


@dataclass(frozen=True)
class DistanceScores:
    """How far segmentation and labels are apart; all distances in nm, NaN where there are none.

    Attributes:
      cap_nm: distances beyond it count as it.
      precision: per tolerance, the share of found voxels with a true voxel within it.
      recall: per tolerance, the share of true voxels with a found voxel within it.
      f1: per tolerance, their harmonic mean.
      surface_f1: per tolerance, the share of both surfaces that has the other within it.
      false_positive_distance_nm: mean distance of found voxels to the labels.
      false_negative_distance_nm: mean distance of true voxels to the segmentation.
      mean_false_distance_nm: mean of the two.
      surface_distance_nm: mean over both surfaces together.
      surface_distance_95_nm: distance that 95 % of a surface do not exceed, of the worse of the two.
      surface_distance_max_nm: the largest, of the worse of the two (Hausdorff); at the cap it means "or more".
    """

    cap_nm: float
    precision: dict[float, float]
    recall: dict[float, float]
    f1: dict[float, float]
    surface_f1: dict[float, float]
    false_positive_distance_nm: float
    false_negative_distance_nm: float
    mean_false_distance_nm: float
    surface_distance_nm: float
    surface_distance_95_nm: float
    surface_distance_max_nm: float

    @classmethod
    def of(cls, counts: DistanceCounts, tolerances_nm: Sequence[float]) -> "DistanceScores":
        """Returns the scores that `counts` make.

        Source: Heinrich et al., Nature 599, 141-146 (2021), mean false distance and scores with tolerance (there
        200 nm and 40 nm); Nikolov et al., arXiv:1809.04430 (2018), surface F1 ("surface Dice").
        """
        sums = counts.sums(tolerances_nm)
        within = {t: _shares(sums, 2 + i) for i, t in enumerate(tolerances_nm)}
        false_positive, false_negative, both, surface = means_nm(sums).values()
        return cls(
            cap_nm=counts.cap_nm,
            precision={t: shares["precision"] for t, shares in within.items()},
            recall={t: shares["recall"] for t, shares in within.items()},
            f1={t: shares["f1"] for t, shares in within.items()},
            surface_f1={t: shares["surface_f1"] for t, shares in within.items()},
            false_positive_distance_nm=false_positive,
            false_negative_distance_nm=false_negative,
            mean_false_distance_nm=both,
            surface_distance_nm=surface,
            surface_distance_95_nm=_worse(counts, SHARE_OF_MOST),
            surface_distance_max_nm=_worse(counts, 1.0),
        )

    def as_json(self) -> dict[str, Any]:
        """Returns plain numbers; NaN becomes None, a tolerance a key such as "40"."""
        return {name: _plain(value) for name, value in vars(self).items()}


def means_nm(sums: Steps) -> dict[str, float]:
    """Returns the means that `DistanceCounts.sums` hold: those scores that do not need single distances."""
    number, length = sums[:, 0].tolist(), sums[:, 1].tolist()
    found, there = _mean_nm(length[FOUND], number[FOUND]), _mean_nm(length[THERE], number[THERE])
    surfaces = slice(FOUND_SURFACE, TRUE_SURFACE + 1)
    both = _mean_nm(sum(length[surfaces]), sum(number[surfaces]))
    return dict(zip(MEANS, (found, there, (found + there) / 2, both), strict=True))


def tolerant_f1(sums: Steps, index: int) -> float:
    """Returns the F1 within the tolerance of that index, from `DistanceCounts.sums`."""
    return _shares(sums, 2 + index)["f1"]


def _shares(sums: Steps, column: int) -> dict[str, float]:
    """Returns the scores of one tolerance, column `column` of the sums."""
    number, within = sums[:, 0].tolist(), sums[:, column].tolist()
    precision = within[FOUND] / number[FOUND] if number[FOUND] else 0.0
    recall = within[THERE] / number[THERE] if number[THERE] else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    both = number[FOUND_SURFACE] + number[TRUE_SURFACE]
    near = within[FOUND_SURFACE] + within[TRUE_SURFACE]
    nothing = not number[FOUND] and not number[THERE]
    return {
        "precision": precision,
        "recall": recall,
        "f1": float("nan") if nothing else f1,
        "surface_f1": near / both if both else float("nan"),
    }


def _mean_nm(steps: int, number: int) -> float:
    return steps * STEP_NM / number if number else float("nan")


def _worse(counts: DistanceCounts, share: float) -> float:
    """Returns the larger of both surfaces' quantiles; the cap where one has no voxel, NaN where neither has."""
    ways = [counts.quantile_nm(row, share) for row in (FOUND_SURFACE, TRUE_SURFACE)]
    known = [way for way in ways if way == way]
    return max(known) if known else float("nan")


def _plain(value: Any) -> Any:
    """Returns a number or a dict of them as JSON has it."""
    if isinstance(value, dict):
        return {f"{key:g}": _plain(inner) for key, inner in value.items()}
    return None if value != value else value


@dataclass(frozen=True)
class DistanceBlock:
    """One block with the distances of its voxels.

    Attributes:
      box: where, voxels of the labels.
      members: four bool [z, y, x]: found, there, and the surface of either.
      steps: two int64 [z, y, x], in steps of `STEP_NM`, not above the cap: from found voxels and their surface to the
        labels, and the other way; meaningless elsewhere. Surfaces are measured to surfaces, which for a voxel outside
        the other side is the same.
      used: bool [z, y, x], True = the voxel counts.
      cap_nm: largest distance.
    """

    box: Box
    members: tuple[Bools, Bools, Bools, Bools]
    steps: tuple[Steps, Steps]
    used: Bools
    cap_nm: float

    def counts(self, box: Box | None = None) -> DistanceCounts:
        """Returns the counts of the block, or of the part of it in `box` (voxels of the labels)."""
        part = (self.box if box is None else box).shift([-a for a in self.box.start]).slices
        total = DistanceCounts.empty(self.cap_nm).steps
        for row, members in enumerate(self.members):
            other = self.members[THERE if row == FOUND else FOUND]
            steps = self.steps[row % 2]
            chosen = members[part] & self.used[part]
            if row in (FOUND, THERE):  # inside the other side the distance is 0, not that to its surface
                total[row, 0] = np.count_nonzero(chosen & other[part])
                chosen = chosen & ~other[part]
            total[row] += np.bincount(steps[part][chosen], minlength=total.shape[1])
        return DistanceCounts(total)


def distance_blocks(
    found: Volume,
    labels: Volume,
    *,
    box: Box,
    cap_nm: float,
    least: int = 1,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Iterator[DistanceBlock]:
    """Yields the blocks of `box` with the distances of their voxels.

    Args:
      found: a segmentation, objects, or a probability as uint8.
      labels: ground truth, nonzero = there; the same voxel size, its offset may differ by whole voxels.
      box: what is scored, voxels of `labels`.
      cap_nm: distances beyond it count as it; each block is read with a halo of this width.
      least: the least value of `found` that counts as found; 1 = nonzero, for a probability see `grey_level`.
      mask: nonzero = score this voxel; None = all. What it leaves out is still a place to measure distances to.
      block_shape: voxels scored at a time, z y x; bounds the memory, not the result.

    Raises:
      ValueError: the volumes do not fit each other, or the cap is not positive.
    """
    shift = voxel_shift(found, labels, box)
    mask_shift = None if mask is None else voxel_shift(mask, labels, box)
    DistanceCounts.empty(cap_nm)  # refuses a cap that is none
    # One voxel more than the cap: whether a voxel is on the surface, its neighbours say.
    halo = int3([int(np.ceil(cap_nm / size)) + 1 for size in labels.voxel_size_nm], "halo")
    for block in tiles(box, block_shape):
        sides = [
            _read_side(found, block.shift(shift), halo, least),
            _read_side(labels, block, halo, 1),
        ]
        used = np.ones(block.shape, bool)
        if mask is not None and mask_shift is not None:
            used = mask.read(block.shift(mask_shift)) != 0
        yield measure_block(block, sides[0], sides[1], used=used, voxel_size_nm=labels.voxel_size_nm, cap_nm=cap_nm)


@dataclass(frozen=True)
class Side:
    """One of the two volumes around a block.

    Attributes:
      inside: bool [z, y, x], the block itself.
      surface: bool [z, y, x], the block.
      points: int64 [n, 3], all voxels of the surface in the block and its halo, counted from the block's first voxel.
    """

    inside: Bools
    surface: Bools
    points: npt.NDArray[np.int64]


def _read_side(volume: Volume, block: Box, halo: Int3, least: int) -> Side:
    """Reads a volume in and around a block, as far as there is something."""
    read_box = block.grow(halo).intersect(volume.box)
    values = volume.read(read_box)
    objects = values != 0 if least == 1 else values >= least
    surface = exclusion_zone(objects, inwards=1, outwards=0)
    first = [a - b for a, b in zip(read_box.start, block.start, strict=True)]
    inside = block.shift([-a for a in read_box.start]).slices
    return Side(objects[inside], surface[inside], np.argwhere(surface) + np.array(first))


def measure_block(
    box: Box, found: Side, there: Side, *, used: Bools, voxel_size_nm: Float3, cap_nm: float
) -> DistanceBlock:
    """Returns the distances of one block.

    Args:
      box: the block, voxels of the labels.
      found: the segmentation around it.
      there: the labels around it.
      used: bool [z, y, x], True = the voxel counts.
      voxel_size_nm: step between voxel centres, z y x.
      cap_nm: distances beyond it count as it.
    """
    to_there = _steps_to(there.points, (found.inside & ~there.inside) | found.surface, voxel_size_nm, cap_nm)
    to_found = _steps_to(found.points, (there.inside & ~found.inside) | there.surface, voxel_size_nm, cap_nm)
    members = (found.inside, there.inside, found.surface, there.surface)
    return DistanceBlock(box, members, (to_there, to_found), used, cap_nm)


def _steps_to(points: npt.NDArray[np.int64], wanted: Bools, voxel_size_nm: Float3, cap_nm: float) -> Steps:
    """Returns the distance to the nearest of `points`, in steps, where `wanted`.

    The nearest voxel of a set, from outside, is one of its surface. So a tree of the surfaces is enough, which is
    several times faster than a distance transform of the block with its halo.
    """
    steps = np.full(wanted.shape, round(cap_nm / STEP_NM), np.int64)
    if not len(points) or not wanted.any():
        return steps
    tree = cKDTree(points * np.array(voxel_size_nm), compact_nodes=False, balanced_tree=False)
    found_nm, _ = tree.query(np.argwhere(wanted) * np.array(voxel_size_nm), distance_upper_bound=cap_nm)
    # A little above a half, so that no distance that can be written down in nm sits on the edge between two steps.
    steps[wanted] = np.floor(np.minimum(found_nm, cap_nm) / STEP_NM + 0.5 + 1e-4)
    return steps


def measure_distances(
    found: Volume,
    labels: Volume,
    *,
    cap_nm: float,
    box: Box | None = None,
    least: int = 1,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> DistanceCounts:
    """Returns the distances of all voxels of `box` (None = all of `labels`); takes what `distance_blocks` takes."""
    box = labels.box if box is None else box
    total = DistanceCounts.empty(cap_nm)
    for block in distance_blocks(
        found, labels, box=box, cap_nm=cap_nm, least=least, mask=mask, block_shape=block_shape
    ):
        total += block.counts()
    return total
