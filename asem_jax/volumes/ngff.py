"""The JSON side of OME-Zarr: where an image's levels are and what place they have in nanometres.

An image is a zarr group whose attributes name its levels (arrays in the same folder) with a scale (voxel
size) and a translation (centre of voxel 0). NGFF 0.4 lives in zarr 2, NGFF 0.5 in zarr 3. Laws that hold
(and are tested):

* what `write_image` wrote, `read_image` returns, for both versions and for non-integer voxel sizes;
* a metadata file is replaced as a whole: a reader never sees half of one.

Source: https://ngff.openmicroscopy.org/0.4 and /0.5, sections "multiscales" and "coordinateTransformations".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Float3, float3
from asem_jax.volumes.remote import Folder

NGFF_OF_ZARR = {2: "0.4", 3: "0.5"}
"""The NGFF version that is written into each zarr format."""

LABELS_METHOD = "mode"
"""How coarse levels of labels are made: the most frequent value."""

ATTRIBUTES_KEY = "asem_jax"
"""Where our own provenance lies beside the NGFF metadata."""

ABSENT_IS_ZERO = "absent_is_zero"
"""Attribute, beside our own provenance, of a complete volume some of whose chunks were left out on purpose."""

NM_PER_UNIT = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
}


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Attributes:
      path: folder of the array inside the image's group.
      voxel_size_nm: z y x.
      offset_nm: centre of voxel 0, z y x.
    """

    path: str
    voxel_size_nm: Float3
    offset_nm: Float3


@dataclass(frozen=True)
class Image:
    """The NGFF metadata of one image.

    Attributes:
      zarr_format: 2 (NGFF 0.4) or 3 (NGFF 0.5).
      levels: finest first.
      method: how coarse levels were made, "mean" or "mode"; empty while there is one level.
      attributes: provenance, JSON values.
      axes: letters of the stored axes; what this library writes has z y x.
    """

    zarr_format: int
    levels: tuple[Level, ...]
    method: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    axes: str = "zyx"


def read_json(path: Folder) -> dict[str, Any]:
    """Returns the JSON object in `path`, or an empty one where there is no such file.

    Raises:
      ValueError: the file holds no JSON object.
    """
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore it from the volume's source.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}, not a JSON object; restore it.")
    return value


def node_type(folder: Folder) -> tuple[str, int]:
    """Returns ("group" | "array" | "", zarr format) of `folder`; ("", 0) if it is no zarr node."""
    if (folder / ".zarray").exists():
        return "array", 2
    if (folder / ".zgroup").exists():
        return "group", 2
    kind = read_json(folder / "zarr.json").get("node_type", "")
    return (kind, 3) if kind else ("", 0)


def read_attributes(folder: Folder) -> dict[str, Any]:
    """Returns the zarr attributes of the node in `folder` (zarr 2 or 3), empty where there are none."""
    if node_type(folder)[1] == 3:
        return dict(read_json(folder / "zarr.json").get("attributes", {}))
    return read_json(folder / ".zattrs")


def write_group(folder: Path, zarr_format: int, attributes: Mapping[str, Any] | None = None) -> None:
    """Makes `folder` a zarr group; with `attributes`, replaces those of an existing group.

    Raises:
      ValueError: `folder` already is a zarr node of another format or an array.
    """
    kind, existing = node_type(folder)
    if kind and (kind, existing) != ("group", zarr_format):
        raise ValueError(
            f"{folder} already is a zarr {existing} {kind}, a zarr {zarr_format} group is needed here; "
            f"give zarr_format={existing} or another address."
        )
    if kind and attributes is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if zarr_format == 3:
        node = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
        write_json(folder / "zarr.json", node)
        return
    if attributes is not None:
        write_json(folder / ".zattrs", attributes)
    if not kind:
        write_json(folder / ".zgroup", {"zarr_format": 2})


def write_image(folder: Path, image: Image) -> None:
    """Writes `image` as the metadata of the group `folder`, replacing what was there."""
    name = folder.name
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": [
            {
                "path": level.path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.voxel_size_nm)},
                    {"type": "translation", "translation": list(level.offset_nm)},
                ],
            }
            for level in image.levels
        ],
    }
    if image.method:
        multiscale["type"] = image.method
    attributes: dict[str, Any] = {}
    if image.zarr_format == 2:
        attributes["multiscales"] = [{"version": NGFF_OF_ZARR[2], **multiscale}]
    else:
        attributes["ome"] = {"version": NGFF_OF_ZARR[3], "multiscales": [multiscale]}
    if image.method == LABELS_METHOD:  # viewers give labels colours of their own
        place = attributes if image.zarr_format == 2 else attributes["ome"]
        place["image-label"] = {"version": NGFF_OF_ZARR[image.zarr_format]}
    if image.attributes:
        attributes[ATTRIBUTES_KEY] = dict(image.attributes)
    write_group(folder, image.zarr_format, attributes)


