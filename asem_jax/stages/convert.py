"""Stage `convert`: what a microscope or another program wrote becomes OME-Zarr with sizes in nm, and volumes go back.

    python -m asem_jax.main --config configs/train_lucchi_mito.py --workdir runs/lucchi

Everything is checked before anything is written. Volumes are written in blocks of whole chunks, and a run that was
killed continues with the blocks that are missing. Memory: `num_threads` blocks of `BLOCK_BYTES` as stored and as
written, or of one chunk or shard where that is larger. docs/formats.md has a line for each format.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax.progress import progress
from asem_jax.volumes import ngff
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.contrast import grey_range, to_uint8
from asem_jax.volumes.exports import check_target, is_begun, write_export
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, tiles
from asem_jax.volumes.label_names import Renumbering, read_vast, renumbering
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.polarity import membranes
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.source import Source, shifted_nm, take_part
from asem_jax.volumes.volume import Volume, create_volume, open_volume

logger = logging.getLogger(__name__)

BLOCK_BYTES = 2**25
"""Of a block as the source stores it, unless one chunk or shard of the target is larger."""

WHOLE: dict[str, Any] = {"level": 0, "channel": None, "axes": None, "start": None, "stop": None}
"""What `part=None` means."""


@dataclass(frozen=True)
class Import:
    """An entry of `volumes` after all checks.

    Attributes:
      name: of the entry.
      section: the entry.
      source: what is read.
      dtype: of the voxels that are written.
      voxel_size_nm: z y x.
      offset_nm: z y x.
      numbers: which labels become which; None = as they are.
    """

    name: str
    section: ConfigDict
    source: Source
    dtype: np.dtype[Any]
    voxel_size_nm: Float3
    offset_nm: Float3
    numbers: Renumbering | None

    def changed(self, array: npt.NDArray[Any], low_high: Sequence[float] | None) -> npt.NDArray[Any]:
        """Returns what is written for what was read, [z, y, x]."""
        if self.numbers is not None:
            return self.numbers.apply(array)
        if low_high is None:
            return array.astype(self.dtype, copy=False)
        written = np.empty(array.shape, np.uint8)
        for z, section in enumerate(array):  # a section at a time: scaling needs four bytes per voxel
            written[z] = to_uint8(section, *low_high)
        return np.subtract(255, written, out=written) if self.section.invert else written


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the volumes and files that `config` (section "convert") names.

    Args:
      config: the section described in `settings.SETTINGS["convert"]`.
      workdir: gets the ledgers.

    Raises:
      FileNotFoundError: a source is not there.
      ValueError: a source cannot become what is asked for.
    """
    _check_targets([*config.volumes.items(), *config.exports.items()])
    imports = [_check_import(name, section) for name, section in config.volumes.items()]
    made_here = {entry.section.target: entry for entry in imports}
    for entry in imports:
        _check_overlap(entry, made_here)
    for name, section in config.exports.items():
        _check_export(name, section, workdir, made_here)
    for entry in imports:
        import_source(entry, workdir, config.num_threads)
    for name, section in config.exports.items():
        export_volume(open_volume(section.source), name, section, workdir, config.num_threads)


def import_source(entry: Import, workdir: Path, num_threads: int) -> None:
    """Writes one source as a volume with its pyramid.

    Args:
      entry: checked, see `_check_import`.
      workdir: gets the ledger.
      num_threads: blocks at a time.
    """
    name, section, source = entry.name, entry.section, entry.source
    block_shape = _block_shape(source, section.shard_shape or section.chunk_shape)
    settings = json.loads(section.to_json()) | {"shape": source.shape, "block_shape": block_shape}
    ledger = _ledger(workdir, name, section.target, settings)
    if ledger.is_complete:
        logger.info("%s is converted already; nothing to do", section.target)
        return
    _look_at_polarity(entry)
    provenance = {"made_by": "asem_jax convert", "source": source.address, "percentiles": section.percentiles}
    low_high = _grey_range(entry, block_shape, provenance)
    volume = create_volume(
        section.target,
        shape=source.shape,
        dtype=entry.dtype,
        voxel_size_nm=entry.voxel_size_nm,
        offset_nm=entry.offset_nm,
        chunk_shape=section.chunk_shape,
        shard_shape=section.shard_shape,
        zarr_format=section.zarr_format,
        attributes=provenance | {"grey_range": low_high, "inverted": section.invert},
    )
    write = partial(_write_block, entry, volume, low_high)
    blocks = tiles(volume.box, block_shape)
    run_blocks(write, blocks, label=f"convert {name}", ledger=ledger, num_threads=num_threads)
    write_pyramid(volume, labels=section.labels, num_threads=num_threads)
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", volume.address, volume.shape, volume.voxel_size_nm)


