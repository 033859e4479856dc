"""Random numbers that belong to a place, and smooth fields made of them.

Every number is the output of a Philox counter at an integer address, so a block can be made alone, in any
order and with any neighbours. Only raw bits and uniform numbers are drawn: NumPy keeps those the same from
release to release.
Laws that hold (and are tested):

* what is drawn at an address does not depend on the box it was asked for with;
* `smooth_field` has mean 0, standard deviation 1 and a continuous gradient.
"""

import math
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from asem_jax.volumes.geometry import Box, Float3, Int3, int3

Axes = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]
Slices = tuple[slice, slice, slice]


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
_WORD = 2**64 - 1
# Rows of no more numbers than this are interpolated all at once.
_SHORT = 2048
# Tiles of nodes that are remembered, 2 kB each: neighbouring blocks share them.
_REMEMBERED = 2**13


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


def random_words(seed: int, stream: Stream, box: Box) -> npt.NDArray[np.uint64]:
    """Returns 64 random bits for each integer address of `box`, shape z y x.

    Args:
      seed: of the whole cell.
      stream: what the numbers are for.
      box: addresses; may be negative.
    """
    words = np.empty(box.shape, np.uint64)
    for index, here, there in _tiles_of(box, _FIELD_TILE):
        words[here] = _tile_words(seed, stream, index, _FIELD_TILE)[there]
    return words


def voxel_noise(seed: int, stream: Stream, box: Box) -> npt.NDArray[np.float32]:
    """Returns independent noise for each voxel of `box`: mean 0, standard deviation 1, nearly normal.

    A sum of four uniform 16-bit numbers: one word per voxel, and no tail that 8 bits would show.
    """
    noise = np.empty(box.shape, np.float32)
    for index, here, there in _tiles_of(box, _VOXEL_TILE):
        noise[here] = _sums(_tile_words(seed, stream, index, _VOXEL_TILE))[there]
    noise -= np.float32(2 * 65535)
    noise *= np.float32(3**0.5 / 65535)
    return noise


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
    field = _nodes(seed, stream, start, stop) * np.float32(2.0**-23 * _NODE_SCALE) - np.float32(_NODE_SCALE)
    # x first, while the array is small; z last, where rows lie side by side in memory.
    for axis in (2, 1, 0):
        nodes, weights = places[axis]
        field = _interpolate(np.moveaxis(field, axis, 0), nodes - start[axis], weights)
        field = np.moveaxis(field, 0, axis)
    return field


