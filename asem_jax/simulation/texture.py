"""Random numbers that belong to a place, and smooth fields made of them.

Every number is the output of a Philox counter at an integer address, so a block can be made alone, in any
order and with any neighbours. Only raw bits and uniform numbers are drawn: NumPy keeps those the same from
release to release.
Laws that hold (and are tested):

* what is drawn at an address does not depend on the box it was asked for with;
* `smooth_field` has mean 0, standard deviation 1 and a continuous gradient.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from asem_jax.volumes.geometry import Box, Float3, Int3, int3, tiles

Axes = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


class Stream(IntEnum):
    """What a random number is for; two streams of one seed are independent.

    Append, never renumber: a number changed here changes every volume that was ever simulated.
    """

    MITOCHONDRION = 1
    BODY = 2
    VESICLE = 3
    PROCESS = 4
    PROCESS_GREY = 5
    ER_SHEET = 6
    ER_TUBULE = 7
    ER_GATE = 8
    FINE = 9
    COARSE = 10
    WOBBLE = 11
    CRISTA_BEND = 12
    CRISTA_GATE = 13
    INCLUSION = 14
    SHOT_NOISE = 15
    BRIGHTNESS = 16
    CONTRAST = 17
    CURTAIN = 18
    CELL = 19
    PLASMA = 20
    PLASMA_FINE = 21
    ENVELOPE = 22
    ENVELOPE_FINE = 23
    PORE = 24
    PIT = 25
    CAVEOLA = 26
    GOLGI = 27
    DROPLET = 28
    MICROTUBULE = 29
    CHROMATIN = 30
    CHROMATIN_FINE = 31
    NUCLEOLUS = 32
    RIBOSOME = 33
    BARE = 34
    ROUGH = 35
    COAT = 36
    CISTERNA = 37
    JUNCTION = 38
    SECTION_SHIFT = 60
    STRAND = 61
    HOLE = 62
    RUFFLE = 63
    FADE = 64
    OUTLINE = 65
    MISSED = 66
    FOREGROUND_STROKE = 67
    BACKGROUND_STROKE = 68


# Words are made in whole tiles: a Philox costs as much to set up as some hundred words cost to draw.
_FIELD_TILE = (8, 8, 8)
_VOXEL_TILE = (16, 32, 32)
# A quadratic B-spline keeps 11/20 of the variance of its nodes per axis; uniform [-1, 1) has variance 1/3.
_NODE_SCALE = 3**0.5 / 0.55**1.5
# No value of a `smooth_field` is farther from 0: it is a mean of its nodes.
LARGEST = _NODE_SCALE
_STEPS = np.arange(-1, 2)


def generator(seed: int, stream: Stream, index: Sequence[int], rank: int = 0) -> np.random.Generator:
    """Returns random generator number `rank` of lattice cell `index` (z y x, may be negative).

    Args:
      seed: of the whole cell, 0 or more.
      stream: what the numbers are for.
      index: three whole numbers.
      rank: 0 or more; one generator yields up to 2**34 numbers before it meets the next.

    Example:
      >>> same = [generator(1, Stream.BODY, (0, -2, 5)).random() for _ in range(2)]
      >>> same[0] == same[1]
      True
    """
    return np.random.Generator(_philox(seed, stream, index, rank))


def random_words(seed: int, stream: Stream, box: Box, tile_shape: Int3 = _FIELD_TILE) -> npt.NDArray[np.uint64]:
    """Returns 64 random bits for each integer address of `box`, shape z y x.

    Args:
      seed: of the whole cell.
      stream: what the numbers are for.
      box: addresses; may be negative.
      tile_shape: addresses drawn with one counter; another tile shape gives other numbers.
    """
    words = np.empty(box.shape, np.uint64)
    first = [a // n for a, n in zip(box.start, tile_shape, strict=True)]
    last = [-(-b // n) for b, n in zip(box.stop, tile_shape, strict=True)]
    for index in tiles(Box(int3(first, "first"), int3(last, "last")), (1, 1, 1)):
        tile = Box.of_shape(tile_shape, [i * n for i, n in zip(index.start, tile_shape, strict=True)])
        drawn = _philox(seed, stream, index.start).random_raw(tile.num_voxels).reshape(tile_shape)
        inner = tile.intersect(box)
        words[_within(inner, box)] = drawn[_within(inner, tile)]
    return words


def voxel_noise(seed: int, stream: Stream, box: Box) -> npt.NDArray[np.float32]:
    """Returns independent noise for each voxel of `box`: mean 0, standard deviation 1, nearly normal.

    A sum of four uniform 16-bit numbers: one word per voxel, and no tail that 8 bits would show.
    """
    words = random_words(seed, stream, box, _VOXEL_TILE)
    parts = words.view(np.uint16).reshape((*box.shape, 4)) if box.num_voxels else np.zeros((*box.shape, 4), np.uint16)
    total = parts[..., 0].astype(np.float32)
    for part in range(1, 4):
        total += parts[..., part]
    total -= np.float32(2 * 65535)
    total *= np.float32(3**0.5 / 65535)
    return total


def smooth_field(seed: int, stream: Stream, pitch_nm: Float3, axes: Axes) -> npt.NDArray[np.float32]:
    """Returns smooth random values at the points of a grid, shape `[len(z), len(y), len(x)]`.

    Quadratic B-spline over random nodes on a lattice: mean 0, standard deviation 1; a value at a point is the
    same on any grid.

    Args:
      seed: of the whole cell.
      stream: which field.
      pitch_nm: distance of the nodes, z y x; the field varies over about twice that.
      axes: where, in nm: the z, the y and the x of the grid's planes, each ascending and not empty.
    """
    places = [_spline(axis, pitch) for axis, pitch in zip(axes, pitch_nm, strict=True)]
    start = [int(nodes[0]) - 1 for nodes, _ in places]
    stop = [int(nodes[-1]) + 2 for nodes, _ in places]
    words = random_words(seed, stream, Box(int3(start, "start"), int3(stop, "stop")))
    field = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23 * _NODE_SCALE) - np.float32(_NODE_SCALE)
    # x first, while the array is small; z last, plane by plane, where rows lie side by side in memory.
    for axis in (2, 1, 0):
        nodes, weights = places[axis]
        field = _interpolate(np.moveaxis(field, axis, 0), nodes - start[axis], weights)
        field = np.moveaxis(field, 0, axis)
    return np.ascontiguousarray(field)


def smooth_values(
    seed: int, stream: Stream, pitch_nm: float, places_nm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Returns `smooth_field` of equal pitches at scattered places, float64 [n].

    The same field up to rounding; the memory it needs grows with the box around the places.

    Args:
      seed: of the whole cell.
      stream: which field.
      pitch_nm: distance of the nodes.
      places_nm: z y x, [n, 3], at least one.
    """
    nodes, weights = zip(*(_spline(places_nm[:, axis], pitch_nm) for axis in range(3)), strict=True)
    start = [int(node.min()) - 1 for node in nodes]
    stop = [int(node.max()) + 2 for node in nodes]
    values = _node_values(seed, stream, start, stop)
    around = [(node - first)[:, None] + _STEPS for node, first in zip(nodes, start, strict=True)]
    near = values[around[0][:, :, None, None], around[1][:, None, :, None], around[2][:, None, None, :]]
    found: npt.NDArray[np.float64] = np.einsum("nzyx,zn,yn,xn->n", near, *weights)
    return found


