"""Stage `annotate`: labels of a region from sparse strokes.

    python -m asem_jax.main --config configs/annotate.py --workdir runs/annotate

Divides the region into supervoxels once, and cuts their graph for each annotation: `labels` (1 = object) and `mask`,
placed in nm, which a region of stage `train` can name as they are. Run again with more strokes it only cuts again.
Memory: about 60 bytes per voxel of a block and of what is around it, per thread; for the cut about 1 kB per supervoxel
of the region, and 2 kB per supervoxel under strokes.
"""

import json
import logging
import os
import shutil
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax.segmentation.adjacency import Graph, Piece, join, piece_of
from asem_jax.segmentation.graph_cut import BOTH, Kinds, kinds_of, label_supervoxels, paint, stroked_ids
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.segmentation.supervoxels import Ids, Lattice, grow_supervoxels, halo, lattice_pitch, slope, smoothed
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.blockwise import Ledger, run_blocks
from asem_jax.volumes.geometry import Box, Int3, int3, nm_from_voxels, tiles
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, create_volume, open_volume

MADE_BY = "asem_jax annotate"
# A cut whose strokes meet in a larger share of the stroked supervoxels is decided by distance more than by looks.
_MANY_SHARED = 0.2

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Annotates the region that `config` (section "annotate") names.

    Args:
      config: the section described in `settings.SETTINGS["annotate"]`.
      workdir: gets the graph, the ledger and `annotate.json`.

    Raises:
      FileNotFoundError: raw or strokes are not there.
      ValueError: strokes are missing, of one kind, outside raw or contradict each other, or a number is impossible.
    """
    raw = open_volume(config.raw)
    region = _region(raw, config)
    _check_targets(config)
    strokes = {name: _open_strokes(name, section, raw, region) for name, section in config.annotations.items()}
    blocks = list(tiles(Box.of_shape(region.shape), _block_shape(config)))
    lattice = Lattice(region.shape, lattice_pitch(config.supervoxels.pitch_nm, raw.voxel_size_nm))
    ids = _divide(raw, region, lattice, blocks, config=config, workdir=workdir)
    graph = join([_load_piece(_piece_path(workdir, index)) for index in range(len(blocks))], lattice.count)
    rows = {
        name: _annotate(name, section, graph, ids, strokes[name], blocks=blocks, lattice=lattice, config=config)
        for name, section in config.annotations.items()
    }
    (workdir / "annotate.json").write_text(json.dumps(rows, indent=2) + "\n")


@dataclass(frozen=True)
class _Strokes:
    """Strokes of one annotation, in voxels of the region."""

    name: str
    labels: Volume
    mask: Volume | None
    labels_shift: Int3
    mask_shift: Int3
    object_ids: tuple[int, ...] | None
    background_ids: tuple[int, ...]

    def kinds(self, box: Box) -> Kinds:
        """Returns what strokes a box of the region has, uint8 [z, y, x]: 0 none, 1 object, 2 background."""
        labels = _read_inside(self.labels, box.shift(self.labels_shift))
        stroked = labels != 0 if self.mask is None else _read_inside(self.mask, box.shift(self.mask_shift)) != 0
        background = stroked & np.isin(labels, self.background_ids)
        objects = stroked & (~background if self.object_ids is None else np.isin(labels, self.object_ids))
        if (strange := stroked & ~objects & ~background).any():
            raise ValueError(
                f"annotate.annotations.{self.name}: {self.labels.address} has strokes of label "
                f"{np.unique(labels[strange])[:8].tolist()}, which are in neither object_ids nor background_ids; "
                "add them to one of the two, or object_ids=None for all that are not background."
            )
        return np.where(objects, 1, np.where(background, 2, 0)).astype(np.uint8)


def _open_strokes(name: str, section: ConfigDict, raw: Volume, region: Box) -> _Strokes:
    """Returns the strokes of an annotation, after checking that they can be read where raw is."""
    where = f"annotate.annotations.{name}"
    objects = None if section.object_ids is None else tuple(section.object_ids)
    background = tuple(section.background_ids)
    if twice := sorted(set(objects or ()) & set(background)):
        raise ValueError(f"{where}: labels {twice} are in object_ids and in background_ids; leave them in one.")
    if section.mask is None and 0 in (*background, *(objects or ())):
        raise ValueError(f"{where}: label 0 is a stroke only where a mask says so, and mask=None; name the mask.")
    labels = open_volume(section.strokes, missing_as_zero=True)
    mask = None if section.mask is None else open_volume(section.mask, missing_as_zero=True)
    shifts = [(0, 0, 0) if volume is None else grid_shift(volume, raw) for volume in (labels, mask)]
    for volume, shift in zip((labels, mask), shifts, strict=True):
        covered = None if volume is None else volume.box.shift([-a for a in shift])
        if covered is not None and not raw.box.contains(covered):
            raise ValueError(
                f"{where}: strokes {volume and volume.address} cover voxels {covered.start}-{covered.stop} of raw, "
                f"whose shape is {raw.shape}; crop them to raw, or correct their offset_nm."
            )
    on_labels, on_mask = (int3(np.add(region.start, shift).tolist(), "shift") for shift in shifts)
    return _Strokes(name, labels, mask, on_labels, on_mask, objects, background)


def _divide(
    raw: Volume, region: Box, lattice: Lattice, blocks: list[Box], *, config: ConfigDict, workdir: Path
) -> Volume:
    """Writes supervoxels and the graph's pieces, or what is left of them; returns the supervoxels."""
    section = config.supervoxels
    settings = json.loads(section.to_json()) | {
        **{"raw": raw.address, "start": region.start, "stop": region.stop},
        **{"block_shape": config.block_shape, "chunk_shape": config.chunk_shape},
    }
    path = workdir / "ledgers" / "annotate-supervoxels.jsonl"
    if not Path(section.target).exists():
        path.unlink(missing_ok=True)
    ledger = Ledger(path, settings)
    made = {"made_by": MADE_BY, "settings": settings}
    ids = create_volume(section.target, dtype=np.uint32, attributes=made, **_place(raw, region, config))
    _piece_path(workdir, 0).parent.mkdir(parents=True, exist_ok=True)

    def divide(numbered: tuple[int, Box]) -> None:
        index, block = numbered
        found, piece = _examined(raw, region, lattice, block, section=section)
        ids.write(block, found)
        _save_piece(_piece_path(workdir, index), piece)

    label = f"supervoxels of {raw.address}"
    run_blocks(divide, list(enumerate(blocks)), label=label, ledger=ledger, num_threads=config.num_threads)
    return ids


