"""One 3D array on disk with a place in nanometres: opened, created, read and written through TensorStore.

A `Volume` is a frozen value: an address such as `cell.zarr/raw`, a voxel size, the centre of voxel 0, and an
open store. Laws that hold (and are tested):

* what was written is read back, for both formats, with and without shards, aligned or not;
* a box that leaves the volume raises before anything is read or written;
* a chunk that nobody wrote raises on reading (unless `missing_as_zero`, or whoever completed the volume said so),
  so a gap is never taken for background. A chunk is the unit: one that was written in part counts as written, the
  rest of it as zero;
* a pickled volume opens the same array in another process.

Memory is bounded: all volumes share one cache (see `store`), and reads in flight hold what they return.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from asem_jax.volumes import ngff
from asem_jax.volumes.containers import Reading, find_array
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3
from asem_jax.volumes.remote import is_remote, locate
from asem_jax.volumes.store import Pending, array_metadata, chunk_shapes, open_store

ReadFuture = Pending[npt.NDArray[Any]]
WriteFuture = Pending[None]


@dataclass(frozen=True)
class Volume:
    """One 3D array on disk, z y x, with a physical place.

    Attributes:
      address: container and path, "cell.zarr/labels/mito".
      voxel_size_nm: step between voxel centres, z y x.
      offset_nm: centre of voxel (0, 0, 0), z y x.
      store: the open array.
      level: which resolution of the image; 0 is the finest.
      missing_as_zero: whether chunks that nobody wrote read as 0.
      channel: which of several; None where there is one.
      axes: letters of the stored axes, where they had to be given.
    """

    address: str
    voxel_size_nm: Float3
    offset_nm: Float3
    store: ts.TensorStore = field(repr=False, compare=False)
    level: int = 0
    missing_as_zero: bool = False
    channel: int | None = None
    axes: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the address; the copy opens the array anew."""
        reading = Reading(self.level, self.missing_as_zero, self.channel, self.axes, self.voxel_size_nm)
        return _reopen, (self.address, reading)

    @property
    def shape(self) -> Int3:
        """Extent in voxels, z y x."""
        return int3(self.store.shape, "shape")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return np.dtype(self.store.dtype.numpy_dtype)

    @property
    def box(self) -> Box:
        """All voxels, from (0, 0, 0)."""
        return Box.of_shape(self.shape)

    @property
    def chunk_shape(self) -> Int3:
        """What one file holds (a shard, where there are shards), voxels z y x: write multiples of it."""
        return chunk_shapes(self.store)[0]

    @property
    def attributes(self) -> dict[str, Any]:
        """The provenance written at creation; empty where another program made the volume."""
        return dict(ngff.read_attributes(locate(self.address)).get(ngff.ATTRIBUTES_KEY, {}))

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, [z, y, x], in the volume's dtype.

        Raises:
          ValueError: `box` leaves the volume, or reaches chunks that were never written.
        """
        return self.read_async(box).result()

    def read_async(self, box: Box) -> ReadFuture:
        """Starts reading `box`; `.result()` of what is returned waits for the array. Keep 4-8 in flight.

        Raises:
          ValueError: `box` leaves the volume.
        """
        self._check_inside(box, "read")
        return Pending(f"reading {self.address} {_text(box)}", self.store[box.slices].read(order="C"))

    def write(self, box: Box, array: npt.NDArray[Any]) -> None:
        """Writes `array` [z, y, x] into `box`; returns when it has landed.

        Raises:
          ValueError: `box` leaves the volume, `array` has another shape or dtype, or the volume is read-only.
        """
        self.write_async(box, array).result()

    def write_async(self, box: Box, array: npt.NDArray[Any]) -> WriteFuture:
        """Starts writing; `.result()` returns when the data has landed. `array` must not change before that.

        Two writes at one time may not meet in a chunk if a crash between them is to leave either in place:
        cut blocks along `chunk_shape`.

        Raises:
          ValueError: as `write`.
        """
        self._check_inside(box, "write")
        if not self.store.writable:
            raise ValueError(f"{self.address} is open for reading only; write into a volume of create_volume.")
        if array.shape != box.shape or array.dtype != self.dtype:
            raise ValueError(
                f"{self.address}: cannot write an array of shape {array.shape} and dtype {array.dtype} into "
                f"{_text(box)}; shape {box.shape} and dtype {self.dtype} are needed: convert it first."
            )
        return Pending(f"writing {self.address} {_text(box)}", self.store[box.slices].write(array))

    def _check_inside(self, box: Box, verb: str) -> None:
        """Raises unless the whole of `box` lies in the volume."""
        if not self.box.contains(box):
            raise ValueError(
                f"cannot {verb} {_text(box)}: it leaves {self.address}, whose shape is {self.shape}; "
                "give a box inside it, e.g. box.intersect(volume.box), and pad the array yourself."
            )


def open_volume(
    address: str | Path,
    *,
    level: int = 0,
    missing_as_zero: bool = False,
    channel: int | None = None,
    axes: str = "",
    voxel_size_nm: Sequence[float] | None = None,
) -> Volume:
    """Opens an OME-Zarr image (NGFF 0.4 or 0.5); or, for reading, N5, neuroglancer precomputed or a plain zarr array.

    Plain arrays are those of incasem, zarr 2 with the attributes `resolution` and `offset`; of others the voxel size
    has to be given. An incasem `offset` is taken as `offset_nm` as it stands, so that offset / resolution stays the
    voxel address that incasem's own data files use. See `n5` and `precomputed` for what place those have.

    Args:
      address: container and path, "cell.zarr/raw"; or, for reading, https://, s3:// or gs:// and where it is.
      level: which resolution; 0 is the finest.
      missing_as_zero: read chunks that nobody wrote as 0 instead of raising.
      channel: which one, of an image with several.
      axes: letters of the stored axes, of a plain array that is not z y x.
      voxel_size_nm: of an array that does not state it, z y x.

    Returns:
      The volume, its voxel size and offset in nm.

    Raises:
      FileNotFoundError: nothing is there; the message lists what the container holds.
      ValueError: what is there is no 3D image with a voxel size, or has no such level.
    """
    size = None if voxel_size_nm is None else float3(voxel_size_nm, "voxel_size_nm")
    return _reopen(str(address).rstrip("/"), Reading(level, missing_as_zero, channel, axes, size))


def create_volume(
    address: str | Path,
    *,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    voxel_size_nm: Sequence[float],
    offset_nm: Sequence[float] = (0.0, 0.0, 0.0),
    chunk_shape: Sequence[int] = (64, 64, 64),
    shard_shape: Sequence[int] | None = None,
    zarr_format: int = 2,
    attributes: Mapping[str, Any] | None = None,
) -> Volume:
    """Creates an OME-Zarr image with one level, or reopens the one that is there if it is the same.

    The metadata is written after the array, so an image that can be opened is complete.

    Args:
      address: container and path; one folder of it ends in ".zarr".
      shape: voxels, z y x.
      dtype: of the voxels.
      voxel_size_nm: z y x.
      offset_nm: centre of voxel (0, 0, 0), z y x.
      chunk_shape: unit of compression, voxels z y x.
      shard_shape: unit of a file, multiples of `chunk_shape`; zarr 3 only. None: each chunk is a file.
      zarr_format: 2 (NGFF 0.4) or 3 (NGFF 0.5).
      attributes: provenance to keep beside the NGFF metadata, JSON values; a volume that is there may have more.

    Raises:
      ValueError: the address or a number is impossible, or another volume is there already.
    """
    address = str(address).rstrip("/")
    if is_remote(address):
        raise ValueError(f"{address} is remote, where volumes are only read; give a path on this machine.")
    folder = Path(address)
    wanted: dict[str, Any] = {
        "shape": int3(shape, "shape"),
        "dtype": np.dtype(dtype).name,
        "voxel_size_nm": float3(voxel_size_nm, "voxel_size_nm"),
        "offset_nm": float3(offset_nm, "offset_nm"),
        "chunk_shape": int3(chunk_shape, "chunk_shape"),
        "shard_shape": None if shard_shape is None else int3(shard_shape, "shard_shape"),
        "zarr_format": zarr_format,
    }
    _check_creation(address, wanted)
    provenance = json.loads(json.dumps(dict(attributes or {})))
    if ngff.multiscales(folder):
        there = open_volume(address)
        _check_same(wanted | ({"attributes": provenance} if provenance else {}), there)
        return there
    for parent in [*_groups_above(folder), folder]:
        ngff.write_group(parent, zarr_format)
    metadata = array_metadata(
        wanted["shape"], np.dtype(dtype), wanted["chunk_shape"], wanted["shard_shape"], zarr_format
    )
    open_store(folder / "0", zarr_format, address, metadata=metadata)
    level = ngff.Level("0", wanted["voxel_size_nm"], wanted["offset_nm"])
    ngff.write_image(folder, ngff.Image(zarr_format, (level,), "", provenance))
    return open_volume(address)


def create_like(
    like: Volume,
    address: str,
    dtype: npt.DTypeLike,
    *,
    chunk_shape: Sequence[int],
    shard_shape: Sequence[int] | None,
    zarr_format: int,
    attributes: Mapping[str, Any],
) -> Volume:
    """Creates a volume on the grid of another one, or reopens the one that is there; see `create_volume`.

    Args:
      like: whose shape, voxel size and place the volume gets.
      address: of the new volume.
      dtype: of its voxels.
      chunk_shape: as for `create_volume`, like all that follow.
      shard_shape: see there.
      zarr_format: see there.
      attributes: see there.
    """
    return create_volume(
        address,
        shape=like.shape,
        dtype=dtype,
        voxel_size_nm=like.voxel_size_nm,
        offset_nm=like.offset_nm,
        chunk_shape=chunk_shape,
        shard_shape=shard_shape,
        zarr_format=zarr_format,
        attributes=attributes,
    )


def annotate_volume(volume: Volume, attributes: Mapping[str, Any]) -> Volume:
    """Adds to the provenance of an OME-Zarr image, and returns it opened anew.

    Args:
      volume: any level of the image.
      attributes: JSON values; those of the same name are replaced.
    """
    folder = Path(volume.address)
    image = ngff.read_image(folder, volume.address)
    ngff.write_image(folder, replace(image, attributes={**image.attributes, **json.loads(json.dumps(attributes))}))
    return open_volume(volume.address, level=volume.level, missing_as_zero=volume.missing_as_zero)


def create_level(folder: Path, name: str, shape: Int3, like: Volume, *, replaces: bool) -> ts.TensorStore:
    """Creates the array of a level, typed and chunked as `like`.

    Args:
      folder: the image's group.
      name: of the level.
      shape: voxels, z y x.
      like: the volume whose dtype, chunks, shards, format and answer to what is missing are taken.
      replaces: an older one of that name; otherwise it is opened.
    """
    read_chunk = chunk_shapes(like.store)[1]
    shard = None if read_chunk == like.chunk_shape else like.chunk_shape
    zarr_format = ngff.node_type(folder)[1]
    metadata = array_metadata(shape, like.dtype, read_chunk, shard, zarr_format)
    return open_store(
        folder / name,
        zarr_format,
        like.address,
        metadata=metadata,
        missing_as_zero=like.missing_as_zero,
        replace=replaces,
    )


def _reopen(address: str, reading: Reading) -> Volume:
    """Opens an address, or what was pickled."""
    found = find_array(address, reading)
    if found is None:
        raise _no_image(address)
    return Volume(
        address,
        found.voxel_size_nm,
        found.offset_nm,
        found.store,
        reading.level,
        reading.missing_as_zero,
        reading.channel,
        reading.axes,
    )


def _no_image(address: str) -> Exception:
    """Returns the error for an address where no image is, with what its container holds."""
    if is_remote(address):
        return FileNotFoundError(
            f"{address} holds no OME-Zarr image that can be read over the network (no metadata of one, zarr 2 or 3), "
            "nor N5 or precomputed; give the address of an image, not of its container or of one of its levels."
        )
    folder = Path(address)
    container = next((p for p in [folder, *folder.parents] if p.name.endswith(".zarr") and p.is_dir()), None)
    if container is None:
        return FileNotFoundError(
            f"{address} is {'a folder without an image' if folder.is_dir() else 'not there'}, nor is a .zarr folder "
            'above it; give the address of an OME-Zarr image, e.g. "cell.zarr/raw", or of one in N5 or precomputed '
            "(other formats: stage convert)."
        )
    images = [f"{container}/{path}" for path in ngff.find_images(container)]
    near = difflib.get_close_matches(address, images, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    what = "is a folder without NGFF image metadata" if folder.is_dir() else "is not there"
    return FileNotFoundError(f"{address} {what}; {hint}{container} holds the images: {', '.join(images) or 'none'}.")


def _groups_above(folder: Path) -> list[Path]:
    """Returns the folders from the outermost *.zarr down to the parent of `folder`."""
    above = [folder, *folder.parents]
    root = max(i for i, path in enumerate(above) if path.name.endswith(".zarr"))
    return above[1 : root + 1][::-1]


def _check_creation(address: str, wanted: Mapping[str, Any]) -> None:
    """Raises if no volume can have these numbers."""
    shape, chunk, shard = wanted["shape"], wanted["chunk_shape"], wanted["shard_shape"]
    size, zarr_format = wanted["voxel_size_nm"], wanted["zarr_format"]
    if not any(part.endswith(".zarr") for part in Path(address).parts):
        raise ValueError(f'address="{address}" names no container; one folder must end in .zarr: "cell.zarr/raw".')
    if zarr_format not in ngff.NGFF_OF_ZARR:
        raise ValueError(f"zarr_format={zarr_format} is unknown; give 2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5).")
    if min(shape) < 1 or min(chunk) < 1:
        raise ValueError(f"{address}: shape={shape}, chunk_shape={chunk}; every side needs at least 1 voxel.")
    if not all(0 < side < float("inf") for side in size):
        raise ValueError(f"{address}: voxel_size_nm={size} must be positive on every axis; give nm, z y x.")
    if shard is None:
        return
    if zarr_format != 3:
        raise ValueError(f"{address}: shard_shape={shard} needs zarr_format=3; zarr 2 has no shards, give None.")
    if min(shard) < 1 or any(s % c for s, c in zip(shard, chunk, strict=True)):
        raise ValueError(f"{address}: shard_shape={shard} is not a multiple of chunk_shape={chunk}; make it one.")


def _check_same(wanted: dict[str, Any], there: Volume) -> None:
    """Raises if the volume that is there is not the one wanted, saying what differs."""
    zarr_format = ngff.node_type(Path(there.address))[1]
    inner = chunk_shapes(there.store)[1]
    found = {
        "shape": there.shape,
        "dtype": there.dtype.name,
        "voxel_size_nm": there.voxel_size_nm,
        "offset_nm": there.offset_nm,
        "chunk_shape": inner,
        "shard_shape": None if inner == there.chunk_shape else there.chunk_shape,
        "zarr_format": zarr_format,
        "attributes": {name: value for name, value in there.attributes.items() if name in wanted.get("attributes", {})},
    }
    different = [
        f"{name} is {found[name]}, asked for {value}" for name, value in wanted.items() if found[name] != value
    ]
    if different:
        raise ValueError(
            f"{there.address} exists already and differs: {'; '.join(different)}; remove it or give another address."
        )


def _text(box: Box) -> str:
    """Returns a box as messages show it."""
    return f"box {box.start}-{box.stop} (shape {box.shape})"
