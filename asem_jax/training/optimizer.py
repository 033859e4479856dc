"""What makes updates from gradients, and what it carries from step to step.

Source: Gallusser et al., J Cell Biol 2023 (code): Adam, weight decay added to the gradient (not decoupled).
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
import optax

from asem_jax.models.model import Params


def make_optimizer(
    *,
    learning_rate: float,
    final_learning_rate: float,
    num_steps: int,
    weight_decay: float,
    max_gradient_norm: float | None,
    warmup_steps: int = 0,
    betas: tuple[float, float] = (0.9, 0.999),
    frozen: Sequence[str] = (),
) -> optax.GradientTransformation:
    """Returns Adam whose weight decay is part of the gradient, with a cosine from one learning rate to another.

    Args:
      learning_rate: at the first step, or after the warm-up; ASEM 3e-5, COSEM 5e-5.
      final_learning_rate: at step `num_steps`; the same as `learning_rate` = constant, as ASEM has it.
      num_steps: length of warm-up and cosine.
      weight_decay: coupled L2 on all parameters, biases too; ASEM 3e-5, COSEM 0.
      max_gradient_norm: longer gradients are shortened to it, so that one odd crop does not kill a network that
        learns at a high rate; None = never, as ASEM.
      warmup_steps: the learning rate rises in a line from 0 over so many steps; fewer than `num_steps`.
      betas: how much of the running means of gradients and of their squares stays; ASEM as here, COSEM (0.95, 0.999).
      frozen: patterns of the names of parameters that stay as they are, see `matches`.
    """
    clip = optax.identity() if max_gradient_norm is None else optax.clip_by_global_norm(max_gradient_norm)
    hold = optax.masked(optax.set_to_zero(), lambda params: matches(params, frozen)) if frozen else optax.identity()
    return optax.chain(
        clip,
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(*betas),
        optax.scale_by_learning_rate(_schedule(learning_rate, final_learning_rate, num_steps, warmup_steps)),
        hold,
    )


def _schedule(first: float, last: float, num_steps: int, warmup_steps: int) -> optax.Schedule:
    cosine = optax.cosine_decay_schedule(first, max(1, num_steps - warmup_steps), alpha=last / first)
    if not warmup_steps:
        return cosine
    return optax.join_schedules([optax.linear_schedule(0.0, first, warmup_steps), cosine], [warmup_steps])


def matches(params: Params, patterns: Sequence[str]) -> Params:
    """Returns a tree like the parameters that says whether the name of each fits one of some patterns.

    Args:
      params: of a network.
      patterns: such as `encoder_*` or `*/bias`; `*` stands for anything, a slash too.

    Example:
      >>> matches({"encoder_0": {"bias": 1}, "head": {"bias": 2}}, ["head/*"])
      {'encoder_0': {'bias': False}, 'head': {'bias': True}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(fnmatchcase(name_of(path), pattern) for pattern in patterns), params
    )


def name_of(path: tuple[object, ...]) -> str:
    """Returns the name of a parameter, such as `encoder_0/conv_1/kernel`, from its path in the tree."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def with_moments(opt_state: optax.OptState, step: jax.Array, first: Params, second: Params) -> optax.OptState:
    """Returns an optimiser's state with the moments of an Adam that has made some steps; its schedule begins anew.

    PyTorch's Adam and optax's keep the same two means, of gradients that include the weight decay, and correct them
    for the same number of steps, so a fine-tune goes on as it would have there.

    Args:
      opt_state: of an optimiser of `make_optimizer`.
      step: updates made, int32 scalar.
      first: running mean of the gradients, a tree like the parameters.
      second: running mean of their squares.

    Raises:
      ValueError: `opt_state` holds no Adam.
    """
    adam = moments_of(opt_state)._replace(count=jnp.asarray(step, jnp.int32), mu=first, nu=second)
    return tuple(adam if isinstance(part, optax.ScaleByAdamState) else part for part in opt_state)


def moments_of(opt_state: optax.OptState) -> optax.ScaleByAdamState:
    """Returns the part of an optimiser's state that Adam carries: `count`, `mu` and `nu`.

    Raises:
      ValueError: there is none.
    """
    parts = [part for part in opt_state if isinstance(part, optax.ScaleByAdamState)]
    if len(parts) != 1:
        raise ValueError(f"the optimiser's state ({type(opt_state).__name__}) holds {len(parts)} Adams, 1 is needed.")
    return parts[0]
