"""Organelles in one volume: exclusive, by the rules, whatever the blocks, and every claim accounted for."""

import numpy as np
import pytest

from asem_jax.segmentation.superimpose import Claim, Rule, check, is_near, settle, superimpose
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.volume import create_volume

SHAPE = (12, 16, 14)
SIZE_NM = (20.0, 10.0, 10.0)
RULES = (
    Rule("mito not at pores", "mito", "outside", "pores", 20.0),
    Rule("pores on envelope", "pores", "inside", "envelope", 25.0),
)


def volume(folder, name, shape=SHAPE, dtype="uint8", offset_nm=(0.0, 0.0, 0.0), array=None):
    made = create_volume(
        f"{folder}/cell.zarr/{name}",
        shape=shape,
        dtype=dtype,
        voxel_size_nm=SIZE_NM,
        offset_nm=offset_nm,
        chunk_shape=(8, 8, 8),
    )
    if array is not None:
        made.write(made.box, array.astype(dtype))
    return made


def arrays(seed=0):
    """Random claims, probabilities and objects of three organelles, in the order of their names."""
    rng = np.random.default_rng(seed)
    claimed = rng.random((3, *SHAPE)) < np.array([0.03, 0.3, 0.06]).reshape(3, 1, 1, 1)
    return claimed, rng.integers(0, 256, claimed.shape), rng.integers(1, 9, claimed.shape) * claimed


def claims_of(folder, claimed, chances, ids):
    names = ("envelope", "mito", "pores")
    return {
        name: Claim(
            volume(folder, f"in/{name}/segmentation", array=claimed[i]),
            volume(folder, f"in/{name}/probability", array=chances[i]),
            volume(folder, f"in/{name}/objects", dtype="uint32", array=ids[i]),
        )
        for i, name in enumerate(names)
    }


def run(folder, claims, block_shape=(8, 8, 8), rules=(), priority=(), num_threads=2):
    made = {}

    def make(name, dtype):
        made[name] = volume(folder, f"out/{name}", dtype=dtype)
        return made[name]

    job = BlockJob(folder / "job", block_shape, num_threads, {})
    table = superimpose(claims, rules=rules, priority=priority, make=make, job=job)
    return table, {name: v.read(v.box) for name, v in made.items()}


def test_nobody_shares_and_every_claim_is_accounted_for(tmp_path):
    claimed, chances, ids = arrays()
    table, out = run(tmp_path, claims_of(tmp_path, claimed, chances, ids), rules=RULES, priority=("pores",))
    parts = np.stack([out[f"{name}/segmentation"] for name in ("envelope", "mito", "pores")])
    assert parts.sum(axis=0).max() == 1
    np.testing.assert_array_equal(parts.argmax(axis=0) + parts.any(axis=0), out["labels"])
    assert not (parts.astype(bool) & ~claimed).any()
    np.testing.assert_array_equal(out["conflicts"], claimed.sum(axis=0))
    assert table["conflict_voxels"] == (claimed.sum(axis=0) > 1).sum()
    for i, (name, counts) in enumerate(table["organelles"].items()):
        lost = sum(row["voxels"] for row in table["moved"] if row["from"] == name)
        assert (counts["label"], counts["claimed_voxels"]) == (i + 1, claimed[i].sum())
        assert counts["kept_voxels"] == parts[i].sum() == claimed[i].sum() - lost
        np.testing.assert_array_equal(out[f"{name}/objects"], np.where(parts[i], ids[i], 0))
    assert {row["step"] for row in table["moved"]} == {rule.name for rule in RULES} | {"priority", "probability"}


def test_rules_are_those_of_the_whole_volume(tmp_path):
    claimed, chances, ids = arrays()
    claims = claims_of(tmp_path, claimed, chances, ids)
    _, out = run(tmp_path, claims, rules=RULES, priority=("pores", "envelope", "mito"))
    envelope, mito, pores = claimed
    left = pores & is_near(envelope, 25.0, SIZE_NM)
    np.testing.assert_array_equal(out["pores/segmentation"], left)
    np.testing.assert_array_equal(out["envelope/segmentation"], envelope & ~left)
    expected = mito & ~is_near(pores, 20.0, SIZE_NM) & ~left & ~envelope
    np.testing.assert_array_equal(out["mito/segmentation"], expected)
    assert 0 < left.sum() < pores.sum()


@pytest.mark.parametrize("block_shape", [(8, 16, 16), (16, 16, 16)])
def test_blocks_do_not_show(tmp_path, block_shape):
    claims = claims_of(tmp_path, *arrays())
    table, out = run(tmp_path / "a", claims, rules=RULES)
    other_table, other = run(tmp_path / "b", claims, block_shape, rules=RULES)
    assert table == other_table
    for name, array in out.items():
        np.testing.assert_array_equal(array, other[name])


