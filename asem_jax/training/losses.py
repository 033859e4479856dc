"""What a training minimises: losses per voxel, masked, weighted, and averaged per crop.

The softmax has cross-entropy, balanced between the classes of a crop, as in ASEM. Every other channel is judged alone,
with its two sides balanced: cross-entropy of a sigmoid or an affinity, squared difference of a distance, as in COSEM.
Focal and Dice losses can be added. The loss of a crop is the sum over the softmax and the channels. Losses are
element-wise but for Dice; masks and weights are arrays; the mean is taken once, at the end. A crop, or a channel, with
nothing to learn from has loss 0 and zero gradients.

Source: Gallusser et al., J Cell Biol 2023 (code), whose balance is gunpowder's BalanceLabels; Heinrich et al., Nature
2021 (code), balanced squared differences; Lin et al., ICCV 2017, focal loss; Milletari et al., 3DV 2016, Dice loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from asem_jax.models.channels import Channel, check_channels, num_softmax, output_names
from asem_jax.training.targets import Targets


@dataclass(frozen=True)
class Objective:
    """What a training minimises.

    Attributes:
      channels: of the network.
      class_weights: how much each output adds to the loss, background first where there is a softmax; ASEM all 1.
      class_fractions: shares of the voxels that each output has in all the data, to balance with; None = in each crop.
      min_fraction: lower clip of such a share; ASEM 0.01, COSEM 0.05.
      max_fraction: upper clip; ASEM 0.99, COSEM 0.95.
      cross_entropy: weight of the cross-entropy of softmax, sigmoid and affinity; ASEM 1.
      squared: weight of the squared difference of distances; COSEM 1.
      focal: weight of the focal loss, where cross-entropy is.
      focal_exponent: its exponent, at least 1; 0 would be the cross-entropy again.
      dice: weight of the Dice loss, where cross-entropy is.

    Raises:
      ValueError: the channels do not fit each other, or weights do not fit them.
    """

    channels: tuple[Channel, ...]
    class_weights: tuple[float, ...]
    class_fractions: tuple[float, ...] | None
    min_fraction: float
    max_fraction: float
    cross_entropy: float
    squared: float
    focal: float
    focal_exponent: float
    dice: float

    def __post_init__(self) -> None:
        check_channels(self.channels)
        outputs = output_names(self.channels)
        for name in ("class_weights", "class_fractions"):
            given = getattr(self, name)
            if given is not None and len(given) != len(outputs):
                raise ValueError(
                    f"{name}={given} has {len(given)} numbers for {len(outputs)} outputs ({', '.join(outputs)}); give "
                    "one each."
                )
        if self.focal_exponent < 1:
            raise ValueError(
                f"focal_exponent={self.focal_exponent} has no finite gradient; give at least 1 (usual: 2)."
            )


def crop_loss(logits: jax.Array, targets: Targets, objective: Objective) -> jax.Array:
    """Returns the loss of a crop, a float32 scalar: the sum over the softmax and the channels behind it.

    Args:
      logits: float32 `[z, y, x, c]`.
      targets: of the same crop.
      objective: what to minimise.

    Example:
      >>> channel = Channel("er", "distance", "er")
      >>> objective = Objective((channel,), (1.0,), None, 0.05, 0.95, 1.0, 1.0, 0.0, 2.0, 0.0)
      >>> values = jnp.array([[[[-0.5], [0.5]]]])
      >>> targets = Targets(jnp.zeros((1, 1, 2), int), values[..., 0] > 9, values, values < 9)
      >>> float(crop_loss(values + 0.5, targets, objective))
      0.25
    """
    number = num_softmax(objective.channels)
    first = len(output_names(objective.channels[:number]))
    loss = _softmax_loss(logits[..., :first], targets, objective) if first else jnp.zeros((), jnp.float32)
    for channel_loss in _single_losses(logits[..., first:], targets, objective):
        loss = loss + channel_loss
    return loss


def _softmax_loss(logits: jax.Array, targets: Targets, objective: Objective) -> jax.Array:
    """Returns the weighted sum of the losses of the softmax."""
    choice, mask = targets.choice, targets.choice_known
    outputs = logits.shape[-1]
    fractions = objective.class_fractions
    scalings = balance_weights(
        choice,
        mask,
        num_classes=outputs,
        min_fraction=objective.min_fraction,
        max_fraction=objective.max_fraction,
        fractions=None if fractions is None else fractions[:outputs],
    )
    weights = jnp.array(objective.class_weights[:outputs], jnp.float32)
    losses = []
    if objective.cross_entropy:
        losses.append(objective.cross_entropy * scaled_cross_entropy(logits, choice, mask, scalings, weights))
    if objective.focal:
        entropies = optax.softmax_cross_entropy_with_integer_labels(logits, choice)
        focal = focal_loss(entropies, objective.focal_exponent) * weights[choice]
        losses.append(objective.focal * scaled_mean(focal, mask, scalings))
    if objective.dice:
        members = jax.nn.one_hot(choice, outputs, dtype=jnp.float32)
        dice = dice_losses(jax.nn.softmax(logits), members, jnp.broadcast_to(mask[..., None], members.shape))
        losses.append(objective.dice * (dice * weights)[1:].mean())
    return sum(losses[1:], start=losses[0]) if losses else jnp.zeros((), jnp.float32)


def _single_losses(logits: jax.Array, targets: Targets, objective: Objective) -> Sequence[jax.Array]:
    """Returns the weighted loss of each channel behind the softmax, scalars."""
    number = logits.shape[-1]
    channels = objective.channels[len(objective.channels) - number :]
    weights = channel_weights(targets.values, targets.known, channels, objective)
    losses = []
    for place, channel in enumerate(channels):
        said, value, weight = logits[..., place], targets.values[..., place], weights[..., place]
        if channel.kind == "distance":
            loss = objective.squared * weighted_mean((said - value) ** 2, weight)
        else:
            entropies = optax.sigmoid_binary_cross_entropy(said, value)
            loss = objective.cross_entropy * weighted_mean(entropies, weight)
            if objective.focal:
                loss += objective.focal * weighted_mean(focal_loss(entropies, objective.focal_exponent), weight)
            if objective.dice:
                sure, there, used = (a[..., None] for a in (jax.nn.sigmoid(said), value, weight > 0))
                loss += objective.dice * dice_losses(sure, there, used)[0]
        losses.append(loss * objective.class_weights[place - number])
    return losses


def balance_weights(
    target: jax.Array,
    mask: jax.Array,
    *,
    num_classes: int,
    min_fraction: float,
    max_fraction: float,
    fractions: Sequence[float] | None = None,
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
      fractions: f of each class in all the data; None = that of the crop.

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
    if fractions is None:
        shares = members.sum((0, 1, 2)) / jnp.maximum(used.sum(), 1.0)
    else:
        shares = jnp.array(fractions, jnp.float32)
    weights = 1.0 / (num_classes * jnp.clip(shares, min_fraction, max_fraction))
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
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target) * class_weights[target]
    return scaled_mean(losses, mask, scalings)


def scaled_mean(losses: jax.Array, mask: jax.Array, scalings: jax.Array) -> jax.Array:
    """Returns sum(losses * mask * scalings) / sum(scalings), a scalar; 0, with zero gradients, where no voxel counts.

    Args:
      losses: float32 `[z, y, x]`; that of a voxel that does not count may be anything.
      mask: see `scaled_cross_entropy`.
      scalings: see `scaled_cross_entropy`.

    Example:
      >>> float(scaled_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1, 1, 0]), jnp.array([1.0, 2.0, 0.0])))
      2.3333332538604736
    """
    counted = mask.astype(jnp.float32) * scalings
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


def channel_weights(
    values: jax.Array, known: jax.Array, channels: Sequence[Channel], objective: Objective
) -> jax.Array:
    """Returns the weight of each voxel that makes both sides of each channel count alike; 0 where unknown.

    Where the share p of the known voxels is above 0, those have 1 / (2 p), the others 1 / (2 (1 - p)). A channel with a
    parent has the parent's weights, so it is learned where both are known.

    Args:
      values: float32 `[z, y, x, k]`, the targets; above 0 = inside.
      known: bool `[z, y, x, k]`.
      channels: the k channels.
      objective: how to balance.

    Returns:
      float32 `[z, y, x, k]`.

    Source: Heinrich et al., Nature 2021 (code).
    """
    used, inside = known.astype(jnp.float32), (values > 0).astype(jnp.float32)
    if objective.class_fractions is None:
        share = (used * inside).sum((0, 1, 2)) / jnp.maximum(used.sum((0, 1, 2)), 1.0)
    else:
        share = jnp.array(objective.class_fractions[len(objective.class_fractions) - len(channels) :], jnp.float32)
    share = jnp.clip(share, objective.min_fraction, objective.max_fraction)
    share = jnp.expand_dims(share, (0, 1, 2))
    own = used * (inside / (2.0 * share) + (1.0 - inside) / (2.0 * (1.0 - share)))
    names = [channel.name for channel in channels]
    balancing = [names.index(channel.parent or channel.name) for channel in channels]
    return own[..., jnp.array(balancing, jnp.int32)] * used if channels else own


def weighted_mean(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the mean of weighted losses over the voxels that have a weight; 0, with zero gradients, if none has.

    Args:
      losses: float32, any shape.
      weights: float32, the same shape, not negative; the loss of a voxel without weight may be anything.

    Example:
      >>> float(weighted_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 2.0, 0.0])))
      3.5
    """
    counted = weights > 0
    losses = jnp.where(counted, losses, 0.0)
    return (losses * weights).sum() / jnp.maximum(counted.astype(jnp.float32).sum(), 1.0)


