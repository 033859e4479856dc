"""Random geometry and intensity of training crops, on the device, inside the jitted step.

Every function takes one crop and its own key, so what happens to a crop depends on nothing else: not on the batch,
not on the number of devices. `augment_crop` is all of them in the order of the original. Each has a part of the
key to itself, so switching one on or off leaves what the others draw.

Source: Gallusser et al., J Cell Biol 2023 (code): mirrors and transpositions, elastic deformation, scale and shift
of grey values; Heinrich et al., Nature 2021 (code): gamma.
"""

from dataclasses import dataclass
from itertools import permutations

import jax
import jax.numpy as jnp

from asem_jax.models.model import scale_raw
from asem_jax.training.defects import Defects, add_noise, spoil_sections
from asem_jax.training.elastic import Elastic, centre, source_coordinates, warp_labels, warp_raw
from asem_jax.volumes.geometry import Float3, Int3, int3


@dataclass(frozen=True)
class Augmentation:
    """What is done to crops.

    Attributes:
      mirror_axes: axes that a crop may be mirrored along; ASEM all three.
      transpositions: orders of the axes that a crop may be given; see `allowed_transpositions`.
      intensity_scale: contrast is multiplied by 1 +- this; ASEM 0.15.
      intensity_shift: brightness is shifted by +- this, as a fraction of the grey range; ASEM 0.15.
      elastic: deformation of raw and labels; None = none.
      margin: voxels on each side, z y x, that raw has beyond what comes out; see `elastic.margin`.
      label_margin: the same for labels and masks.
      gamma: smallest and largest exponent of grey values, with 1 between them; None = none; COSEM 0.5, 2.
      noise_std: of Gaussian noise, as a fraction of the grey range; None = none.
      defects: of single sections; None = none.
    """

    mirror_axes: tuple[int, ...]
    transpositions: tuple[Int3, ...]
    intensity_scale: float
    intensity_shift: float
    elastic: Elastic | None = None
    margin: Int3 = (0, 0, 0)
    label_margin: Int3 = (0, 0, 0)
    gamma: tuple[float, float] | None = None
    noise_std: float | None = None
    defects: Defects | None = None

    def __post_init__(self) -> None:
        if self.gamma is not None and not 0 < self.gamma[0] <= 1 <= self.gamma[1]:
            raise ValueError(
                f"gamma={self.gamma} is not two numbers above 0 with 1 between them; COSEM: (0.5, 2.0), None = off."
            )


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


