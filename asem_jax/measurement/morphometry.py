"""Size, place and shape of every object of a volume, from sums that add up over blocks.

A volume holds one whole number per object, 0 = background. Each block is cut into runs of equal voxels along x, whose
moments are known in closed form; what is summed is whole numbers, so any block shape and order give the same table to
the last bit. Memory: some arrays of a block per thread, and about 250 bytes per object.

Moments are those of the union of the voxels, each a box; surface area is that of `crossings`, with its bias.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.measurement.crossings import STEPS, area_per_crossing, crossed
from asem_jax.measurement.scoring import voxel_shift
from asem_jax.measurement.tables import Columns, Table, rows_where
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.geometry import Box, Float3, Int3, tiles
from asem_jax.volumes.volume import Volume

# Columns of `Sums.added`.
_COUNT, _FIRST, _SECOND, _GREY = 0, slice(1, 4), slice(4, 10), slice(10, 12)
_FACES, _CROSSINGS = slice(12, 15), slice(15, 15 + len(STEPS))
_WIDTH = 15 + len(STEPS)
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))

# Sums of so many blocks are kept apart before they are added: adding all to all for each block would take longer.
_APART = 32
_RAW_TYPES = ("uint8", "int8", "uint16", "int16")

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sums:
    """What is summed over the voxels of each object; positions count from the middle voxel of the volume.

    Attributes:
      ids: ascending, [n].
      added: int64 [n, 28]: voxels; positions, z y x; their products zz yy xx zy zx yx; grey values and their squares;
        faces on the volume's border across z, y and x; crossings in the 13 directions.
      low: first voxel of each object, [n, 3].
      high: last voxel, [n, 3].
    """

    ids: npt.NDArray[Any]
    added: Integers
    low: Integers
    high: Integers


def measure_objects(
    objects: Volume,
    *,
    raw: Volume | None,
    block_shape: Sequence[int],
    num_threads: int,
    name: str,
    workers: Workers | None = None,
) -> Columns:
    """Returns the table of all objects of a volume, one row per object, by ascending id.

    Columns: id; voxels; volume_nm3; z_nm, y_nm, x_nm (centroid); surface_nm2 (without what lies on the volume's
    border); sphericity (1 = a ball); major_nm, middle_nm, minor_nm (axes of the ellipsoid with the same second moments,
    full lengths); major_z, major_y, major_x (direction of the first, unit vector); start_z to stop_x (bounding box,
    voxels, half-open); border_nm2 and touches_border (faces on the volume's border); with `raw` also
    grey_mean and grey_std.

    Args:
      objects: whole numbers, 0 = background.
      raw: grey values of 8 or 16 bits on the same grid; None = no grey values in the table.
      block_shape: voxels at a time, z y x; bounds the memory, not the result.
      num_threads: blocks at a time.
      name: what the progress display calls the objects.
      workers: read and measure the blocks instead of threads of this process.

    Raises:
      ValueError: the volumes do not fit each other or have other types; nothing is above 0.
    """
    _check_types(objects, raw)
    shift = None if raw is None else voxel_shift(raw, objects, objects.box)
    middle: Int3 = (objects.shape[0] // 2, objects.shape[1] // 2, objects.shape[2] // 2)
    parts: list[Sums] = []

    def count(block: Box) -> list[Sums]:
        read = block.grow(1).intersect(objects.box)
        ids = objects.read(read)
        if not ids.any():
            return []
        grey = None if raw is None or shift is None else raw.read(block.shift(shift))
        return [block_sums(ids, block, read, grey=grey, whole=objects.box, middle=middle)]

    def collect(found: list[Sums]) -> None:
        parts.extend(found)
        if len(parts) > _APART:
            parts[:] = [total(parts)]

    blocks = tiles(objects.box, block_shape)
    run_blocks(count, blocks, label=f"measure {name}", num_threads=num_threads, workers=workers, collect=collect)
    if not parts or not total(parts).ids.size:
        raise ValueError(
            f"{objects.address} holds no object: no voxel is above 0. Look at what made it (a threshold too high?), or "
            "leave it out."
        )
    sums = total(parts)
    _check_fit(sums, middle, 0 if raw is None else np.iinfo(raw.dtype).max, objects.address)
    return table_of(sums, objects.voxel_size_nm, objects.offset_nm, middle=middle, with_grey=raw is not None)


def block_sums(
    ids: npt.NDArray[Any], block: Box, read: Box, *, grey: npt.NDArray[Any] | None, whole: Box, middle: Int3
) -> Sums:
    """Returns the sums of a block.

    Args:
      ids: objects in `read`, [z, y, x].
      block: whose voxels are counted; those around it only say where surfaces are.
      read: the block with one voxel around it, cut at the volume.
      grey: grey values in `block`, or None.
      whole: all voxels of the volume.
      middle: the voxel that positions count from.
    """
    inner = block.shift((-read.start[0], -read.start[1], -read.start[2]))
    known = present(ids)
    added = np.zeros((len(known), _WIDTH), np.int64)
    low = np.full((len(known), 3), np.iinfo(np.int64).max)
    high = np.full((len(known), 3), np.iinfo(np.int64).min)
    values, places, lengths, grey_sums = _runs(np.ascontiguousarray(ids[inner.slices]), grey)
    if len(values):
        at = places + np.array(block.start)
        order = np.argsort(values, kind="stable")
        sorted_values = values[order]
        first = np.flatnonzero(np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]]))
        rows = np.searchsorted(known, sorted_values[first])
        columns = np.concatenate(
            [_moments(at - np.array(middle), lengths), grey_sums, _border_faces(at, lengths, whole)], 1
        )
        added[rows, : _FACES.stop] = np.add.reduceat(columns[order], first)
        low[rows] = np.minimum.reduceat(at[order], first)
        at[:, 2] += lengths - 1
        high[rows] = np.maximum.reduceat(at[order], first)
    for direction, own, other in crossed(ids, inner):
        both = np.concatenate([own, other])
        counts = np.bincount(np.searchsorted(known, both[both > 0]), minlength=len(known))
        added[:, _CROSSINGS.start + direction] = counts
    return Sums(known, added, low, high)


def total(parts: Sequence[Sums]) -> Sums:
    """Returns the sums over blocks, of at least one."""
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    if not ids.size:
        return parts[0]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    added, low, high = (
        how.reduceat(np.concatenate([getattr(part, name) for part in parts])[order], first)
        for how, name in ((np.add, "added"), (np.minimum, "low"), (np.maximum, "high"))
    )
    return Sums(ids[first], added, low, high)


def table_of(sums: Sums, voxel_size_nm: Float3, offset_nm: Float3, *, middle: Int3, with_grey: bool) -> Columns:
    """Returns the table that sums over a whole volume make; its columns are those of `measure_objects`."""
    # An object that only the surroundings of blocks showed has no voxels of its own: there is none in a whole volume.
    size, count = np.array(voxel_size_nm), sums.added[:, _COUNT].astype(np.float64)
    mean = sums.added[:, _FIRST] / count[:, None]
    centre = (mean + np.array(middle)) * size + np.array(offset_nm)
    lengths, directions = _axes(sums.added[:, _SECOND] / count[:, None], mean, size)
    volume = count * size.prod()
    surface = sums.added[:, _CROSSINGS] @ area_per_crossing(voxel_size_nm)
    border = sums.added[:, _FACES] @ (size.prod() / size)
    with np.errstate(divide="ignore"):  # an object that fills the whole volume has no surface
        sphericity = np.where(surface > 0, np.cbrt(36 * np.pi * volume**2) / surface, np.nan)
    columns: Columns = {"id": sums.ids, "voxels": sums.added[:, _COUNT], "volume_nm3": volume}
    columns |= {f"{axis}_nm": centre[:, n] for n, axis in enumerate("zyx")}
    columns |= {"surface_nm2": surface, "sphericity": sphericity}
    columns |= {f"{name}_nm": lengths[:, n] for n, name in enumerate(("major", "middle", "minor"))}
    columns |= {f"major_{axis}": directions[:, n] for n, axis in enumerate("zyx")}
    columns |= {f"start_{axis}": sums.low[:, n] for n, axis in enumerate("zyx")}
    columns |= {f"stop_{axis}": sums.high[:, n] + 1 for n, axis in enumerate("zyx")}
    columns |= {"border_nm2": border, "touches_border": border > 0}
    if with_grey:
        grey, squares = (sums.added[:, n] / count for n in range(_GREY.start, _GREY.stop))
        columns |= {"grey_mean": grey, "grey_std": np.sqrt(np.maximum(squares - grey**2, 0))}
    return columns


def of_length(table: Table, length_nm: tuple[float, float], address: str) -> Columns:
    """Returns the rows of objects whose major axis lies between two lengths: the others are dirt, or merged.

    Args:
      table: of `measure_objects`.
      length_nm: least and largest major axis.
      address: of the objects, for the message.

    Raises:
      ValueError: there is none.
    """
    low, high = length_nm
    kept = rows_where(table, (table["major_nm"] >= low) & (table["major_nm"] <= high))
    left_out = len(table["id"]) - len(kept["id"])
    if not len(kept["id"]):
        raise ValueError(
            f"{address}: none of {left_out} objects is {low} to {high} nm long; look at the column major_nm of the "
            "table of objects, and set length_nm to what such an object may have."
        )
    if left_out:
        logger.info("%s: %d objects are left out: they are not %g to %g nm long", address, left_out, low, high)
    return kept


def box_of(table: Columns, row: int) -> Box:
    """Returns the bounding box of the object in a row, voxels."""
    start, stop = ([int(table[f"{end}_{axis}"][row]) for axis in "zyx"] for end in ("start", "stop"))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def present(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the ids above 0 in a block, ascending: those at the starts of runs, which are few.

    Example:
      >>> present(np.array([[[0, 7, 7], [2, 2, 0]]])).tolist()
      [2, 7]
    """
    flat = ids.ravel()
    starts = np.concatenate([[True], flat[1:] != flat[:-1]])
    found = np.unique(flat[starts])
    return found[found > 0]


def places_nm(mask: npt.NDArray[np.bool_], box: Box, volume: Volume) -> npt.NDArray[np.float64]:
    """Returns the centres of the voxels that are True, nm, [n, 3].

    Args:
      mask: [z, y, x].
      box: where it lies, voxels of `volume`.
      volume: whose voxel size and offset are taken.
    """
    found = (np.argwhere(mask) + np.array(box.start)) * np.array(volume.voxel_size_nm) + np.array(volume.offset_nm)
    return np.asarray(found, np.float64)


def _runs(
    ids: npt.NDArray[Any], grey: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], Integers, Integers, Integers]:
    """Returns ids, first voxels [n, 3], lengths and sums of grey values and squares [n, 2] of the runs along x."""
    starts = np.ones(ids.shape, bool)
    np.not_equal(ids[..., 1:], ids[..., :-1], out=starts[..., 1:])
    flat = np.flatnonzero(starts)
    lengths = np.diff(flat, append=ids.size)
    values = ids.ravel()[flat]
    kept = values > 0
    sums = np.zeros((int(kept.sum()), 2), np.int64)
    if grey is not None:
        wide = grey.ravel().astype(np.int64)
        sums[:, 0] = np.add.reduceat(wide, flat)[kept]
        sums[:, 1] = np.add.reduceat(wide * wide, flat)[kept]
    places = np.stack(np.unravel_index(flat[kept], ids.shape), 1).astype(np.int64)
    return values[kept], places, lengths[kept], sums


