"""Random geometry and intensity of training crops, on the device, inside the jitted step.

Every function takes one crop and its own key, so what happens to a crop depends on nothing else: not on the batch,
not on the number of devices.

Source: Gallusser et al., J Cell Biol 2023 (code): mirrors and transpositions, scale and shift of grey values.
"""

from dataclasses import dataclass
from itertools import permutations

import jax
import jax.numpy as jnp

from asem_jax.volumes.geometry import Float3, Int3


@dataclass(frozen=True)
class Augmentation:
    """What is done to crops.

    Attributes:
      mirror_axes: axes that a crop may be mirrored along; ASEM all three.
      transpositions: orders of the axes that a crop may be given; see `allowed_transpositions`.
      intensity_scale: contrast is multiplied by 1 +- this; ASEM 0.15.
      intensity_shift: brightness is shifted by +- this, as a fraction of the grey range; ASEM 0.15.
    """

    mirror_axes: tuple[int, ...]
    transpositions: tuple[Int3, ...]
    intensity_scale: float
    intensity_shift: float


def allowed_transpositions(shape: Int3, voxel_size_nm: Float3) -> tuple[Int3, ...]:
    """Returns the orders of axes that change neither the shape of a crop nor its voxel size.

    Args:
      shape: of the crop, z y x.
      voxel_size_nm: z y x.

    Example:
      >>> allowed_transpositions((64, 96, 96), (5.0, 5.0, 5.0))
      ((0, 1, 2), (0, 2, 1))
    """
    kinds = list(zip(shape, voxel_size_nm, strict=True))
    return tuple((a, b, c) for a, b, c in permutations(range(3)) if [kinds[a], kinds[b], kinds[c]] == kinds)


def augment_geometry(
    arrays: tuple[jax.Array, ...],
    key: jax.Array,
    *,
    mirror_axes: tuple[int, ...],
    transpositions: tuple[Int3, ...],
) -> tuple[jax.Array, ...]:
    """Returns the arrays mirrored and transposed alike, one of up to 48 ways.

    Args:
      arrays: each z y x with a common centre (raw, target and mask of one crop); shapes may differ.
      key: JAX key.
      mirror_axes: axes that may be mirrored, each with probability 1/2.
      transpositions: orders of axes to draw from.
    """
    mirror_key, order_key = jax.random.split(key)
    mirrored = jax.random.bernoulli(mirror_key, shape=(3,))
    for axis in mirror_axes:
        arrays = tuple(jnp.where(mirrored[axis], jnp.flip(array, axis), array) for array in arrays)
    orders = [lambda xs, order=order: tuple(x.transpose(order) for x in xs) for order in transpositions]
    choice = jax.random.randint(order_key, (), 0, len(orders))
    turned: tuple[jax.Array, ...] = jax.lax.switch(choice, orders, arrays)
    return turned


def augment_intensity(raw: jax.Array, key: jax.Array, *, scale: float, shift: float) -> jax.Array:
    """Returns raw with another contrast about its mean and another brightness, clipped to its range.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      scale: contrast is multiplied by a number drawn from 1 +- this.
      shift: added to grey values in [0, 1] is a number drawn from +- this.
    """
    scale_key, shift_key = jax.random.split(key)
    contrast = jax.random.uniform(scale_key, minval=1.0 - scale, maxval=1.0 + scale)
    brightness = 2.0 * jax.random.uniform(shift_key, minval=-shift, maxval=shift)
    mean = raw.mean()
    return jnp.clip(mean + (raw - mean) * contrast + brightness, -1.0, 1.0)
