"""Confusion counts that add up over blocks, and the scores made from them.

Scores of parts cannot be averaged into the score of the whole, but counts can be added: every block returns
`Counts`, or a `ProbabilityHistogram` from which the counts at each of 256 thresholds follow, and one score is
made at the end. Laws: the counts of parts add up to those of the whole; the histogram's counts at a level are
those of the thresholded array.

Where a score is 0/0 the functions follow the authors' program, so that published numbers compare:

| | nothing there, nothing found | nothing there | nothing found |
|---|---|---|---|
| `f1` | NaN | 0 | 0 |
| `iou` | 1 | 0 | 0 |
| `precision` | 0 | 0 | 0 |
| `recall` | 0 | 0 | 0 |
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.labels import grey_level

Bools = npt.NDArray[np.bool_ | np.integer]


@dataclass(frozen=True)
class Counts:
    """How many voxels of a binary segmentation are right and wrong.

    Example:
      >>> Counts(1, 0, 2, 5) + Counts(1, 1, 0, 0)
      Counts(true_positive=2, false_positive=1, false_negative=2, true_negative=5)
    """

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Returns the counts of both, as if their voxels had been counted together."""
        return Counts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def num_voxels(self) -> int:
        """Voxels counted."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def num_errors(self) -> int:
        """Voxels counted that are wrong."""
        return self.false_positive + self.false_negative


def count(segmentation: Bools, labels: Bools, mask: Bools | None = None) -> Counts:
    """Returns how many voxels are right and wrong.

    Args:
      segmentation: any shape, nonzero = found.
      labels: the same shape, nonzero = there.
      mask: the same shape, nonzero = count this voxel; None counts all.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> count(np.array([1, 1, 0, 0]), np.array([3, 0, 3, 0]))
      Counts(true_positive=1, false_positive=1, false_negative=1, true_negative=1)
    """
    _check_shapes(segmentation, labels, mask)
    found, there = np.asarray(segmentation) != 0, np.asarray(labels) != 0
    used = np.ones(found.shape, bool) if mask is None else np.asarray(mask) != 0
    both = int(np.count_nonzero(found & there & used))
    num_found = int(np.count_nonzero(found & used))
    num_there = int(np.count_nonzero(there & used))
    num_used = int(np.count_nonzero(used))
    return Counts(both, num_found - both, num_there - both, num_used - num_found - num_there + both)


def _check_shapes(first: Bools, labels: Bools, mask: Bools | None) -> None:
    """Raises unless all arrays have one shape."""
    shapes = [np.shape(a) for a in (first, labels, mask) if a is not None]
    if len(set(shapes)) > 1:
        raise ValueError(f"arrays of different shapes {shapes} cannot be compared; read all from the same box.")


def confusion_matrix(
    segmentation: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    num_classes: int,
    mask: Bools | None = None,
) -> npt.NDArray[np.int64]:
    """Returns how often each label was given each class; adds up over blocks like `Counts`.

    Args:
      segmentation: class per voxel, 0 to `num_classes` - 1, any shape.
      labels: class per voxel, the same shape.
      num_classes: how many classes there are, background among them.
      mask: the same shape, nonzero = count this voxel; None counts all.

    Returns:
      int64 [label, class found]; divided by its sum it is the authors' normalised matrix.

    Raises:
      ValueError: the shapes differ, or a class lies outside 0 to `num_classes` - 1.

    Example:
      >>> confusion_matrix(np.array([0, 2, 1]), np.array([0, 1, 1]), 3)
      array([[1, 0, 0],
             [0, 1, 1],
             [0, 0, 0]])
    """
    _check_shapes(segmentation, labels, mask)
    used = np.ones(labels.shape, bool) if mask is None else np.asarray(mask) != 0
    found, there = segmentation[used].astype(np.int64), labels[used].astype(np.int64)
    for name, values in (("segmentation", found), ("labels", there)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"{name} holds classes {values.min()} to {values.max()}, num_classes={num_classes}; "
                "give one more than the highest class."
            )
    return np.bincount(there * num_classes + found, minlength=num_classes**2).reshape(num_classes, num_classes)


def f1(counts: Counts) -> float:
    """Returns the F1 score (Dice), 2 TP / (2 TP + FP + FN); NaN where nothing is there and nothing found.

    Example:
      >>> f1(Counts(true_positive=2, false_positive=1, false_negative=1)), f1(Counts(true_negative=9))
      (0.6666666666666666, nan)
    """
    return _ratio(2 * counts.true_positive, 2 * counts.true_positive + counts.num_errors, np.nan)


def iou(counts: Counts) -> float:
    """Returns the intersection over union (Jaccard), TP / (TP + FP + FN); 1 where nothing is there nor found.

    Example:
      >>> iou(Counts(true_positive=2, false_positive=1, false_negative=1)), iou(Counts(true_negative=9))
      (0.5, 1.0)
    """
    return _ratio(counts.true_positive, counts.true_positive + counts.num_errors, 1.0)


def precision(counts: Counts) -> float:
    """Returns which share of what was found is there, TP / (TP + FP); 0 where nothing is found.

    Example:
      >>> precision(Counts(true_positive=3, false_positive=1)), precision(Counts(false_negative=4))
      (0.75, 0.0)
    """
    return _ratio(counts.true_positive, counts.true_positive + counts.false_positive, 0.0)


def recall(counts: Counts) -> float:
    """Returns which share of what is there was found, TP / (TP + FN); 0 where nothing is there.

    Example:
      >>> recall(Counts(true_positive=3, false_negative=1)), recall(Counts(false_positive=4))
      (0.75, 0.0)
    """
    return _ratio(counts.true_positive, counts.true_positive + counts.false_negative, 0.0)


def _ratio(part: int, whole: int, if_empty: float) -> float:
    return part / whole if whole else if_empty


@dataclass(frozen=True, eq=False)
class ProbabilityHistogram:
    """Stored probabilities of the voxels that are foreground in the labels, and of those that are not.

    Attributes:
      foreground: int64 [256], how many foreground voxels have each grey value.
      background: int64 [256], the same for background voxels.

    Example:
      >>> seen = ProbabilityHistogram.of(np.array([9, 200], np.uint8), np.array([0, 1]))
      >>> (seen + seen).counts_at(100)
      Counts(true_positive=2, false_positive=0, false_negative=0, true_negative=2)
    """

    foreground: npt.NDArray[np.int64]
    background: npt.NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        """Says whether all counts are the same."""
        if not isinstance(other, ProbabilityHistogram):
            return NotImplemented
        pairs = ((self.foreground, other.foreground), (self.background, other.background))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def empty(cls) -> Self:
        """Returns the histogram of no voxel: where a sum begins."""
        return cls(np.zeros(256, np.int64), np.zeros(256, np.int64))

    @classmethod
    def of(cls, probability: npt.NDArray[np.uint8], labels: Bools, mask: Bools | None = None) -> Self:
        """Returns the histogram of one block.

        Args:
          probability: uint8, any shape; 255 = 1.
          labels: the same shape, nonzero = foreground.
          mask: the same shape, nonzero = count this voxel; None counts all.

        Raises:
          ValueError: the shapes differ, or `probability` is not uint8.
        """
        _check_shapes(probability, labels, mask)
        if probability.dtype != np.uint8:
            raise ValueError(f"probability has dtype {probability.dtype}; give uint8 (grey values, 255 = 1).")
        there = np.asarray(labels) != 0
        used = np.ones(there.shape, bool) if mask is None else np.asarray(mask) != 0
        foreground = np.bincount(probability[there & used], minlength=256)
        return cls(foreground, np.bincount(probability[used], minlength=256) - foreground)

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        """Returns the histogram of both, as if their voxels had been counted together."""
        return ProbabilityHistogram(self.foreground + other.foreground, self.background + other.background)

    def inverted(self) -> "ProbabilityHistogram":
        """Returns the histogram of `255 - probability`: dark voxels are sought instead of bright ones."""
        return ProbabilityHistogram(self.foreground[::-1], self.background[::-1])

    def counts_at(self, level: int) -> Counts:
        """Returns the counts of the segmentation that keeps grey values >= `level` (0 to 255)."""
        return Counts(
            int(self.foreground[level:].sum()),
            int(self.background[level:].sum()),
            int(self.foreground[:level].sum()),
            int(self.background[:level].sum()),
        )

    def counts(self) -> list[Counts]:
        """Returns the counts at each of the 256 levels."""
        return [self.counts_at(level) for level in range(256)]

    def best_threshold(self) -> float:
        """Returns the threshold, 0 to 1, with the highest F1; of equal ones the nearest to 0.5.

        Raises:
          ValueError: no voxel is foreground, so that every threshold scores 0.

        Example:
          >>> seen = ProbabilityHistogram.of(np.array([9, 255], np.uint8), np.array([0, 1]))
          >>> grey_level(seen.best_threshold())
          128
        """
        if not self.foreground.sum():
            raise ValueError(
                f"none of {int(self.background.sum())} voxels is foreground in the labels, every threshold "
                "scores 0; choose the threshold on a region that contains the organelle, or give a fixed one."
            )
        scores = [f1(counts) for counts in self.counts()]
        best = max(range(256), key=lambda level: (scores[level], -abs(level - grey_level(0.5))))
        return best / 255
