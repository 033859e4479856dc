"""The balanced cross-entropy against the original's values, and where there is nothing to learn from."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asem_jax.models.channels import Channel, exclusive
from asem_jax.training.losses import (
    Objective,
    balance_weights,
    balanced_cross_entropy,
    channel_weights,
    crop_loss,
    dice_losses,
    focal_loss,
    scaled_cross_entropy,
)
from asem_jax.training.targets import Targets

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


SIGMOID, DISTANCE = Channel("mito", "sigmoid", "all", (3, 4)), Channel("far", "distance", "all", (3, 4))
MEMBRANE = Channel("membrane", "distance", "all", (3,), parent="far")
ASEM = {"min_fraction": 0.01, "max_fraction": 0.99, "cross_entropy": 1.0, "squared": 1.0, "focal_exponent": 2.0}


def make_objective(*channels: Channel, weights: tuple[float, ...] = (), **changes: float) -> Objective:
    """Returns ASEM's and COSEM's losses, with changes."""
    outputs = len(channels) + any(channel.kind == "softmax" for channel in channels)
    settings = {"class_fractions": None, **ASEM, "focal": 0.0, "dice": 0.0, **changes}
    return Objective(channels=channels, class_weights=weights or (1.0,) * outputs, **settings)


def make_crop(number: int, outputs: int, seed: int = 0) -> tuple[jax.Array, Targets]:
    """Returns random logits, and targets of which a quarter is not known."""
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(4, 5, 6, outputs)), jnp.float32)
    choice = jnp.asarray(rng.integers(0, max(1, outputs - number), (4, 5, 6)), jnp.int32)
    values = jnp.asarray(rng.random((4, 5, 6, number)) < 0.3, jnp.float32)
    known = jnp.asarray(rng.random((4, 5, 6, number + 1)) < 0.75)
    return logits, Targets(choice, known[..., 0], values, known[..., 1:])


def test_exclusive_organelles_have_the_loss_of_asem_bit_for_bit() -> None:
    logits, targets = make_crop(0, 3)
    settings = {"min_fraction": 0.01, "max_fraction": 0.99, "class_weights": jnp.array([1.0, 2.0, 0.5])}
    wanted = balanced_cross_entropy(logits, targets.choice, targets.choice_known, **settings)
    objective = make_objective(*exclusive(["er", "mito"]), weights=(1.0, 2.0, 0.5))
    assert float(crop_loss(logits, targets, objective)) == float(wanted)


def test_the_weights_of_a_channel_are_those_of_cosem(cases_dir: Path) -> None:
    arrays = np.load(cases_dir / "sdt_targets" / "cases.npz")
    case = json.loads((cases_dir / "sdt_targets" / "expected.json").read_text())
    own = [name for name, entry in case["channels"].items() if entry["scale_loss"]]
    channels = [Channel(name, "distance", "all") for name in own]
    objective = make_objective(*channels, min_fraction=0.05, max_fraction=0.95)
    for place in case["locations"]:
        stacks = [
            np.stack([arrays[f"{place}/{name}/{what}"] for name in own], -1) for what in ("target", "mask", "scale")
        ]
        weights = channel_weights(jnp.asarray(stacks[0]), jnp.asarray(stacks[1] != 0), channels, objective)
        np.testing.assert_allclose(weights, stacks[2], rtol=1e-5, err_msg=place)


def test_a_child_has_the_weights_of_its_parent_where_both_are_known() -> None:
    values, known = jnp.array([[[[1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]]]]), jnp.ones((1, 1, 4, 2), bool)
    known = known.at[0, 0, 2, 1].set(False)
    weights = channel_weights(values, known, [DISTANCE, MEMBRANE], make_objective(DISTANCE, MEMBRANE))
    np.testing.assert_allclose(weights[0, 0, :, 0], [2.0, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(weights[0, 0, :, 1], [2.0, 2 / 3, 0.0, 2 / 3], rtol=1e-6)


def test_the_loss_of_channels_is_the_sum_of_means_over_what_is_known() -> None:
    logits, targets = make_crop(2, 2)
    values = targets.values.at[..., 1].multiply(0.7)
    objective = make_objective(SIGMOID, DISTANCE, weights=(2.0, 0.5))
    weights = np.asarray(channel_weights(values, targets.known, [SIGMOID, DISTANCE], objective))
    sure = np.asarray(jax.nn.sigmoid(logits[..., 0]))
    entropies = -np.log(np.where(values[..., 0] > 0, sure, 1 - sure))
    squares = np.asarray(logits[..., 1] - values[..., 1]) ** 2
    means = [
        float(np.sum(e * weights[..., i])) / int(np.sum(targets.known[..., i]))
        for i, e in enumerate((entropies, squares))
    ]
    found = crop_loss(logits, targets._replace(values=values), objective)
    assert float(found) == pytest.approx(2.0 * means[0] + 0.5 * means[1], rel=1e-5)


def test_both_sides_of_a_channel_count_alike_or_as_all_the_data_say() -> None:
    logits, targets = make_crop(1, 1)
    squares = (logits - targets.values) ** 2
    used, inside = targets.known, targets.values > 0
    sides = [float(squares[used & side].mean()) for side in (inside, ~inside)]
    assert float(crop_loss(logits, targets, make_objective(DISTANCE))) == pytest.approx(sum(sides) / 2, rel=1e-5)
    stated = crop_loss(logits, targets, make_objective(DISTANCE, class_fractions=(0.5,)))
    assert float(stated) == pytest.approx(float(squares[used].mean()), rel=1e-5)
    scaled = balance_weights(
        targets.choice, targets.choice_known, num_classes=2, min_fraction=0.0, max_fraction=1.0, fractions=(0.8, 0.2)
    )
    np.testing.assert_allclose(scaled[targets.choice_known], 1 / 1.6, rtol=1e-6)


@pytest.mark.parametrize("channels", [exclusive(["er", "mito"]), (SIGMOID, DISTANCE), (*exclusive(["er"]), SIGMOID)])
def test_nothing_known_or_no_weight_is_no_loss_and_no_gradient(channels: tuple[Channel, ...]) -> None:
    number = sum(channel.kind != "softmax" for channel in channels)
    objective = make_objective(*channels, focal=0.7, dice=0.3)
    logits, targets = make_crop(number, len(objective.class_weights))
    nothing = targets._replace(choice_known=targets.choice_known & False, known=targets.known & False)
    weightless = make_objective(*channels, weights=(0.0,) * logits.shape[-1], focal=0.7, dice=0.3)
    assert float(crop_loss(logits, targets, objective)) > 0
    for case, chosen in ((nothing, objective), (targets, weightless)):
        loss, gradient = jax.value_and_grad(crop_loss)(100.0 * logits, case, chosen)
        assert float(loss) == 0.0
        np.testing.assert_array_equal(gradient, 0.0)


def test_what_is_unknown_does_not_matter() -> None:
    channels = (*exclusive(["er"]), SIGMOID, DISTANCE)
    objective = make_objective(*channels, focal=0.5, dice=0.5)
    logits, targets = make_crop(2, 4)
    other = targets._replace(
        choice=jnp.where(targets.choice_known, targets.choice, 1 - targets.choice),
        values=jnp.where(targets.known, targets.values, 1.0 - targets.values),
    )
    assert float(crop_loss(logits, targets, objective)) == float(crop_loss(logits, other, objective))


def test_losses_add_up_by_their_weights() -> None:
    channels = (*exclusive(["er"]), SIGMOID)
    logits, targets = make_crop(1, 3)
    off = {"cross_entropy": 0.0}
    parts = [float(crop_loss(logits, targets, make_objective(*channels, **off | {k: 1.0}))) for k in LOSSES]
    mixed = crop_loss(logits, targets, make_objective(*channels, cross_entropy=2.0, focal=3.0, dice=0.5))
    assert float(mixed) == pytest.approx(2 * parts[0] + 3 * parts[1] + 0.5 * parts[2], rel=1e-5)
    assert min(parts) > 0.01 and parts[1] < parts[0]


LOSSES = ("cross_entropy", "focal", "dice")


def test_a_focal_loss_of_a_sure_voxel_has_a_finite_gradient() -> None:
    gradient = jax.grad(lambda entropy: focal_loss(entropy, 1.0))(jnp.float32(0.0))
    assert np.isfinite(gradient)
    with pytest.raises(ValueError, match=r"focal_exponent=0\.5 has no finite gradient; give at least 1"):
        make_objective(SIGMOID, focal_exponent=0.5)


def test_dice_is_zero_where_all_agrees_and_near_one_where_nothing_does() -> None:
    members = jnp.zeros((4, 4, 4, 2)).at[:2].set(1.0)
    everywhere = members >= 0
    np.testing.assert_allclose(dice_losses(members, members, everywhere), 0.0)
    np.testing.assert_allclose(dice_losses(1 - members, members, everywhere), 1 - 1 / 65, rtol=1e-6)


def test_weights_that_do_not_fit_the_outputs_are_refused() -> None:
    message = r"class_weights=\(1\.0,\) has 1 numbers for 2 outputs \(background, er\); give one each"
    with pytest.raises(ValueError, match=message):
        make_objective(*exclusive(["er"]), weights=(1.0,))
    with pytest.raises(ValueError, match=r"class_fractions=\(0\.5, 0\.5\) has 2 numbers for 1 outputs"):
        make_objective(SIGMOID, class_fractions=(0.5, 0.5))


def loss_of(logits: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the loss with ASEM's settings."""
    return balanced_cross_entropy(logits, target, mask, min_fraction=0.01, max_fraction=0.99, class_weights=jnp.ones(2))
