"""Arrays on disk: one bounded context for all, chunks and shards as asked, messages of futures."""

import json

import numpy as np
import pytest

from asem_jax.volumes.store import CACHE_BYTES, Pending, array_metadata, chunk_shapes, open_store


def create(folder, *, zarr_format=2, chunk=(4, 4, 4), shard=None, **how):
    metadata = array_metadata((8, 8, 8), np.dtype("uint16"), chunk, shard, zarr_format)
    return open_store(folder, zarr_format, "cell.zarr/raw", metadata=metadata, **how)


def test_all_stores_share_one_bounded_cache(tmp_path):
    contexts = [create(tmp_path / name).spec(retain_context=True).to_json()["context"] for name in "ab"]
    assert contexts[0] == contexts[1]
    assert contexts[0]["cache_pool"] == {"total_bytes_limit": CACHE_BYTES}
    assert contexts[0]["data_copy_concurrency"]["limit"] <= 8


def test_chunks_and_shards_are_those_asked_for(tmp_path):
    assert chunk_shapes(create(tmp_path / "a")) == ((4, 4, 4), (4, 4, 4))
    shards = create(tmp_path / "b", zarr_format=3, chunk=(2, 2, 4), shard=(4, 8, 8))
    assert chunk_shapes(shards) == ((4, 8, 8), (2, 2, 4))
    shards.write(np.ones((8, 8, 8), np.uint16)).result()
    assert sum(path.is_file() for path in (tmp_path / "b/c").rglob("*")) == 2


def test_a_replaced_array_holds_nothing(tmp_path):
    create(tmp_path / "a").write(np.ones((8, 8, 8), np.uint16)).result()
    assert create(tmp_path / "a").read().result().all()
    with pytest.raises(ValueError, match="is missing"):
        create(tmp_path / "a", replace=True).read().result()


def test_an_array_that_is_gone_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cell.zarr/raw: cannot open its array .*nothing"):
        open_store(tmp_path / "nothing", 2, "cell.zarr/raw")


def test_an_array_of_other_rank_is_refused(tmp_path):
    create(tmp_path / "a")
    metadata = json.loads((tmp_path / "a/.zarray").read_text())
    (tmp_path / "a/.zarray").write_text(json.dumps(metadata | {"shape": [8, 8], "chunks": [4, 4]}))
    with pytest.raises(ValueError, match=r"cell.zarr/raw is an array of shape \(8, 8\).*three axes"):
        open_store(tmp_path / "a", 2, "cell.zarr/raw", read_only=True)


def test_a_future_that_fails_says_what_was_under_way():
    class Failing:
        def result(self):
            raise ValueError("disk on fire")

    with pytest.raises(ValueError, match="reading raw failed: disk on fire"):
        Pending("reading raw", Failing()).result()
