from itertools import combinations

import numpy as np
import pytest

from asem_jax.measurement import overlaps as module
from asem_jax.measurement.metrics import Counts
from asem_jax.measurement.overlaps import ObjectScores, Overlaps, PartitionSums, count_overlaps, match_objects
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (6, 9, 11)


def _pair(seed, shape=SHAPE):
    """Cubes of ids, and the same shifted, some merged and some cut in two."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 6, [n // 3 + 1 for n in shape]) * rng.integers(0, 2**40)
    labels = np.repeat(np.repeat(np.repeat(small, 3, 0), 3, 1), 3, 2)[tuple(slice(n) for n in shape)]
    found = np.where(np.roll(labels, 1, 2) == labels.max(), labels.min(), np.roll(labels, 1, 2)) * 2
    found[: shape[0] // 2] += found[: shape[0] // 2] > 0
    return found.astype(np.uint64), labels.astype(np.uint64)


def _numbered(found, labels):
    """The same with small ids, which scikit-image's dense tables need."""
    return [np.unique(a, return_inverse=True)[1].reshape(a.shape) for a in (found, labels)]


def _volume(folder, name, array):
    volume = create_volume(
        str(folder / "cell.zarr" / name),
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(5, 5, 5),
        chunk_shape=(4, 4, 4),
    )
    volume.write(volume.box, array)
    return volume


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("masked", [False, True])
def test_table_holds_every_pair_that_meets(seed, masked):
    found, labels = _pair(seed)
    mask = np.random.default_rng(seed).random(SHAPE) < 0.6 if masked else None
    table = Overlaps.of(found, labels, mask)
    used = np.ones(SHAPE, bool) if mask is None else mask
    pairs, voxels = np.unique(np.stack([labels[used], found[used]]), axis=1, return_counts=True)
    np.testing.assert_array_equal([table.labels, table.found], pairs)
    np.testing.assert_array_equal(table.voxels, voxels)


@pytest.mark.parametrize("rows", [1, 1 << 17])
@pytest.mark.parametrize("block_shape", [(2, 9, 4), (1, 3, 11), (64, 64, 64)])
def test_blocks_of_any_shape_give_the_table_of_the_whole(tmp_path, monkeypatch, block_shape, rows):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    found, labels = _pair(0)
    volumes = _volume(tmp_path, "found", found), _volume(tmp_path, "labels", labels)
    box = Box((1, 0, 2), SHAPE)
    table = count_overlaps(*volumes, box=box, exclude_inwards=1, exclude_outwards=1, block_shape=block_shape)
    used = ~exclusion_zone(labels, inwards=1, outwards=1)
    whole = Overlaps.of(found[box.slices], labels[box.slices], used[box.slices])
    for name in ("labels", "found", "voxels"):
        np.testing.assert_array_equal(getattr(table, name), getattr(whole, name))


def test_tables_of_parts_add_up_to_the_whole():
    found, labels = _pair(1)
    parts = Overlaps.of(found[:2], labels[:2]) + Overlaps.of(found[2:], labels[2:])
    np.testing.assert_array_equal(parts.voxels, Overlaps.of(found, labels).voxels)


@pytest.mark.parametrize("seed", range(4))
def test_partition_scores_are_those_of_all_pairs_of_voxels(seed):
    found, labels = _pair(seed, (3, 4, 5))
    there = labels != 0
    voxels = list(zip(found[there].tolist(), labels[there].tolist(), strict=True))
    pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(voxels, 2)]
    both = sum(f and t for f, t in pairs)
    precision, recall = both / sum(f for f, _ in pairs), both / sum(t for _, t in pairs)
    sums = PartitionSums.of(Overlaps.of(found, labels))
    assert (sums.rand_precision, sums.rand_recall) == pytest.approx((precision, recall))
    assert sums.rand_error == pytest.approx(1 - 2 * precision * recall / (precision + recall))
    bits = {
        name: -np.mean([np.log2(voxels.count(v) / sum(w[i] == v[i] for w in voxels)) for v in voxels])
        for i, name in ((1, "split"), (0, "merge"))
    }
    assert (sums.voi_split, sums.voi_merge) == pytest.approx((bits["split"], bits["merge"]))


@pytest.mark.parametrize("seed", range(4))
def test_partition_scores_are_those_of_scikit_image(seed):
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    found, labels = _pair(seed)
    sums = PartitionSums.of(Overlaps.of(found, labels))
    numbered = _numbered(found, labels)
    # What 0.26 calls precision is divided by the pairs of the first array, the truth.
    error, recall, precision = skimage.adapted_rand_error(numbered[1], numbered[0], ignore_labels=(0,))
    assert (sums.rand_error, sums.rand_precision, sums.rand_recall) == pytest.approx((error, precision, recall))
    there = labels != 0
    split, merge = skimage.variation_of_information(numbered[1][there] + 1, numbered[0][there] + 1)
    assert (sums.voi_split, sums.voi_merge) == pytest.approx((split, merge), abs=1e-12)


def test_partition_scores_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    found, labels = _pair(0)
    used = labels != 0
    sums = PartitionSums.of(Overlaps.of(found, labels))
    # Pairs of different voxels, by whether they are together (labels, found).
    pairs = sklearn.pair_confusion_matrix(labels[used], found[used])
    assert [sums.together, sums.together_there, sums.together_found] == [pairs[1, 1], pairs[1].sum(), pairs[:, 1].sum()]
    shared = sklearn.mutual_info_score(labels[used], found[used]) / np.log(2)
    entropy = sklearn.mutual_info_score(found[used], found[used]) / np.log(2)
    assert sums.voi_split == pytest.approx(entropy - shared)


