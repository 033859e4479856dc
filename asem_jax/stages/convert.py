"""Stage `convert`: TIFF stacks become OME-Zarr volumes with sizes in nm, and volumes become TIFF for Fiji.

    python -m asem_jax.main --config configs/train_lucchi_mito.py --workdir runs/lucchi

Everything is checked before anything is written. Volumes are written slab by slab, each as thick as a chunk,
and a run that was killed continues with the slabs that are missing. Memory: `num_threads` slabs, as stored in
the TIFF and as written.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax.progress import progress
from asem_jax.volumes import ngff
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.contrast import grey_range, to_uint8
from asem_jax.volumes.formats import Stack, is_tiff, open_stack, slabs, write_sections, write_stack
from asem_jax.volumes.geometry import Box, Float3, float3
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, create_volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the volumes and TIFF files that `config` (section "convert") names.

    Args:
      config: the section described in `settings.SETTINGS["convert"]`.
      workdir: gets the ledgers.

    Raises:
      FileNotFoundError: a source is not there.
      ValueError: a source cannot become what is asked for.
    """
    _check_targets([*config.volumes.items(), *config.exports.items()])
    stacks = {name: _check_import(name, section) for name, section in config.volumes.items()}
    made_here = {section.target for section in config.volumes.values()}
    for name, section in config.exports.items():
        _check_export(name, section, workdir, made_here)
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        speed = {"num_threads": config.num_threads, "retries": config.retries, "workers": workers}
        for name, section in config.volumes.items():
            import_stack(stacks[name], name, section, workdir, speed)
    for name, section in config.exports.items():
        export_volume(open_volume(section.source), name, section.target, workdir, config.num_threads)


def import_stack(stack: Stack, name: str, section: ConfigDict, workdir: Path, speed: Mapping[str, Any]) -> None:
    """Writes one stack as a volume with its pyramid.

    Args:
      stack: checked, see `_check_import`.
      name: of the entry, for its ledger and messages.
      section: the entry.
      workdir: gets the ledger.
      speed: num_threads (slabs at a time), retries and workers, as for `run_blocks`.
    """
    ledger = _ledger(workdir, name, section.target, json.loads(section.to_json()) | {"shape": stack.shape})
    if ledger.is_complete:
        logger.info("%s is converted already; nothing to do", section.target)
        return
    provenance = {"made_by": "asem_jax convert", "source": stack.source, "percentiles": section.percentiles}
    low_high = None if section.percentiles is None else _grey_range(stack, name, section, provenance)
    volume = create_volume(
        section.target,
        shape=stack.shape,
        dtype=stack.dtype if section.labels else np.uint8,
        voxel_size_nm=_voxel_size_nm(stack, name, section),
        offset_nm=section.offset_nm,
        chunk_shape=section.chunk_shape,
        shard_shape=section.shard_shape,
        zarr_format=section.zarr_format,
        attributes=provenance | {"grey_range": low_high},
    )
    write = partial(_write_slab, stack, volume, low_high)
    run_blocks(write, slabs(volume), label=f"convert {name}", ledger=ledger, **speed)
    write_pyramid(volume, labels=section.labels, num_threads=speed["num_threads"])
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", volume.address, volume.shape, volume.voxel_size_nm)


def export_volume(volume: Volume, name: str, target: str, workdir: Path, num_threads: int) -> None:
    """Writes one volume as TIFF.

    Args:
      volume: written unchanged.
      name: of the entry, for its ledger.
      target: a .tif file, or a folder ending in "/".
      workdir: gets the ledger.
      num_threads: slabs at a time, for a folder.
    """
    settings = {"source": volume.address, "target": target, "shape": volume.shape}
    ledger = _ledger(workdir, name, target, settings)
    if ledger.is_complete:
        # The volume may have been written anew since, and an export is quick: it is made again.
        _ledger_path(workdir, name).unlink()
        ledger = _ledger(workdir, name, target, settings)
    if target.endswith("/"):
        write_sections(volume, target, ledger=ledger, num_threads=num_threads)
    else:
        write_stack(volume, target)
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", target, volume.shape, volume.voxel_size_nm)


def _write_slab(stack: Stack, volume: Volume, low_high: Sequence[float] | None, slab: Box) -> None:
    array = stack.read(slab.start[0], slab.stop[0])
    volume.write(slab, array if low_high is None else to_uint8(array, *low_high))