def multiscales(folder: Folder) -> list[dict[str, Any]]:
    """Returns the "multiscales" list of the group in `folder`, empty where it is no NGFF image."""
    attributes = read_attributes(folder)
    found = attributes.get("ome", attributes).get("multiscales", [])
    return list(found)


def read_image(folder: Folder, address: str) -> Image:
    """Returns the metadata of the NGFF image in `folder`.

    Args:
      folder: the group.
      address: how the user wrote it, for messages.

    Raises:
      ValueError: the image has not the axes z, y, x, no unit or scale that this library can use, or levels elsewhere.
    """
    attributes = read_attributes(folder)
    scales = multiscales(folder)
    multiscale = scales[0]
    axes, units = _axes(multiscale, address)
    shared = multiscale.get("coordinateTransformations", [])
    levels = []
    for dataset in multiscale["datasets"]:
        transforms = [*dataset.get("coordinateTransformations", []), *shared]
        size, offset = _compose(transforms, axes, f"{address} level {dataset['path']}")
        path = inner_path(dataset["path"], address)
        levels.append(Level(path, _times(size, units), _times(offset, units)))
    return Image(
        zarr_format=node_type(folder)[1],
        levels=tuple(levels),
        method=str(multiscale.get("type", "")),
        attributes=attributes.get(ATTRIBUTES_KEY, {}),
        axes=axes,
    )


def inner_path(path: str, address: str) -> str:
    """Returns the path of an array that metadata names, once it is sure that it leads into the image's own folder.

    Raises:
      ValueError: it is absolute, or goes up.

    Example:
      >>> inner_path("s0", "cell.zarr/raw")
      's0'
    """
    parts = str(path).replace("\\", "/").split("/")
    if not path or ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise ValueError(f"{address} names an array {path!r} outside its own folder; correct its metadata.")
    return str(path)


def find_images(folder: Path, max_depth: int = 6) -> Iterator[str]:
    """Yields the paths of the images inside `folder` (NGFF, or arrays with `resolution`), sorted."""
    if max_depth == 0 or not folder.is_dir():
        return
    for child in sorted(folder.iterdir()):
        kind, _ = node_type(child) if child.is_dir() else ("", 0)
        if kind == "array":
            if "resolution" in read_attributes(child):
                yield child.name
            continue
        if multiscales(child):
            yield child.name
        if kind == "group":
            yield from (f"{child.name}/{path}" for path in find_images(child, max_depth - 1))


def _axes(multiscale: Mapping[str, Any], address: str) -> tuple[str, Float3]:
    """Returns the letters of the axes, and the length of the units of z, y and x in nm."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", [])]
    names = [{"channel": "c", "time": "t"}.get(str(axis.get("type")), str(axis.get("name"))) for axis in axes]
    if not {"z", "y", "x"} <= set(names) or any(len(name) != 1 for name in names):
        raise ValueError(
            f"{address} has the axes {names}, a volume has z, y, x; save one channel and one time point as a 3D image."
        )
    units = [str(axes[names.index(name)].get("unit")) for name in "zyx"]
    unknown = [unit for unit in units if unit not in NM_PER_UNIT]
    if unknown:
        raise ValueError(
            f"{address} has the units {units} on z y x, one of {sorted(NM_PER_UNIT)} is needed on each; "
            "add the unit to the axes in its metadata."
        )
    return "".join(names), float3([NM_PER_UNIT[unit] for unit in units], "units")


def _compose(transforms: Sequence[Mapping[str, Any]], axes: str, what: str) -> tuple[Float3, Float3]:
    """Returns scale and translation of transformations applied one after the other, z y x."""
    size, offset = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    if not any(transform.get("type") == "scale" for transform in transforms):
        raise ValueError(
            f"{what} has no scale in its coordinateTransformations {list(transforms)}, so no voxel size; "
            "add the scale to its metadata."
        )
    for transform in transforms:
        kind = transform.get("type")
        if kind == "scale" and "scale" in transform:
            by = _of_zyx(transform["scale"], axes, f"{what} scale")
            size, offset = _times(size, by), _times(offset, by)
        elif kind == "translation" and "translation" in transform:
            by = _of_zyx(transform["translation"], axes, f"{what} translation")
            offset = float3([a + b for a, b in zip(offset, by, strict=True)], "offset")
        elif kind != "identity":
            raise ValueError(
                f"{what} has the transformation {dict(transform)}, only scale and translation with their "
                "numbers in place are understood; write the numbers into the metadata."
            )
    return size, offset


def _of_zyx(values: Sequence[float], axes: str, what: str) -> Float3:
    """Returns those of `values`, one per axis, that belong to z, y and x."""
    if len(values) != len(axes):
        raise ValueError(f"{what}={values} has not one number for each of the axes {axes}; correct the metadata.")
    return float3([values[axes.index(axis)] for axis in "zyx"], what)


def _times(a: Float3, b: Float3) -> Float3:
    """Returns the product per axis."""
    return float3([p * q for p, q in zip(a, b, strict=True)], "product")
