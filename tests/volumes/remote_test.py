"""Volumes on a server: read like those on disk, never written; wrong addresses are named soon."""

import functools
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import tensorstore as ts

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.remote import AWS_VARIABLES, ENDPOINT_VARIABLE, RemoteFolder, network
from asem_jax.volumes.volume import create_volume, open_volume
from tests.phantoms import write_volume

ARRAY = np.arange(8 * 9 * 10, dtype=np.uint16).reshape(8, 9, 10)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, without a line per request: as a site does, and as S3 and Google's storage do to those who read."""

    def translate_path(self, path: str) -> str:
        """Returns the file of an address; Google's is /storage/v1/b/BUCKET/o/KEY, the key in one piece."""
        place = urlsplit(path).path
        if place.startswith("/storage/v1/b/"):
            bucket, _, key = place.removeprefix("/storage/v1/b/").partition("/o/")
            place = f"/{bucket}/{unquote(key)}"
        return super().translate_path(place)

    def end_headers(self) -> None:
        """Adds the version of the file, which buckets say."""
        self.send_header("ETag", '"1"')
        self.send_header("x-goog-generation", "1")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves `tmp_path`; its address."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_remote_volume_is_read_like_one_on_disk(tmp_path: Path, server: str, zarr_format: int) -> None:
    local = write_volume(tmp_path / "cell.zarr/raw", ARRAY, zarr_format=zarr_format, offset_nm=(5.0, 0.0, 2.0))
    remote = open_volume(f"{server}/cell.zarr/raw/")
    assert (remote.shape, remote.dtype) == (local.shape, local.dtype)
    assert (remote.voxel_size_nm, remote.offset_nm) == (local.voxel_size_nm, local.offset_nm)
    box = Box((1, 2, 3), (8, 5, 10))
    np.testing.assert_array_equal(remote.read(box), ARRAY[box.slices])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(remote)).read(box), ARRAY[box.slices])


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_volume_in_a_bucket_is_read_like_one_on_disk(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in AWS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(ENDPOINT_VARIABLE, f"{server}/")
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", server)
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    local = write_volume(tmp_path / "lab/cells/cell.zarr/raw", ARRAY, offset_nm=(5.0, 0.0, 2.0))
    remote = open_volume(f"{scheme}://lab/cells/cell.zarr/raw")
    assert (remote.voxel_size_nm, remote.offset_nm) == (local.voxel_size_nm, local.offset_nm)
    box = Box((1, 2, 3), (8, 5, 10))
    np.testing.assert_array_equal(remote.read(box), ARRAY[box.slices])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(remote)).read(box), ARRAY[box.slices])
    with pytest.raises(FileNotFoundError, match=rf"{scheme}://lab/cells/other.zarr/raw holds no OME-Zarr image"):
        open_volume(f"{scheme}://lab/cells/other.zarr/raw")


def test_a_bucket_is_amazons_unless_a_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    assert RemoteFolder("s3://lab/cell.zarr").kvstore() == "s3://lab/cell.zarr/"
    monkeypatch.setenv(ENDPOINT_VARIABLE, "https://store.lab.edu")
    monkeypatch.setenv("AWS_REGION", "cellar")
    found = {"driver": "s3", "bucket": "lab", "endpoint": "https://store.lab.edu", "aws_region": "cellar"}
    assert RemoteFolder("s3://lab/cell.zarr").kvstore() == {**found, "path": "cell.zarr/"}
    assert RemoteFolder("s3://lab").kvstore() == {**found, "path": ""}
    assert RemoteFolder("gs://lab/cell.zarr").kvstore() == "gs://lab/cell.zarr/"


def test_what_is_not_there_is_named(tmp_path: Path, server: str) -> None:
    write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    for address in (f"{server}/cell.zarr", f"{server}/other.zarr/raw"):
        with pytest.raises(FileNotFoundError, match=rf"{address} holds no OME-Zarr image .* over the network"):
            open_volume(address)
    with pytest.raises(FileNotFoundError, match=r"zarr\.json is not there; check the address"):
        (RemoteFolder(server) / "zarr.json").read_text()


def test_a_server_that_is_not_there_is_named_soon() -> None:
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:9/cell\.zarr/raw/\.zarray cannot be read \(.*; check"):
        open_volume("http://127.0.0.1:9/cell.zarr/raw")


def test_remote_volumes_are_not_written(tmp_path: Path, server: str) -> None:
    with pytest.raises(ValueError, match="is remote, where volumes are only read; give a path"):
        create_volume(f"{server}/cell.zarr/new", shape=(4, 4, 4), dtype=np.uint8, voxel_size_nm=(4.0, 4.0, 4.0))
    write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    remote = open_volume(f"{server}/cell.zarr/raw")
    with pytest.raises(ValueError, match="writ"):
        remote.write(remote.box, ARRAY)


def test_a_folder_has_a_name_and_a_parent() -> None:
    folder = RemoteFolder("s3://bucket/cell.zarr") / "raw"
    assert (str(folder), folder.name, str(folder.parent)) == (
        "s3://bucket/cell.zarr/raw",
        "raw",
        "s3://bucket/cell.zarr",
    )


def test_public_buckets_are_read_without_a_key_unless_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in AWS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert network()["aws_credentials"] == {"type": "anonymous"}
    ts.Context(network())
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert "aws_credentials" not in network()
    monkeypatch.delenv("AWS_PROFILE")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[default]")
    assert "aws_credentials" not in network()
