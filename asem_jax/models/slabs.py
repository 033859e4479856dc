"""The finest level of a U-Net in slabs of z, one after the other: a tile takes less memory.

Most of a tile's memory is its finest maps, of which a whole pass holds several at a time. Here the encoder's finest
level makes a slab of slices, pools it, and keeps of it only what the decoder will join; the decoder's finest level and
all behind it return a slab of the output at a time. What is left is one map, cut to the size of the output. So a tile
that fits is larger, and less of it is context. Slices where two slabs meet are computed twice.

Arrays are `[b, z, y, x, c]`. Laws (tested): the result is that of the whole pass to float32 rounding; every voxel of it
is written.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asem_jax.models import convolution
from asem_jax.models.architecture import Architecture
from asem_jax.volumes.geometry import Int3

SLABS = 4  # of a tile: more save little memory, since a map is left, and compute more slices twice
FEWEST_SLICES = 16  # of a slab: thinner ones compute too many slices twice
OfOne = Callable[[jax.Array], jax.Array]
OfTwo = Callable[[jax.Array, jax.Array], jax.Array]


class _Coarse(NamedTuple):
    """The slices of a coarse map that a slab joins: `number` from `first` on, one further per `factor` of output."""

    first: int
    number: int


def runs_in_slabs(architecture: Architecture) -> bool:
    """Says whether the finest level can be divided: padding is "valid", and nothing is upsampled behind it."""
    return architecture.padding == "valid" and not architecture.final_upsampling and bool(architecture.pool_factors)


def encode(
    level: OfOne, x: jax.Array, factor: Int3, *, consumed: int, plane: tuple[int, int], number: int
) -> tuple[jax.Array, jax.Array]:
    """Returns a level's map pooled, and the map itself with its planes cropped about their centres.

    Args:
      level: maps `x` to a map with `consumed` slices less, that many more slices to as many more.
      x: what it is given.
      factor: of the pooling, z y x; the map is divisible by it.
      consumed: slices.
      plane: voxels y x that are kept of the map.
      number: of slabs, at most.
    """
    depth = x.shape[1] - consumed
    size = _slices(depth, factor[0], number)
    if size >= depth:
        whole = level(x)
        return convolution.max_pool(whole, factor), _cropped(whole, plane)

    def slab(kept: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        made = level(lax.dynamic_slice_in_dim(x, start, size + consumed, axis=1))
        pooled = _put(kept[0], convolution.max_pool(made, factor), start // factor[0])
        return (pooled, _put(kept[1], _cropped(made, plane), start)), None

    shape = jax.eval_shape(level, x)
    b, _, y, w, c = shape.shape
    empty = [(b, depth // factor[0], y // factor[1], w // factor[2], c), (b, depth, *plane, c)]
    zeros = (jnp.zeros(empty[0], shape.dtype), jnp.zeros(empty[1], shape.dtype))
    return lax.scan(slab, zeros, _starts(depth, size))[0]


def decode(
    level: OfTwo, skip: jax.Array, coarse: jax.Array, factor: Int3, *, cropped: int, consumed: int, number: int
) -> jax.Array:
    """Returns what a level, and all behind it, make of the encoder's map and a coarse one.

    Args:
      level: maps both, the coarse one repeated `factor` times and cropped about its centre, to a result with
        `consumed` slices less than `skip`.
      skip: the encoder's map, its planes as they are joined, its slices not yet cropped.
      coarse: the coarse map.
      factor: its repetitions, z y x.
      cropped: slices that are joined, those in the middle of both.
      consumed: slices.
      number: of slabs, at most.
    """
    depth, begin = cropped - consumed, (skip.shape[1] - cropped) // 2
    size = _slices(depth, factor[0], number)
    lies = None if depth % factor[0] else _of_slab(coarse.shape[1], factor[0], cropped, size + consumed)
    if size >= depth or lies is None:
        return level(lax.slice_in_dim(skip, begin, begin + cropped, axis=1), coarse)

    def slab(out: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        fine = lax.dynamic_slice_in_dim(skip, begin + start, size + consumed, axis=1)
        near = lax.dynamic_slice_in_dim(coarse, lies.first + start // factor[0], lies.number, axis=1)
        return _put(out, level(fine, near), start), None

    shape = jax.eval_shape(level, jax.eval_shape(lambda s: s[:, :cropped], skip), coarse)
    return lax.scan(slab, jnp.zeros(shape.shape, shape.dtype), _starts(depth, size))[0]


def _of_slab(slices: int, factor: int, cropped: int, needed: int) -> _Coarse | None:
    """Returns which slices of a coarse map, repeated and cropped about their centre, are the first slab's.

    None where no number of slices has this centre; then the level stays whole.
    """
    offset = (slices * factor - cropped) // 2
    for back in range(offset // factor + 1):
        first = offset // factor - back
        before = offset - first * factor
        number = ceil((needed + 2 * before) / factor)
        fits = first + number + (cropped - needed) // factor <= slices
        if (number * factor - needed) // 2 == before and fits:
            return _Coarse(first, number)
    return None


def _slices(depth: int, factor: int, number: int) -> int:
    """Returns the slices of a slab, a multiple of the factor."""
    return ceil(max(depth / number, FEWEST_SLICES) / factor) * factor


def _starts(depth: int, size: int) -> jax.Array:
    """Returns where the slabs start; the last one overlaps the one before it."""
    return jnp.asarray(np.minimum(np.arange(0, depth, size), depth - size), jnp.int32)


def _cropped(x: jax.Array, plane: tuple[int, int]) -> jax.Array:
    return convolution.crop_centre(x, (x.shape[1], *plane))


def _put(out: jax.Array, slab: jax.Array, start: jax.Array) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(out, slab, start, axis=1)
