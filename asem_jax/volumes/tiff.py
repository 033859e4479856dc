"""TIFF stacks, in and out: a folder of sections, or one file of many pages (plain, BigTIFF, ImageJ, OME).

A page is a section. Pages are read and written a slab at a time, so the memory is that of a slab and not of
the volume; of a page only the wanted rows are decoded (unless it is made of tiles). Laws that hold (and are tested):

* a volume written as TIFF and read again is equal, in its voxel size too;
* pages of another shape, dtype or number of channels are refused by name before anything is read, and so is a file that
  ends before its voxels do.
"""

import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.files import replaced
from asem_jax.volumes.geometry import Box, Float3, Int3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.sections import SUFFIXES, ordered_sections
from asem_jax.volumes.tags import imagej_description, imagej_voxel_size, ome_voxel_size, resolution_tags
from asem_jax.volumes.volume import Volume

CLASSIC_TIFF_BYTES = 2**32 - 2**25
"""Voxels beyond this need BigTIFF; the rest of 4 GiB is for the tags."""

IMAGEJ_TAGS: dict[str, Any] = {
    "photometric": "minisblack",
    "metadata": None,
    "resolutionunit": 1,
    "software": "asem_jax",
}


@dataclass(frozen=True)
class Page:
    """Where one section lies.

    Attributes:
      path: the file.
      index: its page.
      first_byte: where its voxels begin, row by row and not compressed; None where a decoder has to find them.
      stored_dtype: with its byte order, where `first_byte` is given.
    """

    path: Path
    index: int
    first_byte: int | None = None
    stored_dtype: str = ""


@dataclass(frozen=True)
class Stack:
    """A stack of sections in TIFF files, found and checked, not yet read.

    Attributes:
      address: as the user wrote it.
      pages: one per section.
      shape: voxels, z y x.
      dtype: of the voxels; single bits are uint8.
      voxel_size_nm: as the tags state it, z y x; None if they do not.
      offset_nm: None, no tag states it.
    """

    address: str
    pages: tuple[Page, ...]
    shape: Int3
    dtype: np.dtype[Any]
    voxel_size_nm: Float3 | None
    offset_nm: Float3 | None = None

    @property
    def chunk_shape(self) -> Int3:
        """A section."""
        return 1, *self.shape[1:]

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, [z, y, x].

        Raises:
          ValueError: a file cannot be decoded, or is shorter than it was.
        """
        array = np.empty(box.shape, self.dtype)
        _, rows, columns = box.slices
        wanted = self.pages[box.start[0] : box.stop[0]]
        for path in dict.fromkeys(page.path for page in wanted):
            with tifffile.TiffFile(path) as tiff:
                for z, page in enumerate(wanted):
                    if page.path == path:
                        array[z] = _read_rows(tiff, page, self.shape[1:], rows)[:, columns]
        return array


def is_tiff(source: str | Path) -> bool:
    """Says whether `source` is written like a TIFF file or a folder of sections, not like a volume's address.

    Example:
      >>> is_tiff("stack.TIF"), is_tiff("sections/"), is_tiff("cell.zarr/raw")
      (True, True, False)
    """
    in_container = any(part.endswith((".zarr", ".n5", ".precomputed")) for part in Path(source).parts)
    return not in_container and (Path(source).suffix.lower() in SUFFIXES or str(source).endswith("/"))


def open_stack(source: str | Path, *, allow_gaps: bool = False) -> Stack:
    """Finds and checks the sections of a TIFF stack.

    Args:
      source: a .tif or .tiff file of one or many pages, or a folder with one such file per section.
      allow_gaps: accept missing numbers in a folder.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: it holds no stack of equal grey-valued sections that can be decoded.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} is not there; give a TIFF file or a folder of them.")
    files = ordered_sections(path, allow_gaps=allow_gaps) if path.is_dir() else [path]
    pages: list[Page] = []
    first: tuple[tuple[int, ...], np.dtype[Any], Float3 | None] | None = None
    for file in files:
        found, shape, dtype, voxel_size_nm = _inspect(file)
        if path.is_dir() and len(found) != 1:
            raise ValueError(
                f"{file} has {len(found)} pages, a folder holds one section per file; give the file itself."
            )
        first = first or (shape, dtype, voxel_size_nm)
        if (shape, dtype) != first[:2]:
            raise ValueError(
                f"{file} has {_pixels(shape, dtype)}, {files[0].name} has {_pixels(*first[:2])}; "
                "all sections need one size and type: crop or convert them, or move the file away."
            )
        pages += found
    assert first is not None
    shape, dtype, voxel_size_nm = first
    kept = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    return Stack(str(source), tuple(pages), int3((len(pages), *shape), "shape"), kept, voxel_size_nm)