def _moments(at: Integers, length: Integers) -> Integers:
    """Returns voxels, first and second moments of runs that begin at `at` [n, 3], [n, 10]."""
    z, y, x = at.T
    along = length * (length - 1) // 2  # 0 + 1 + ... over the run
    squares = along * (2 * length - 1) // 3
    sum_x = length * x + along
    sum_xx = length * x * x + 2 * x * along + squares
    first = (length * z, length * y, sum_x)
    second = (length * z * z, length * y * y, sum_xx, length * z * y, z * sum_x, y * sum_x)
    return np.stack([length, *first, *second], 1)


def _border_faces(at: Integers, length: Integers, whole: Box) -> Integers:
    """Returns how many faces of runs lie on the border of the volume, across z, y and x, [n, 3]."""
    last = np.array(whole.stop) - 1
    z, y, x = at.T
    ends = at[:, 2] + length - 1
    across_z = length * ((z == whole.start[0]).astype(np.int64) + (z == last[0]))
    across_y = length * ((y == whole.start[1]).astype(np.int64) + (y == last[1]))
    across_x = (x == whole.start[2]).astype(np.int64) + (ends == last[2])
    return np.stack([across_z, across_y, across_x], 1)


def _axes(
    second: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], size: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns lengths of the three axes, longest first, nm [n, 3], and the direction of the first, [n, 3]."""
    spread = np.empty((len(mean), 3, 3))
    for column, (a, b) in enumerate(_PAIRS):
        value = second[:, column] - mean[:, a] * mean[:, b]
        value += (a == b) / 12  # of a voxel itself
        spread[:, a, b] = spread[:, b, a] = value * size[a] * size[b]
    variances, vectors = np.linalg.eigh(spread)
    major = vectors[:, :, 2]
    # One sign of the two: that of the largest component.
    major = major * np.sign(np.take_along_axis(major, np.abs(major).argmax(1)[:, None], 1))
    return 2 * np.sqrt(5 * np.maximum(variances[:, ::-1], 0)), major


def _check_types(objects: Volume, raw: Volume | None) -> None:
    if objects.dtype.kind not in "ui":
        raise ValueError(
            f"{objects.address} is {objects.dtype}; objects are whole numbers, one per object (stage postprocess)."
        )
    if raw is not None and raw.dtype.name not in _RAW_TYPES:
        raise ValueError(f"{raw.address} is {raw.dtype}; grey values of 8 or 16 bits are needed (stage convert).")


def _check_fit(sums: Sums, middle: Int3, largest_grey: int, address: str) -> None:
    """Raises where a sum may have left 64 bits."""
    reach = np.maximum(np.abs(sums.low - np.array(middle)), np.abs(sums.high - np.array(middle))).max(1)
    largest = np.maximum(reach, largest_grey).astype(np.float64) ** 2 * sums.added[:, _COUNT]
    if (largest >= 2.0**63).any():
        worst = int(largest.argmax())
        raise ValueError(
            f"{address}: object {sums.ids[worst]} has {sums.added[worst, _COUNT]} voxels, too many for 64 bits; "
            "measure a coarser level, or parts of the volume."
        )