def augment_crop(
    augmentation: Augmentation, raw: jax.Array, labels: tuple[jax.Array, ...], key: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns a crop changed at random: raw, float32 in [-1, 1], and labels turned and deformed alike.

    Args:
      augmentation: what may be done.
      raw: uint8 `[z, y, x]`, with the margin.
      labels: arrays `[z', y', x']` or `[z', y', x', c]` (labels, members, masks), centred in raw, with their margin;
        of any dtype, which they keep.
      key: of this crop.
    """
    geometry_key, intensity_key = jax.random.split(key)
    elastic_key, gamma_key, noise_key, defect_key = jax.random.split(jax.random.fold_in(key, 2), 4)
    if augmentation.elastic is not None:
        raw, labels = deform_crop(
            raw,
            labels,
            elastic_key,
            elastic=augmentation.elastic,
            margin=augmentation.margin,
            label_margin=augmentation.label_margin,
            mirror_axes=augmentation.mirror_axes,
            transpositions=augmentation.transpositions,
        )
    raw, *turned = augment_geometry(
        (raw, *labels),
        geometry_key,
        mirror_axes=augmentation.mirror_axes,
        transpositions=augmentation.transpositions,
    )
    grey = augment_intensity(
        scale_raw(raw), intensity_key, scale=augmentation.intensity_scale, shift=augmentation.intensity_shift
    )
    if augmentation.gamma is not None:
        grey = augment_gamma(grey, gamma_key, limits=augmentation.gamma)
    if augmentation.noise_std is not None:
        grey = add_noise(grey, noise_key, std=augmentation.noise_std)
    if augmentation.defects is not None:
        grey = spoil_sections(grey, defect_key, augmentation.defects)
    return grey, tuple(turned)


def deform_crop(
    raw: jax.Array,
    labels: tuple[jax.Array, ...],
    key: jax.Array,
    *,
    elastic: Elastic,
    margin: Int3,
    label_margin: Int3,
    mirror_axes: tuple[int, ...],
    transpositions: tuple[Int3, ...],
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns raw, float32 in 0..255, and labels, deformed alike or left as they are, without their margins.

    Args:
      raw: see `augment_crop`.
      labels: see `augment_crop`.
      key: JAX key.
      elastic: how they are deformed.
      margin: see `Augmentation`.
      label_margin: see `Augmentation`.
      mirror_axes: see `augment_geometry`.
      transpositions: see `augment_geometry`.
    """
    plain = _without(margin, raw).astype(jnp.float32), tuple(_without(label_margin, array) for array in labels)
    shape, shapes = int3(plain[0].shape, "shape"), [int3(array.shape[:3], "shape") for array in plain[1]]
    # A target may need labels from beyond the network's input: the field reaches over both.
    z, y, x = (max(sides) for sides in zip(shape, *shapes, strict=True))
    choice_key, field_key = jax.random.split(key)

    def deform() -> tuple[jax.Array, tuple[jax.Array, ...]]:
        source = source_coordinates(
            elastic, (z, y, x), field_key, mirror_axes=mirror_axes, transpositions=transpositions
        )
        warped = [warp_labels(array, centre(source, own)) for array, own in zip(labels, shapes, strict=True)]
        return warp_raw(raw, centre(source, shape)), tuple(warped)

    # On a CPU the branch is also what keeps XLA from repeating the look-ups in each of the mirrors that follow.
    chosen: tuple[jax.Array, tuple[jax.Array, ...]] = jax.lax.cond(
        jax.random.bernoulli(choice_key, elastic.probability), deform, lambda: plain
    )
    return chosen


def _without(margin: Int3, array: jax.Array) -> jax.Array:
    """Returns an array without a margin on each side of z y x."""
    z, y, x = (slice(m, n - m) for n, m in zip(array.shape[:3], margin, strict=True))
    return array[z, y, x]


def augment_geometry(
    arrays: tuple[jax.Array, ...],
    key: jax.Array,
    *,
    mirror_axes: tuple[int, ...],
    transpositions: tuple[Int3, ...],
) -> tuple[jax.Array, ...]:
    """Returns the arrays mirrored and transposed alike, one of up to 48 ways.

    Args:
      arrays: each z y x, or z y x c, with a common centre (raw, labels and mask of one crop); shapes may differ.
      key: JAX key.
      mirror_axes: axes that may be mirrored, each with probability 1/2.
      transpositions: orders of axes to draw from.
    """
    mirror_key, order_key = jax.random.split(key)
    mirrored = jax.random.bernoulli(mirror_key, shape=(3,))
    for axis in mirror_axes:
        arrays = tuple(jnp.where(mirrored[axis], jnp.flip(array, axis), array) for array in arrays)
    orders = [lambda xs, order=order: tuple(_transpose(x, order) for x in xs) for order in transpositions]
    choice = jax.random.randint(order_key, (), 0, len(orders))
    turned: tuple[jax.Array, ...] = jax.lax.switch(choice, orders, arrays)
    return turned


def _transpose(array: jax.Array, order: Int3) -> jax.Array:
    """Returns z y x in another order; channels, if there are any, stay last."""
    return array.transpose(*order, *range(3, array.ndim))


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


def augment_gamma(raw: jax.Array, key: jax.Array, *, limits: tuple[float, float]) -> jax.Array:
    """Returns raw with grey values, as fractions of the range, raised to a power.

    Half of the powers are above 1, evenly spread up to the upper limit; of the others the reciprocals are, so that
    brighter and darker are as likely.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      limits: smallest and largest power, with 1 between them; COSEM (0.5, 2).

    Source: Heinrich et al., Nature 2021 (code).
    """
    side_key, size_key = jax.random.split(key)
    size = jax.random.uniform(size_key)
    larger = 1.0 + size * (limits[1] - 1.0)
    smaller = 1.0 / (1.0 + size * (1.0 / limits[0] - 1.0))
    power = jnp.where(jax.random.bernoulli(side_key), larger, smaller)
    return 2.0 * jnp.clip((raw + 1.0) / 2.0, 0.0, 1.0) ** power - 1.0
