"""What comes back from the device: codes per organelle, and of several networks the same as of each alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from asem_jax.models.architecture import asem
from asem_jax.models.channels import Channel, exclusive
from asem_jax.prediction.ensemble import as_ensemble
from asem_jax.prediction.planner import SharedPlan, plan_shared
from asem_jax.prediction.predictor import predict_together
from asem_jax.prediction.program import compile_sweep, members_of, organelle_bytes
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import reflect_block
from tests.phantoms import balls, small_model

SHAPE = (30, 40, 46)
RAW = balls(SHAPE)[0]
WHOLE = Box.of_shape(SHAPE)


def test_probabilities_are_coded_to_255_and_distances_as_cosem_does() -> None:
    channels = (
        Channel("golgi", "softmax", "golgi"),
        Channel("mito", "distance", "all"),
        Channel("er", "sigmoid", "er"),
    )
    distance = np.linspace(-1, 1, 9, dtype=np.float32)
    rest = np.linspace(0, 1, 9, dtype=np.float32)
    values = np.stack([1 - rest, rest, (distance + 1) / 2, rest], axis=-1).reshape(1, 1, 9, 4)
    coded = np.asarray(organelle_bytes(jnp.asarray(values), channels))[0, 0]
    np.testing.assert_array_equal(coded[:, 0], np.round(255 * rest))
    np.testing.assert_array_equal(coded[:, 1], np.clip(np.round(128 * distance + 127), 0, 255))
    assert coded[4, 1] == 127
    np.testing.assert_array_equal(coded[:, 2], np.round(255 * rest))
    np.testing.assert_array_equal(coded[:, 3], rest > 0.5)
    assert not np.asarray(organelle_bytes(jnp.asarray(values[..., 2:]), channels[1:]))[..., -1].any()


def test_networks_that_share_a_reading_say_what_each_says_alone() -> None:
    deeper = small_model(seed=2, organelles=2, architecture=asem(3, 2, 2, ((2, 2, 2),) * 2))
    models = [as_ensemble(small_model()), as_ensemble(deeper)]

    def predicted(*chosen: int) -> list[np.ndarray]:
        architectures = [models[number].card.architecture for number in chosen]
        plan = plan_shared(WHOLE, architectures, (16, 32, 32))
        found = [np.zeros((*SHAPE, len(models[number].card.organelles) + 1), np.uint8) for number in chosen]
        together = [models[number] for number in chosen]
        read = lambda box: reflect_block(RAW, WHOLE, box, WHOLE)  # noqa: E731
        for box, values in predict_together(together, read, plan, plan.write_boxes, organelle_bytes):
            for array, value in zip(found, values, strict=True):
                array[box.slices] = value
        return found

    both = predicted(0, 1)
    for number in (0, 1):
        alone = predicted(number)[0]
        assert alone[..., 0].std() > 1
        assert np.abs(both[number].astype(int) - alone)[..., :-1].max() <= 1


def test_a_program_is_compiled_once() -> None:
    model, mesh = as_ensemble(small_model()), jax.sharding.Mesh(np.array(jax.local_devices()[:2]), ("data",))
    plan: SharedPlan = plan_shared(WHOLE, [model.card.architecture], (16, 16, 16))
    first = compile_sweep([model], plan, organelle_bytes, mesh)
    again = as_ensemble(small_model(seed=5))
    assert compile_sweep([again], plan, organelle_bytes, mesh) is first
    other = replace(model.models[0].card, organelles=("er",), meanings=exclusive(("er",)))
    assert compile_sweep([as_ensemble(replace(model.models[0], card=other))], plan, organelle_bytes, mesh) is not first
    assert len(jax.tree.leaves(members_of([model]))) == len(jax.tree.leaves(model.models[0].params))