def _grey_range(stack: Stack, name: str, section: ConfigDict, provenance: Mapping[str, Any]) -> list[float]:
    """Returns the grey values that become 0 and 255; those of an interrupted run are kept."""
    there = ngff.read_attributes(Path(section.target)).get(ngff.ATTRIBUTES_KEY, {})
    if there.get("grey_range") and all(there.get(k) == _plain(v) for k, v in provenance.items()):
        return list(there["grey_range"])
    found = grey_range(partial(_sections, stack, name), section.percentiles)
    logger.info("%s: grey values %g to %g become 0 to 255", name, *found)
    return list(found)


def _sections(stack: Stack, name: str) -> Iterator[npt.NDArray[Any]]:
    for z in progress(range(stack.shape[0]), label=f"grey values of {name}", unit="sections"):
        yield stack.read(z, z + 1)


def _check_targets(entries: Sequence[tuple[str, ConfigDict]]) -> None:
    """Raises if two entries write to one place, or share a name and so a ledger."""
    for what in ("name", "target"):
        values = [name if what == "name" else section.target.rstrip("/") for name, section in entries]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"convert: two entries have the {what} {twice[0]!r}; give each its own.")


def _check_import(name: str, section: ConfigDict) -> Stack:
    """Returns the stack of an entry, after checking that it can become a volume."""
    label = f"convert.volumes.{name}"
    for key, value, in_container in (("source", section.source, False), ("target", section.target, True)):
        if any(part.endswith(".zarr") for part in Path(value).parts) != in_container:
            raise ValueError(
                f"{label}.{key}={value!r}: an entry of volumes reads TIFF and writes an address such as "
                "cell.zarr/raw; for the way back use convert.exports, between volumes stage preprocess."
            )
    stack = open_stack(section.source, allow_gaps=section.allow_gaps)
    _voxel_size_nm(stack, name, section)
    if section.labels and (stack.dtype.kind not in "iu" or section.percentiles is not None):
        raise ValueError(
            f"{label}: labels of type {stack.dtype} with percentiles={section.percentiles}; labels are whole "
            "numbers and never scaled: save them as integers and give percentiles=None, or labels=False."
        )
    if not section.labels and section.percentiles is None and stack.dtype != np.uint8:
        raise ValueError(
            f"{label}: {section.source} has grey values of type {stack.dtype}, written as uint8; give the "
            "percentiles that become 0 and 255, e.g. (0.5, 99.5)."
        )
    return stack


def _voxel_size_nm(stack: Stack, name: str, section: ConfigDict) -> Float3:
    """Returns the voxel size of the entry, else that of the tags."""
    if section.voxel_size_nm is not None:
        return float3(section.voxel_size_nm, f"convert.volumes.{name}.voxel_size_nm")
    if stack.voxel_size_nm is None:
        raise ValueError(
            f"convert.volumes.{name}.voxel_size_nm=None, but the tags of {stack.source} state no whole "
            "size (ImageJ needs unit, spacing and resolution; OME PhysicalSizeX, Y, Z); give it in nm, z y x."
        )
    return stack.voxel_size_nm


def _check_export(name: str, section: ConfigDict, workdir: Path, made_here: set[str]) -> None:
    """Raises unless the source is there, or made by this run, and the target is a free place for TIFF."""
    label = f"convert.exports.{name}"
    if not is_tiff(section.target):
        raise ValueError(
            f"{label}.target={section.target!r} is no place for TIFF; give a name ending in .tif, or a "
            "folder ending in / for one file per section."
        )
    if section.source not in made_here:
        open_volume(section.source)
    if Path(section.target).exists() and not _ledger_path(workdir, name).exists():
        raise ValueError(f"{label}.target={section.target!r} exists already; remove it or rename one.")


def _ledger(workdir: Path, name: str, target: str, settings: Mapping[str, Any]) -> Ledger:
    """Opens the ledger of an entry; that of a target which is gone is started anew."""
    path = _ledger_path(workdir, name)
    if not Path(target).exists():
        path.unlink(missing_ok=True)
    return Ledger(path, settings)


def _ledger_path(workdir: Path, name: str) -> Path:
    return workdir / "ledgers" / f"convert-{name}.jsonl"


def _plain(value: Any) -> Any:
    """Returns `value` as JSON gives it back."""
    return json.loads(json.dumps(value))
