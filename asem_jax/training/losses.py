"""The loss of ASEM: cross-entropy per voxel, balanced between the classes of a crop.

Losses are element-wise; masks and weights are arrays; the mean is taken once, at the end, per crop. A crop with
nothing to learn from has loss 0 and zero gradients.

Source: Gallusser et al., J Cell Biol 2023 (code); the balance is gunpowder's BalanceLabels.
"""

import jax
import jax.numpy as jnp
import optax


def balance_weights(
    target: jax.Array, mask: jax.Array, *, num_classes: int, min_fraction: float, max_fraction: float
) -> jax.Array:
    """Returns the weight of each voxel that makes the classes of a crop count alike.

    A class that fills the fraction f of the unmasked voxels has weight 1 / (num_classes * f); f is clipped, so that
    a few voxels of a rare class do not outweigh everything else.

    Args:
      target: integers `[z, y, x]`, channel index per voxel.
      mask: bool `[z, y, x]`, True = use.
      num_classes: number of channels.
      min_fraction: lower clip of f; ASEM 0.01.
      max_fraction: upper clip of f; ASEM 0.99.

    Returns:
      float32 `[z, y, x]`; 0 where masked.

    Example:
      >>> target, mask = jnp.array([[[0, 0, 0, 1]]]), jnp.ones((1, 1, 4), bool)
      >>> weights = balance_weights(target, mask, num_classes=2, min_fraction=0.01, max_fraction=0.99)
      >>> [round(float(w), 3) for w in weights[0, 0]]
      [0.667, 0.667, 0.667, 2.0]
    """
    used = mask.astype(jnp.float32)
    members = jax.nn.one_hot(target, num_classes, dtype=jnp.float32) * used[..., None]
    fractions = members.sum((0, 1, 2)) / jnp.maximum(used.sum(), 1.0)
    weights = 1.0 / (num_classes * jnp.clip(fractions, min_fraction, max_fraction))
    return (members * jnp.expand_dims(weights, (0, 1, 2))).sum(-1)


def scaled_cross_entropy(
    logits: jax.Array, target: jax.Array, mask: jax.Array, scalings: jax.Array, class_weights: jax.Array
) -> jax.Array:
    """Returns the mean cross-entropy of a crop, each voxel counted as its scaling says; a scalar.

    sum(class_weight * cross_entropy * mask * scaling) / sum(scaling); 0, with zero gradients, where no voxel counts.

    Args:
      logits: float32 `[z, y, x, c]`.
      target: integers `[z, y, x]` below c.
      mask: `[z, y, x]`, bool or a weight, 0 = leave out.
      scalings: float32 `[z, y, x]`, not negative; see `balance_weights`.
      class_weights: float32 `[c]`, how much each channel's voxels add to the loss; ASEM all 1.

    Example:
      >>> nothing = jnp.zeros((1, 1, 2))
      >>> float(scaled_cross_entropy(jnp.ones((1, 1, 2, 2)), nothing.astype(int), nothing, nothing, jnp.ones(2)))
      0.0
    """
    counted = mask.astype(jnp.float32) * scalings
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target) * class_weights[target]
    losses = jnp.where(counted > 0, losses, 0.0)  # so that no NaN of an unused voxel comes through
    total = scalings.sum()
    return jnp.where(total > 0, (losses * counted).sum() / jnp.where(total > 0, total, 1.0), 0.0)


def balanced_cross_entropy(
    logits: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    *,
    min_fraction: float,
    max_fraction: float,
    class_weights: jax.Array,
) -> jax.Array:
    """Returns the cross-entropy of a crop in which its classes count alike; a scalar.

    Args:
      logits: float32 `[z, y, x, c]`.
      target: integers `[z, y, x]` below c.
      mask: bool `[z, y, x]`, True = use.
      min_fraction: see `balance_weights`.
      max_fraction: see `balance_weights`.
      class_weights: see `scaled_cross_entropy`.

    Example:
      >>> logits, target = jnp.zeros((1, 1, 2, 2)), jnp.array([[[0, 1]]])
      >>> loss = balanced_cross_entropy(
      ...     logits, target, target >= 0, min_fraction=0.01, max_fraction=0.99, class_weights=jnp.ones(2)
      ... )
      >>> round(float(loss), 4)
      0.6931
    """
    scalings = balance_weights(
        target, mask, num_classes=logits.shape[-1], min_fraction=min_fraction, max_fraction=max_fraction
    )
    return scaled_cross_entropy(logits, target, mask, scalings, class_weights)