def _examined(raw: Volume, region: Box, lattice: Lattice, block: Box, *, section: ConfigDict) -> tuple[Ids, Piece]:
    """Returns the supervoxels of a block of the region, and what they tell."""
    size, sigma = raw.voxel_size_nm, float(section.sigma_nm)
    behind = Box(block.start, int3([b + 1 for b in block.stop], "stop")).intersect(Box.of_shape(region.shape))
    around = lattice.around(behind)
    needed = [around.grow(halo((sigma,), size)), block.grow(halo(tuple(section.looks_nm), size))]
    needed = [box.shift(region.start).intersect(raw.box) for box in needed]
    start = int3(np.min([box.start for box in needed], 0).tolist(), "start")
    stop = int3(np.max([box.stop for box in needed], 0).tolist(), "stop")
    grey = raw.read(Box(start, stop))

    def inside(box: Box) -> Box:
        return box.shift(np.subtract(region.start, start).tolist())

    smooth = smoothed(grey, sigma, size)
    gradient = slope(smooth, size)[inside(around).slices]
    found = grow_supervoxels(
        smooth[inside(around).slices],
        gradient,
        around,
        lattice=lattice,
        grey_step=section.grey_step,
        gradient_step=section.gradient_step,
        voxel_size_nm=size,
    )
    part = behind.shift([-a for a in around.start]).slices
    piece = piece_of(
        grey, inside(block), found[part], gradient[part], sigmas_nm=tuple(section.looks_nm), voxel_size_nm=size
    )
    return found[block.shift([-a for a in around.start]).slices], piece