def _matches_by_hand(found, labels, threshold):
    ious = [
        np.sum((found == f) & (labels == t)) / np.sum((found == f) | (labels == t))
        for f in np.unique(found[found > 0])
        for t in np.unique(labels[labels > 0])
    ]
    right = [v for v in ious if v > threshold]
    numbers = [len(np.unique(a[a > 0])) for a in (found, labels)]
    return Counts(len(right), numbers[0] - len(right), numbers[1] - len(right)), sum(right)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.9])
def test_matches_are_those_of_all_pairs_of_objects(seed, threshold):
    found, labels = _pair(seed)
    counts, total = _matches_by_hand(found, labels, threshold)
    matches = match_objects(Overlaps.of(found, labels), threshold)
    assert matches.counts == counts
    assert matches.iou == pytest.approx(total)
    scores = matches.as_json()
    if counts.true_positive:
        assert scores["pq"] == pytest.approx(scores["sq"] * scores["rq"])
        assert scores["ap"] == counts.true_positive / (counts.true_positive + counts.num_errors)


def test_half_an_object_is_no_match():
    assert match_objects(Overlaps.of(np.array([1, 1]), np.array([2, 0])), 0.5).counts == Counts(0, 1, 1)


def test_numbering_objects_anew_changes_nothing():
    found, labels = _pair(2)
    anew = [np.where(a > 0, np.uint64(2**63) + a, a) for a in (found, labels)]
    before, after = (ObjectScores.of(Overlaps.of(*pair), (0.5,)).as_json() for pair in ((found, labels), anew))
    assert before == after


@pytest.mark.parametrize(
    ("found", "labels", "expected"),
    [
        ([1, 1, 0, 0], [0, 0, 5, 0], (0, 1, 0)),  # a sliver that was missed is not missed
        ([1, 1, 0, 2], [1, 1, 0, 0], (1, 0, 0)),  # a small object found is not wrong
        ([0, 0, 3, 3], [0, 2, 2, 2], (1, 0, 0)),  # a large object that was found as a small one is found
        ([0, 3, 3, 3, 3], [0, 7, 7, 0, 0], (0, 1, 1)),
        ([0, 0, 0, 3, 3, 3], [5, 6, 0, 6, 7, 7], (1, 0, 1)),  # of two and one voxels, the first is missed
    ],
)
def test_parts_below_the_least_size_are_neither_right_nor_wrong(found, labels, expected):
    table = Overlaps.of(np.array(found), np.array(labels))
    assert match_objects(table, 0.5, min_voxels=2).counts == Counts(*expected)


def test_object_found_in_a_sliver_of_the_labels_is_excused():
    table = Overlaps.of(np.array([4, 4, 4, 4, 4]), np.array([1, 1, 1, 0, 0]))
    assert match_objects(table, 0.5, min_voxels=4).counts == Counts(0, 0, 0)
    assert match_objects(table, 0.5, min_voxels=3).counts == Counts(1, 0, 0)


def test_regions_add_up_as_volumes_that_share_no_object():
    pairs = [_pair(seed) for seed in (0, 1)]
    parts = [ObjectScores.of(Overlaps.of(*pair), (0.5,)) for pair in pairs]
    apart = [[np.where(a > 0, 2 * a + i, a) for a in pair] for i, pair in enumerate(pairs)]
    found = np.concatenate([np.where(a[0] == 0, a[1].max() + 1 + i, a[0]) for i, a in enumerate(apart)])
    labels = np.concatenate([a[1] for a in apart])
    whole = PartitionSums.of(Overlaps.of(found, labels))
    both = (parts[0] + parts[1]).partition
    assert (both.voi_split, both.voi_merge) == pytest.approx((whole.voi_split, whole.voi_merge))
    assert both.rand_error == pytest.approx(whole.rand_error)


def test_no_object_has_no_score():
    nothing = ObjectScores.of(Overlaps.of(np.zeros(4, int), np.zeros(4, int)), (0.5,)).as_json()
    matches = nothing.pop("matches")["0.5"]
    assert set(nothing.values()) == {None, 0}
    assert (nothing["voi_split"], nothing["rand_error"], nothing["true_objects"]) == (None, None, 0)
    assert [matches[name] for name in ("f1", "ap", "pq", "sq", "precision", "recall")] == [None] * 4 + [0.0, 0.0]
    missed = match_objects(Overlaps.of(np.zeros(2, int), np.ones(2, int)), 0.5).as_json()
    assert (missed["f1"], missed["pq"], missed["ap"], missed["sq"]) == (0.0, 0.0, 0.0, None)


def test_perfect_objects_have_no_error():
    _, labels = _pair(0)
    scores = ObjectScores.of(Overlaps.of(labels, labels), (0.5,)).as_json()
    assert (scores["voi_split"], scores["voi_merge"], scores["rand_error"]) == (0.0, 0.0, 0.0)
    assert scores["matches"]["0.5"]["pq"] == 1.0


def test_what_holds_no_ids_is_refused():
    with pytest.raises(ValueError, match=r"\[\(2,\), \(3,\)\] cannot be compared; read all from the same box"):
        Overlaps.of(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"found has dtype float64 .* object ids are whole numbers"):
        Overlaps.of(np.zeros(2), np.zeros(2, int))
    with pytest.raises(ValueError, match=r"labels has dtype int64 or negative values"):
        Overlaps.of(np.zeros(2, int), np.array([-1, 0]))


@pytest.mark.parametrize("threshold", [0.49, 1.0])
def test_thresholds_without_unique_matches_are_refused(threshold):
    with pytest.raises(ValueError, match=r"iou_threshold=.* lies outside 0.5 <= t < 1"):
        match_objects(Overlaps.of(np.zeros(2, int), np.zeros(2, int)), threshold)