def export_volume(volume: Volume, name: str, section: ConfigDict, workdir: Path, num_threads: int) -> None:
    """Writes one volume in the format that its target tells.

    Args:
      volume: written unchanged.
      name: of the entry, for its ledger.
      section: the entry.
      workdir: gets the ledger.
      num_threads: chunks or slabs at a time.
    """
    target = section.target
    settings = {"source": volume.address, "target": target, "labels": section.labels, "shape": volume.shape}
    ledger = _ledger(workdir, name, target, settings)
    if ledger.is_complete:
        # The volume may have been written anew since, and an export is quick: it is made again.
        _ledger_path(workdir, name).unlink()
        ledger = _ledger(workdir, name, target, settings)
    write_export(volume, target, labels=section.labels, ledger=ledger, num_threads=num_threads)
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", target, volume.shape, volume.voxel_size_nm)


def _write_block(entry: Import, volume: Volume, low_high: Sequence[float] | None, block: Box) -> None:
    volume.write(block, entry.changed(entry.source.read(block), low_high))


def _block_shape(source: Source, unit: Sequence[int]) -> Int3:
    """Returns how many voxels are written at a time: whole units, as many as the source decodes at once if they fit."""
    sides = list(unit)
    for axis in (2, 1, 0):
        wanted = -(-min(source.chunk_shape[axis], source.shape[axis]) // sides[axis])
        fits = BLOCK_BYTES // (source.dtype.itemsize * math.prod(sides))
        sides[axis] *= max(1, min(wanted, fits))
    return int3(sides, "block_shape")


def _look_at_polarity(entry: Import) -> None:
    """Warns if the membranes of the target will not be as the config wants them."""
    wanted = entry.section.polarity
    found = membranes(entry.source) if wanted else ""
    if found and (found != wanted) != entry.section.invert:
        logger.warning(
            "convert.volumes.%s: the membranes of %s look %s, so with invert=%s they will not be %s as polarity wants "
            "them; look at a section, and set invert=%s.",
            *(entry.name, entry.source.address, found, entry.section.invert, wanted, not entry.section.invert),
        )


def _grey_range(entry: Import, block_shape: Int3, provenance: Mapping[str, Any]) -> list[float] | None:
    """Returns the grey values that become 0 and 255, None = none; those of an interrupted run are kept."""
    section = entry.section
    if section.window is not None:
        return [float(value) for value in section.window]
    if section.percentiles is None:
        return [0.0, 255.0] if section.invert else None
    there = ngff.read_attributes(Path(section.target)).get(ngff.ATTRIBUTES_KEY, {})
    if there.get("grey_range") and all(there.get(k) == _plain(v) for k, v in provenance.items()):
        return list(there["grey_range"])
    found = grey_range(partial(_blocks, entry, block_shape), section.percentiles)
    logger.info("%s: grey values %g to %g become 0 to 255", entry.name, *found)
    return list(found)


def _blocks(entry: Import, block_shape: Int3) -> Iterator[npt.NDArray[Any]]:
    boxes = list(tiles(Box.of_shape(entry.source.shape), block_shape))
    for box in progress(boxes, label=f"grey values of {entry.name}", unit="blocks"):
        yield entry.source.read(box)


def _check_targets(entries: Sequence[tuple[str, ConfigDict]]) -> None:
    """Raises if two entries write to one place, or share a name and so a ledger."""
    for what in ("name", "target"):
        values = [name if what == "name" else section.target.rstrip("/") for name, section in entries]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"convert: two entries have the {what} {twice[0]!r}; give each its own.")


def _check_import(name: str, section: ConfigDict) -> Import:
    """Returns an entry with its source open, after checking that it can become a volume."""
    label = f"convert.volumes.{name}"
    if not any(part.endswith(".zarr") for part in Path(section.target).parts):
        raise ValueError(
            f"{label}.target={section.target!r}: an entry of volumes writes an address such as cell.zarr/raw; "
            "for other formats use convert.exports."
        )
    if section.source.rstrip("/") == section.target.rstrip("/"):
        raise ValueError(f"{label}: source and target are both {section.target!r}; give another target.")
    part: Mapping[str, Any] = section.part or WHOLE
    whole = open_source(
        section.source,
        allow_gaps=section.allow_gaps,
        level=part["level"],
        channel=part["channel"],
        axes=part["axes"] or "",
        voxel_size_nm=section.voxel_size_nm,
    )
    source = take_part(whole, part["start"], part["stop"])
    _check_values(source, label, section)
    numbers = _numbers(label, section)
    dtype = np.dtype(np.uint8) if not section.labels or source.dtype == np.bool_ else source.dtype
    size, offset = _place(whole, part["start"] or (0, 0, 0), label, section)
    return Import(name, section, source, dtype if numbers is None else numbers.dtype, size, offset, numbers)