def focal_loss(entropies: jax.Array, exponent: float) -> jax.Array:
    """Returns cross-entropies times (1 - p)^exponent, p the probability of the truth: what is sure already counts less.

    Args:
      entropies: float32, any shape: -log p.
      exponent: at least 1.

    Example:
      >>> [round(float(loss), 4) for loss in focal_loss(-jnp.log(jnp.array([0.5, 0.9])), 2.0)]
      [0.1733, 0.0011]
    """
    doubt = jnp.maximum(1.0 - jnp.exp(-entropies), 0.0)  # rounding may bring an entropy below 0
    return doubt**exponent * entropies


def dice_losses(probability: jax.Array, members: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns one minus the soft Dice score of each channel, float32 `[c]`; 0 where nothing is used.

    One voxel is added to what agrees and to what is compared, so that an empty channel has a score, and a gradient.

    Args:
      probability: float32 `[z, y, x, c]`.
      members: float32 of the same shape, 0 or 1.
      mask: bool of the same shape, True = use.

    Example:
      >>> ones = jnp.ones((1, 1, 2, 1))
      >>> dice_losses(ones / 2, ones, ones > 0).tolist()
      [0.25]
    """
    sure = jnp.where(mask, probability, 0.0)
    there = jnp.where(mask, members, 0.0)
    both, all_of_them = (sure * there).sum((0, 1, 2)), (sure + there).sum((0, 1, 2))
    return 1.0 - (2.0 * both + 1.0) / (all_of_them + 1.0)
