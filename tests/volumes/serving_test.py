"""What a viewer may read over HTTP, in whole and in part, and what it may not."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asem_jax.volumes.serving import FolderServer, asked_part, found_file
from asem_jax.volumes.volume import create_volume, open_volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "a cell.zarr"
    inner.mkdir()
    (inner / "chunk").write_bytes(bytes(range(100)))
    (tmp_path / "secret").write_text("not served")
    return inner


@pytest.fixture
def server(folder: Path) -> Iterator[FolderServer]:
    with FolderServer([folder, folder], host="127.0.0.1", port=0) as running:
        yield running


def get(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def test_a_file_and_parts_of_it(server: FolderServer, folder: Path) -> None:
    url = server.url(folder / "chunk")
    status, content, headers = get(url)
    assert (status, content) == (200, bytes(range(100)))
    assert headers["Access-Control-Allow-Origin"] == "*"
    status, content, headers = get(url, Range="bytes=10-19")
    assert (status, content, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/100")
    assert get(url, Range="bytes=-3")[:2] == (206, bytes([97, 98, 99]))
    assert get(url, Range="bytes=100-")[0] == 416
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as answer:
        assert answer.headers["Content-Length"] == "100" and answer.read() == b""


def test_nothing_else_is_served(server: FolderServer, folder: Path) -> None:
    base = server.url(folder)
    (folder / "link").symlink_to(folder.parent / "secret")
    for path in ("/../secret", "/%2e%2e/secret", "/link", "/missing", "", "/"):
        assert get(base + path)[0] == 404, path
    assert get(base.rsplit("/", 1)[0] + "/9-other/chunk")[0] == 404
    assert found_file({"0": folder}, "/0/chunk%00") is None


def test_a_page_may_ask_before_it_reads(server: FolderServer, folder: Path) -> None:
    request = urllib.request.Request(server.url(folder / "chunk"), method="OPTIONS")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204 and answer.headers["Access-Control-Allow-Headers"] == "Range"


@pytest.mark.parametrize("header", ["bytes=-", "bytes=5-4", "lines=1-2", "bytes=0-1,3-4"])
def test_parts_that_cannot_be_given(header: str) -> None:
    assert asked_part(header, 100) is None


def test_a_volume_with_shards_is_read_through_it(tmp_path: Path) -> None:
    array = np.arange(16 * 16 * 16, dtype=np.uint16).reshape(16, 16, 16)
    volume = create_volume(
        tmp_path / "cell.zarr/raw",
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(5, 5, 5),
        chunk_shape=(4, 4, 4),
        shard_shape=(8, 8, 8),
        zarr_format=3,
    )
    volume.write(volume.box, array)
    with FolderServer([tmp_path / "cell.zarr"], host="127.0.0.1", port=0) as server:
        seen = open_volume(server.url(tmp_path / "cell.zarr/raw"))
        np.testing.assert_array_equal(seen.read(seen.box), array)


def test_messages(server: FolderServer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder that could be served; give one that exists"):
        FolderServer([tmp_path / "nowhere"], host="127.0.0.1", port=0)
    with pytest.raises(OSError, match=r"cannot listen at 127\.0\.0\.1:\d+ .*; give another port, or 0"):
        FolderServer([], host="127.0.0.1", port=server.port)
    with pytest.raises(ValueError, match=r"secret is in none of the folders served \(.*a cell\.zarr\)"):
        server.url(tmp_path / "secret")


def test_the_metadata_is_json(server: FolderServer, folder: Path) -> None:
    (folder / ".zattrs").write_text("{}")
    assert json.loads(get(server.url(folder / ".zattrs"))[1]) == {}
