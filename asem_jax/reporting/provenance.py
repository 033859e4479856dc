"""Which data a page is about, how they were made, and with what settings."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.reporting import page
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume, open_volume

_LONGEST = 8  # volumes from one to what it was made from, and so on


def data_section(volumes: Mapping[str, Volume]) -> list[str]:
    """Returns where the volumes lie, their sizes and fingerprints, and how each was made; nothing without volumes.

    Args:
      volumes: by the name under which the page speaks of them.
    """
    if not volumes:
        return []
    head = ["volume", "address", "voxels (z, y, x)", "voxel size (nm)", "first voxel (nm)", "fingerprint"]
    rows = [
        [name, v.address, f"{_listed(v.shape)}\n{v.dtype}", _listed(v.voxel_size_nm), _listed(v.offset_nm)]
        for name, v in volumes.items()
    ]
    marks = [fingerprint(volume) for volume in volumes.values()]
    table = page.table(head, [[*row, mark] for row, mark in zip(rows, marks, strict=True)], numbers_from=6)
    text = "A fingerprint changes with size, place, first and middle chunk of a volume; equal ones mean the same data."
    return [page.heading("Data"), table, page.paragraph(text), *_origins(volumes)]


def _origins(volumes: Mapping[str, Volume]) -> list[str]:
    """Returns how the volumes say that they were made, those that they were made from too, with all they note."""
    found: dict[str, Volume] = {}
    for volume in volumes.values():
        for origin in _chain(volume):
            found.setdefault(origin.address, origin)
    rows, notes = [], []
    for address, volume in found.items():
        if said := _said(volume.attributes):
            rows.append([address, said])
            notes.append(page.folded(f"All notes of {address}", json.dumps(volume.attributes, indent=2)))
    if not rows:
        return []
    return [page.heading("How they were made", 3), page.table(["volume", "notes"], rows, numbers_from=2), *notes]


def _chain(volume: Volume) -> list[Volume]:
    """Returns a volume, what it was made from, what that was made from, as far as it lies on this disk."""
    found = [volume]
    while len(found) < _LONGEST:
        source = found[-1].attributes.get("made_from")
        if not isinstance(source, str) or not Path(source).is_dir():
            break
        found.append(open_volume(source))
    return found


def _said(notes: Mapping[str, Any]) -> str:
    """Returns what matters of a volume's notes, in words; empty where it has none."""
    said = [f"made by {notes['made_by']}"] if isinstance(notes.get("made_by"), str) else []
    said += [f"from {notes['made_from']}"] if isinstance(notes.get("made_from"), str) else []
    if isinstance(notes.get("threshold"), float):
        said.append(f"threshold {notes['threshold']:.3f}")
    sweep, model = notes.get("fingerprint"), notes.get("model")
    if isinstance(sweep, Mapping) and "model" in sweep:
        said.append(f"predicted from {sweep['raw']} by the model with the digest {sweep['model']}")
    if isinstance(model, Mapping) and model.get("training_regions"):
        said.append(f"a model trained on {', '.join(model['training_regions'])}")
    said += [f"asem_jax {notes['version']}"] if isinstance(notes.get("version"), str) else []
    return "; ".join(said)


def run_section(content: Mapping[str, Any] | None) -> list[str]:
    """Returns which stages were run, and the whole config; nothing without one.

    Args:
      content: of config.json; None if there is none.
    """
    if content is None:
        return []
    parts = [page.heading("What was run")]
    stages = content.get("stages") or content.get("stage")
    if stages:
        parts.append(page.facts([("stages", stages if isinstance(stages, str) else ", ".join(stages))]))
    return [*parts, page.folded("The whole configuration", json.dumps(content, indent=2))]


def fingerprint(volume: Volume) -> str:
    """Returns 16 hexadecimal digits that change with metadata, first and middle chunk of a volume."""
    place = (volume.shape, volume.dtype.name, volume.voxel_size_nm, volume.offset_nm)
    digest = hashlib.sha256(repr(place).encode())
    middle = [n // 2 // c * c for n, c in zip(volume.shape, volume.chunk_shape, strict=True)]
    for start in ((0, 0, 0), middle):
        chunk = Box.of_shape(volume.chunk_shape, start).intersect(volume.box)
        digest.update(np.ascontiguousarray(volume.read(chunk)).tobytes())
    return digest.hexdigest()[:16]


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)
