"""Objects found against objects of the labels: which share how many voxels, and the scores made from that.

Both volumes hold object ids, 0 is background. `Overlaps` is the table of all pairs that meet, with the number of voxels
they share; tables of blocks add up, so an object may lie in any number of blocks. Laws:

* the table of a volume does not depend on the block shape;
* numbering objects anew changes no score.

What counts:

* An object that crosses the border of the scored box, or the exclusion zone, is judged by its part that is scored. With
  `min_voxels`, a part of fewer voxels is neither to be found nor missed, and what is found there is not wrong.
* Variation of information and adapted Rand compare partitions, and background is no object: voxels that are background
  in the labels are left out (as in the CREMI challenge); what was not found counts as one object of its own.
* An object found matches one of the labels if their IoU is above a threshold of 0.5 or more: then it matches no other.
* Regions are separate: partitions and matches are scored within each, and `+` of their sums is the score of all.

0/0 is NaN, but precision and recall of matches are 0, as in `metrics`. Memory grows with the pairs that meet (24 bytes
each), not with voxels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from asem_jax.measurement.metrics import Counts, f1, iou, precision, recall
from asem_jax.measurement.scoring import scored_blocks, voxel_shift
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume

Ids = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

ROWS_AT_ONCE = 1 << 17  # of tables that wait to be added up


@dataclass(frozen=True)
class Overlaps:
    """How many voxels each object of the labels shares with each object found; sorted, each pair once.

    Attributes:
      labels: uint64 [n], id in the labels; 0 = background.
      found: uint64 [n], id in what was found; 0 = background.
      voxels: int64 [n], how many they share, above 0.

    Example:
      >>> table = Overlaps.of(np.array([5, 5, 0]), np.array([1, 2, 0]))
      >>> table.voxels
      array([1, 1, 1])
    """

    labels: Ids
    found: Ids
    voxels: Numbers

    @classmethod
    def of(
        cls,
        found: npt.NDArray[np.integer],
        labels: npt.NDArray[np.integer],
        mask: npt.NDArray[np.bool_] | None = None,
    ) -> Self:
        """Returns the table of one block.

        Args:
          found: object ids, any shape.
          labels: object ids, the same shape.
          mask: bool, the same shape, True = count this voxel; None counts all.

        Raises:
          ValueError: the shapes differ, or an array holds no whole numbers from 0 on.
        """
        shapes = [a.shape for a in (found, labels, mask) if a is not None]
        if len(set(shapes)) > 1:
            raise ValueError(f"arrays of different shapes {shapes} cannot be compared; read all from the same box.")
        used = slice(None) if mask is None else np.flatnonzero(mask)
        there, seen = _ids(labels, "labels").ravel()[used], _ids(found, "found").ravel()[used]
        # Neighbours along x mostly agree, so runs are few where voxels are many.
        first = np.flatnonzero(np.concatenate(([True], (there[1:] != there[:-1]) | (seen[1:] != seen[:-1]))))
        first = first[: len(there)]
        return cls(*_added_up(there[first], seen[first], np.diff(np.append(first, len(there)))))

    @classmethod
    def total(cls, tables: Iterable["Overlaps"]) -> Self:
        """Returns the sum of tables; in few steps, so that a large table is not copied for every block."""
        waiting: list[Overlaps] = [cls.of(np.zeros(0, np.uint64), np.zeros(0, np.uint64))]
        for table in tables:
            waiting.append(table)
            if sum(len(t.voxels) for t in waiting[1:]) > max(ROWS_AT_ONCE, len(waiting[0].voxels)):
                waiting = [cls._merged(waiting)]
        return cls._merged(waiting)

    @classmethod
    def _merged(cls, tables: Sequence["Overlaps"]) -> Self:
        columns = (np.concatenate([getattr(t, name) for t in tables]) for name in ("labels", "found", "voxels"))
        return cls(*_added_up(*columns))

    def __add__(self, other: "Overlaps") -> "Overlaps":
        """Returns the table of both, as if their voxels had been counted together."""
        return Overlaps._merged([self, other])


def _ids(array: npt.NDArray[np.integer], name: str) -> Ids:
    """Returns an array as uint64; `name` is what it is called in the message."""
    array = np.asarray(array)
    kind = array.dtype.kind
    if kind not in "iub" or (kind == "i" and array.size and array.min() < 0):
        raise ValueError(f"{name} has dtype {array.dtype} or negative values; object ids are whole numbers from 0 on.")
    return array.astype(np.uint64)


def _added_up(labels: Ids, found: Ids, voxels: Numbers) -> tuple[Ids, Ids, Numbers]:
    """Returns three columns sorted by the first two, each pair once."""
    order = np.lexsort((found, labels))
    labels, found, voxels = labels[order], found[order], voxels[order]
    new = np.concatenate(([True], (labels[1:] != labels[:-1]) | (found[1:] != found[:-1])))[: len(labels)]
    first = np.flatnonzero(new)
    sums = np.add.reduceat(voxels, first) if len(first) else voxels
    return labels[first], found[first], sums.astype(np.int64)


def count_overlaps(
    found: Volume,
    labels: Volume,
    *,
    box: Box | None = None,
    exclude_inwards: int = 0,
    exclude_outwards: int = 0,
    mask: Volume | None = None,
    block_shape: Sequence[int] = (128, 128, 128),
) -> Overlaps:
    """Returns the table of two volumes of object ids.

    Args:
      found: ids of the objects found, 0 = background.
      labels: ids of the true objects, 0 = background; the same voxel size, its offset may differ by whole voxels.
      box: what is counted, voxels of `labels`; None = all of `labels`.
      exclude_inwards: voxels inside the border of objects and background that are not counted; 0 = all are.
      exclude_outwards: voxels outside it that are not counted; 0 = all are.
      mask: nonzero = count this voxel; None = all.
      block_shape: voxels read at a time, z y x; bounds the memory, not the result.

    Raises:
      ValueError: the volumes do not fit each other, see `voxel_shift`, or hold no ids.
    """
    box = labels.box if box is None else box
    shift = voxel_shift(found, labels, box)

    def tables() -> Iterator[Overlaps]:
        for block in scored_blocks(
            labels,
            box=box,
            exclude_inwards=exclude_inwards,
            exclude_outwards=exclude_outwards,
            mask=mask,
            block_shape=block_shape,
        ):
            yield Overlaps.of(found.read(block.box.shift(shift)), block.labels, block.used)

    return Overlaps.total(tables())


def _per_object(ids: Ids, voxels: Numbers) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Returns for each row the place of its object among all, and the voxels of each object."""
    _, place = np.unique(ids, return_inverse=True)
    size = np.zeros(place.max(initial=-1) + 1, np.int64)
    np.add.at(size, place, voxels)
    return place, size


