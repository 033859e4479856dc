"""The balanced cross-entropy against the original's values, and where there is nothing to learn from."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.training.losses import balance_weights, balanced_cross_entropy, scaled_cross_entropy

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_balance_equals_that_of_the_original(cases_dir: Path) -> None:
    arrays = np.load(cases_dir / "balance_labels" / "cases.npz")
    expected = json.loads((cases_dir / "balance_labels" / "expected.json").read_text())
    assert len(expected) >= 10
    for name, case in expected.items():
        weights = balance_weights(
            jnp.asarray(arrays[f"{name}/labels"]),
            jnp.asarray(arrays[f"{name}/mask"]) != 0,
            num_classes=case["num_classes"],
            min_fraction=case["clipmin"],
            max_fraction=case["clipmax"],
        )
        np.testing.assert_allclose(weights, arrays[f"{name}/scalings"], rtol=1e-5, atol=0, err_msg=name)


def test_loss_and_gradient_equal_those_of_the_original(cases_dir: Path) -> None:
    arrays = np.load(cases_dir / "loss_values" / "cases.npz")
    expected = json.loads((cases_dir / "loss_values" / "expected.json").read_text())
    for name, case in expected.items():
        labels = jnp.asarray(arrays[f"{name}/labels"], jnp.int32)
        ones = np.ones(labels.shape, np.float32)
        mask = arrays[f"{name}/mask"] if case["mask_passed"] else ones
        scalings = arrays[f"{name}/scalings"] if case["scaling_passed"] else ones
        loss, gradient = jax.value_and_grad(scaled_cross_entropy)(
            jnp.moveaxis(jnp.asarray(arrays[f"{name}/logits"]), 0, -1),
            labels,
            jnp.asarray(mask, jnp.float32),
            jnp.asarray(scalings),
            jnp.array(case["class_weight"], jnp.float32),
        )
        if not np.any(mask):  # the original divides 0 by 0 here
            assert float(loss) == 0.0 and not np.any(gradient)
            continue
        assert float(loss) == pytest.approx(case["loss_f64"], rel=1e-5), name
        wanted = arrays[f"{name}/dloss_dlogits"]
        np.testing.assert_allclose(jnp.moveaxis(gradient, -1, 0), wanted, rtol=0, atol=1e-6, err_msg=name)


def test_two_classes_count_alike() -> None:
    rng = np.random.default_rng(0)
    target = jnp.asarray(rng.random((5, 5, 5)) < 0.2, jnp.int32)
    logits = jnp.asarray(rng.normal(size=(5, 5, 5, 2)), jnp.float32)
    each = -jax.nn.log_softmax(logits)
    means = [float(each[..., k][target == k].mean()) for k in (0, 1)]
    assert float(loss_of(logits, target, jnp.ones((5, 5, 5), bool))) == pytest.approx(sum(means) / 2, rel=1e-6)


def test_a_crop_with_nothing_to_learn_from_has_no_loss_and_no_gradient() -> None:
    target, mask = jnp.zeros((3, 3, 3), jnp.int32), jnp.zeros((3, 3, 3), bool)
    loss, gradient = jax.value_and_grad(loss_of)(jnp.full((3, 3, 3, 2), 5.0), target, mask)
    assert float(loss) == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


def test_what_a_masked_voxel_holds_does_not_matter() -> None:
    target = jnp.array([[[0, 1, 0]]])
    logits = jnp.array([[[[1.0, 0.0], [0.5, 2.0], [jnp.nan, 0.0]]]])
    mask = jnp.array([[[True, True, False]]])
    without = loss_of(logits[:, :, :2], target[:, :, :2], mask[:, :, :2])
    assert float(loss_of(logits, target, mask)) == float(without)


def loss_of(logits: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the loss with ASEM's settings."""
    return balanced_cross_entropy(logits, target, mask, min_fraction=0.01, max_fraction=0.99, class_weights=jnp.ones(2))
