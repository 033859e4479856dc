"""Stage `simulate_annotations`: exact labels as people would have annotated them, and the time they would have taken.

    python -m asem_jax.main --config configs/simulate_annotations.py --workdir runs/annotations

Each annotation becomes `labels` (ids, 0 = background) and `mask` (1 = annotated), both with a pyramid, which a region
of stage `train` can name as they are. It is a stage of its own, and no output of `simulate`: any labels can be its
source, also those of a real volume, and one volume can be annotated in several ways. The efforts of all annotations
stand in `annotations.json`. Run again it continues with the blocks that are missing.
"""

import json
import logging
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.simulation.annotation import (
    Effort,
    Outlines,
    Pace,
    objects_on_sections,
    outline_um,
    outlined,
    read_box,
    sections_of,
)
from asem_jax.simulation.strokes import Strokes, stroke_effort, stroked
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, create_volume, open_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Writes the annotations that `config` (section "simulate_annotations") names.

    Args:
      config: the section described in `settings.SETTINGS["simulate_annotations"]`.
      workdir: gets the ledgers and `annotations.json`.

    Raises:
      FileNotFoundError: labels are not there.
      ValueError: a number is impossible, or an annotation has not exactly one of `outlines` and `strokes`.
    """
    pace, block_shape = Pace(**config.pace), _block_shape(config)
    annotators = {name: _annotator(name, section) for name, section in config.annotations.items()}
    sources = {name: open_volume(section.labels) for name, section in config.annotations.items()}
    efforts = {}
    for name, section in config.annotations.items():
        blocks = list(tiles(sources[name].box, block_shape))
        annotator = annotators[name]
        drawn = _write(name, annotator, sources[name], config=config, workdir=workdir)
        if isinstance(annotator, Outlines):
            efforts[name] = _effort_of_outlines(annotator, drawn, blocks)
        else:
            efforts[name] = _effort_of_strokes(annotator, sources[name], blocks, section.seed)
    rows = {name: asdict(effort) | {"seconds": pace.seconds(effort)} for name, effort in efforts.items()}
    write_json(workdir / "annotations.json", rows)
    logger.info("%s", table(rows))


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Returns the efforts of annotations, name -> numbers, as lines of a table."""
    lines = [f"{'annotation':<16} {'sections':>8} {'objects':>8} {'outline um':>11} {'strokes':>8} {'hours':>7}"]
    for name, row in rows.items():
        numbers = f"{row['sections']:>8} {row['objects']:>8} {row['outline_um']:>11.1f} {row['strokes']:>8}"
        lines.append(f"{name:<16} {numbers} {row['seconds'] / 3600:>7.2f}")
    return "\n".join(lines)


def _annotator(name: str, section: ConfigDict) -> Outlines | Strokes:
    """Returns the one that the section describes."""
    given = [kind for kind in ("outlines", "strokes") if section[kind] is not None]
    if len(given) != 1:
        raise ValueError(
            f"simulate_annotations.annotations.{name} has {' and '.join(given) or 'neither outlines nor strokes'}; "
            "give one of the two, and None for the other."
        )
    return Strokes(**section.strokes) if section.outlines is None else Outlines(**section.outlines)


def _write(name: str, annotator: Outlines | Strokes, source: Volume, *, config: ConfigDict, workdir: Path) -> Volume:
    """Writes labels and mask of one annotation, or what is left of them to write; returns the labels."""
    section = config.annotations[name]
    settings = json.loads(section.to_json()) | {
        "shape": source.shape,
        "block_shape": config.block_shape,
        "chunk_shape": config.chunk_shape,
    }
    path = workdir / "ledgers" / f"simulate_annotations-{name}.jsonl"
    if not Path(section.target).exists():
        path.unlink(missing_ok=True)
    ledger = Ledger(path, settings)
    labels, mask = (
        create_volume(
            f"{section.target}/{part}",
            shape=source.shape,
            dtype=dtype,
            voxel_size_nm=source.voxel_size_nm,
            offset_nm=source.offset_nm,
            chunk_shape=config.chunk_shape,
            attributes={"made_by": "asem_jax simulate_annotations", "settings": settings},
        )
        for part, dtype in (("labels", source.dtype), ("mask", "uint8"))
    )
    if ledger.is_complete:
        logger.info("%s is annotated already", section.target)
        return labels
    draw = partial(outlined, annotator) if isinstance(annotator, Outlines) else partial(stroked, annotator)

    def annotate(box: Box) -> None:
        around = read_box(box, annotator.halo(source.voxel_size_nm), source.box)
        exact = source.read(around)
        drawn, masked = draw(exact, box, labels_box=around, voxel_size_nm=source.voxel_size_nm, seed=section.seed)
        for future in (labels.write_async(box, drawn), mask.write_async(box, masked)):
            future.result()

    blocks = list(tiles(source.box, int3(config.block_shape, "block_shape")))
    run_blocks(annotate, blocks, label=f"annotate {name}", ledger=ledger, num_threads=config.num_threads)
    write_pyramid(labels, labels=True)
    write_pyramid(mask, labels=True)
    ledger.mark_complete()
    return labels


def _effort_of_outlines(outlines: Outlines, drawn: Volume, blocks: list[Box]) -> Effort:
    """Returns what outlining took, from the outlines that were drawn."""
    effort = Effort(sections=len(sections_of(drawn.box, outlines.section_step)))
    # Slab by slab: only of one slab it has to be remembered which objects were met.
    for first, slab in groupby(blocks, lambda block: block.start[0]):
        objects: set[tuple[int, int]] = set()
        for block in slab:
            around = Box((first, block.start[1] - 1, block.start[2] - 1), block.stop).intersect(drawn.box)
            labels = drawn.read(around)
            length = outline_um(labels, block, labels_box=around, voxel_size_nm=drawn.voxel_size_nm)
            effort += Effort(outline_um=length)
            objects |= objects_on_sections(labels, first)
        effort += Effort(objects=len(objects))
    return effort


def _effort_of_strokes(strokes: Strokes, source: Volume, blocks: list[Box], seed: int) -> Effort:
    """Returns what the strokes took: they are drawn again, for a voxel does not tell where one begins."""
    effort = Effort(sections=len(sections_of(source.box, strokes.section_step)))
    size = source.voxel_size_nm
    for _, slab in groupby(blocks, lambda block: block.start[0]):
        objects: set[tuple[int, int]] = set()
        for block in slab:
            around = read_box(block, strokes.halo(size), source.box)
            exact = source.read(around)
            more, met = stroke_effort(strokes, exact, block, labels_box=around, voxel_size_nm=size, seed=seed)
            effort += more
            objects |= met
        effort += Effort(objects=len(objects))
    return effort


def _block_shape(config: ConfigDict) -> Int3:
    """Returns the blocks' shape, after checking that no two blocks write to one chunk."""
    block, chunk = int3(config.block_shape, "block_shape"), int3(config.chunk_shape, "chunk_shape")
    if any(b % c for b, c in zip(block, chunk, strict=True)):
        raise ValueError(
            f"simulate_annotations.block_shape={block} is not a multiple of chunk_shape={chunk}; "
            "make it one on every axis, so that each file is written by one block."
        )
    return block