def test_without_conflict_nothing_changes(tmp_path):
    claimed, chances, ids = arrays()
    claimed[1] &= ~claimed[0]
    claimed[2] &= ~claimed[0] & ~claimed[1]
    table, out = run(tmp_path, claims_of(tmp_path, claimed, chances, ids * claimed), priority=("mito",))
    assert table["moved"] == [] and table["conflict_voxels"] == 0
    for i, name in enumerate(("envelope", "mito", "pores")):
        np.testing.assert_array_equal(out[f"{name}/segmentation"], claimed[i])
        np.testing.assert_array_equal(out[f"{name}/objects"], (ids * claimed)[i])


def test_interrupted_and_started_again_counts_once(tmp_path, monkeypatch):
    claims = claims_of(tmp_path, *arrays())
    kept, keep = [], BlockJob.keep

    def fails(self, name, **values):
        if len(kept) == 4:
            raise OSError("disk full")
        kept.append(name)
        keep(self, name, **values)

    with monkeypatch.context() as patch:
        patch.setattr(BlockJob, "keep", fails)
        with pytest.raises(RuntimeError, match="disk full"):
            run(tmp_path / "a", claims, rules=RULES, num_threads=1)
    table, out = run(tmp_path / "a", claims, rules=RULES)
    expected, whole = run(tmp_path / "b", claims, rules=RULES)
    assert table == expected
    np.testing.assert_array_equal(out["labels"], whole["labels"])


def test_a_volume_that_covers_a_part_claims_there_only(tmp_path):
    part = volume(tmp_path, "part", (4, 4, 30), offset_nm=(40.0, 30.0, -50.0), array=np.ones((4, 4, 30)))
    whole = volume(tmp_path, "whole", array=np.zeros(SHAPE))
    _, out = run(tmp_path, {"a": Claim(whole), "b": Claim(part)}, priority=("a", "b"))
    expected = np.zeros(SHAPE)
    expected[2:6, 3:7] = 1
    np.testing.assert_array_equal(out["b/segmentation"], expected)


def test_priority_goes_before_probability():
    claimed = np.array([[1, 1, 0, 1], [1, 1, 1, 0], [1, 0, 1, 1]], bool).reshape(3, 1, 1, 4)
    chance = np.array([[9, 9, 9, 9], [5, 9, 5, 5], [7, 7, 7, 7]], np.uint8).reshape(3, 1, 1, 4)
    owner, moved = settle(claimed, [], [1], lambda i: chance[i])
    assert owner.ravel().tolist() == [2, 2, 2, 1]
    assert moved[0].tolist() == [[0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 2, 0]]
    assert moved[1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert settle(claimed, [], [], lambda i: chance[i])[0].ravel().tolist() == [1, 1, 3, 1]  # of equal ones the first


def test_a_claim_that_a_rule_takes_goes_to_who_is_left_or_nobody():
    claimed = np.array([[1, 1], [1, 0]], bool).reshape(2, 1, 1, 2)
    owner, moved = settle(claimed, [(0, np.zeros((1, 1, 2), bool))], [0, 1], None)
    assert owner.ravel().tolist() == [2, 0]
    assert moved[0].tolist() == [[1, 0, 1], [0, 0, 0]] and moved[1:].sum() == 0


ANY = Claim(None, "probability")


@pytest.mark.parametrize(
    ("claims", "rules", "priority", "message"),
    [
        ({"a": ANY}, (), (), r"volumes=\['a'\]: there are 1 organelles; give 2 to 255"),
        ({"a": ANY, "labels": ANY}, (), (), r"volumes.labels: a volume of the result has that name"),
        ({"a": ANY, "b": ANY}, (Rule("r", "a", "inside", "c", 0),), (), r"rules.r names 'c', which is not in volumes"),
        (
            {"a": ANY, "b": ANY},
            (Rule("r", "a", "near", "b", 0),),
            (),
            r"rules.r: a near of b within 0 nm says nothing; give inside or outside",
        ),
        ({"a": ANY, "b": ANY}, (Rule("r", "a", "inside", "a", 0),), (), r"a inside of a .* another organelle"),
        ({"a": ANY, "b": ANY}, (Rule("r", "a", "inside", "b", -1.0),), (), r"-1.0 nm says nothing; .* from 0 on"),
        ({"a": ANY, "b": ANY}, (), ("c",), r"priority=\('c',\) must name each organelle of volumes \(a, b\) once"),
        ({"a": ANY, "b": ANY}, (), ("a", "a"), r"priority=\('a', 'a'\) must name"),
        (
            {"a": ANY, "b": Claim(None)},
            (),
            (),
            r"volumes.b.probability=None, .* says who gets what it and a claim; give its probability, or its place",
        ),
    ],
)
def test_what_leaves_something_open_is_refused(claims, rules, priority, message):
    with pytest.raises(ValueError, match=message):
        check(claims, rules, priority)


def test_one_may_lack_a_probability_if_priority_knows_the_others():
    check({"a": ANY, "b": Claim(None)}, (), ("a",))
