"""Folders of this disk over HTTP, so that a viewer in a browser can read the volumes in them.

Only what lies in the given folders is answered, and nothing is listed or written. Parts of files are answered too,
which volumes with shards need, and any page may read the answers (CORS), as a viewer from another address does.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def container(address: str) -> Path:
    """Returns the outermost .zarr folder that a volume of this disk is in, or the one around the volume."""
    folder = Path(address)
    above = [*list(folder.parents)[::-1], folder]
    return next((path for path in above if path.name.endswith(".zarr")), folder.parent)


def name_folders(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Returns the folders by the names under which they are served."""
    resolved = dict.fromkeys(Path(folder).resolve() for folder in folders)
    return {f"{number}-{folder.name}": folder for number, folder in enumerate(resolved)}


def url_of(path: Path, name: str, folder: Path, server: str) -> str:
    """Returns the address of what lies in a folder that a server has under a name."""
    inner = path.resolve().relative_to(folder).as_posix()
    return quote(f"{server}/{name}" + ("" if inner == "." else f"/{inner}"), safe=":/")


class FolderServer:
    """A server that answers until it is closed; a context manager."""

    def __init__(self, folders: Sequence[str | Path], *, host: str, port: int) -> None:
        """Starts to answer.

        Args:
          folders: that may be read, with all that is in them.
          host: address to listen at; "127.0.0.1" = only this machine, "0.0.0.0" = all that reach it.
          port: 0 = one that is free.

        Raises:
          FileNotFoundError: a folder is not there.
          OSError: the port cannot be had.
        """
        self._names = name_folders(folders)
        missing = [folder for folder in self._names.values() if not folder.is_dir()]
        if missing:
            raise FileNotFoundError(f"{missing[0]} is no folder that could be served; give one that exists.")
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self._names))
        except OSError as error:
            raise OSError(
                f"cannot listen at {host}:{port} ({error}); give another port, or 0 for one that is free."
            ) from error
        self._server.daemon_threads = True
        self._host = host
        self._thread = threading.Thread(target=self._server.serve_forever, name="folders", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url(self, path: str | Path) -> str:
        """Returns the address of a file or folder.

        Args:
          path: in one of the folders.

        Raises:
          ValueError: it is in none.
        """
        path = Path(path).resolve()
        host = "127.0.0.1" if self._host in ("", "0.0.0.0") else self._host
        for name, folder in self._names.items():
            if path.is_relative_to(folder):
                return url_of(path, name, folder, f"http://{host}:{self.port}")
        raise ValueError(f"{path} is in none of the folders served ({', '.join(map(str, self._names.values()))}).")

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends it."""
        self.close()


def _handler(names: Mapping[str, Path]) -> type[BaseHTTPRequestHandler]:
    """Returns what answers for folders by their names."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_OPTIONS(self) -> None:
            self._begin(HTTPStatus.NO_CONTENT, 0)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: a viewer asks for thousands of chunks, many of which nobody wrote."""

        def _answer(self, *, with_content: bool) -> None:
            file = found_file(names, self.path)
            if file is None:
                self._begin(HTTPStatus.NOT_FOUND, 0)
                return
            size = file.stat().st_size
            part = asked_part(self.headers.get("Range"), size)
            if part is None:
                self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, {"Content-Range": f"bytes */{size}"})
                return
            start, stop = part
            ranged = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if "Range" in self.headers else {}
            self._begin(HTTPStatus.PARTIAL_CONTENT if ranged else HTTPStatus.OK, stop - start, ranged)
            if with_content:
                with file.open("rb") as opened:
                    opened.seek(start)
                    self.wfile.write(opened.read(stop - start))

        def _begin(self, status: HTTPStatus, length: int, more: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            allowed = {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Headers": "Range",
                "Access-Control-Expose-Headers": "Content-Range, Content-Length",
                "Accept-Ranges": "bytes",
                "Cache-Control": "no-cache",  # a prediction that goes on shows more after a reload
                "Content-Length": str(length),
            }
            for name, value in (allowed | dict(more)).items():
                self.send_header(name, value)
            self.end_headers()

    return Handler


def found_file(names: Mapping[str, Path], target: str) -> Path | None:
    """Returns the file that a request names, None where there is none that may be read.

    Args:
      names: folder by its name, the first part of the request's path.
      target: of the request, "/0-cell.zarr/raw/.zattrs".
    """
    name, _, inner = unquote(urlsplit(target).path).lstrip("/").partition("/")
    folder = names.get(name)
    if folder is None or "\0" in inner:
        return None
    file = (folder / inner).resolve()
    return file if file.is_relative_to(folder) and file.is_file() else None


def asked_part(header: str | None, size: int) -> tuple[int, int] | None:
    """Returns which bytes of a file are asked for, start and stop; None where it has none of them.

    Args:
      header: "Range" of the request; None = all.
      size: of the file, bytes.

    Example:
      >>> asked_part("bytes=10-19", 100), asked_part("bytes=-5", 100), asked_part("bytes=200-", 100)
      ((10, 20), (95, 100), None)
    """
    if header is None:
        return 0, size
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None
