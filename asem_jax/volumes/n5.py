"""N5 containers, as OpenOrganelle publishes them: where their arrays lie and what place they have; written likewise.

N5 lists axes x y z, volumes here z y x. An array tells its place in `transform` (nm, centre of voxel 0; z y x unless it
names its axes otherwise or says order "F"), in `resolution` and `offset` (nm, x y z, the corner of voxel 0), or gives
its `pixelResolution` alone. A group is an image if its arrays are named in `multiscales`, or s0, s1 ... by habit. A
block that is absent is 0: that is how N5 stores empty ones, unlike zarr here.

Source: https://github.com/saalfeldlab/n5 (format); Heinrich et al., Nature 2021 (attributes).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Float3, Int3, float3
from asem_jax.volumes.ngff import NM_PER_UNIT, Level, inner_path, read_json
from asem_jax.volumes.remote import Folder

FILE = "attributes.json"
VERSION = "2.5.1"  # of the format that is written
_SHORT_UNITS = {"nm": "nanometer", "um": "micrometer", "µm": "micrometer", "mm": "millimeter", "A": "angstrom"}


def read_attributes(folder: Folder) -> dict[str, Any]:
    """Returns the attributes of the N5 node in `folder`, empty where there is none."""
    return read_json(folder / FILE)


def is_array(attributes: Mapping[str, Any]) -> bool:
    """Says whether these are the attributes of an array, not of a group."""
    return {"dimensions", "blockSize", "dataType"} <= attributes.keys()


def read_levels(folder: Folder, address: str, voxel_size_nm: Float3 | None = None) -> tuple[Level, ...]:
    """Returns the arrays of an image, finest first; one with path "" where `folder` itself is an array.

    Args:
      folder: an array or a group.
      address: for messages.
      voxel_size_nm: of an array that does not state it, z y x; None = that is an error.

    Raises:
      ValueError: an array has no voxel size, an unknown unit, or not three axes, or lies elsewhere.
    """
    attributes = read_attributes(folder)
    if is_array(attributes):
        return (_level("", attributes, address, voxel_size_nm),)
    listed = attributes.get("multiscales") or [{}]
    # Where an array says nothing of its place, the group may.
    of_group = {str(entry["path"]): entry for entry in listed[0].get("datasets", [])} or _by_habit(folder)
    return tuple(
        _level(
            name,
            {**entry, **read_attributes(folder / inner_path(name, address))},
            f"{address}/{name}",
            voxel_size_nm,
        )
        for name, entry in of_group.items()
    )


def array_metadata(shape: Int3, dtype: np.dtype[Any], chunk_shape: Int3) -> dict[str, Any]:
    """Returns what makes an array one of N5: `shape` and `chunk_shape` are z y x, gzip as all readers know it."""
    return {
        "dimensions": list(shape[::-1]),
        "blockSize": list(chunk_shape[::-1]),
        "dataType": dtype.name,
        "compression": {"type": "gzip", "level": 1},
    }


def write_place(folder: Path, level: Level) -> None:
    """Adds to an array where it lies, in both ways that OpenOrganelle has."""
    size = {"dimensions": list(level.voxel_size_nm[::-1]), "unit": "nm"}
    write_json(folder / FILE, read_json(folder / FILE) | {"transform": _transform(level), "pixelResolution": size})


def write_group(folder: Path, levels: Sequence[Level]) -> None:
    """Makes `folder` an image with these arrays, finest first."""
    datasets = [{"path": level.path, "transform": _transform(level)} for level in levels]
    write_json(folder / FILE, {"n5": VERSION, "multiscales": [{"name": folder.name, "datasets": datasets}]})


def _transform(level: Level) -> dict[str, Any]:
    size, offset = list(level.voxel_size_nm), list(level.offset_nm)
    return {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": size, "translate": offset}


def _by_habit(folder: Folder) -> dict[str, dict[str, Any]]:
    """Returns the arrays s0, s1 ... of a group that lists none."""
    names: dict[str, dict[str, Any]] = {}
    while is_array(read_attributes(folder / f"s{len(names)}")):
        names[f"s{len(names)}"] = {}
    return names


def _level(path: str, attributes: Mapping[str, Any], address: str, voxel_size_nm: Float3 | None) -> Level:
    """Returns the place that an array's attributes tell."""
    if "transform" in attributes:
        return _of_transform(path, attributes["transform"], address)
    if "resolution" in attributes:
        size = float3(attributes["resolution"][::-1], f"{address} resolution")
        corner = float3(attributes.get("offset", (0, 0, 0))[::-1], f"{address} offset")
        return Level(path, size, _plus(corner, [side / 2 for side in size]))
    if "pixelResolution" in attributes:
        given = attributes["pixelResolution"]
        values, unit = (given["dimensions"], given.get("unit", "nm")) if isinstance(given, Mapping) else (given, "nm")
        nm = _nm(unit, address)
        return Level(path, float3([side * nm for side in values[::-1]], f"{address} pixelResolution"), (0.0, 0.0, 0.0))
    if voxel_size_nm is not None:
        return Level(path, voxel_size_nm, (0.0, 0.0, 0.0))
    raise ValueError(
        f"{address} is an N5 array without a voxel size (attributes {', '.join(attributes) or 'none'}); add "
        '"pixelResolution": {"dimensions": [x, y, z], "unit": "nm"} to its attributes.json.'
    )


def _of_transform(path: str, transform: Mapping[str, Any], address: str) -> Level:
    reversed_axes = transform.get("order", "C") == "F"
    axes = [str(axis).lower() for axis in transform.get("axes", "xyz" if reversed_axes else "zyx")]
    if sorted(axes) != ["x", "y", "z"]:
        raise ValueError(f"{address} has the axes {', '.join(axes)}; a volume has z, y and x: save one channel.")
    units = [_nm(unit, address) for unit in transform.get("units", ["nm"] * 3)]
    order = [axes.index(axis) for axis in "zyx"]
    size = [transform["scale"][i] * units[i] for i in order]
    offset = [transform["translate"][i] * units[i] for i in order]
    return Level(path, float3(size, f"{address} scale"), float3(offset, f"{address} translate"))


def _nm(unit: str, address: str) -> float:
    name = _SHORT_UNITS.get(unit, unit)
    if name not in NM_PER_UNIT:
        raise ValueError(f"{address}: the unit {unit!r} is unknown; correct it in attributes.json to nm.")
    return NM_PER_UNIT[name]


def _plus(one: Sequence[float], other: Sequence[float]) -> Float3:
    z, y, x = (a + b for a, b in zip(one, other, strict=True))
    return z, y, x
