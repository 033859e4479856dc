"""What is taken over from another network, what begins anew, and what must not go unsaid."""

import jax.numpy as jnp
import pytest

from asem_jax.training.transfer import take_over

INITIAL = {"encoder_0": {"kernel": jnp.zeros((3, 2))}, "head": {"kernel": jnp.zeros((2, 4)), "bias": jnp.zeros(4)}}
FOUND = {"encoder_0": {"kernel": jnp.ones((3, 2))}, "head": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}


def test_what_is_new_keeps_its_initial_values() -> None:
    params, fresh, unused = take_over(INITIAL, FOUND, new=("head/*",))
    assert params["encoder_0"]["kernel"].all()
    assert not params["head"]["kernel"].any()
    assert params["head"]["kernel"].shape == (2, 4)
    assert sorted(fresh) == ["head/bias", "head/kernel"] == unused


def test_the_same_network_is_taken_whole() -> None:
    params, fresh, unused = take_over(FOUND, FOUND, new=())
    assert (params, fresh, unused) == (FOUND, [], [])
    assert take_over({"head": FOUND["head"]}, FOUND, new=()).unused == ["encoder_0/kernel"]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"2 of 3 parameters do not fit: head/bias is \(3,\), not \(4,\);.*head/\*"):
        take_over(INITIAL, FOUND, new=())
    with pytest.raises(ValueError, match=r"1 of 3 .*: head/bias is not there, not \(4,\); make config\.network"):
        take_over(INITIAL, {**INITIAL, "head": {"kernel": jnp.zeros((2, 4))}}, new=())