@dataclass(frozen=True)
class PartitionSums:
    """What variation of information and adapted Rand are made of; those of regions add up.

    Attributes:
      voxels: how many are foreground in the labels.
      split: bits over all voxels: how uncertain the object found is, where the true one is known.
      merge: bits over all voxels: how uncertain the true object is, where the found one is known.
      together: pairs of voxels that are in one object in both.
      together_found: pairs that are in one object found.
      together_there: pairs that are in one true object.
    """

    voxels: int = 0
    split: float = 0.0
    merge: float = 0.0
    together: float = 0.0
    together_found: float = 0.0
    together_there: float = 0.0

    @classmethod
    def of(cls, overlaps: Overlaps) -> "PartitionSums":
        """Returns the sums of one region."""
        kept = overlaps.labels != 0
        shared = overlaps.voxels[kept]
        there, size_there = _per_object(overlaps.labels[kept], shared)
        found, size_found = _per_object(overlaps.found[kept], shared)
        return cls(
            int(shared.sum()),
            -float(np.sum(shared * np.log2(shared / size_there[there]))) + 0.0,  # + 0.0: no minus zero
            -float(np.sum(shared * np.log2(shared / size_found[found]))) + 0.0,
            _pairs(shared),
            _pairs(size_found),
            _pairs(size_there),
        )

    def __add__(self, other: "PartitionSums") -> "PartitionSums":
        """Returns the sums of both, as regions that share no object."""
        return PartitionSums(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def voi_split(self) -> float:
        """Bits per voxel: H(found | labels), 0 where no object is split."""
        return self.split / self.voxels if self.voxels else float("nan")

    @property
    def voi_merge(self) -> float:
        """Bits per voxel: H(labels | found), 0 where no objects are merged."""
        return self.merge / self.voxels if self.voxels else float("nan")

    @property
    def rand_precision(self) -> float:
        """Share of the pairs together in what was found that belong together; NaN without such pairs."""
        return self.together / self.together_found if self.together_found else float("nan")

    @property
    def rand_recall(self) -> float:
        """Share of the pairs that belong together that were found so; NaN without such pairs."""
        return self.together / self.together_there if self.together_there else float("nan")

    @property
    def rand_error(self) -> float:
        """1 - harmonic mean of both; 0 is perfect."""
        pairs = self.together_found + self.together_there
        return 1 - 2 * self.together / pairs if pairs else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as plain numbers; NaN becomes None.

        Source: Meila, J Multivariate Anal 98, 873-895 (2007), variation of information; Arganda-Carreras et al.,
        Front Neuroanat 9, 142 (2015), adapted Rand.
        """
        names = ("voi_split", "voi_merge", "rand_error", "rand_precision", "rand_recall")
        return {name: _known(getattr(self, name)) for name in names}


def _pairs(voxels: Numbers) -> float:
    """Returns how many ordered pairs of different voxels lie in one cell; as float, for cells of billions."""
    cells = voxels.astype(np.float64)
    return float(np.sum(cells * (cells - 1)))


@dataclass(frozen=True)
class Matches:
    """Objects that were found, missed and wrong at one IoU threshold; those of regions add up.

    Attributes:
      counts: objects instead of voxels; `true_negative` is 0.
      iou: summed over the matches.
    """

    counts: Counts
    iou: float

    def __add__(self, other: "Matches") -> "Matches":
        """Returns the matches of both, as regions that share no object."""
        return Matches(self.counts + other.counts, self.iou + other.iou)

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the matches; NaN without a match."""
        return self.iou / self.counts.true_positive if self.counts.true_positive else float("nan")

    @property
    def panoptic_quality(self) -> float:
        """Sum of the IoU over matches + half of the errors; the F1 of objects times `segmentation_quality`."""
        weight = self.counts.true_positive + self.counts.num_errors / 2
        return self.iou / weight if weight else float("nan")

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), which is what challenges of instance segmentation call so; NaN without objects."""
        return iou(self.counts) if self.counts.num_voxels else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as plain numbers; NaN becomes None.

        Source: Kirillov et al., CVPR 2019, 9404-9413, PQ = SQ x RQ, where RQ is the F1 of objects.
        """
        scores = {
            "f1": f1(self.counts),
            "ap": self.average_precision,
            "precision": precision(self.counts),
            "recall": recall(self.counts),
            "pq": self.panoptic_quality,
            "sq": self.segmentation_quality,
            "rq": f1(self.counts),
        }
        numbers = {
            "found_rightly": self.counts.true_positive,
            "found_wrongly": self.counts.false_positive,
            "missed": self.counts.false_negative,
        }
        return {**{name: _known(value) for name, value in scores.items()}, **numbers}