def _node_values(seed: int, stream: Stream, start: Sequence[int], stop: Sequence[int]) -> npt.NDArray[np.float64]:
    """Returns the nodes of a field in the box start..stop, put together from remembered tiles."""
    values = np.empty([b - a for a, b in zip(start, stop, strict=True)])
    side = _FIELD_TILE[0]
    first, last = ([corner // side for corner in corners] for corners in (start, [b - 1 for b in stop]))
    for index in product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
        cuts = [
            (
                slice(max(i * side, a) - a, min((i + 1) * side, b) - a),
                slice(max(a - i * side, 0), min(b - i * side, side)),
            )
            for i, a, b in zip(index, start, stop, strict=True)
        ]
        here, there = zip(*cuts, strict=True)
        values[here] = _tile_values(seed, stream, *index)[there]
    return values


@lru_cache(maxsize=4096)
def _tile_values(seed: int, stream: Stream, z: int, y: int, x: int) -> npt.NDArray[np.float64]:
    words = _philox(seed, stream, (z, y, x)).random_raw(math.prod(_FIELD_TILE)).reshape(_FIELD_TILE)
    return (words >> np.uint64(40)).astype(np.float64) * (2.0**-23 * _NODE_SCALE) - _NODE_SCALE


def _spline(axis: npt.NDArray[np.float64], pitch: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    place = axis / pitch
    nodes = np.floor(place + 0.5).astype(np.int64)
    u = place - nodes
    weights = np.stack([0.5 * (0.5 - u) ** 2, 0.75 - u**2, 0.5 * (0.5 + u) ** 2])
    return nodes, weights.astype(np.float32)


def _interpolate(
    values: npt.NDArray[np.float32], nodes: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    values = np.ascontiguousarray(values)
    result = np.empty((len(nodes), *values.shape[1:]), np.float32)
    for plane, node in enumerate(nodes):
        row = result[plane]
        np.multiply(values[node - 1], weights[0, plane], out=row)
        row += values[node] * weights[1, plane]
        row += values[node + 1] * weights[2, plane]
    return result


def _philox(seed: int, stream: Stream, index: Sequence[int], rank: int = 0) -> np.random.Philox:
    wrapped = [rank << 32, *(int(i) & (2**64 - 1) for i in index)]
    return np.random.Philox(key=np.array([seed, stream], np.uint64), counter=np.array(wrapped, np.uint64))


def _within(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    return inner.shift([-a for a in outer.start]).slices
