"""HDF5 datasets, in and out: as ilastik exports and reads them, and files of others with a voxel size in nm or µm.

An address is a file and the dataset in it, "cell.h5/volumes/raw". ilastik names the axes in `axistags`; without that a
dataset is z y x. The place is told by `resolution` and `offset` (nm, z y x; CREMI and incasem's tools), or by
`element_size_um` (Fiji), or by the resolution in the axis tags. Laws that hold (and are tested):

* a volume written and read again is equal, in its voxel size and offset too;
* a dataset has its name only when all of it is written;
* a file or dataset that is damaged, or whose voxels lie in other files, is refused before anything is read.

A dataset that is written has all its chunks from the beginning, not compressed, so a job that is killed leaves the file
whole and goes on in it.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from asem_jax.volumes.axes import AxisOrder, find_axes
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.tags import NM_PER_UNIT
from asem_jax.volumes.volume import Volume

SUFFIXES = (".h5", ".hdf5", ".hdf", ".ilp")
UNFINISHED = ".unfinished"
"""Ends the name of a dataset that is being written."""

SPACE = 2  # vigra's flag of an axis in space

_writing = threading.Lock()


@dataclass(frozen=True)
class Hdf5Array:
    """A dataset, found and checked, not yet read.

    Attributes:
      address: file and dataset, as the user wrote it.
      voxel_size_nm: z y x; None if the file does not state it.
      offset_nm: centre of the first voxel, z y x; None if the file does not state it.
      dataset: open.
      order: where z, y, x are in it.
    """

    address: str
    voxel_size_nm: Float3 | None
    offset_nm: Float3 | None
    dataset: h5py.Dataset = field(repr=False, compare=False)
    order: AxisOrder = field(repr=False, compare=False)

    @property
    def shape(self) -> Int3:
        """Voxels, z y x."""
        return self.order.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        return self.dataset.dtype.newbyteorder("=")

    @property
    def chunk_shape(self) -> Int3:
        """Voxels stored together, z y x; a section where the dataset has no chunks."""
        chunks = self.dataset.chunks
        return (1, *self.shape[1:]) if chunks is None else int3(self.order.of_zyx(chunks), "chunks")  # type: ignore[arg-type]

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, [z, y, x].

        Raises:
          ValueError: a chunk cannot be decoded.
        """
        try:
            stored = self.dataset[self.order.index(box)]
        except OSError as error:
            raise ValueError(
                f"{self.address}: voxels {box.start} to {box.stop} cannot be read ({error}); "
                "copy the file anew, or export it uncompressed or with gzip."
            ) from error
        return self.order.arrange(np.asarray(stored, self.dtype))


def is_hdf5(address: str | Path) -> bool:
    """Says whether `address` is written like an HDF5 file, or a dataset in one.

    Example:
      >>> is_hdf5("cell.h5/raw"), is_hdf5("cell.zarr/raw")
      (True, False)
    """
    return any(part.lower().endswith(SUFFIXES) for part in Path(address).parts)


def open_hdf5(address: str | Path, *, channel: int | None = None, axes: str = "") -> Hdf5Array:
    """Finds and checks a dataset.

    Args:
      address: "file.h5/path/of/dataset"; the file alone where it holds one dataset of three axes or more.
      channel: which one, of several.
      axes: letters of the stored axes, where the dataset does not name them; empty = z y x.

    Raises:
      FileNotFoundError: there is no such file or dataset; the message lists those that there are.
      ValueError: the file is damaged, or the dataset is no volume.
    """
    path, name = split_address(address)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give an HDF5 file and the dataset in it, e.g. cell.h5/raw.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file, or a damaged one ({error}); copy or export it anew.") from error
    dataset = _find_dataset(file, name, str(address))
    _check_storage(dataset, path, str(address))
    tags = _axis_tags(dataset, str(address))
    order = find_axes(axes or "".join(tag["key"] for tag in tags), dataset.shape, channel, str(address))
    size, offset = _place(dataset, tags, str(address))
    return Hdf5Array(str(address), size, offset, dataset, order)


def split_address(address: str | Path) -> tuple[Path, str]:
    """Returns file and dataset of an address.

    Example:
      >>> split_address("data/cell.h5/volumes/raw")
      (PosixPath('data/cell.h5'), 'volumes/raw')
    """
    parts = Path(address).parts
    last = next(i for i, part in enumerate(parts) if part.lower().endswith(SUFFIXES))
    return Path(*parts[: last + 1]), "/".join(parts[last + 1 :])


def is_begun(address: str | Path) -> bool:
    """Says whether the dataset of an address is there, or a part of it."""
    path, name = split_address(address)
    if not path.is_file():
        return False
    with h5py.File(path, "r") as file:
        return name in file or name + UNFINISHED in file


