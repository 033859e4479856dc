"""Schedules, what stays frozen, and the moments of another Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asem_jax.training.optimizer import make_optimizer, matches, moments_of, with_moments

PLAIN = {"final_learning_rate": 1.0, "weight_decay": 0.0, "max_gradient_norm": None}


def rates(number: int, **settings: float) -> list[float]:
    """Returns how far a parameter with a steady gradient moves in each of the first steps: Adam's is the rate."""
    optimizer = make_optimizer(**({"learning_rate": 1.0, "num_steps": 8} | PLAIN | settings))
    params = {"a": jnp.zeros(())}
    state, moved = optimizer.init(params), []
    for _ in range(number):
        updates, state = optimizer.update({"a": jnp.ones(())}, state, params)
        moved.append(-float(updates["a"]))
    return moved


def test_the_rate_is_constant_or_a_cosine_after_a_line() -> None:
    np.testing.assert_allclose(rates(3), 1.0, rtol=1e-4)
    np.testing.assert_allclose(rates(9, final_learning_rate=0.5)[::4], [1.0, 0.75, 0.5], rtol=1e-4)
    warm = rates(9, final_learning_rate=0.5, warmup_steps=4)
    np.testing.assert_allclose(warm, [0, 0.25, 0.5, 0.75, 1.0, warm[5], 0.75, warm[7], 0.5], rtol=1e-4, atol=1e-6)
    assert 0.75 < warm[5] < 1.0 and 0.5 < warm[7] < 0.75


def test_what_is_frozen_stays() -> None:
    optimizer = make_optimizer(learning_rate=1.0, num_steps=2, **(PLAIN | {"weight_decay": 0.1}), frozen=("encoder*",))
    params = {"encoder_0": {"bias": jnp.ones(2)}, "head": {"bias": jnp.ones(2)}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert not updates["encoder_0"]["bias"].any()
    assert updates["head"]["bias"].all()


def test_patterns_fit_whole_names() -> None:
    params = {"encoder_0": {"conv_0": {"kernel": 0, "bias": 0}}, "head": {"bias": 0}}
    assert matches(params, ["*/bias"]) == {
        "encoder_0": {"conv_0": {"kernel": False, "bias": True}},
        "head": {"bias": True},
    }
    assert not any(jax.tree.leaves(matches(params, ["encoder", "bias"])))


def test_moments_replace_those_of_adam_and_nothing_else() -> None:
    optimizer = make_optimizer(
        learning_rate=1.0, final_learning_rate=0.5, num_steps=10, weight_decay=0.1, max_gradient_norm=1.0
    )
    params = {"a": jnp.zeros(2)}
    before = optimizer.init(params)
    after = with_moments(before, jnp.int32(5), {"a": jnp.ones(2)}, {"a": jnp.full(2, 3.0)})
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert int(moments_of(after).count) == 5
    assert [float(tree["a"][0]) for tree in (moments_of(after).mu, moments_of(after).nu)] == [1.0, 3.0]
    updates, _ = optimizer.update({"a": jnp.zeros(2)}, after, params)
    # The schedule is at its beginning: the rate is 1, and the means are corrected for 6 updates.
    mean, square = 0.9 / (1 - 0.9**6), 0.999 * 3 / (1 - 0.999**6)
    np.testing.assert_allclose(updates["a"], -mean / square**0.5, rtol=1e-5)


def test_an_optimiser_without_adam_has_no_moments() -> None:
    with pytest.raises(ValueError, match="holds 0 Adams, 1 is needed"):
        moments_of(optax.sgd(0.1).init({"a": jnp.zeros(2)}))
