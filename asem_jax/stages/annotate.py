"""Stage `annotate`: labels of a region from sparse strokes.

    python -m asem_jax.main --config configs/annotate.py --workdir runs/annotate

Divides the region into supervoxels once, and cuts their graph for each annotation: `labels` (1 = object) and `mask`,
placed in nm, which a region of stage `train` can name as they are. Run again with more strokes it only cuts again; with
`window` the strokes of one annotation are painted in a window first (see `window.py`).
Memory: about 60 bytes per voxel of a block and of what is around it, per thread; for the cut about 1.4 kB per
supervoxel of the region, and 2 kB per supervoxel under strokes.
"""

import json
import logging
import shutil
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax.segmentation.adjacency import Piece, join, piece_of
from asem_jax.segmentation.annotation import Cut, Region, cut_region
from asem_jax.segmentation.painting import Painting
from asem_jax.segmentation.strokes import (
    GivenStrokes,
    Kinds,
    Sheet,
    Strokes,
    open_strokes,
    overlaid,
    place_in,
    read_inside,
)
from asem_jax.segmentation.supervoxels import Ids, Lattice, grow_supervoxels, halo, lattice_pitch, slope, smoothed
from asem_jax.stages.window import check_window, show
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.files import replaced, write_json
from asem_jax.volumes.geometry import Box, Int3, int3, nm_from_voxels, tiles
from asem_jax.volumes.ledger import Ledger
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
    box = _region(raw, config)
    _check_targets(config)
    chosen = _chosen(config)
    sheet = None if config.window is None else _sheet(chosen[config.window], raw, box, config)
    strokes = {name: _open_strokes(name, section, raw, box) for name, section in chosen.items()}
    region = _divided(raw, box, config=config, workdir=workdir)
    if sheet is not None:
        _paint(config.window, sheet, raw, box, region=region, config=config)
    rows = {name: _annotate(name, section, region, strokes[name], config) for name, section in chosen.items()}
    write_json(workdir / "annotate.json", rows)


def _chosen(config: ConfigDict) -> dict[str, ConfigDict]:
    """Returns the annotations to cut: all, or the one that a window is opened for, after checking that it can be."""
    if config.window is None:
        return dict(config.annotations.items())
    if config.window not in config.annotations:
        raise ValueError(
            f"annotate.window={config.window!r} is none of the annotations ({', '.join(config.annotations)}); name "
            "one of them, or None for no window."
        )
    if config.annotations[config.window].painted is None:
        raise ValueError(
            f"annotate.window={config.window!r}: annotations.{config.window}.painted=None says nowhere to keep what is "
            "painted; give an address, e.g. '{workdir}/annotations.zarr/painted'."
        )
    check_window(config.window)
    return {config.window: config.annotations[config.window]}


def _given_strokes(name: str, section: ConfigDict, raw: Volume, box: Box) -> GivenStrokes | None:
    """Returns the strokes that come from elsewhere."""
    if section.strokes is None:
        return None
    labels = open_volume(section.strokes, missing_as_zero=True)
    mask = None if section.mask is None else open_volume(section.mask, missing_as_zero=True)
    ids = {"object_ids": section.object_ids, "background_ids": section.background_ids}
    return open_strokes(f"annotate.annotations.{name}", (labels, mask), raw, box, **ids)


def _sheet(section: ConfigDict, raw: Volume, box: Box, config: ConfigDict) -> Volume:
    """Returns the volume that keeps what is painted, made where it does not exist."""
    made = {"made_by": MADE_BY, "strokes": {"1": "object", "2": "background"}}
    create_volume(section.painted, dtype=np.uint8, attributes=made, **_place(raw, box, config))
    return open_volume(section.painted, missing_as_zero=True)


def _open_strokes(name: str, section: ConfigDict, raw: Volume, box: Box) -> Strokes:
    """Returns the strokes of an annotation, after checking that they can be read where raw is."""
    where = f"annotate.annotations.{name}"
    given = _given_strokes(name, section, raw, box)
    if section.painted is None or not Path(section.painted).exists():
        if given is None:
            raise ValueError(
                f"{where}.strokes=None, and nothing is painted yet in painted={section.painted!r}; name a volume of "
                f"strokes, or open the window with annotate.window={name!r}."
            )
        return given
    volume = open_volume(section.painted, missing_as_zero=True)
    shift = place_in(volume, raw, box, where)

    def painted(part: Box) -> Kinds:
        return read_inside(volume, part.shift(shift)).astype(np.uint8)

    return painted if given is None else overlaid(given, painted)


