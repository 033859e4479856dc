"""A volume in the format of another program: TIFF, HDF5, N5, neuroglancer's precomputed.

What is not finished has another name (`.unfinished`), so nothing looks finished that is not, and a job that was killed
goes on in it. N5 and precomputed get the coarser levels that the volume has.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from asem_jax.volumes import hdf5, n5, ngff, precomputed
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.files import write_json
from asem_jax.volumes.geometry import Box, Float3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.ngff import Level
from asem_jax.volumes.store import create_n5_store, create_precomputed_store
from asem_jax.volumes.tiff import is_tiff, write_sections, write_stack
from asem_jax.volumes.volume import Volume, open_volume

UNFINISHED = hdf5.UNFINISHED
TARGETS = (
    "a name ending in .tif, a folder ending in / for one TIFF per section, file.h5/dataset, folder.n5/image or "
    "folder.precomputed/image"
)


def check_target(target: str, dtype: np.dtype[Any], voxel_size_nm: Float3, offset_nm: Float3) -> None:
    """Raises unless a volume can be written to `target`, which tells the format.

    Args:
      target: see `TARGETS`.
      dtype: of the volume.
      voxel_size_nm: of the volume, z y x.
      offset_nm: of the volume, z y x.

    Raises:
      ValueError: the target has no format, or the format cannot hold the volume's type or place.
    """
    if not (is_tiff(target) or hdf5.is_hdf5(target) or _is_in(target, ".n5") or _is_in(target, ".precomputed")):
        raise ValueError(f"{target!r} is no place for an export; give {TARGETS}.")
    if hdf5.is_hdf5(target) and not hdf5.split_address(target)[1]:
        raise ValueError(f"{target!r} names no dataset; give one behind the file, e.g. {target}/raw.")
    if not _is_in(target, ".precomputed"):
        return
    if dtype.name not in precomputed.TYPES:
        raise ValueError(
            f"{target!r}: voxels of type {dtype} do not fit; precomputed has {', '.join(precomputed.TYPES)}."
        )
    if precomputed.voxel_offset(Level("", voxel_size_nm, offset_nm), voxel_size_nm) is None:
        raise ValueError(
            f"{target!r}: the volume begins at {offset_nm} nm, which is no whole number of voxels of "
            f"{voxel_size_nm} nm, as precomputed needs it; export to another format."
        )


def is_begun(target: str) -> bool:
    """Says whether there is something at a target, finished or not."""
    if hdf5.is_hdf5(target):
        return hdf5.is_begun(target)
    return Path(target).exists() or _unfinished(target).exists()


def write_export(volume: Volume, target: str, *, labels: bool, ledger: Ledger, num_threads: int) -> None:
    """Writes a volume in the format that `target` tells; see `check_target`.

    Memory: `num_threads` chunks, for TIFF slabs of one chunk's thickness.

    Args:
      volume: written unchanged, in its dtype.
      target: see `TARGETS`; what is there is replaced.
      labels: whether it holds numbers of objects.
      ledger: of this export.
      num_threads: chunks or slabs at a time.

    Raises:
      ValueError: a folder of sections that is to be replaced holds other files.
    """
    if hdf5.is_hdf5(target):
        hdf5.write_hdf5(volume, target, ledger=ledger, num_threads=num_threads)
    elif _is_in(target, ".n5") or _is_in(target, ".precomputed"):
        _write_levels(volume, target, labels=labels, ledger=ledger, num_threads=num_threads)
    elif target.endswith("/"):
        _check_sections(Path(target))
        folder = _begin(target, ledger)
        write_sections(volume, folder, ledger=ledger, num_threads=num_threads)
        _finish(folder, target)
    else:
        write_stack(volume, target)


@dataclass(frozen=True)
class _Piece:
    """A chunk of a level on its way."""

    source: Volume
    store: ts.TensorStore
    box: Box


def _write_levels(volume: Volume, target: str, *, labels: bool, ledger: Ledger, num_threads: int) -> None:
    """Writes all levels of a volume into a folder, which gets its name at the end."""
    folder = _begin(target, ledger)
    levels = _levels(volume)
    if _is_in(target, ".n5"):
        stores = [_n5_store(folder, f"s{k}", level) for k, level in enumerate(levels)]
    else:
        stores = _precomputed_stores(folder, levels, labels=labels)
    pieces = [
        _Piece(level, store, box)
        for level, store in zip(levels, stores, strict=False)
        for box in tiles(level.box, level.chunk_shape)
    ]
    run_blocks(_write_piece, pieces, label=f"export to {target}", ledger=ledger, num_threads=num_threads)
    if _is_in(target, ".n5"):
        n5.write_group(folder, [_place(f"s{k}", level) for k, level in enumerate(levels)])
        _make_container(Path(target))
    _finish(folder, target)


def _write_piece(piece: _Piece) -> None:
    piece.store[piece.box.slices].write(piece.source.read(piece.box)).result()


def _levels(volume: Volume) -> list[Volume]:
    """Returns a volume and the coarser levels that lie beside it."""
    folder = Path(volume.address)
    if volume.level != 0 or not ngff.multiscales(folder):
        return [volume]
    number = len(ngff.read_image(folder, volume.address).levels)
    return [volume, *(open_volume(volume.address, level=k) for k in range(1, number))]


def _n5_store(folder: Path, name: str, level: Volume) -> ts.TensorStore:
    chunk = int3([min(n, c) for n, c in zip(level.shape, level.chunk_shape, strict=True)], "chunk_shape")
    store = create_n5_store(folder / name, n5.array_metadata(level.shape, level.dtype, chunk), str(folder))
    n5.write_place(folder / name, _place(name, level))
    return store


def _precomputed_stores(folder: Path, levels: Sequence[Volume], *, labels: bool) -> list[ts.TensorStore]:
    """Returns a store for each level; coarse ones that lie between voxels of the format are left out."""
    stores = []
    for level in levels:
        place = _place("_".join(f"{size:g}" for size in level.voxel_size_nm[::-1]), level)
        first = precomputed.voxel_offset(place, levels[0].voxel_size_nm)
        if first is None:
            break
        compress = labels and level.dtype.name in precomputed.SEGMENT_TYPES
        scale = precomputed.scale_metadata(place, level.shape, level.chunk_shape, first, compress_segments=compress)
        shared = precomputed.volume_metadata(np.dtype(level.dtype), labels=labels)
        stores.append(create_precomputed_store(folder, shared, scale, str(folder)))
    return stores


def _place(name: str, level: Volume) -> Level:
    return Level(name, level.voxel_size_nm, level.offset_nm)


def _make_container(target: Path) -> None:
    """Says in the folder that ends in .n5 that it is one: some readers ask."""
    root = next(path for path in [target, *target.parents] if path.name.endswith(".n5"))
    if root != target and not (root / n5.FILE).exists():
        write_json(root / n5.FILE, {"n5": n5.VERSION})


def _is_in(target: str, suffix: str) -> bool:
    return any(part.endswith(suffix) for part in Path(target).parts)


def _check_sections(folder: Path) -> None:
    """Raises if a folder that is going to be replaced holds what no export wrote."""
    if not folder.is_dir():
        return
    others = sorted(path.name for path in folder.iterdir() if not re.fullmatch(r"section_\d+\.tif", path.name))
    if others:
        raise ValueError(f"{folder} holds {others[0]}, which no export wrote; move it away, or give another target.")


def _begin(target: str, ledger: Ledger) -> Path:
    """Returns the folder to write into, without what an older job left there."""
    folder = _unfinished(target)
    if not ledger.finished and folder.exists():
        shutil.rmtree(folder)
    if ledger.finished and not folder.exists() and Path(target).exists():
        Path(target).rename(folder)  # killed after all of it had its name, and before the ledger said so
    return folder


def _finish(folder: Path, target: str) -> None:
    """Gives a folder that is written its name, in place of an older one."""
    if Path(target).exists():
        shutil.rmtree(target)
    folder.rename(target)


def _unfinished(target: str) -> Path:
    path = Path(target)
    return path.with_name(path.name + UNFINISHED)