def _annotate(
    name: str,
    section: ConfigDict,
    graph: Graph,
    ids: Volume,
    strokes: _Strokes,
    *,
    blocks: list[Box],
    lattice: Lattice,
    config: ConfigDict,
) -> dict[str, Any]:
    """Cuts the graph, and writes labels and mask of one annotation; returns what it consists of."""
    began = time.monotonic()
    stroked = [stroked_ids(ids.read(block), kinds) for block in blocks if (kinds := strokes.kinds(block)).any()]
    if not stroked:
        raise ValueError(
            f"annotate.annotations.{name}: {strokes.labels.address} has no strokes in the region; draw some there, or "
            "change annotate.start and stop."
        )
    kinds = kinds_of(stroked, lattice.count)
    numbers = {kind: int((kinds == number).sum()) for number, kind in ((1, "object"), (2, "background"), (3, "both"))}
    if not (numbers["object"] and numbers["background"]):
        raise ValueError(
            f"annotate.annotations.{name}: {strokes.labels.address} has {numbers['object']} supervoxels under object "
            f"strokes alone and {numbers['background']} under background strokes alone, both kinds are needed: "
            "add strokes."
        )
    settings = {key: section[key] for key in ("smoothness", "ridge", "surroundings", "bias")}
    labels = label_supervoxels(graph, kinds, **settings)
    row: dict[str, Any] = {"supervoxels": lattice.count, "contacts": len(graph.pairs), "stroked": numbers}
    row["seconds_to_cut"] = round(time.monotonic() - began, 2)
    if numbers["both"] > _MANY_SHARED * sum(numbers.values()):
        logger.warning(
            "%s: %d of %d stroked supervoxels have strokes of both kinds; they are divided by distance. Smaller "
            "supervoxels (pitch_nm) follow the strokes better.",
            name,
            numbers["both"],
            sum(numbers.values()),
        )
    _write(section, ids, strokes, labels, kinds, blocks=blocks, lattice=lattice, config=config)
    row["object_voxels_share"] = float((labels * graph.sizes).sum() / graph.sizes.sum())
    row["seconds"] = round(time.monotonic() - began, 2)
    logger.info("%s: %s", section.target, row)
    return row


def _write(
    section: ConfigDict,
    ids: Volume,
    strokes: _Strokes,
    labels: npt.NDArray[np.bool_],
    kinds: Kinds,
    *,
    blocks: list[Box],
    lattice: Lattice,
    config: ConfigDict,
) -> None:
    """Writes labels and mask in place of those of an earlier cut."""
    for part in ("labels", "mask"):
        _remove_own(f"{section.target}/{part}")
    made = {"made_by": MADE_BY, "settings": json.loads(section.to_json())}
    place = _place(ids, ids.box, config)
    drawn, mask = (
        create_volume(f"{section.target}/{part}", dtype=np.uint8, attributes=made, **place)
        for part in ("labels", "mask")
    )
    border = max(section.border_inwards, section.border_outwards)
    # A supervoxel that is divided has to be seen as a whole.
    margin = border + (2 * lattice.reach if (kinds == BOTH).any() else 0)

    def write(block: Box) -> None:
        around = block.grow(margin).intersect(ids.box)
        given = strokes.kinds(around)
        found = paint(labels, kinds, ids.read(around), given, voxel_size_nm=ids.voxel_size_nm)
        unsure = exclusion_zone(found, inwards=section.border_inwards, outwards=section.border_outwards)
        inner = block.shift([-a for a in around.start]).slices
        drawn.write(block, found[inner])
        mask.write(block, (~unsure | (given != 0))[inner].astype(np.uint8))

    run_blocks(write, blocks, label=f"labels of {section.target}", num_threads=config.num_threads)
    for volume in (drawn, mask):
        write_pyramid(volume, labels=True)