def match_objects(overlaps: Overlaps, iou_threshold: float, *, min_voxels: int = 0) -> Matches:
    """Returns which objects match.

    Args:
      overlaps: of one region.
      iou_threshold: an IoU above it is a match; 0.5 to below 1.
      min_voxels: true parts of fewer voxels are neither to be found nor missed; objects found that have fewer, or of
        which more than half lies in such a part, are not wrong.

    Raises:
      ValueError: the threshold is below 0.5, where matches are not unique, or not below 1.

    Example:
      >>> table = Overlaps.of(np.array([1, 1, 1, 0, 3]), np.array([7, 7, 7, 7, 0]))
      >>> match_objects(table, 0.5).counts
      Counts(true_positive=1, false_positive=1, false_negative=0, true_negative=0)
    """
    if not 0.5 <= iou_threshold < 1:
        raise ValueError(
            f"iou_threshold={iou_threshold} lies outside 0.5 <= t < 1; below 0.5 an object could match several: "
            "give e.g. 0.5."
        )
    there, size_there = _per_object(overlaps.labels, overlaps.voxels)
    found, size_found = _per_object(overlaps.found, overlaps.voxels)
    both = (overlaps.labels != 0) & (overlaps.found != 0)
    small = size_there < min_voxels
    union = size_there[there] + size_found[found] - overlaps.voxels
    shares = overlaps.voxels / union
    matched = both & (shares > iou_threshold) & ~small[there]
    wanted = np.unique(there[(overlaps.labels != 0) & ~small[there]])
    held = np.zeros(len(size_found), np.int64)
    np.add.at(held, found[both & small[there]], overlaps.voxels[both & small[there]])
    excused = (size_found < min_voxels) | (2 * held > size_found)
    excused[found[matched]] = False
    judged = np.unique(found[(overlaps.found != 0) & ~excused[found]])
    right = int(matched.sum())
    return Matches(Counts(right, len(judged) - right, len(wanted) - right), float(shares[matched].sum()))


@dataclass(frozen=True)
class ObjectScores:
    """All that is said of the objects of one region, or of several together.

    Attributes:
      partition: sums behind variation of information and adapted Rand.
      matches: IoU threshold -> what matched.
      true_objects: how many there are, of any size.
      found_objects: how many were found.
    """

    partition: PartitionSums
    matches: dict[float, Matches]
    true_objects: int
    found_objects: int

    @classmethod
    def of(cls, overlaps: Overlaps, iou_thresholds: Sequence[float], *, min_voxels: int = 0) -> "ObjectScores":
        """Returns the scores of one region; see `match_objects`."""
        return cls(
            PartitionSums.of(overlaps),
            {t: match_objects(overlaps, t, min_voxels=min_voxels) for t in iou_thresholds},
            len(np.unique(overlaps.labels[overlaps.labels != 0])),
            len(np.unique(overlaps.found[overlaps.found != 0])),
        )

    def __add__(self, other: "ObjectScores") -> "ObjectScores":
        """Returns the scores of both, as regions that share no object."""
        return ObjectScores(
            self.partition + other.partition,
            {t: self.matches[t] + other.matches[t] for t in self.matches},
            self.true_objects + other.true_objects,
            self.found_objects + other.found_objects,
        )

    def as_json(self) -> dict[str, Any]:
        """Returns how many objects there are, the scores of the partition, and the matches by IoU threshold ("0.5")."""
        return {
            "true_objects": self.true_objects,
            "found_objects": self.found_objects,
            **self.partition.as_json(),
            "matches": {f"{t:g}": m.as_json() for t, m in self.matches.items()},
        }


def _known(value: float) -> float | None:
    return None if value != value else value
