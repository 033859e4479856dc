"""A model's file from an address to this disk: https://, s3:// without an account, or a path.

What arrives is kept in a file `<name>.part` and gets its name only when it is complete and can be read as a
checkpoint. A broken download goes on where it broke, in the same call and in the next one, as long as the
server says that the file there is still the same. No checksum is known of the published files; their size is
checked against what the server states.
"""

import http.client
import json
import logging
import os
import re
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from asem_jax.models.torch_weights import read_checkpoint
from asem_jax.progress import Progress, progress

logger = logging.getLogger(__name__)

MOST_TRIES = 20  # of one call; each but the last brought some bytes
TIMEOUT_S = 60.0
_PIECE_BYTES = 1 << 18
_KB = 1000
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class _Remote:
    """What a server says of a file.

    Attributes:
      size: bytes; None = not stated.
      version: what changes with the content (ETag or date of change); "" = not stated.
    """

    size: int | None
    version: str


class _BrokenError(Exception):
    """The connection ended before the file did."""


def fetch(address: str, folder: Path | str) -> Path:
    """Returns the path of a checkpoint on this disk, downloaded if need be.

    Args:
      address: a path, https://..., or s3://bucket/key (read without an account).
      folder: where downloads are kept; a complete file that is there already is not downloaded again.

    Raises:
      FileNotFoundError: the path or the address does not exist.
      ConnectionError: the download broke; called again, it goes on.
      ValueError: the address is of another kind, or what lies there is no PyTorch checkpoint.
    """
    check_address(address)
    if "://" not in address:
        return Path(address)
    url = to_https(address)
    target = Path(folder) / _file_name(url)
    if target.exists():
        logger.info("%s is downloaded already", target)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _download(url, part)
    try:
        read_checkpoint(part)
    except ValueError as error:
        _forget(part)
        raise ValueError(f"{address} was downloaded and is not what it should be: {error}") from error
    os.replace(part, target)
    _forget(part)
    return target


def check_address(address: str) -> None:
    """Raises if an address cannot be right, as far as that shows without a connection.

    Args:
      address: as for `fetch`.

    Raises:
      FileNotFoundError: it is a path, and no file lies there.
      ValueError: it is of another kind, or names no file.
    """
    if "://" in address:
        to_https(address)
    elif not Path(address).is_file():
        raise FileNotFoundError(f"{address} is no file; give a checkpoint, an https:// or an s3:// address.")


def to_https(address: str) -> str:
    """Returns the https address of an address; s3://bucket/key becomes that of the bucket's public endpoint.

    Args:
      address: https://, s3://, or http:// on this machine.

    Raises:
      ValueError: it is neither, or names no file.

    Example:
      >>> to_https("s3://asem-project/models/er.pt")
      'https://asem-project.s3.amazonaws.com/models/er.pt'
    """
    parts = urlsplit(address)
    if not parts.hostname or not parts.path.strip("/") or parts.path.endswith("/"):
        raise ValueError(f"{address} names no file; give https://host/path/file or s3://bucket/path/file.")
    if parts.scheme == "s3":
        bucket, path = parts.netloc, quote(parts.path)
        # A certificate for *.s3.amazonaws.com does not hold for names with more dots.
        host = f"s3.amazonaws.com/{bucket}" if "." in bucket else f"{bucket}.s3.amazonaws.com"
        return f"https://{host}{path}"
    _check_scheme(address)
    return address


def _check_scheme(url: str) -> None:
    """Raises unless nobody on the way can change what comes from `url`."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _THIS_MACHINE):
        raise ValueError(f"{url} begins with {parts.scheme}://; give an https:// or s3:// address, or a path.")


def _file_name(url: str) -> str:
    """Returns the last part of an address, as a name that is safe on this disk."""
    name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "checkpoint"


def _download(url: str, part: Path) -> None:
    """Makes `part` complete, with as many connections as it takes while each brings something."""
    reason = ""
    for _ in range(MOST_TRIES):
        before = _present(part)
        try:
            return _continue(url, part)
        except (OSError, http.client.HTTPException, _BrokenError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            reason = f"{error}"
            if _present(part) == before:
                break
    raise ConnectionError(
        f"the download of {url} broke after {_present(part)} bytes ({reason}); check the connection and give the "
        "same command again: it goes on there."
    )


def _continue(url: str, part: Path) -> None:
    """Asks for what `part` lacks, and appends it."""
    present, known = _present(part), _read_note(part)
    if known and present == known.size:
        return
    headers = {"Accept-Encoding": "identity"}
    if present and known and known.version:
        headers |= {"Range": f"bytes={present}-", "If-Range": known.version}
    with _open(url, headers, part) as response:
        _check_scheme(response.url)
        remote = _describe(response)
        if response.headers.get_content_type() == "text/html":
            raise ValueError(f"{url} answers with a web page instead of a checkpoint; check the address.")
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT and remote == known
        if response.status == http.HTTPStatus.PARTIAL_CONTENT and (not goes_on or _first_byte(response) != present):
            _forget(part)
            raise _BrokenError(f"the server sent another part than {present}-")
        _write_note(part, remote)
        begin = present if goes_on else 0
        label = f"download {part.name.removesuffix('.part')}"
        total = (remote.size or 0) // _KB
        with progress(total, label=label, unit="kB", initial=begin // _KB) as bar:
            _append(response, part, begin, bar)
    if remote.size is not None and _present(part) != remote.size:
        raise _BrokenError(f"{_present(part)} of {remote.size} bytes came")


def _open(url: str, headers: dict[str, str], part: Path) -> Any:
    """Returns the server's answer; what it refuses becomes a message."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                _forget(part)
                raise _BrokenError(f"{url} has become shorter") from error
            region = error.headers.get("x-amz-bucket-region", "")
            hint = f"; its bucket lies in {region}, give the https:// address there" if region else ""
            message = f"{url} answers {error.code} {error.reason}{hint}; check the address."
            if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _BrokenError(message) from error
            raise FileNotFoundError(message) from error


def _append(response: Any, part: Path, begin: int, bar: Progress[Any]) -> None:
    """Writes what comes to `part`, from byte `begin` on."""
    with open(part, "r+b" if begin else "wb") as file:
        file.seek(begin)
        done = begin
        while piece := response.read(_PIECE_BYTES):
            file.write(piece)
            bar.update((done + len(piece)) // _KB - done // _KB)
            done += len(piece)


def _describe(response: Any) -> _Remote:
    """Returns size and version of the whole file, of which the answer may be a part."""
    headers = response.headers
    stated = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    tag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes.
    version = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    return _Remote(int(stated) if stated.isdecimal() else None, version)


def _first_byte(response: Any) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _present(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, remote: _Remote) -> None:
    _note(part).write_text(json.dumps(asdict(remote)))


def _read_note(part: Path) -> _Remote | None:
    """Returns what the server said when `part` was begun; None where that is lost."""
    try:
        return _Remote(**json.loads(_note(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