def write_stack(volume: Volume, path: str | Path) -> None:
    """Writes a volume as one TIFF file that Fiji opens with its voxel size; BigTIFF where it is large.

    The file appears under its name when it is complete. Memory: one slab of `volume.chunk_shape[0]` sections.

    Args:
      volume: written unchanged, in its dtype.
      path: of the file; an older one is replaced.
    """
    num_bytes = volume.box.num_voxels * volume.dtype.itemsize

    def write(part: Path) -> None:
        with tifffile.TiffWriter(part, bigtiff=num_bytes > CLASSIC_TIFF_BYTES) as tiff:
            tiff.write(
                _pages(volume),
                shape=volume.shape,
                dtype=volume.dtype,
                description=imagej_description(volume.shape[0], volume.voxel_size_nm),
                resolution=resolution_tags(volume.voxel_size_nm),
                **IMAGEJ_TAGS,
            )

    replaced(Path(path), write)


def write_sections(volume: Volume, folder: str | Path, *, ledger: Ledger | None = None, num_threads: int = 2) -> None:
    """Writes a volume as a folder of numbered TIFF files, one per section, with the voxel size in each.

    Memory: one slab of `volume.chunk_shape[0]` sections per thread.

    Args:
      volume: written unchanged, in its dtype.
      folder: made where it is not there; files of the same names are replaced.
      ledger: of finished slabs; None writes all.
      num_threads: slabs written at a time.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    digits = max(4, len(str(volume.shape[0] - 1)))

    def write(slab: Box) -> None:
        for z, section in enumerate(volume.read(slab), start=slab.start[0]):
            replaced(
                folder / f"section_{z:0{digits}d}.tif",
                partial(
                    tifffile.imwrite,
                    data=section,
                    description=imagej_description(1, volume.voxel_size_nm),
                    resolution=resolution_tags(volume.voxel_size_nm),
                    **IMAGEJ_TAGS,
                ),
            )

    run_blocks(write, slabs(volume), label=f"export to {folder}", ledger=ledger, num_threads=num_threads)


def slabs(volume: Volume) -> list[Box]:
    """Returns boxes of whole sections, one chunk thick, that cover a volume."""
    return list(tiles(volume.box, (volume.chunk_shape[0], *volume.shape[1:])))


def _pages(volume: Volume) -> Iterator[npt.NDArray[Any]]:
    for slab in slabs(volume):
        yield from volume.read(slab)


def _inspect(path: Path) -> tuple[list[Page], tuple[int, ...], np.dtype[Any], Float3 | None]:
    """Returns the pages of a file, the shape and dtype of each, and the voxel size that its tags state."""
    try:
        with _heard() as complaints, tifffile.TiffFile(path) as tiff:
            _check_channels(tiff, path)
            pages = _listed_pages(tiff, path)
            if complaints:
                raise tifffile.TiffFileError(complaints[0])
            key = tiff.pages.first
            _read_rows(tiff, pages[0], key.shape, slice(0, key.shape[0]))
            return pages, key.shape, np.dtype(key.dtype).newbyteorder("="), _voxel_size(tiff)
    except (tifffile.TiffFileError, IndexError, struct.error) as error:
        raise ValueError(
            f"{path} is no TIFF file, or a damaged one ({error}); give a whole TIFF file or move it away."
        ) from error


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collects what tifffile logs of pages that it cannot find: of a file that is cut off it would return the rest."""
    complaints: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        if "page" in record.getMessage() and record.levelno >= logging.ERROR:
            complaints.append(record.getMessage())
        return not complaints

    log = logging.getLogger("tifffile")
    log.addFilter(hear)
    try:
        yield complaints
    finally:
        log.removeFilter(hear)


def _listed_pages(tiff: tifffile.TiffFile, path: Path) -> list[Page]:
    """Returns all pages, after checking that they are alike and that the file holds them."""
    series: Any = tiff.series[0]
    key: Any = tiff.pages.first
    if series.is_truncated:
        # Beyond 4 GiB ImageJ lists the first page only; the voxels of the others follow it.
        num_bytes = key.dtype.itemsize * int(np.prod(key.shape))
        stored = np.dtype(key.dtype).newbyteorder(tiff.byteorder).str
        count = int(np.prod(series.shape)) // int(np.prod(key.shape))
        _check_length(tiff, path, count - 1, series.dataoffset + count * num_bytes)
        return [Page(path, i, series.dataoffset + i * num_bytes, stored) for i in range(count)]
    found = []
    for index, page in enumerate(tiff.pages):
        if (page.shape, page.dtype) != (key.shape, key.dtype):
            raise ValueError(
                f"{path}: page {index} has {_pixels(page.shape, page.dtype)}, page 0 has "
                f"{_pixels(key.shape, key.dtype)}; a stack has pages of one size and type: save it without "
                "the others (thumbnails, labels)."
            )
        found.append(_listed_page(tiff, path, index, page))
    if len(series.pages) > len(tiff.pages):
        raise ValueError(
            f"{path} is one of several files of an OME-TIFF with {len(series.pages)} pages; save it as one file."
        )
    return found


