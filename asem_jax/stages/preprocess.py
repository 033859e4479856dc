"""Stage `preprocess`: volumes as a model needs them.

    python -m asem_jax.main --config configs/preprocess_clahe.py --workdir runs/equalised

Of what an entry asks for, this is the order: another voxel size (grey values by mean or linear interpolation, labels by
their most frequent or nearest value), grey values inverted, matched to those of a reference, equalised (CLAHE); then
the pyramid. All of it is done block by block in one sweep: nothing is written between the steps. Masks of cells come
first. Every entry is checked before the first is written, and a run that was killed continues with the missing blocks.
"""

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax.segmentation.cell_mask import CellRule, write_cell_mask
from asem_jax.volumes.block_job import BlockJob
from asem_jax.volumes.clahe import EQUALISATION, check_equalisation, equalised
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3
from asem_jax.volumes.grey_values import EQUALISED
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.matching import INVERTED, Table, grey_counts, matching_table
from asem_jax.volumes.pyramid import coarsened, write_pyramid
from asem_jax.volumes.resample import Reader, ratios, resample_volume
from asem_jax.volumes.volume import Volume, create_volume, open_volume

logger = logging.getLogger(__name__)

CHUNKS_PER_BLOCK = 4
"""Along each axis, where a mask is already made of large voxels."""


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the volumes that `config` (section "preprocess") names.

    Args:
      config: the section described in `settings.SETTINGS["preprocess"]`.
      workdir: gets the ledgers.

    Raises:
      FileNotFoundError: a source is not there.
      ValueError: a voxel size is no whole ratio of another, grey values cannot be changed as asked, or two entries
        write to one place.
    """
    entries = {f"masks.{name}": section for name, section in config.masks.items()}
    entries |= {f"volumes.{name}": section for name, section in config.volumes.items()}
    sources = {name: open_volume(section.source) for name, section in entries.items()}
    taken = {source.address: f"the source of {name}" for name, source in sources.items()}
    made: set[str] = set()
    for name, section in entries.items():
        check = _check_mask if name.startswith("masks.") else _check_steps
        check(sources[name], section, f"preprocess.{name}", made)
        target = section.target.rstrip("/")
        if target in taken:
            raise ValueError(f"preprocess.{name}.target={target!r} is {taken[target]} too; give another address.")
        taken[target] = f"the target of {name}"
        made.add(target)
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        speed = {"num_threads": config.num_threads, "retries": config.retries, "workers": workers}
        for name, section in config.masks.items():
            _write_mask(sources[f"masks.{name}"], name, section, workdir, speed)
        for name, section in config.volumes.items():
            _write(sources[f"volumes.{name}"], name, section, workdir, speed)


def _voxel_size(source: Volume, section: ConfigDict) -> Float3:
    return source.voxel_size_nm if section.voxel_size_nm is None else float3(section.voxel_size_nm, "voxel_size_nm")


def _check_steps(source: Volume, section: ConfigDict, label: str, made: Collection[str]) -> None:
    """Raises unless the grey values of `source` can be changed as its entry asks, once the volumes `made` are there."""
    ratios(source, _voxel_size(source, section))
    steps = [step for step in ("invert", "match", "equalise") if section[step]]
    if steps and (section.labels or source.dtype != "uint8"):
        what = "labels" if section.labels else f"of dtype {source.dtype}"
        raise ValueError(
            f"{label}: {source.address} is {what}, and {', '.join(steps)} would change grey values, which are uint8; "
            "give raw that stage convert wrote, or set these to False and None."
        )
    for address in [] if section.match is None else section.match.values():
        if address is not None and address.rstrip("/") not in made:
            open_volume(address)
    if section.equalise is None:
        return
    if source.attributes.get(EQUALISED):
        raise ValueError(
            f"{label}: {source.address} is equalised already, as its attributes say; set equalise to None, or give "
            f"what it was made from ({source.attributes.get('source', 'not known')})."
        )
    try:
        check_equalisation(**section.equalise)
    except ValueError as error:
        raise ValueError(f"{label}.equalise: {error}") from error


def _check_mask(source: Volume, section: ConfigDict, label: str, made: Collection[str]) -> None:
    """Raises unless a mask can be made of `source` as its entry asks."""
    if source.dtype != "uint8":
        raise ValueError(f"{label}: {source.address} is of dtype {source.dtype}, not uint8; give raw of stage convert.")
    _, finer = ratios(source, section.voxel_size_nm)
    if finer != (1, 1, 1):
        raise ValueError(
            f"{label}.voxel_size_nm={tuple(section.voxel_size_nm)} is smaller than the voxels of {source.address}, "
            f"{source.voxel_size_nm} nm; give whole multiples of them."
        )
    try:
        _rule(section)
    except ValueError as error:
        raise ValueError(f"{label}.{error}") from error


def _rule(section: ConfigDict) -> CellRule:
    return CellRule(**{field.name: section[field.name] for field in fields(CellRule)})


def _write_mask(source: Volume, name: str, section: ConfigDict, workdir: Path, speed: Mapping[str, Any]) -> None:
    """Writes the mask of a cell and its pyramid, or what is left of them to write."""
    folder, steps = workdir / "ledgers" / f"preprocess-mask-{name}", workdir / f"preprocess-mask-{name}.zarr"
    if not Path(section.target).exists():
        for left in (folder, steps):
            shutil.rmtree(left, ignore_errors=True)
    settings = json.loads(section.to_json()) | {"shape": source.shape}
    ledger = Ledger(folder / "mask.jsonl", settings)
    if ledger.is_complete:
        logger.info("%s is made already; nothing to do", section.target)
        return
    grid = coarsened(source, ratios(source, section.voxel_size_nm)[0], labels=False)

    def make(address: str, dtype: npt.DTypeLike, **attributes: str) -> Volume:
        return create_volume(
            address,
            shape=grid.shape,
            dtype=dtype,
            voxel_size_nm=grid.voxel_size_nm,
            offset_nm=grid.offset_nm,
            chunk_shape=section.chunk_shape,
            zarr_format=section.zarr_format,
            attributes=attributes,
        )

    target = make(section.target, np.bool_, made_by="asem_jax preprocess", source=source.address)
    block_shape = int3([CHUNKS_PER_BLOCK * n for n in section.chunk_shape], "block_shape")
    threshold = write_cell_mask(
        source,
        target,
        lambda step, dtype: make(f"{steps}/{step}", dtype),
        rule=_rule(section),
        job=BlockJob(folder, block_shape, speed["num_threads"], settings, speed["workers"]),
    )
    write_pyramid(target, labels=True, num_threads=speed["num_threads"])
    ledger.mark_complete()
    shutil.rmtree(steps)
    logger.info("%s: cell is what varies by %.1f grey values or more", target.address, threshold)


def _write(source: Volume, name: str, section: ConfigDict, workdir: Path, speed: Mapping[str, Any]) -> None:
    """Writes one volume and its pyramid, or what is left of them to write."""
    path = workdir / "ledgers" / f"preprocess-{name}.jsonl"
    if not Path(section.target).exists():
        path.unlink(missing_ok=True)
    ledger = Ledger(path, json.loads(section.to_json()) | {"shape": source.shape})
    if ledger.is_complete:
        logger.info("%s is made already; nothing to do", section.target)
        return
    table, provenance = _grey_table(source, section)

    def finish(read: Reader, shape: Int3) -> Reader:
        def changed(box: Box) -> Any:
            return read(box) if table is None else table.take(read(box))

        return changed if section.equalise is None else equalised(changed, shape, **section.equalise)

    target = resample_volume(
        source,
        section.target,
        voxel_size_nm=_voxel_size(source, section),
        labels=section.labels,
        chunk_shape=section.chunk_shape,
        shard_shape=section.shard_shape,
        zarr_format=section.zarr_format,
        attributes={"made_by": "asem_jax preprocess", "source": source.address, **provenance},
        ledger=ledger,
        finish=finish,
        **speed,
    )
    write_pyramid(target, labels=section.labels, num_threads=speed["num_threads"])
    ledger.mark_complete()
    logger.info("%s: %s voxels of %s nm", target.address, target.shape, target.voxel_size_nm)


def _grey_table(source: Volume, section: ConfigDict) -> tuple[Table | None, Mapping[str, Any]]:
    """Returns what each grey value becomes before equalisation, and what to note of all steps in the attributes."""
    table: Table | None = INVERTED if section.invert else None
    provenance: dict[str, Any] = {"inverted": True} if section.invert else {}
    if section.match is not None:
        addresses = [section.match[key] for key in ("mask", "reference_mask")]
        mask, reference_mask = (None if address is None else open_volume(address) for address in addresses)
        # At the voxel size of the result: the mean of a cell has less noise than its voxels, so another distribution.
        larger, _ = ratios(source, _voxel_size(source, section))
        counts = grey_counts(coarsened(source, larger, labels=False), mask)
        reference = grey_counts(open_volume(section.match.reference), reference_mask)
        matched = matching_table(counts[::-1] if section.invert else counts, reference)
        table = matched if table is None else matched[table]
        provenance["matched"] = {**section.match, "grey_values": table.tolist()}
    if section.equalise is not None:
        provenance |= {EQUALISED: True, EQUALISATION: dict(section.equalise)}
    elif EQUALISED in source.attributes and not section.labels:
        provenance[EQUALISED] = source.attributes[EQUALISED]
    return table, provenance
