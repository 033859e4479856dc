"""The data configs of the original (incasem): JSON files that name regions of zarr volumes and their labels.

A file is `{"<name>": {"file", "offset", "shape", "voxel_size", "raw", "labels", "mask", "metric_masks"}, ...}`, all
z y x. `offset` and `shape` are voxels counted from the origin of the world, not from the first voxel of the array.

Source: the data configs and their reader in the original's repository (kirchhausenlab/incasem).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from asem_jax.volumes.geometry import Box, Float3, float3
from asem_jax.volumes.volume import Volume

NEEDED = ("file", "offset", "shape", "voxel_size", "raw")
OPTIONAL = ("labels", "mask", "metric_masks")


@dataclass(frozen=True)
class IncasemRegion:
    """One entry of a data config.

    Attributes:
      raw: address of the grey values.
      labels: addresses of label volumes, one per organelle, in the order of their class ids 1, 2, ...
      mask: address of what is annotated; None = all of the box is.
      metric_masks: addresses of what is scored; all of them have to say so.
      voxel_size_nm: z y x.
      box: voxels from the origin of the world.
    """

    raw: str
    labels: tuple[str, ...]
    mask: str | None
    metric_masks: tuple[str, ...]
    voxel_size_nm: Float3
    box: Box

    def box_in(self, volume: Volume) -> Box:
        """Returns the box in voxels of a volume of its voxel size."""
        origin = [offset / size for offset, size in zip(volume.offset_nm, volume.voxel_size_nm, strict=True)]
        return self.box.shift([-round(first) for first in origin])


def read_data_config(path: Path | str, data_dir: Path | str) -> dict[str, IncasemRegion]:
    """Returns the regions of a data config by name.

    Args:
      path: the JSON file.
      data_dir: folder or address that its files are in, the original's `directories.data`.

    Raises:
      ValueError: the file is no data config; the message names the entry and what is wrong with it.
    """
    try:
        entries = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); give a data config of incasem.") from error
    if not isinstance(entries, dict) or not entries or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f'{path} names no regions; a data config of incasem is {{"name": {{"file": ...}}, ...}}.')
    return {name: _read_entry(f"{path}: {name}", entry, str(data_dir)) for name, entry in entries.items()}


def _read_entry(label: str, entry: Mapping[str, Any], data_dir: str) -> IncasemRegion:
    if missing := [key for key in NEEDED if key not in entry]:
        raise ValueError(f"{label} lacks {', '.join(missing)}; an entry has {', '.join(NEEDED)}.")
    for key in entry:
        if key not in NEEDED + OPTIONAL:
            near = get_close_matches(key, NEEDED + OPTIONAL, n=1) or [", ".join(NEEDED + OPTIONAL)]
            raise ValueError(f"{label} has an entry {key!r} that is not known; nearest: {near[0]}.")
    folder = f"{data_dir.rstrip('/')}/{entry['file']}"
    classes = entry.get("labels") or {}
    labels = {number: dataset for dataset, number in classes.items()}
    if sorted(labels) != list(range(1, len(classes) + 1)):
        raise ValueError(f"{label} gives its labels the class ids {list(classes.values())}; give 1, 2, ..., one each.")
    mask = entry.get("mask")
    return IncasemRegion(
        raw=f"{folder}/{entry['raw']}",
        labels=tuple(f"{folder}/{labels[number]}" for number in sorted(labels)),
        mask=f"{folder}/{mask}" if mask else None,
        metric_masks=tuple(f"{folder}/{dataset}" for dataset in entry.get("metric_masks") or ()),
        voxel_size_nm=float3(entry["voxel_size"], f"{label}: voxel_size"),
        box=Box.of_shape(entry["shape"], entry["offset"]),
    )