def _paint(name: str, sheet: Volume, raw: Volume, box: Box, *, region: Region, config: ConfigDict) -> None:
    """Opens the window for one annotation, and returns when it is closed."""
    section = config.annotations[name]
    painting = Painting(
        Sheet(sheet),
        _given_strokes(name, section, raw, box),
        cut=lambda strokes: _cut(name, section, region, strokes),
        save=lambda cut: _write(section, cut, config),
    )
    logger.info("paint strokes of %s in the window; what is painted is kept in %s", name, section.painted)
    show(painting, raw, box, f"{name} in {raw.address}")


def _divided(raw: Volume, box: Box, *, config: ConfigDict, workdir: Path) -> Region:
    """Returns the region with its supervoxels and graph."""
    blocks = list(tiles(Box.of_shape(box.shape), _block_shape(config)))
    lattice = Lattice(box.shape, lattice_pitch(config.supervoxels.pitch_nm, raw.voxel_size_nm))
    ids = _divide(raw, box, lattice, blocks, config=config, workdir=workdir)
    pieces = [_load_piece(_piece_path(workdir, index)) for index in range(len(blocks))]
    return Region(ids, join(pieces, lattice.count), lattice, blocks)


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


def _annotate(name: str, section: ConfigDict, region: Region, strokes: Strokes, config: ConfigDict) -> dict[str, Any]:
    """Cuts the region, and writes labels and mask of one annotation; returns what it consists of."""
    began = time.monotonic()
    cut = _cut(name, section, region, strokes)
    row = cut.row()
    if row["stroked"]["both"] > _MANY_SHARED * sum(row["stroked"].values()):
        logger.warning(
            "%s: %d of %d stroked supervoxels have strokes of both kinds; they are divided by distance. Smaller "
            "supervoxels (pitch_nm) follow the strokes better.",
            name,
            row["stroked"]["both"],
            sum(row["stroked"].values()),
        )
    _write(section, cut, config)
    row["seconds"] = round(time.monotonic() - began, 2)
    logger.info("%s: %s", section.target, row)
    return row


def _cut(name: str, section: ConfigDict, region: Region, strokes: Strokes) -> Cut:
    """Cuts the region as one annotation asks for."""
    where = f"annotate.annotations.{name}: {section.strokes or section.painted}"
    settings = {key: section[key] for key in ("smoothness", "ridge", "surroundings", "bias")}
    return cut_region(region, strokes, name=where, **settings)


def _write(section: ConfigDict, cut: Cut, config: ConfigDict) -> None:
    """Writes labels and mask in place of those of an earlier cut."""
    for part in ("labels", "mask"):
        _remove_own(f"{section.target}/{part}")
    ids, blocks = cut.region.ids, cut.region.blocks
    made = {"made_by": MADE_BY, "settings": json.loads(section.to_json())}
    labels, mask = (
        create_volume(f"{section.target}/{part}", dtype=np.uint8, attributes=made, **_place(ids, ids.box, config))
        for part in ("labels", "mask")
    )
    border = {key: section[key] for key in ("border_inwards", "border_outwards")}

    def write(block: Box) -> None:
        found, sure = cut.labels_and_mask(block, **border)
        labels.write(block, found)
        mask.write(block, sure)

    run_blocks(write, blocks, label=f"labels of {section.target}", num_threads=config.num_threads)
    for volume in (labels, mask):
        write_pyramid(volume, labels=True)


def _check_targets(config: ConfigDict) -> None:
    """Raises if a cut would replace what is read, or what another one wrote."""
    taken = {config.raw.rstrip("/"): "raw", config.supervoxels.target.rstrip("/"): "supervoxels.target"}
    for name, section in config.annotations.items():
        names = ("strokes", "mask", "painted")
        read = {section[key].rstrip("/"): f"its {key}" for key in names if section[key] is not None}
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


def _piece_path(workdir: Path, index: int) -> Path:
    """Returns the file of a block's piece of the graph."""
    return workdir / "graph" / f"{index:06d}.npz"


def _save_piece(path: Path, piece: Piece) -> None:
    """Writes a piece in one step, so that a crash leaves no half of it."""
    arrays = {field.name: getattr(piece, field.name) for field in fields(piece)}

    def write(part: Path) -> None:
        with part.open("wb") as file:  # by its name NumPy would write another one
            np.savez(file, allow_pickle=False, **arrays)

    replaced(path, write)


def _load_piece(path: Path) -> Piece:
    """Returns a piece that `_save_piece` wrote."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there, but its block is marked as finished; remove the supervoxels' target to divide anew."
        )
    with np.load(path, allow_pickle=False) as file:
        return Piece(**{field.name: file[field.name] for field in fields(Piece)})
