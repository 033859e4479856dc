"""Downloads from a server on this machine that breaks, lies, moves and changes its mind."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from asem_jax.models import download
from asem_jax.models.catalogue import CATALOGUE
from asem_jax.models.download import fetch, to_https
from asem_jax.models.torch_export import write_torch_file


@dataclass
class Server:
    """What the server answers, and what it was asked for.

    Attributes:
      content: the file.
      address: of the file.
      break_after: bytes that an answer brings before the connection ends; None = all.
      tag: its ETag; "" = none.
      ranges: whether parts can be asked for.
      first: a part that it sends instead of the one asked for.
      stated: the size it states; None = the true one.
      kind: the content type.
      status: answers this instead of the file; 0 = the file.
      headers: sent in addition.
      asked: the Range header of each request, "" = none.
    """

    content: bytes
    address: str = ""
    break_after: int | None = None
    tag: str = '"one"'
    ranges: bool = True
    first: int | None = None
    stated: int | None = None
    kind: str = "application/octet-stream"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def make_handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    """Returns a handler that answers as `server` says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            server.asked.append(self.headers.get("Range", ""))
            if self.path == "/moved/model.pt":
                self.answer(302, {"Location": server.address}, b"")
            elif server.status:
                self.answer(server.status, server.headers, b"no")
            else:
                self.send_file()

        def send_file(self) -> None:
            first, size = 0, len(server.content)
            wanted = self.headers.get("Range", "")
            if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
                first = server.first or int(wanted.removeprefix("bytes=").removesuffix("-"))
            body = server.content[first:]
            headers = {"Content-Type": server.kind, "Content-Length": str(server.stated or len(body))}
            headers |= {"ETag": server.tag} if server.tag else {}
            if first:
                headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            self.answer(206 if first else 200, headers | server.headers, body[: server.break_after])

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint of about 100 kB."""
    path = tmp_path_factory.mktemp("file") / "model.pt"
    numbers = np.random.default_rng(0).normal(size=25_000).astype(np.float32)
    write_torch_file(path, {"model_state_dict": {"weight": numbers}})
    return path.read_bytes()


@pytest.fixture
def server(content: bytes) -> Iterator[Server]:
    """A server of the checkpoint."""
    server = Server(content)
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make_handler(server))
    server.address = f"http://127.0.0.1:{listening.server_port}/models/model.pt"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_file_arrives_whole_and_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    path = fetch(server.address, tmp_path / "new")
    assert path == tmp_path / "new" / "model.pt"
    assert path.read_bytes() == server.content
    assert fetch(server.address, tmp_path / "new") == path
    assert server.asked == [""]
    assert list(path.parent.iterdir()) == [path]


def test_a_local_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    assert fetch(f"{tmp_path}/model", tmp_path / "downloads") == tmp_path / "model"
    with pytest.raises(FileNotFoundError, match=r"modle is no file; give a checkpoint, an https:// or"):
        fetch(f"{tmp_path}/modle", tmp_path)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.break_after = 40_000
    assert fetch(server.address, tmp_path).read_bytes() == server.content
    assert server.asked == ["", "bytes=40000-", "bytes=80000-"]


def test_a_download_goes_on_in_the_next_call(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.break_after = 40_000
    monkeypatch.setattr(download, "MOST_TRIES", 1)
    with pytest.raises(ConnectionError, match=r"broke after 40000 bytes \(40000 of 10\d+ bytes came\).*goes on there"):
        fetch(server.address, tmp_path)
    assert not (tmp_path / "model.pt").exists()
    server.break_after = None
    assert fetch(server.address, tmp_path).read_bytes() == server.content
    assert server.asked == ["", "bytes=40000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("change", [{"tag": '"two"'}, {"ranges": False}, {"first": 7}])
def test_another_file_or_a_confused_server_means_another_beginning(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    server.break_after = 40_000
    monkeypatch.setattr(download, "MOST_TRIES", 1)
    with pytest.raises(ConnectionError):
        fetch(server.address, tmp_path)
    monkeypatch.setattr(download, "MOST_TRIES", 2)
    (tmp_path / "model.pt.part").write_bytes(bytes(40_000))  # not what the file begins with: must not stay
    server.break_after = None
    vars(server).update(change)
    assert fetch(server.address, tmp_path).read_bytes() == server.content
    assert server.asked == ["", "bytes=40000-", ""][: len(server.asked)]


def test_without_a_version_a_broken_download_begins_anew(server: Server, tmp_path: Path) -> None:
    server.break_after, server.tag = 40_000, ""
    with pytest.raises(ConnectionError, match="broke after 40000 bytes"):
        fetch(server.address, tmp_path)
    server.break_after = None
    assert fetch(server.address, tmp_path).read_bytes() == server.content
    assert set(server.asked) == {""}


def test_a_complete_part_only_gets_its_name(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "read_checkpoint", interrupt)
        fetch(server.address, tmp_path)
    assert fetch(server.address, tmp_path).read_bytes() == server.content
    assert server.asked == [""]


def interrupt(path: Path) -> None:
    raise KeyboardInterrupt(path)


def test_fewer_bytes_than_the_server_states_are_no_file(server: Server, tmp_path: Path) -> None:
    server.stated, server.ranges = len(server.content) + 1000, False
    with pytest.raises(ConnectionError, match=rf"{len(server.content)} of {server.stated} bytes came"):
        fetch(server.address, tmp_path)
    assert not (tmp_path / "model.pt").exists()


def test_a_truncated_file_is_no_checkpoint(server: Server, tmp_path: Path) -> None:
    server.stated = 50_000
    with pytest.raises(ValueError, match=r"was downloaded and is not what it should be: .*part cannot be read"):
        fetch(server.address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_is_refused(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="answers with a web page instead of a checkpoint; check the address"):
        fetch(server.address, tmp_path)
    server.kind, server.content = "application/octet-stream", b"<html>Sign in</html>"
    with pytest.raises(ValueError, match=r"not what it should be: .*is a web page"):
        fetch(server.address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_refuses_is_said(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(FileNotFoundError, match=r"model\.pt answers 404 Not Found; check the address"):
        fetch(server.address, tmp_path)
    server.status, server.headers = 301, {"x-amz-bucket-region": "eu-west-1"}
    with pytest.raises(FileNotFoundError, match=r"301 .*its bucket lies in eu-west-1, give the https:// address there"):
        fetch(server.address, tmp_path)
    server.status = 503
    with pytest.raises(ConnectionError, match=r"broke after 0 bytes .*503 Service Unavailable"):
        fetch(server.address, tmp_path)
    server.status = 416
    (tmp_path / "model.pt.part").write_bytes(bytes(9))
    with pytest.raises(ConnectionError, match="has become shorter"):
        fetch(server.address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_redirections_are_followed_to_where_nobody_listens_in(server: Server, tmp_path: Path) -> None:
    moved = server.address.replace("/models/", "/moved/")
    assert fetch(moved, tmp_path).read_bytes() == server.content
    server.address = server.address.replace("127.0.0.1", "0.0.0.0")
    with pytest.raises(ValueError, match=r"http://0\.0\.0\.0.* begins with http://; give an https://"):
        fetch(moved, tmp_path / "other")


def test_nobody_at_the_address_is_an_error_of_the_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"broke after 0 bytes \(.*refused"):
        fetch("http://127.0.0.1:9/model.pt", tmp_path)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("s3://bucket/a/b c.pt", "https://bucket.s3.amazonaws.com/a/b%20c.pt"),
        ("s3://my.bucket/a.pt", "https://s3.amazonaws.com/my.bucket/a.pt"),
        ("https://host:8443/a.pt?x=1", "https://host:8443/a.pt?x=1"),
    ],
)
def test_buckets_have_https_addresses(address: str, url: str) -> None:
    assert to_https(address) == url


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://example.org/a.pt", "begins with http://; give an https://"),
        ("ftp://example.org/a.pt", "begins with ftp://"),
        ("file:///etc/passwd", "names no file"),
        ("s3://bucket", "names no file; give https://host/path/file or s3://bucket"),
        ("https://host/folder/", "names no file"),
    ],
)
def test_other_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_https(address)


def test_documented_addresses_are_of_the_public_bucket() -> None:
    addresses = [to_https(model.address) for model in CATALOGUE if model.address]
    assert len(addresses) == 3
    assert all(a.startswith("https://asem-project.s3.amazonaws.com/models/pretrained_checkpoints/") for a in addresses)


def test_names_from_an_address_stay_in_the_folder(server: Server, tmp_path: Path) -> None:
    path = fetch(server.address.replace("model.pt", "..%2F..%2Fevil%00%20name.pt"), tmp_path)
    assert path.parent == tmp_path
    assert path.name == "_.._evil__name.pt"
