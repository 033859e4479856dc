"""What goes wrong in single sections, and the noise of the detector, laid over raw; labels stay as they are.

A section that is missing or faint is still full of tissue: its labels are kept, so that the network learns to bridge
it from its neighbours. Sections that are shifted move their labels with them, so they are part of `elastic`. Every
function takes one crop with grey values in [-1, 1] and its own key; sections lie along z, the first axis, as they
do in the volumes that are predicted.

Source: gunpowder's DefectAugment and NoiseAugment, which ASEM's code holds and does not switch on.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Defects:
    """How often sections are bad, and how bad.

    Attributes:
      missing_probability: of each section, to be all black or, as often, all white.
      faint_probability: of each section, to have less contrast.
      faint_contrast: what is left of it then: a number drawn from this to 1.
      dark_probability: of each section, to be darker.
      dark_shift: by how much at most, as a fraction of the grey range.
    """

    missing_probability: float
    faint_probability: float
    faint_contrast: float
    dark_probability: float
    dark_shift: float


def spoil_sections(raw: jax.Array, key: jax.Array, defects: Defects) -> jax.Array:
    """Returns raw with defects drawn for each section: faint, dark, and missing, in this order.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      defects: how often, and how bad.
    """
    faint_key, dark_key, missing_key = jax.random.split(key, 3)
    found = fade_sections(raw, faint_key, probability=defects.faint_probability, least_contrast=defects.faint_contrast)
    found = darken_sections(found, dark_key, probability=defects.dark_probability, shift=defects.dark_shift)
    return lose_sections(found, missing_key, probability=defects.missing_probability)


def fade_sections(raw: jax.Array, key: jax.Array, *, probability: float, least_contrast: float) -> jax.Array:
    """Returns raw where some sections have less contrast about their own mean.

    Args:
      raw: float32 `[z, y, x]`.
      key: JAX key.
      probability: of each section.
      least_contrast: what is left of the contrast is drawn from this to 1; gunpowder 0.1 always.
    """
    which_key, contrast_key = jax.random.split(key)
    which = jax.random.bernoulli(which_key, probability, (raw.shape[0], 1, 1))
    contrast = jax.random.uniform(contrast_key, which.shape, minval=least_contrast)
    mean = raw.mean(axis=(1, 2), keepdims=True)
    return jnp.where(which, mean + (raw - mean) * contrast, raw)


def darken_sections(raw: jax.Array, key: jax.Array, *, probability: float, shift: float) -> jax.Array:
    """Returns raw where some sections are darker; what would be blacker than black is black.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      probability: of each section.
      shift: by how much is drawn from 0 to this, as a fraction of the grey range.
    """
    which_key, shift_key = jax.random.split(key)
    which = jax.random.bernoulli(which_key, probability, (raw.shape[0], 1, 1))
    darker = raw - 2.0 * jax.random.uniform(shift_key, which.shape, maxval=shift)
    return jnp.where(which, jnp.maximum(darker, -1.0), raw)


def lose_sections(raw: jax.Array, key: jax.Array, *, probability: float) -> jax.Array:
    """Returns raw where some sections hold nothing: they are all black, -1, or all white, 1, equally often.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      probability: of each section.
    """
    which_key, white_key = jax.random.split(key)
    which = jax.random.bernoulli(which_key, probability, (raw.shape[0], 1, 1))
    white = jax.random.bernoulli(white_key, shape=which.shape)
    return jnp.where(which, jnp.where(white, 1.0, -1.0), raw)


def add_noise(raw: jax.Array, key: jax.Array, *, std: float) -> jax.Array:
    """Returns raw with Gaussian noise, independent from voxel to voxel, clipped to its range.

    Args:
      raw: float32 `[z, y, x]` in [-1, 1].
      key: JAX key.
      std: standard deviation, as a fraction of the grey range; ASEM's code has 0.05, switched off.
    """
    return jnp.clip(raw + 2.0 * std * jax.random.normal(key, raw.shape), -1.0, 1.0)