def _check_values(source: Source, label: str, section: ConfigDict) -> None:
    """Raises unless the entry says how grey values become uint8, and of labels nothing of the kind."""
    scaling = {key: section[key] for key in ("percentiles", "window", "invert", "polarity") if section[key]}
    if section.labels and (source.dtype.kind not in "iub" or scaling):
        given = ", ".join(f"{key}={value}" for key, value in scaling.items()) or "no scaling"
        raise ValueError(
            f"{label}: labels of type {source.dtype} with {given}; labels are whole numbers and never scaled or "
            "inverted: save them as integers and give percentiles=None, window=None, invert=False, polarity=None, or "
            "labels=False."
        )
    if not section.labels and section.annotation is not None:
        raise ValueError(f"{label}.annotation={dict(section.annotation)} is for labels; give None, or labels=True.")
    if {"percentiles", "window"} <= scaling.keys():
        raise ValueError(f"{label}: percentiles={section.percentiles} and window={section.window}; give one of them.")
    if section.window is not None and not section.window[0] < section.window[1]:
        raise ValueError(f"{label}.window={section.window} is empty; give (lower, upper), and invert=True to invert.")
    if section.polarity not in (None, "dark", "bright"):
        raise ValueError(f'{label}.polarity={section.polarity!r} is unknown; give "dark", "bright" or None.')
    if not section.labels and not {"percentiles", "window"} & scaling.keys() and source.dtype != np.uint8:
        raise ValueError(
            f"{label}: {section.source} has grey values of type {source.dtype}, written as uint8; give the "
            "percentiles that become 0 and 255, e.g. (0.5, 99.5), or the window of grey values itself."
        )


def _numbers(label: str, section: ConfigDict) -> Renumbering | None:
    """Returns which labels become which; None where they stay."""
    if section.annotation is None or section.annotation["names"] is None:
        return None
    file = section.annotation["names_file"]
    segments = {} if file is None else read_vast(file)
    return renumbering(dict(section.annotation["names"]), segments, f"{label}.annotation.names")


def _place(source: Source, start: Sequence[int], label: str, section: ConfigDict) -> tuple[Float3, Float3]:
    """Returns voxel size and offset of an entry, else those that the source states for its voxel `start`."""
    given = section.voxel_size_nm or source.voxel_size_nm
    if given is None:
        raise ValueError(
            f"{label}.voxel_size_nm=None, but {source.address} states no whole size (ImageJ needs unit, spacing and "
            "resolution; OME PhysicalSizeX, Y, Z; HDF5 resolution or element_size_um); give it in nm, z y x."
        )
    size = float3(given, f"{label}.voxel_size_nm")
    if section.offset_nm is not None:
        return size, float3(section.offset_nm, f"{label}.offset_nm")
    return size, shifted_nm(source.offset_nm or (0.0, 0.0, 0.0), start, size)


def _check_overlap(entry: Import, made_here: Mapping[str, Import]) -> None:
    """Raises if labels share no place with the raw that they are said to annotate."""
    raw = entry.section.annotation and entry.section.annotation["raw"]
    if not raw:
        return
    if raw in made_here:
        other = made_here[raw]
        ends = _extent(other.source.shape, other.voxel_size_nm, other.offset_nm)
    else:
        volume = open_volume(raw)
        ends = _extent(volume.shape, volume.voxel_size_nm, volume.offset_nm)
    own = _extent(entry.source.shape, entry.voxel_size_nm, entry.offset_nm)
    if any(a[1] <= b[0] or b[1] <= a[0] for a, b in zip(own, ends, strict=True)):
        raise ValueError(
            f"convert.volumes.{entry.name}: the labels reach from {[a for a, _ in own]} to {[b for _, b in own]} "
            f"nm, {raw} from {[a for a, _ in ends]} to {[b for _, b in ends]} nm (z y x), so they share nothing; "
            "correct offset_nm."
        )


def _extent(shape: Int3, voxel_size_nm: Float3, offset_nm: Float3) -> list[tuple[float, float]]:
    """Returns where a volume begins and ends in nm, per axis."""
    axes = zip(shape, voxel_size_nm, offset_nm, strict=True)
    return [(offset - size / 2, offset + (n - 0.5) * size) for n, size, offset in axes]


def _check_export(name: str, section: ConfigDict, workdir: Path, made_here: Mapping[str, Import]) -> None:
    """Raises unless the source is there, or made by this run, and the target is a free place for it."""
    label = f"convert.exports.{name}"
    source = made_here.get(section.source) or open_volume(section.source)
    try:
        check_target(section.target, source.dtype, source.voxel_size_nm, source.offset_nm)
    except ValueError as error:
        raise ValueError(f"{label}.target: {error}") from error
    if is_begun(section.target) and not _ledger_path(workdir, name).exists():
        raise ValueError(f"{label}.target={section.target!r} exists already; remove it or rename one.")


def _ledger(workdir: Path, name: str, target: str, settings: Mapping[str, Any]) -> Ledger:
    """Opens the ledger of an entry; that of a target which is gone is started anew."""
    path = _ledger_path(workdir, name)
    if not is_begun(target):
        path.unlink(missing_ok=True)
    return Ledger(path, settings)


def _ledger_path(workdir: Path, name: str) -> Path:
    return workdir / "ledgers" / f"convert-{name}.jsonl"


def _plain(value: Any) -> Any:
    """Returns `value` as JSON gives it back."""
    return json.loads(json.dumps(value))