def _check_targets(config: ConfigDict) -> None:
    """Raises if a cut would replace what is read, or what another one wrote."""
    taken = {config.raw.rstrip("/"): "raw", config.supervoxels.target.rstrip("/"): "supervoxels.target"}
    for name, section in config.annotations.items():
        read = {section[key].rstrip("/"): f"its {key}" for key in ("strokes", "mask") if section[key] is not None}
        for part in ("labels", "mask"):
            address = f"{section.target.rstrip('/')}/{part}"
            if use := (taken | read).get(address):
                raise ValueError(
                    f"annotate.annotations.{name}.target={section.target!r} would write {address}, which is {use} too; "
                    "give another address."
                )
            taken[address] = f"the target of {name}"


def _remove_own(address: str) -> None:
    """Removes what an earlier cut wrote; what comes from elsewhere stays, and is refused by create_volume."""
    if Path(address).is_dir() and open_volume(address).attributes.get("made_by") == MADE_BY:
        shutil.rmtree(address)


def _region(raw: Volume, config: ConfigDict) -> Box:
    """Returns the region in voxels of raw, after checking that it can be annotated."""
    if raw.dtype != np.uint8:
        raise ValueError(f"annotate.raw={raw.address} has dtype {raw.dtype}, not uint8; scale it (stage convert).")
    start = raw.box.start if config.start is None else int3(config.start, "annotate.start")
    stop = raw.box.stop if config.stop is None else int3(config.stop, "annotate.stop")
    region = Box(start, stop)
    if not raw.box.contains(region) or not region.num_voxels:
        raise ValueError(
            f"annotate.start={start} to stop={stop} is no part of {raw.address}, whose shape is {raw.shape}; "
            "give voxels of raw, z y x."
        )
    return region


def _block_shape(config: ConfigDict) -> Int3:
    """Returns the blocks' shape, after checking that no two blocks write to one chunk."""
    block, chunk = int3(config.block_shape, "block_shape"), int3(config.chunk_shape, "chunk_shape")
    if any(b % c for b, c in zip(block, chunk, strict=True)):
        raise ValueError(
            f"annotate.block_shape={block} is not a multiple of chunk_shape={chunk}; make it one on every axis, so "
            "that each file is written by one block."
        )
    return block


def _place(volume: Volume, region: Box, config: ConfigDict) -> dict[str, Any]:
    """Returns shape and place of what is written for a region of a volume."""
    offset = nm_from_voxels(region.start, volume.voxel_size_nm, volume.offset_nm)
    size = {"voxel_size_nm": volume.voxel_size_nm, "offset_nm": offset}
    return {"shape": region.shape, "chunk_shape": config.chunk_shape, **size}


def _read_inside(volume: Volume, box: Box) -> npt.NDArray[Any]:
    """Returns the voxels of a box, 0 where the volume has none."""
    inside = box.intersect(volume.box)
    values = np.zeros(box.shape, volume.dtype)
    if inside.num_voxels:
        values[inside.shift([-a for a in box.start]).slices] = volume.read(inside)
    return values


def _piece_path(workdir: Path, index: int) -> Path:
    """Returns the file of a block's piece of the graph."""
    return workdir / "graph" / f"{index:06d}.npz"


def _save_piece(path: Path, piece: Piece) -> None:
    """Writes a piece in one step, so that a crash leaves no half of it."""
    part = path.with_suffix(".part.npz")
    np.savez(part, allow_pickle=False, **{field.name: getattr(piece, field.name) for field in fields(piece)})
    os.replace(part, path)


def _load_piece(path: Path) -> Piece:
    """Returns a piece that `_save_piece` wrote."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there, but its block is marked as finished; remove the supervoxels' target to divide anew."
        )
    with np.load(path, allow_pickle=False) as file:
        return Piece(**{field.name: file[field.name] for field in fields(Piece)})