def write_hdf5(volume: Volume, address: str | Path, *, ledger: Ledger | None = None, num_threads: int = 2) -> None:
    """Writes a volume as a dataset that ilastik and Fiji open, with axis tags and voxel size; others in the file stay.

    Memory: one chunk of the volume per thread.

    Args:
      volume: written unchanged, in its dtype.
      address: "file.h5/path/of/dataset"; the file may be there, the dataset is replaced.
      ledger: of finished chunks; None writes all.
      num_threads: chunks in work at a time; HDF5 itself writes one at a time.
    """
    path, name = split_address(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = name + UNFINISHED
    with h5py.File(path, "a") as file:
        if ledger is None or not ledger.finished or partial not in file:
            file.pop(partial, None)
            _create(file, partial, volume)

    def write(box: Box) -> None:
        array = volume.read(box)
        with _open_to_write(path) as file:
            file[partial][box.slices] = array

    blocks = tiles(volume.box, volume.chunk_shape)
    run_blocks(write, blocks, label=f"export to {address}", ledger=ledger, num_threads=num_threads)
    with _open_to_write(path) as file:
        file.pop(name, None)
        file.move(partial, name)


@contextmanager
def _open_to_write(path: Path) -> Iterator[h5py.File]:
    """Opens a file for one thread at a time; what was written has landed at the end."""
    with _writing, h5py.File(path, "r+") as file:
        yield file


def _create(file: h5py.File, name: str, volume: Volume) -> None:
    """Makes a dataset with all its chunks in place, so that writing it changes nothing but voxels."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(tuple(min(n, c) for n, c in zip(volume.shape, volume.chunk_shape, strict=True)))
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    parent = file.require_group(name.rpartition("/")[0] or "/")
    kind, space = h5py.h5t.py_create(volume.dtype, logical=True), h5py.h5s.create_simple(volume.shape)
    h5py.h5d.create(parent.id, name.rpartition("/")[2].encode(), kind, space, properties)
    file[name].attrs.update(_attributes(volume))


def _attributes(volume: Volume) -> dict[str, Any]:
    """Returns what tells ilastik, Fiji and this library which axis is which, and where the dataset lies."""
    tags = [
        {"key": axis, "typeFlags": SPACE, "resolution": size, "description": "nm"}
        for axis, size in zip("zyx", volume.voxel_size_nm, strict=True)
    ]
    return {
        "axistags": json.dumps({"axes": tags}),
        "element_size_um": [size / 1e3 for size in volume.voxel_size_nm],
        "resolution": volume.voxel_size_nm,
        "offset": volume.offset_nm,
    }


def _find_dataset(file: h5py.File, name: str, address: str) -> h5py.Dataset:
    """Returns the dataset of a name, or the only one that may be a volume."""
    found: list[str] = []

    def note(path: str, node: h5py.Dataset | h5py.Group) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim >= 3:
            found.append(path)

    file.visititems(note)
    if not name and len(found) == 1:
        name = found[0]
    try:
        node = file[name] if name else None
    except (KeyError, OSError):
        node = None
    if not isinstance(node, h5py.Dataset):
        raise FileNotFoundError(
            f"{address} names no dataset; {file.filename} holds {', '.join(found) or 'none of three axes'}: "
            f"give one of them behind the file, e.g. {file.filename}/{found[0] if found else 'raw'}."
        )
    return node


def _check_storage(dataset: h5py.Dataset, path: Path, address: str) -> None:
    """Raises unless the voxels of a dataset lie in the file that was given."""
    elsewhere = dataset.external or dataset.is_virtual or Path(dataset.file.filename).resolve() != path.resolve()
    if elsewhere:
        raise ValueError(
            f"{address} has its voxels in other files (link, external or virtual dataset); "
            "give the file they are in, or copy them into one (h5repack)."
        )
    if dataset.name.endswith(UNFINISHED):
        raise ValueError(f"{address} is not written completely; give the export that writes it again.")
    if dataset.size and not dataset.id.get_storage_size():
        raise ValueError(f"{address} has the shape {dataset.shape}, but no voxel was ever written; export it anew.")


def _axis_tags(dataset: h5py.Dataset, address: str) -> list[Mapping[str, Any]]:
    """Returns ilastik's description of each axis; empty where there is none."""
    text = dataset.attrs.get("axistags", '{"axes": []}')
    try:
        tags = json.loads(text)["axes"]
        return [{**tag, "key": str(tag["key"]).lower()} for tag in tags]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{address} has axistags that are none of ilastik ({str(text)[:60]!r}); remove or correct the attribute."
        ) from error


def _place(dataset: h5py.Dataset, tags: list[Mapping[str, Any]], address: str) -> tuple[Float3 | None, Float3 | None]:
    """Returns voxel size and offset in nm as far as the attributes tell them."""
    attributes = dataset.attrs
    offset = _numbers(attributes, "offset", address)
    if (size := _numbers(attributes, "resolution", address)) is not None:
        return size, offset
    if (size := _numbers(attributes, "element_size_um", address)) is not None:
        return float3([side * 1e3 for side in size], "element_size_um"), offset
    found = {tag["key"]: (float(tag.get("resolution") or 0), str(tag.get("description"))) for tag in tags}
    sizes = [found.get(axis, (0.0, "")) for axis in "zyx"]
    if all(size > 0 and unit in NM_PER_UNIT for size, unit in sizes):
        return float3([size * NM_PER_UNIT[unit] for size, unit in sizes], "axistags"), offset
    return None, offset


def _numbers(attributes: Mapping[str, Any], name: str, address: str) -> Float3 | None:
    """Returns an attribute of three numbers; None where it is not there or of another kind."""
    value = attributes.get(name)
    if value is None:
        return None
    values = np.atleast_1d(value)
    if values.shape != (3,) or values.dtype.kind not in "iuf":
        raise ValueError(f"{address} has the attribute {name}={value}; three numbers z, y, x are needed: correct it.")
    return float3(values.tolist(), name)
