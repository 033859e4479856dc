"""How arrays lie on disk: the TensorStore behind each level, its metadata, and what waits for it.

All stores of a process share one context, so that memory and threads are bounded together: at most
`CACHE_BYTES` of decoded chunks, `FILES_IN_FLIGHT` open files and one copying thread per core (8 at most).
Chunks that equal the fill value are stored as well, so an absent chunk always means that nobody wrote it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import tensorstore as ts

from asem_jax.volumes.axes import find_axes
from asem_jax.volumes.geometry import Box, Int3, int3
from asem_jax.volumes.remote import Folder, RemoteFolder, network

CACHE_BYTES = 256 * 2**20
"""Decoded chunks kept for all volumes of a process; neighbouring boxes share chunks, so some reuse pays."""

FILES_IN_FLIGHT = 16
"""Files open at one time, for all volumes of a process."""

Result = TypeVar("Result")


@cache
def _context() -> ts.Context:
    """Returns the cache and thread limits shared by all volumes of this process."""
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": min(8, os.cpu_count() or 1)},
            "file_io_concurrency": {"limit": FILES_IN_FLIGHT},
            **network(),
        }
    )


@dataclass(frozen=True)
class Pending(Generic[Result]):
    """A read or write that is under way.

    Attributes:
      what: the volume and box, for messages.
      future: TensorStore's future.
    """

    what: str
    future: Any

    def result(self) -> Result:
        """Waits; returns the array of a read [z, y, x], None once a write has landed.

        Raises:
          ValueError: a chunk of the box was never written, or the storage failed.
        """
        try:
            return self.future.result()
        except ValueError as error:
            if "NOT_FOUND" in str(error):
                raise ValueError(
                    f"{self.what} reaches chunks that were never written ({error}); finish the step that "
                    "writes this volume, or open it with missing_as_zero=True if absent chunks mean 0."
                ) from error
            raise ValueError(f"{self.what} failed: {error}") from error


def chunk_shapes(store: ts.TensorStore) -> tuple[Int3, Int3]:
    """Returns what one file holds and what is compressed at once, voxels z y x; equal without shards."""
    layout = store.chunk_layout
    file, chunk = ([int(n or 1) for n in grid.shape or ()] for grid in (layout.write_chunk, layout.read_chunk))
    return int3(file, "chunk_shape"), int3(chunk, "chunk_shape")


def array_metadata(
    shape: Int3, dtype: np.dtype[Any], chunk_shape: Int3, shard_shape: Int3 | None, zarr_format: int
) -> dict[str, Any]:
    """Returns the zarr metadata of an array, zstd level 1 (blosc in zarr 2, which more viewers can read)."""
    if zarr_format == 2:
        blosc = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0, "blocksize": 0}
        return {
            "shape": list(shape),
            "chunks": list(chunk_shape),
            "dtype": dtype.newbyteorder("<").str,
            "compressor": blosc,
            "dimension_separator": "/",
            "fill_value": False if dtype == np.bool_ else 0,
            "order": "C",
            "filters": None,
        }
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    codecs: list[dict[str, Any]] = [little, {"name": "zstd", "configuration": {"level": 1}}]
    if shard_shape is not None:
        inner = {
            "chunk_shape": list(chunk_shape),
            "codecs": codecs,
            "index_codecs": [little, {"name": "crc32c"}],
        }
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return {
        "shape": list(shape),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard_shape or chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "data_type": dtype.name,
        "codecs": codecs,
        "fill_value": False if dtype == np.bool_ else 0,
        "dimension_names": ["z", "y", "x"],
    }


def _place(folder: Folder) -> str | dict[str, str]:
    """Returns where TensorStore finds a folder."""
    if isinstance(folder, RemoteFolder):
        return folder.kvstore()
    # Absolute, because TensorStore refuses paths with "..".
    return {"driver": "file", "path": f"{os.path.abspath(folder)}/"}


def open_store(
    folder: Folder,
    zarr_format: int,
    address: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    missing_as_zero: bool = False,
    read_only: bool = False,
    replace: bool = False,
    axes: str = "",
    channel: int | None = None,
) -> ts.TensorStore:
    """Opens the array in `folder` as z y x; with `metadata` creates it where it is not there yet.

    Args:
      folder: of the array.
      zarr_format: 2 or 3.
      address: for messages.
      metadata: of a new array.
      missing_as_zero: read chunks that nobody wrote as 0.
      read_only: whether nothing will be written.
      replace: whether an array that is there is deleted first.
      axes: letters of the stored axes, see `axes`; empty = z y x.
      channel: which one is read, where there are several.
    """
    spec: dict[str, Any] = {
        "driver": "zarr" if zarr_format == 2 else "zarr3",
        "kvstore": _place(folder),
        "fill_missing_data_reads": missing_as_zero,
        "store_data_equal_to_fill_value": True,
    }
    how: dict[str, Any] = {"open": True, "context": _context()}
    if metadata is not None:
        spec["metadata"] = dict(metadata)
        how |= {"create": True, "delete_existing": True, "open": False} if replace else {"create": True}
    elif read_only or isinstance(folder, RemoteFolder):
        how |= {"read": True, "write": False}
    return _in_order(_open(spec, how, folder, address), axes, channel, address)


def open_n5_store(folder: Folder, address: str, axes: str = "", channel: int | None = None) -> ts.TensorStore:
    """Opens the N5 array in `folder` for reading, its axes in the order z y x; absent blocks are 0."""
    spec = {"driver": "n5", "kvstore": _place(folder), "fill_missing_data_reads": True}
    return _in_order(_open(spec, _reading(), folder, address), axes or "xyz", channel, address)


def open_precomputed_store(folder: Folder, index: int, address: str, channel: int | None = None) -> ts.TensorStore:
    """Opens a scale of neuroglancer's format for reading, z y x from (0, 0, 0); absent chunks are 0."""
    spec = {"driver": "neuroglancer_precomputed", "kvstore": _place(folder), "scale_index": index}
    store = _open(spec, _reading(), folder, address)
    return _in_order(store[ts.d[:].translate_to[0]], "xyzc", channel, address)


