"""Neuroglancer's precomputed format: what the file `info` says of scales and their place, read and written.

Axes are x y z there, positions are counted in voxels of a scale from the corner of the world's first voxel, and
volumes here count nm from its centre. The finest scale's first voxel is put at `voxel_offset` times its size, so both
frames are half a voxel of the finest scale apart, and each coarser scale lies over it as it should. An image of other
voxels, say labels of half the size, then needs an offset of its own. A chunk that is absent is 0.

Source: https://github.com/google/neuroglancer, src/datasource/precomputed (volume.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from asem_jax.volumes.geometry import Float3, Int3, float3
from asem_jax.volumes.ngff import Level, inner_path, read_json
from asem_jax.volumes.remote import Folder

FILE = "info"
KIND = "neuroglancer_multiscale_volume"
WHOLE = 1e-3  # voxels that an offset may be off a whole number
TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32")
SEGMENT_TYPES = ("uint32", "uint64")
"""Of label numbers that the format can compress."""


def read_info(folder: Folder) -> dict[str, Any]:
    """Returns what `info` in `folder` says, empty where there is none or it describes no volume."""
    info = read_json(folder / FILE)
    return info if info.get("scales") and info.get("@type", KIND) == KIND else {}


def read_levels(info: Mapping[str, Any], address: str) -> tuple[Level, ...]:
    """Returns the scales of a volume, finest first.

    Args:
      info: as `read_info` returned it.
      address: for messages.

    Raises:
      ValueError: a scale has no resolution or lies elsewhere.
    """
    for scale in info["scales"]:
        if not {"key", "resolution", "size"} <= scale.keys():
            raise ValueError(
                f"{address}: a scale in its info has only {', '.join(scale)}; key, resolution, size needed."
            )
        inner_path(scale["key"], address)
    first = float3(info["scales"][0]["resolution"][::-1], f"{address} resolution")
    return tuple(_level(scale, first, address) for scale in info["scales"])


def voxel_offset(level: Level, finest_nm: Float3) -> Int3 | None:
    """Returns the place of a level as the format counts it, x y z; None where that is no whole number of voxels.

    Args:
      level: to be written.
      finest_nm: voxel size of the finest level, z y x.

    Example:
      >>> voxel_offset(Level("1", (8.0, 8.0, 8.0), (2.0, 2.0, 10.0)), (4.0, 4.0, 4.0))
      (1, 0, 0)
    """
    places = zip(level.offset_nm, level.voxel_size_nm, finest_nm, strict=True)
    found = [(offset + fine / 2) / size - 0.5 for offset, size, fine in places]
    if any(abs(place - round(place)) > WHOLE for place in found):
        return None
    z, y, x = (round(place) for place in found)
    return x, y, z


def volume_metadata(dtype: np.dtype[Any], *, labels: bool) -> dict[str, Any]:
    """Returns what all scales of a volume share."""
    return {"data_type": dtype.name, "num_channels": 1, "type": "segmentation" if labels else "image"}


def scale_metadata(
    level: Level, shape: Int3, chunk_shape: Int3, first: Int3, *, compress_segments: bool
) -> dict[str, Any]:
    """Returns what `info` says of one scale.

    Args:
      level: its key and voxel size.
      shape: voxels, z y x.
      chunk_shape: voxels per file, z y x.
      first: `voxel_offset`, x y z.
      compress_segments: as neuroglancer compresses label numbers of 32 and 64 bits; otherwise not at all.
    """
    encoding: dict[str, Any] = {"encoding": "raw"}
    if compress_segments:
        encoding = {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]}
    return {
        "key": level.path,
        "size": list(shape[::-1]),
        "resolution": list(level.voxel_size_nm[::-1]),
        "voxel_offset": list(first),
        "chunk_size": list(chunk_shape[::-1]),
        **encoding,
    }


def _level(scale: Mapping[str, Any], finest_nm: Float3, address: str) -> Level:
    size = float3(scale["resolution"][::-1], f"{address} resolution")
    first = float3(scale.get("voxel_offset", (0, 0, 0))[::-1], f"{address} voxel_offset")
    places = zip(first, size, finest_nm, strict=True)
    return Level(scale["key"], size, float3([(n + 0.5) * side - fine / 2 for n, side, fine in places], "offset_nm"))
