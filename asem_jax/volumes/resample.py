"""From one voxel size to another, by whole ratios per axis, block by block.

To larger voxels: the mean of a cell for grey values and probabilities, its most frequent value for labels.
To smaller ones: linear interpolation between voxel centres (constant beyond the outermost), the nearest
voxel for labels. Laws that hold (and are tested):

* block by block equals the whole volume at once;
* a place keeps its nanometres: the centre of a cell is the mean centre of its voxels;
* to smaller voxels and back returns labels unchanged.

A cell that the volume's end cuts is made from the voxels that it has: a source of 165 sections gives 83 of
twice the thickness, and no source voxel is left without a result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import coarsened
from asem_jax.volumes.volume import Volume, create_volume

Reader = Callable[[Box], npt.NDArray[Any]]

RATIO_TOLERANCE = 1e-3
"""Relative deviation from a whole ratio that rounding in metadata explains."""


def resample_volume(
    source: Volume,
    address: str,
    *,
    voxel_size_nm: Sequence[float],
    labels: bool,
    chunk_shape: Sequence[int] = (64, 64, 64),
    shard_shape: Sequence[int] | None = None,
    zarr_format: int = 2,
    attributes: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    num_threads: int = 2,
    finish: Callable[[Reader, Int3], Reader] | None = None,
) -> Volume:
    """Writes `source` at another voxel size and returns it; the pyramid is left to the caller.

    Args:
      source: grey values, probabilities or labels.
      address: of the result.
      voxel_size_nm: wanted, z y x; per axis a whole multiple or a whole fraction of the present one.
      labels: keep to values that occur; otherwise mean and linear interpolation.
      chunk_shape: of the result, voxels z y x.
      shard_shape: of the result; None = no shards.
      zarr_format: of the result.
      attributes: provenance of the result.
      ledger: of finished blocks; None writes every block.
      num_threads: blocks made at a time.
      finish: given what reads a box of the resampled volume, and its shape, returns what reads the box that is
        written; None = the same.

    Raises:
      ValueError: a ratio is not whole, or another volume lies at `address`.
    """
    down, up = ratios(source, voxel_size_nm)
    coarse = coarsened(source, down, labels=labels)
    size, offset = fine_place(coarse.voxel_size_nm, coarse.offset_nm, up)
    target = create_volume(
        address,
        shape=[n * f for n, f in zip(coarse.shape, up, strict=True)],
        dtype=source.dtype,
        voxel_size_nm=size,
        offset_nm=offset,
        chunk_shape=chunk_shape,
        shard_shape=shard_shape,
        zarr_format=zarr_format,
        attributes=attributes,
    )

    def resampled(box: Box) -> npt.NDArray[Any]:
        return read_finer(coarse, box, up, labels=labels)

    read = resampled if finish is None else finish(resampled, target.shape)

    def write(box: Box) -> None:
        target.write(box, read(box))

    run_blocks(
        write,
        tiles(target.box, target.chunk_shape),
        label=f"write {target.address}",
        ledger=ledger,
        num_threads=num_threads,
    )
    return target


def ratios(source: Volume, voxel_size_nm: Sequence[float]) -> tuple[Int3, Int3]:
    """Returns by how many times voxels become larger, and by how many smaller, per axis; one of them is 1.

    Args:
      source: what is resampled.
      voxel_size_nm: wanted, z y x.

    Raises:
      ValueError: a ratio is not whole.
    """
    wanted = float3(voxel_size_nm, "voxel_size_nm")
    down, up = [], []
    for have, want in zip(source.voxel_size_nm, wanted, strict=True):
        ratio = want / have if want > 0 else 0.0
        larger, smaller = max(1, round(ratio)), max(1, round(1 / ratio) if ratio else 1)
        if abs(ratio * smaller / larger - 1) > RATIO_TOLERANCE:
            near = sorted({have / (smaller + 1), have / smaller, have * larger, have * (larger + 1)})
            raise ValueError(
                f"{source.address} has voxel size {source.voxel_size_nm} nm, which does not go to {wanted} "
                f"nm by whole ratios; nearby for {have} nm: {', '.join(f'{size:g}' for size in near)} nm."
            )
        down.append(larger)
        up.append(smaller)
    return int3(down, "down"), int3(up, "up")


def fine_place(voxel_size_nm: Float3, offset_nm: Float3, factors: Int3) -> tuple[Float3, Float3]:
    """Returns voxel size and offset after each voxel is divided into `factors` along each axis.

    Example:
      >>> fine_place((8.0, 8.0, 16.0), (0.0, 2.0, 6.0), (1, 2, 4))
      ((8.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    """
    size = float3([s / f for s, f in zip(voxel_size_nm, factors, strict=True)], "voxel_size_nm")
    first = [o - (f - 1) / 2 * s for o, s, f in zip(offset_nm, size, factors, strict=True)]
    return size, float3(first, "offset_nm")


def read_finer(volume: Volume, box: Box, factors: Int3, *, labels: bool) -> npt.NDArray[Any]:
    """Returns what `volume` holds in `box` once each voxel is divided into `factors`.

    Args:
      volume: the coarse one.
      box: voxels of the fine grid, z y x.
      factors: z y x; 1 leaves an axis as it is.
      labels: the nearest voxel; otherwise linear interpolation.

    Returns:
      `[z, y, x]` in the dtype of `volume`, rounded for integers.
    """
    halo = [1 if f > 1 and not labels else 0 for f in factors]
    cells = Box(
        int3([a // f for a, f in zip(box.start, factors, strict=True)], "start"),
        int3([-(-b // f) for b, f in zip(box.stop, factors, strict=True)], "stop"),
    )
    needed = cells.grow(halo).intersect(volume.box)
    block = volume.read(needed)
    if factors == (1, 1, 1):
        return block
    exact = block if labels or block.dtype == np.float64 else block.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            positions = np.arange(box.start[axis], box.stop[axis])
            place = (positions - (0 if labels else (factor - 1) / 2)) / factor - needed.start[axis]
            exact = _nearest(exact, axis, place) if labels else _linear(exact, axis, place)
    if np.issubdtype(block.dtype, np.integer) and not labels:
        exact = np.rint(exact)
    return exact.astype(block.dtype, copy=False)


def _nearest(block: npt.NDArray[Any], axis: int, place: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Returns the voxels of `block` in which the places along `axis` lie."""
    return block.take(np.floor(place).astype(np.intp), axis=axis)


def _linear(block: npt.NDArray[Any], axis: int, place: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Returns `block` interpolated at places along `axis`, its ends continued."""
    last = block.shape[axis] - 1
    place = np.clip(place, 0, last)
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, last)
    weight = np.expand_dims((place - below).astype(block.dtype), [a for a in range(3) if a != axis])
    return block.take(below, axis=axis) * (1 - weight) + block.take(above, axis=axis) * weight