def create_n5_store(folder: Path, metadata: Mapping[str, Any], address: str) -> ts.TensorStore:
    """Creates an N5 array, or opens the one that is there, its axes in the order z y x."""
    spec = {"driver": "n5", "kvstore": _place(folder), "metadata": dict(metadata)}
    return _in_order(_open(spec, _writing(), folder, address), "xyz", None, address)


def create_precomputed_store(
    folder: Path, volume: Mapping[str, Any], scale: Mapping[str, Any], address: str
) -> ts.TensorStore:
    """Creates a scale of neuroglancer's format, or opens the one that is there, z y x from (0, 0, 0)."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": _place(folder),
        "multiscale_metadata": dict(volume),
        "scale_metadata": dict(scale),
    }
    store = _open(spec, _writing(), folder, address)
    return _in_order(store[ts.d[:].translate_to[0]], "xyzc", None, address)


def _reading() -> dict[str, Any]:
    return {"open": True, "context": _context(), "read": True, "write": False}


def _writing() -> dict[str, Any]:
    return {"open": True, "create": True, "context": _context()}


def _open(spec: dict[str, Any], how: dict[str, Any], folder: Folder, address: str) -> ts.TensorStore:
    try:
        return ts.open(spec, **how).result()
    except ValueError as error:
        raise ValueError(f"{address}: cannot open its array {folder}: {error}") from error


def _in_order(store: ts.TensorStore, axes: str, channel: int | None, address: str) -> ts.TensorStore:
    """Returns a view of an array with the axes z y x."""
    order = find_axes(axes, store.shape, channel, address)
    if order.permutation == (0, 1, 2) and not order.picks:
        return store
    return store[order.index(Box.of_shape(order.shape))].transpose(list(order.permutation))
