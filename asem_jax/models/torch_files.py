"""PyTorch's files, read without PyTorch: the zip archive, and the stream of pickles before version 1.6.

Both hold a pickle that describes tensors, and the numbers of each storage apart from it. The pickle is read as
data (see `torch_pickle`); the numbers are read only as far as the file really holds them. Laws (tested):

* both formats of the same content give identical arrays;
* what is read is never larger than the file, whatever the file says of itself.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from asem_jax.models.torch_pickle import Numbers, read_pickle

MOST_DESCRIPTION_BYTES = 1 << 24  # of the pickle; that of ASEM's network with its optimiser has 14 kB
_ZIP_START = b"PK\x03\x04"
_STREAM_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number that PyTorch begins with
_STREAM_VERSION = 1001


def is_torch_file(path: Path | str) -> bool:
    """Says whether a file begins as PyTorch's files do."""
    with open(path, "rb") as file:
        return file.read(len(_STREAM_START)).startswith((_ZIP_START, _STREAM_START))


def read_torch_file(path: Path | str) -> Any:
    """Returns what `torch.save` wrote: nested dicts and lists with NumPy arrays in place of tensors.

    Args:
      path: a file in PyTorch's zip format (version 1.6 and later) or in the older one.

    Raises:
      ValueError: the file is neither, is damaged, or asks for anything but tensors and plain containers.
    """
    with open(path, "rb") as file:
        start = file.read(len(_STREAM_START))
        file.seek(0)
        try:
            if start == _STREAM_START:
                return _read_stream(file)
            if start.startswith(_ZIP_START):
                with zipfile.ZipFile(file) as archive:
                    return _read_archive(archive, _size(file))
        except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise ValueError(f"{path} cannot be read as a PyTorch file: {error}") from error
    what = "is a web page" if start.lstrip().startswith(b"<") else f"begins with {start[:8]!r}"
    raise ValueError(
        f"{path} is no PyTorch checkpoint (it {what}); give the file as torch.save wrote it, or download it again."
    )


class _Storages:
    """The storages that a description names: empty arrays, filled from the file afterwards."""

    def __init__(self, most_bytes: int) -> None:
        self._bytes_left = most_bytes
        self.arrays: dict[str, Numbers] = {}

    def get(self, dtype: np.dtype[Any], key: str, size: int) -> Numbers:
        """Returns the array of a storage, the same one for the same key."""
        if key not in self.arrays:
            self._bytes_left -= size * dtype.itemsize
            if self._bytes_left < 0:
                raise ValueError(f"its tensors need more bytes than it has, with {size} numbers in storage {key!r}.")
            self.arrays[key] = np.zeros(size, dtype)
        array = self.arrays[key]
        if (array.dtype, array.size) != (dtype, size):
            raise ValueError(f"storage {key!r} is used with {size} and {array.size} numbers, or with two types.")
        return array


def _read_archive(archive: zipfile.ZipFile, num_bytes: int) -> Any:
    """Reads the zip format: `*/data.pkl`, and one entry `*/data/<key>` per storage."""
    names = [name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl"]
    if len(names) != 1:
        raise ValueError(f"it is a zip archive with {len(names)} files data.pkl; a checkpoint has one.")
    folder = names[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
        _check_byte_order(_read_entry(archive, f"{folder}byteorder", 8))
    storages = _Storages(num_bytes)
    content = read_pickle(io.BytesIO(_read_entry(archive, names[0], MOST_DESCRIPTION_BYTES)), storages.get)
    for key, array in storages.arrays.items():
        _fill(array, key, _read_entry(archive, f"{folder}data/{key}", array.nbytes))
    return content


def _read_entry(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """Returns an entry of an archive that is stored as it is: PyTorch compresses nothing, so a bomb would show."""
    if name not in archive.NameToInfo:
        raise ValueError(f"the archive has no entry {name}; it is incomplete.")
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"the entry {name} is compressed or encrypted, which PyTorch never does; it was not loaded.")
    if entry.file_size > most_bytes:
        raise ValueError(f"the entry {name} has {entry.file_size} bytes, {most_bytes} are expected; it was not loaded.")
    return archive.read(entry)


def _read_stream(file: BinaryIO) -> Any:
    """Reads the older format: pickles of its version, machine, content and storage keys, then the numbers."""
    num_bytes = _size(file)
    nothing, storages = _Storages(0), _Storages(num_bytes)
    head = io.BytesIO(file.read(MOST_DESCRIPTION_BYTES))
    head.seek(len(_STREAM_START))
    version, machine = read_pickle(head, nothing.get), read_pickle(head, nothing.get)
    if version != _STREAM_VERSION or not isinstance(machine, Mapping):
        raise ValueError(f"its version is {version!r:.20}, {_STREAM_VERSION} is needed; save it with a newer PyTorch.")
    _check_byte_order(b"little" if machine.get("little_endian") is True else b"big")
    content, keys = read_pickle(head, storages.get), read_pickle(head, nothing.get)
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages.arrays):
        raise ValueError(f"it describes {len(storages.arrays)} storages and lists others; it is damaged.")
    file.seek(head.tell())
    for key in keys:
        array = storages.arrays[key]
        count = int.from_bytes(file.read(8), "little")
        if count != array.size:
            raise ValueError(f"storage {key!r} holds {count} numbers, {array.size} are described; it is damaged.")
        _fill(array, key, file.read(array.nbytes))
    return content


def _fill(array: Numbers, key: str, data: bytes) -> None:
    """Puts the numbers of a storage into its array."""
    if len(data) != array.nbytes:
        raise ValueError(f"storage {key!r} has {len(data)} bytes, {array.nbytes} are described; it is damaged.")
    array[:] = np.frombuffer(data, array.dtype)


def _check_byte_order(order: bytes) -> None:
    if order != b"little":
        raise ValueError(f"its byte order is {order!r}; save it again on a little-endian machine (any usual one).")


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
