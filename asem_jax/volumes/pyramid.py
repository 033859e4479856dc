"""Coarser levels of an image, so that viewers can show a whole volume.

Each level halves the one before it: grey values and probabilities by the mean, labels by the most frequent
value (the smallest of those that tie). Laws that hold (and are tested):

* block by block equals the whole volume at once;
* a cell that the volume's end cuts is made from the voxels that it has, so no voxel is left out;
* a coarse voxel lies where its cell's centre is: offset + (factor - 1) / 2 voxels of the finest level.

The metadata names the coarse levels only once all of them are written. A volume that is made block by block need not be
read again for them: a `GrowingImage` writes, with each block, what it is on the coarser levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import tensorstore as ts

from asem_jax.volumes import ngff
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3, tiles
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume, create_level

ANISOTROPY = 2**0.5
"""An axis whose voxels are longer than this many times the shortest waits: voxels become cubes."""


@dataclass(frozen=True)
class GrowingImage:
    """An image whose coarser levels are written with the blocks of its finest, as far as these fill whole chunks.

    Attributes:
      finest: the finest level.
      coarse: the levels behind it that blocks fill.
      labels: made coarser by the most frequent value; otherwise by the mean.
    """

    finest: Volume
    coarse: tuple[Volume, ...]
    labels: bool

    @classmethod
    def begin(cls, volume: Volume, block_shape: Sequence[int] | None, *, labels: bool) -> Self:
        """Creates the levels, or opens those that are there.

        Args:
          volume: the finest level.
          block_shape: voxels z y x of the blocks, which begin at its multiples; None = blocks of no one shape.
          labels: see the class.
        """
        found: list[Volume] = []
        finer, factors = volume, (1, 1, 1)
        while block_shape is not None and any(n > c for n, c in zip(finer.shape, volume.chunk_shape, strict=True)):
            step = halving(finer.shape, finer.voxel_size_nm)
            factors = int3([a * b for a, b in zip(factors, step, strict=True)], "factors")
            axes = zip(block_shape, factors, volume.chunk_shape, volume.shape, strict=True)
            if any(side % (factor * chunk) and side < n for side, factor, chunk, n in axes):
                break
            finer = _stored(volume, finer, step, str(len(found) + 1), labels=labels, replaces=False)
            found.append(finer)
        return cls(volume, tuple(found), labels)

    def write_async(self, box: Box, array: npt.NDArray[Any]) -> list[Pending[None]]:
        """Starts to write a block to all levels; see `Volume.write_async`."""
        writes, finer = [self.finest.write_async(box, array)], self.finest
        for level in self.coarse:
            step = halving(finer.shape, finer.voxel_size_nm)
            array = _downsampled(ts.array(array), step, labels=self.labels).read().result()
            box = Box.of_shape(array.shape, [a // f for a, f in zip(box.start, step, strict=True)])
            writes.append(level.write_async(box, array))
            finer = level
        return writes


def write_pyramid(volume: Volume, *, labels: bool, num_threads: int = 2, written: Sequence[Volume] = ()) -> None:
    """Writes levels 1, 2, ... of an image until one fits into a chunk, replacing older ones.

    Memory: two chunks of a level and the eight that each is made from, per thread.

    Args:
      volume: the finest level, written completely.
      labels: by the most frequent value; otherwise by the mean.
      num_threads: chunks made at a time.
      written: the first of them, where a `GrowingImage` has written them already.

    Raises:
      ValueError: `volume` is not the finest level of an OME-Zarr image.
      RuntimeError: some of it was never written.
    """
    folder = Path(volume.address)
    if volume.level != 0 or not ngff.multiscales(folder):
        raise ValueError(
            f"{volume.address} level {volume.level} is not the finest level of an OME-Zarr image; "
            "give what create_volume or open_volume returned for the image itself."
        )
    method = ngff.LABELS_METHOD if labels else "mean"
    image = ngff.read_image(folder, volume.address)
    first = image.levels[0]
    ngff.write_image(folder, replace(image, levels=(first,), method=""))
    made = [volume, *written]
    while any(n > c for n, c in zip(made[-1].shape, volume.chunk_shape, strict=True)):
        step, name = halving(made[-1].shape, made[-1].voxel_size_nm), str(len(made))
        coarse = coarsened(made[-1], step, labels=labels)
        stored = _stored(volume, made[-1], step, name, labels=labels, replaces=True)

        def write(box: Box, source: Volume = coarse, target: Volume = stored) -> None:
            target.write(box, source.read(box))

        blocks = tiles(stored.box, stored.chunk_shape)
        run_blocks(write, blocks, label=f"level {name} of {volume.address}", num_threads=num_threads)
        made.append(stored)
    levels = [first, *(ngff.Level(str(n), level.voxel_size_nm, level.offset_nm) for n, level in enumerate(made) if n)]
    ngff.write_image(folder, replace(image, levels=tuple(levels), method=method if levels[1:] else ""))


def _stored(volume: Volume, finer: Volume, step: Int3, name: str, *, labels: bool, replaces: bool) -> Volume:
    """Returns an empty level of `volume`, behind `finer`; where it is there and is not replaced, as it is."""
    coarse = coarsened(finer, step, labels=labels)
    return replace(coarse, store=create_level(Path(volume.address), name, coarse.shape, volume, replaces=replaces))


def coarsened(volume: Volume, factors: Int3, *, labels: bool) -> Volume:
    """Returns a view of `volume` with `factors` times larger voxels, computed as it is read.

    The view lives in this process only: a pickled one would open the finest level.

    Args:
      volume: what is made coarser.
      factors: z y x, at least 1.
      labels: by the most frequent value; otherwise by the mean, rounded for integers.
    """
    size, offset = coarse_place(volume.voxel_size_nm, volume.offset_nm, factors)
    store = _downsampled(volume.store, factors, labels=labels)
    return replace(volume, store=store, voxel_size_nm=size, offset_nm=offset)


def _downsampled(store: ts.TensorStore, factors: Int3, *, labels: bool) -> ts.TensorStore:
    return ts.downsample(store, list(factors), "mode" if labels else "mean")


def halving(shape: Int3, voxel_size_nm: Float3) -> Int3:
    """Returns by how much the next level is coarser, 1 or 2 per axis.

    Args:
      shape: voxels of the present level, z y x.
      voxel_size_nm: of the present level, z y x.

    Example:
      >>> halving((40, 200, 200), (16.0, 4.0, 4.0))
      (1, 2, 2)
      >>> halving((40, 50, 1), (16.0, 16.0, 16.0))
      (2, 2, 1)
    """
    divisible = [n > 1 for n in shape]
    shortest = min(size for size, can in zip(voxel_size_nm, divisible, strict=True) if can)
    halved = [can and size <= ANISOTROPY * shortest for size, can in zip(voxel_size_nm, divisible, strict=True)]
    return int3([2 if half else 1 for half in halved], "factors")


def level_shapes(shape: Int3, voxel_size_nm: Float3, chunk_shape: Int3) -> list[Int3]:
    """Returns the shapes of all levels that `write_pyramid` gives a volume, the finest first.

    Args:
      shape: voxels of the finest level, z y x.
      voxel_size_nm: of the finest level, z y x.
      chunk_shape: of all levels.

    Example:
      >>> level_shapes((40, 200, 201), (16.0, 4.0, 4.0), (64, 64, 64))
      [(40, 200, 201), (40, 100, 101), (40, 50, 51)]
    """
    shapes, size = [shape], voxel_size_nm
    while any(n > c for n, c in zip(shapes[-1], chunk_shape, strict=True)):
        step = halving(shapes[-1], size)
        shapes.append(int3([-(-n // f) for n, f in zip(shapes[-1], step, strict=True)], "shape"))
        size = float3([s * f for s, f in zip(size, step, strict=True)], "voxel_size_nm")
    return shapes


def coarse_place(voxel_size_nm: Float3, offset_nm: Float3, factors: Int3) -> tuple[Float3, Float3]:
    """Returns voxel size and offset of a level whose voxels are `factors` times as large.

    Args:
      voxel_size_nm: of the finest level, z y x.
      offset_nm: centre of its first voxel, z y x.
      factors: z y x.

    Example:
      >>> coarse_place((4.0, 4.0, 4.0), (0.0, 0.0, 100.0), (1, 2, 4))
      ((4.0, 8.0, 16.0), (0.0, 2.0, 106.0))
    """
    size = float3([s * f for s, f in zip(voxel_size_nm, factors, strict=True)], "voxel_size_nm")
    middle = [o + (f - 1) / 2 * s for o, s, f in zip(offset_nm, voxel_size_nm, factors, strict=True)]
    return size, float3(middle, "offset_nm")
