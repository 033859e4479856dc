"""What lies at an address: an OME-Zarr image, a plain zarr array, an N5 image or array, a precomputed volume.

`open_volume` asks here, and gets the array as z y x with its place, whoever wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorstore as ts

from asem_jax.volumes import n5, ngff, precomputed
from asem_jax.volumes.geometry import Float3, float3
from asem_jax.volumes.remote import Folder, locate
from asem_jax.volumes.store import open_n5_store, open_precomputed_store, open_store


@dataclass(frozen=True)
class Reading:
    """How an image is to be read that leaves a choice.

    Attributes:
      level: which resolution; 0 is the finest.
      missing_as_zero: read chunks that nobody wrote as 0; in N5 and precomputed they always mean that.
      channel: which one, where there are several.
      axes: letters of the stored axes, of an array that does not name them; empty = z y x (N5: x y z).
      voxel_size_nm: of an array that does not state it, z y x.
    """

    level: int = 0
    missing_as_zero: bool = False
    channel: int | None = None
    axes: str = ""
    voxel_size_nm: Float3 | None = None


@dataclass(frozen=True)
class Found:
    """An array that was found.

    Attributes:
      store: open, z y x.
      voxel_size_nm: z y x.
      offset_nm: centre of voxel 0, z y x.
    """

    store: ts.TensorStore
    voxel_size_nm: Float3
    offset_nm: Float3


def find_array(address: str, reading: Reading) -> Found | None:
    """Returns the array at an address, None where nothing is that can be read.

    Args:
      address: container and path, on disk or over the network.
      reading: which part of it.

    Raises:
      FileNotFoundError: a group of N5 holds no arrays.
      ValueError: what is there is no 3D image with a voxel size, or has no such level.
    """
    folder = locate(address)
    kind, zarr_format = ngff.node_type(folder)
    if kind == "array":
        return _plain_array(folder, zarr_format, address, reading)
    if ngff.multiscales(folder):
        return _ngff_image(folder, address, reading)
    if not kind and n5.read_attributes(folder):
        return _n5_image(folder, address, reading)
    if not kind and (info := precomputed.read_info(folder)):
        level = _chosen(precomputed.read_levels(info, address), reading.level, address)
        store = open_precomputed_store(folder, reading.level, address, reading.channel)
        return Found(store, level.voxel_size_nm, level.offset_nm)
    return None


def _ngff_image(folder: Folder, address: str, reading: Reading) -> Found:
    image = ngff.read_image(folder, address)
    level = _chosen(image.levels, reading.level, address)
    store = open_store(
        folder / level.path,
        image.zarr_format,
        address,
        missing_as_zero=reading.missing_as_zero or bool(image.attributes.get(ngff.ABSENT_IS_ZERO, False)),
        axes=image.axes,
        channel=reading.channel,
    )
    return Found(store, level.voxel_size_nm, level.offset_nm)


def _plain_array(folder: Folder, zarr_format: int, address: str, reading: Reading) -> Found:
    """Opens an array without NGFF metadata: incasem writes `resolution` and `offset` in nm, others nothing."""
    attributes = ngff.read_attributes(folder)
    if "resolution" not in attributes and ngff.multiscales(folder.parent):
        raise ValueError(f"{address} is one level of the image {folder.parent}; open that, with level=.")
    size = attributes.get("resolution", reading.voxel_size_nm)
    if size is None:
        raise ValueError(
            f"{address} is a plain zarr array without a voxel size; give voxel_size_nm, write it as OME-Zarr "
            '(create_volume), or add the attributes "resolution" and "offset" in nm, z y x.'
        )
    if reading.level != 0:
        raise ValueError(f"{address} has no level {reading.level}; a plain array has only level 0.")
    store = open_store(
        folder,
        zarr_format,
        address,
        missing_as_zero=reading.missing_as_zero,
        read_only=True,
        axes=reading.axes,
        channel=reading.channel,
    )
    offset = float3(attributes.get("offset", (0, 0, 0)), f"{address} offset")
    return Found(store, float3(size, f"{address} resolution"), offset)


def _n5_image(folder: Folder, address: str, reading: Reading) -> Found:
    levels = n5.read_levels(folder, address, reading.voxel_size_nm)
    if not levels:
        raise FileNotFoundError(f"{address} is an N5 group without arrays s0, s1 ...; give the address of an image.")
    level = _chosen(levels, reading.level, address)
    place = folder / level.path if level.path else folder
    store = open_n5_store(place, address, reading.axes, reading.channel)
    return Found(store, level.voxel_size_nm, level.offset_nm)


def _chosen(levels: Sequence[ngff.Level], level: int, address: str) -> ngff.Level:
    """Returns the level of an image that is asked for."""
    if not 0 <= level < len(levels):
        raise ValueError(f"{address} has no level {level}; it has {len(levels)}: 0 is the finest.")
    return levels[level]
