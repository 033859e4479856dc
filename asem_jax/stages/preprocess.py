"""Stage `preprocess`: volumes as a model needs them.

    python -m asem_jax.main --config configs/preprocess_clahe.py --workdir runs/equalised

Of what an entry asks for, this is the order: another voxel size (grey values by mean or linear interpolation, labels by
their most frequent or nearest value), grey values inverted, matched to those of a reference, equalised (CLAHE); then
the pyramid. All of it is done block by block in one sweep: nothing is written between the steps. Every entry is
checked before the first is written, and a run that was killed continues with the missing blocks.
"""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.volumes.clahe import check_equalisation, equalised
from asem_jax.volumes.geometry import Box, Float3, Int3, float3
from asem_jax.volumes.grey_values import EQUALISED
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.matching import INVERTED, Table, grey_counts, matching_table
from asem_jax.volumes.pyramid import coarsened, write_pyramid
from asem_jax.volumes.resample import Reader, ratios, resample_volume
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)


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
    sources = {name: open_volume(section.source) for name, section in config.volumes.items()}
    taken = {source.address: f"the source of {name}" for name, source in sources.items()}
    made: set[str] = set()
    for name, section in config.volumes.items():
        ratios(sources[name], _voxel_size(sources[name], section))
        _check_steps(sources[name], section, f"preprocess.volumes.{name}", made)
        target = section.target.rstrip("/")
        if target in taken:
            raise ValueError(
                f"preprocess.volumes.{name}.target={target!r} is {taken[target]} too; give another address."
            )
        taken[target] = f"the target of {name}"
        made.add(target)
    for name, section in config.volumes.items():
        _write(sources[name], name, section, workdir, config.num_threads)


def _voxel_size(source: Volume, section: ConfigDict) -> Float3:
    return source.voxel_size_nm if section.voxel_size_nm is None else float3(section.voxel_size_nm, "voxel_size_nm")


def _check_steps(source: Volume, section: ConfigDict, label: str, made: Collection[str]) -> None:
    """Raises unless the grey values of `source` can be changed as its entry asks, once the volumes `made` are there."""
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


def _write(source: Volume, name: str, section: ConfigDict, workdir: Path, num_threads: int) -> None:
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
        num_threads=num_threads,
        finish=finish,
    )
    write_pyramid(target, labels=section.labels, num_threads=num_threads)
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
        provenance |= {EQUALISED: True, "equalisation": dict(section.equalise)}
    elif EQUALISED in source.attributes and not section.labels:
        provenance[EQUALISED] = source.attributes[EQUALISED]
    return table, provenance