def _listed_page(tiff: tifffile.TiffFile, path: Path, index: int, page: Any) -> Page:
    """Returns where a page of a file lies, after checking that the file is long enough for it."""
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    _check_length(tiff, path, index, max(ends, default=0))
    # `keyframe` knows what a page that was listed in short leaves out.
    key = page.keyframe
    is_plain = key.compression == 1 and key.is_contiguous and key.bitspersample == 8 * key.dtype.itemsize
    if not is_plain or key.fillorder != 1 or key.predictor != 1:
        return Page(path, index)
    return Page(path, index, page.dataoffsets[0], np.dtype(key.dtype).newbyteorder(tiff.byteorder).str)


def _check_length(tiff: tifffile.TiffFile, path: Path, index: int, num_bytes: int) -> None:
    """Raises if a file ends before the voxels of a page do."""
    if tiff.filehandle.size < num_bytes:
        raise ValueError(
            f"{path} is cut off: it has {tiff.filehandle.size} bytes, and page {index} reaches to byte {num_bytes}; "
            "copy or export it anew."
        )


def _check_channels(tiff: tifffile.TiffFile, path: Path) -> None:
    """Raises unless each page is a whole grey-valued section."""
    key, series = tiff.pages.first, tiff.series[0]
    if key.samplesperpixel != 1 or len(key.shape) != 2:
        raise ValueError(
            f"{path} has pages of shape {key.shape} with {key.samplesperpixel} samples per pixel (RGB?), "
            "grey values or label numbers are needed; in Fiji: Image > Type > 8-bit."
        )
    sizes = zip(series.axes, series.shape, strict=True)
    more = [axis for axis, size in sizes if size > 1 and axis not in "YX"]
    if len(more) > 1 or "C" in more:
        raise ValueError(
            f"{path} has the axes {series.axes} of shape {series.shape}, one stack of sections is needed; "
            "save one channel and one time point as its own file."
        )


def _read_rows(tiff: tifffile.TiffFile, page: Page, shape: Sequence[int], rows: slice) -> npt.NDArray[Any]:
    """Returns some rows of a section of `shape` pixels, [y, x]."""
    if page.first_byte is not None:
        stored, width = np.dtype(page.stored_dtype), shape[1]
        tiff.filehandle.seek(page.first_byte + rows.start * width * stored.itemsize)
        content = tiff.filehandle.read((rows.stop - rows.start) * width * stored.itemsize)
        if len(content) < (rows.stop - rows.start) * width * stored.itemsize:
            raise ValueError(f"{page.path} ended within page {page.index}; copy or export it anew.")
        return np.frombuffer(content, stored).reshape(-1, width)
    try:
        return _decode_rows(tiff, tiff.pages[page.index], rows)
    except Exception as error:
        # Decoders raise whatever they like; a package that decodes more is the usual cure.
        raise ValueError(
            f"{page.path}: page {page.index} cannot be decoded ({error}); save it uncompressed or with "
            "Deflate, or pip install imagecodecs for other compressions."
        ) from error


def _decode_rows(tiff: tifffile.TiffFile, page: Any, rows: slice) -> npt.NDArray[Any]:
    """Returns some rows of a compressed section, [y, x], after decoding the strips that they are in."""
    if page.is_tiled or not page.rowsperstrip:
        return np.asarray(page.asarray())[rows]
    first, last = rows.start // page.rowsperstrip, (rows.stop - 1) // page.rowsperstrip
    found = np.zeros((rows.stop - rows.start, page.shape[1]), page.dtype)
    tables = {"jpegtables": page.jpegtables} if page.jpegtables else {}
    for strip in range(first, last + 1):
        tiff.filehandle.seek(page.dataoffsets[strip])
        content = tiff.filehandle.read(page.databytecounts[strip])
        decoded = page.decode(content, strip, **tables)[0]
        if decoded is None:
            continue  # a strip that was not stored is 0
        begin = strip * page.rowsperstrip
        a, b = max(rows.start, begin), min(rows.stop, begin + decoded.shape[1])
        found[a - rows.start : b - rows.start] = decoded[0, a - begin : b - begin, :, 0]
    return found


def _voxel_size(tiff: tifffile.TiffFile) -> Float3 | None:
    """Returns the voxel size in the tags of a file, nm, z y x; None if incomplete."""
    if tiff.is_ome and tiff.ome_metadata:
        return ome_voxel_size(tiff.ome_metadata)
    tags = tiff.pages.first.tags
    if not tiff.is_imagej or "XResolution" not in tags or "YResolution" not in tags:
        return None
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    return imagej_voxel_size(tiff.imagej_metadata or {}, tags["YResolution"].value, tags["XResolution"].value, unit)


def _pixels(shape: Sequence[int], dtype: Any) -> str:
    return f"{' x '.join(str(n) for n in shape)} pixels of {np.dtype(dtype).name}"
