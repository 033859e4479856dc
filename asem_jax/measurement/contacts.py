"""Contact sites: where objects of two organelles come near each other.

A part of the surface of a first object is in contact with a second object if the voxel that it belongs to lies within
a distance of one of the second object's voxels, from centre to centre: objects that touch are one voxel apart. The
area is that of `crossings`, on the side of the first object; a part that is near two objects counts for both. Every
block is read with what is within the distance around it, so any block shape gives the same table to the last bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asem_jax.measurement.crossings import STEPS, area_per_crossing, neighbours
from asem_jax.measurement.morphometry import present
from asem_jax.measurement.scoring import voxel_shift
from asem_jax.measurement.tables import Columns
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.geometry import Box, Float3, Int3, tiles
from asem_jax.volumes.volume import Volume

# A pair of objects, its crossings per direction, and its smallest distance.
Pair = tuple[tuple[int, int], tuple[npt.NDArray[np.int64], float]]


@dataclass(frozen=True, eq=False)
class Surface:
    """The voxels at the surface of objects.

    Attributes:
      places: where they are, [n, 3].
      ids: whose they are, [n].
      crossings: how often lines in the 13 directions leave the object from each, 0 to 2, [n, 13].
    """

    places: npt.NDArray[np.int64]
    ids: npt.NDArray[Any]
    crossings: npt.NDArray[np.int64]


def measure_contacts(
    first: Volume,
    second: Volume,
    *,
    within_nm: float,
    block_shape: Sequence[int],
    num_threads: int,
    name: str,
    workers: Workers | None = None,
) -> Columns:
    """Returns one row per pair of objects in contact, by ascending ids; no rows where nothing is near.

    Columns: first_id, second_id, area_nm2 (of the first object's surface), gap_nm (the smallest distance).

    Args:
      first: objects whose surface is measured.
      second: what they may be near, on the same grid.
      within_nm: largest distance of a contact, from voxel centre to voxel centre.
      block_shape: voxels at a time, z y x; bounds the memory, not the result.
      num_threads: blocks at a time.
      name: what the progress display calls the contacts.
      workers: look at the blocks instead of threads of this process.

    Raises:
      ValueError: the distance is shorter than a voxel, both are one volume, or they do not fit each other.
    """
    if within_nm < max(first.voxel_size_nm):
        raise ValueError(
            f"contacts {name}: within_nm={within_nm} is less than a voxel of {first.voxel_size_nm} nm, and objects "
            "that touch are one voxel apart; give more."
        )
    if first.address == second.address:
        raise ValueError(f"contacts {name}: first and second are both {first.address}; name two volumes.")
    shift = voxel_shift(second, first, first.box)
    reach = [int(within_nm / side) for side in first.voxel_size_nm]
    pairs: dict[tuple[int, int], tuple[npt.NDArray[np.int64], float]] = {}

    def count(block: Box) -> list[Pair]:
        near = block.grow(reach).intersect(first.box)
        others = second.read(near.shift(shift))
        if not others.any():
            return []
        read = block.grow(1).intersect(first.box)
        surface = surface_of(first.read(read), block, read)
        return list(block_pairs(surface, others, near, voxel_size_nm=first.voxel_size_nm, within_nm=within_nm))

    def collect(found: list[Pair]) -> None:
        for pair, (crossings, gap) in found:
            known = pairs.get(pair, (0, gap))
            pairs[pair] = (known[0] + crossings, min(known[1], gap))

    blocks = tiles(first.box, block_shape)
    run_blocks(count, blocks, label=f"contacts {name}", num_threads=num_threads, workers=workers, collect=collect)
    ordered = sorted(pairs)
    areas = area_per_crossing(first.voxel_size_nm)
    return {
        "first_id": np.array([pair[0] for pair in ordered], np.int64),
        "second_id": np.array([pair[1] for pair in ordered], np.int64),
        "area_nm2": np.array([pairs[pair][0] @ areas for pair in ordered], np.float64),
        "gap_nm": np.array([pairs[pair][1] for pair in ordered], np.float64),
    }


def surface_of(ids: npt.NDArray[Any], block: Box, read: Box) -> Surface:
    """Returns the surface voxels in a block; the border of the volume is no surface.

    Args:
      ids: objects in `read`, [z, y, x].
      block: whose voxels are looked at.
      read: the block with one voxel around it, cut at the volume.
    """
    inner = block.shift((-read.start[0], -read.start[1], -read.start[2]))
    crossings = np.zeros((len(STEPS), *block.shape), np.uint8)
    for number, step in enumerate(STEPS):
        for way in (step, (-step[0], -step[1], -step[2])):
            own, other = neighbours(ids, inner, way)
            here = tuple(slice(s.start - a, s.stop - a) for s, a in zip(own, inner.start, strict=True))
            crossings[number][here] += ids[own] != ids[other]
    mine = ids[inner.slices]
    z, y, x = np.nonzero((mine > 0) & crossings.any(0))
    places = np.stack([z, y, x], 1) + np.array(block.start)
    return Surface(places, mine[z, y, x], crossings[:, z, y, x].T.astype(np.int64))


def block_pairs(
    surface: Surface, others: npt.NDArray[Any], near: Box, *, voxel_size_nm: Float3, within_nm: float
) -> Iterator[Pair]:
    """Yields pairs of ids, with crossings per direction [13] and the smallest distance, nm.

    Args:
      surface: of the first objects in a block.
      others: the second objects in `near`, [z, y, x].
      near: the block with all that is within the distance around it.
      voxel_size_nm: z y x.
      within_nm: largest distance.
    """
    places = surface.places - np.array(near.start)
    reach = [int(within_nm / side) for side in voxel_size_nm]
    numbers = present(others)
    known = np.concatenate([np.zeros(1, others.dtype), numbers])
    for number, found in zip(numbers, ndimage.find_objects(np.searchsorted(known, others)), strict=True):
        bounds = Box(_ends(found, "start"), _ends(found, "stop")).grow(reach).intersect(Box.of_shape(others.shape))
        inside = ((places >= bounds.start) & (places < bounds.stop)).all(1)
        if not inside.any():
            continue
        distance = ndimage.distance_transform_edt(others[bounds.slices] != number, sampling=voxel_size_nm)
        z, y, x = (places[inside] - np.array(bounds.start)).T
        away = distance[z, y, x]
        close = away <= within_nm
        ids, crossings = surface.ids[inside][close], surface.crossings[inside][close]
        for own in np.unique(ids):
            mine = ids == own
            yield (int(own), int(number)), (crossings[mine].sum(0), float(away[close][mine].min()))


def _ends(found: tuple[slice, slice, slice], end: str) -> Int3:
    z, y, x = (int(getattr(part, end)) for part in found)
    return z, y, x