def smooth_value(seed: int, stream: Stream, pitch_nm: float, place_nm: Float3) -> float:
    """Returns `smooth_field` of equal pitches at one place z y x, to the last bit."""
    nodes, weights = _spline(np.array(place_nm), pitch_nm)
    near = _nodes(seed, stream, (nodes - 1).tolist(), (nodes + 2).tolist())
    near = near * np.float32(2.0**-23 * _NODE_SCALE) - np.float32(_NODE_SCALE)
    for axis in (2, 1, 0):
        below, middle, above = weights[:, axis]
        near = near[..., 0] * below + near[..., 1] * middle + near[..., 2] * above
    return float(near)


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
    nodes, weights = _spline(places_nm.T, pitch_nm)
    start, stop = nodes.min(1) - 1, nodes.max(1) + 2
    values = _nodes(seed, stream, start.tolist(), stop.tolist()).astype(np.float64)
    values = values * (2.0**-23 * _NODE_SCALE) - _NODE_SCALE
    z, y, x = (nodes - start[:, None])[:, :, None] + _STEPS
    near = values[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
    found: npt.NDArray[np.float64] = np.einsum("nzyx,zn,yn,xn->n", near, *weights.transpose(1, 0, 2))
    return found


def _nodes(seed: int, stream: Stream, start: Sequence[int], stop: Sequence[int]) -> npt.NDArray[np.float32]:
    """Returns whole numbers below 2**24 for the nodes in the box start..stop, put together from remembered tiles."""
    values = np.empty([b - a for a, b in zip(start, stop, strict=True)], np.float32)
    for index, here, there in _tiles_of(Box(int3(start, "start"), int3(stop, "stop")), _FIELD_TILE):
        values[here] = _tile_nodes(seed, stream, index)[there]
    return values


@lru_cache(maxsize=_REMEMBERED)
def _tile_nodes(seed: int, stream: Stream, index: Int3) -> npt.NDArray[np.float32]:
    return (_tile_words(seed, stream, index, _FIELD_TILE) >> np.uint64(40)).astype(np.float32)


def _spline(axis: npt.NDArray[np.float64], pitch: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    place = axis / pitch
    nodes = np.floor(place + 0.5).astype(np.int64)
    u = place - nodes
    weights = np.empty((3, *u.shape), np.float32)
    weights[0], weights[1], weights[2] = 0.5 * (0.5 - u) ** 2, 0.75 - u**2, 0.5 * (0.5 + u) ** 2
    return nodes, weights


def _interpolate(
    values: npt.NDArray[np.float32], nodes: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Returns `values` between its planes, for all points around one node at once, or for all points if few."""
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    if rows.shape[1] <= _SHORT:
        return _interpolate_short(rows, nodes, weights).reshape(len(nodes), *values.shape[1:])
    result = np.empty((len(nodes), rows.shape[1]), np.float32)
    first = [0, *(1 + np.flatnonzero(nodes[1:] != nodes[:-1])).tolist()]
    for start, stop in zip(first, [*first[1:], len(nodes)], strict=True):
        node, shares, part = nodes[start], weights[:, start:stop, None], result[start:stop]
        np.multiply(rows[node - 1], shares[0], out=part)
        part += rows[node] * shares[1]
        part += rows[node + 1] * shares[2]
    return result.reshape(len(nodes), *values.shape[1:])


def _interpolate_short(
    rows: npt.NDArray[np.float32], nodes: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Returns what `_interpolate` does, with more copies but in a few steps."""
    result = rows.take(nodes - 1, 0)
    result *= weights[0][:, None]
    for step, shares in zip((0, 1), weights[1:], strict=True):
        near = rows.take(nodes + step, 0)
        near *= shares[:, None]
        result += near
    return result


class _Key(ISeedSequence):
    """A key for Philox: given one as `key`, it would ask the system for a seed as well, which takes twice as long."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, np.uint64)

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> npt.NDArray[np.uint64]:
        return self.words


@lru_cache(maxsize=2**8)
def _key(seed: int, stream: Stream) -> _Key:
    return _Key(seed, stream)


def _philox(seed: int, stream: Stream, index: Sequence[int], rank: int = 0) -> np.random.Philox:
    z, y, x = index
    counter = np.array((rank << 32, int(z) & _WORD, int(y) & _WORD, int(x) & _WORD), np.uint64)
    # NumPy takes any ISeedSequence; its types name SeedSequence alone.
    return np.random.Philox(_key(seed, stream), counter=counter)  # type: ignore[arg-type]


def _tile_words(seed: int, stream: Stream, index: Int3, shape: Int3) -> npt.NDArray[np.uint64]:
    """Returns the words of a tile, all drawn with one counter."""
    return _philox(seed, stream, index).random_raw(math.prod(shape)).reshape(shape)


def _tiles_of(box: Box, shape: Int3) -> Iterator[tuple[Int3, Slices, Slices]]:
    """Yields the tiles that meet a box: number, what they share as a part of the box, and as a part of the tile."""
    cuts = [_cuts(a, b, side) for a, b, side in zip(box.start, box.stop, shape, strict=True)]
    for (z, here_z, there_z), (y, here_y, there_y), (x, here_x, there_x) in product(*cuts):
        yield (z, y, x), (here_z, here_y, here_x), (there_z, there_y, there_x)


def _cuts(start: int, stop: int, side: int) -> list[tuple[int, slice, slice]]:
    """Returns what `_tiles_of` yields along one axis."""
    tiles = range(start // side, -(-stop // side))
    edges = [(tile, max(tile * side, start), min((tile + 1) * side, stop)) for tile in tiles]
    return [(tile, slice(a - start, b - start), slice(a - tile * side, b - tile * side)) for tile, a, b in edges]


def _sums(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """Returns the sum of the four 16-bit numbers in each word."""
    halves = words.view(np.int32)
    pairs = halves & np.int32(0xFFFF)
    pairs += (halves >> np.int32(16)) & np.int32(0xFFFF)
    sums: npt.NDArray[np.int32] = pairs[..., 0::2] + pairs[..., 1::2]
    return sums
