"""Targets by counting, by SciPy, and by the program that COSEM was trained with."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from asem_jax.models.channels import Channel, exclusive
from asem_jax.training.regions import is_annotated
from asem_jax.training.targets import (
    border_distance,
    is_certain,
    label_padding,
    make_targets,
    signed_distance,
    tanh_distance,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")
CUBE_NM = (4.0, 4.0, 4.0)
SIZES = ("voxel_size_nm", "padding", "reach_nm")
distance_of = jax.jit(signed_distance, static_argnames=SIZES)
border_of = jax.jit(border_distance, static_argnames=SIZES)
plain_targets = partial(make_targets, voxel_size_nm=CUBE_NM, padding=(0, 0, 0))


def row(*voxels: tuple[int, ...]) -> jax.Array:
    """Returns members of a crop of one row, `[1, 1, x, c]`, from the voxels' channels."""
    return jnp.array(voxels, jnp.uint8)[None, None]


def test_a_contested_voxel_teaches_neither_and_background_is_what_all_leave() -> None:
    members = row((0, 0), (1, 0), (0, 1), (1, 1))
    found = plain_targets(exclusive(["er", "mito"]), members, members < 2)
    assert found.choice.tolist() == [[[0, 1, 2, 0]]]
    assert found.choice_known.tolist() == [[[True, True, True, False]]]
    assert found.values.shape == (1, 1, 4, 0)


def test_what_is_not_annotated_is_never_background() -> None:
    members, known = row((1, 0), (0, 1), (0, 0), (0, 0)), row((1, 0), (0, 1), (1, 0), (1, 1)) != 0
    found = plain_targets(exclusive(["er", "mito"]), members, known)
    assert found.choice.tolist() == [[[1, 2, 0, 0]]]
    assert found.choice_known.tolist() == [[[True, True, False, True]]]
    alone = plain_targets([Channel("er", "sigmoid", "er"), Channel("mito", "sigmoid", "mito")], members, known)
    assert alone.values.tolist() == members.astype(jnp.float32).tolist()
    np.testing.assert_array_equal(alone.known, known)


def test_affinity_is_to_be_of_one_object_with_the_neighbour() -> None:
    channels = [Channel("left", "affinity", "objects", offset=(0, 0, -1))]
    assert label_padding(channels, CUBE_NM) == (0, 0, 1)
    objects = row((3,), (3,), (4,), (0,), (0,), (4,), (4,))
    known = jnp.ones(objects.shape, bool).at[0, 0, 4].set(False)
    found = make_targets(channels, objects, known, voxel_size_nm=CUBE_NM, padding=(0, 0, 1))
    assert found.values[0, 0, :, 0].tolist() == [1, 0, 0, 0, 0]
    assert found.known[0, 0, :, 0].tolist() == [True, True, True, False, False]


def by_scipy(members: npt.NDArray[np.bool_], size: tuple[float, float, float], reach: float) -> npt.NDArray[Any]:
    """Returns the signed distance of a whole array as its definition has it."""
    eroded = ndimage.binary_erosion(members, np.ones((3, 3, 3)), border_value=True)
    inside, outside = (
        ndimage.distance_transform_edt(mask, sampling=size) if not mask.all() else np.full(mask.shape, np.inf)
        for mask in (eroded, ~members)
    )
    return np.clip(inside, 0, reach) - np.clip(outside, 0, reach)


@pytest.mark.parametrize("size", [(4.0, 4.0, 4.0), (30.0, 6.0, 5.5)], ids=["cube", "sections"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 1.0])
def test_distances_are_those_of_scipy(size: tuple[float, float, float], share: float) -> None:
    padding = label_padding([Channel("a", "distance", "a", scale_nm=12.0)], size)
    shape = tuple(n + 2 * p for n, p in zip((6, 7, 8), padding, strict=True))
    members = ndimage.uniform_filter(np.random.default_rng(1).random(shape), 5 if share == 0.5 else 0) < share
    expected = by_scipy(members, size, reach=33.12)
    inner = tuple(slice(p, n - p) for n, p in zip(shape, padding, strict=True))
    found = distance_of(jnp.asarray(members), voxel_size_nm=size, padding=padding, reach_nm=33.12)
    np.testing.assert_allclose(found, expected[inner], rtol=1e-6, atol=1e-5)
    unpadded = distance_of(jnp.asarray(members), voxel_size_nm=size, padding=(0, 0, 0), reach_nm=33.12)
    np.testing.assert_allclose(unpadded, expected, rtol=1e-6, atol=1e-5)


def test_the_middle_of_a_ball_is_as_far_from_its_border_as_its_radius() -> None:
    grid = np.stack(np.meshgrid(*(np.arange(41) - 20,) * 3, indexing="ij"), -1)
    ball = (grid**2).sum(-1) <= 12**2
    found = distance_of(jnp.asarray(ball), voxel_size_nm=CUBE_NM, padding=(0, 0, 0), reach_nm=138.0)
    assert 48.0 - 4 * 3**0.5 - 0.1 <= float(found[20, 20, 20]) <= 48.0  # members that touch others count as the border
    assert float(found[20, 20, 0]) == pytest.approx(-(80.0 - 48.0), abs=4.0)


def test_padding_reaches_as_far_as_a_target_looks() -> None:
    channel = Channel("mito", "distance", "mito")
    assert label_padding([*exclusive(["er"]), channel], CUBE_NM) == (35, 35, 35)
    assert label_padding([Channel("ribosomes", "distance", "all", added_nm=8.0)], CUBE_NM) == (37, 37, 37)


def test_a_distance_is_uncertain_where_the_end_of_the_annotation_is_nearer() -> None:
    channel = Channel("mito", "distance", "mito", scale_nm=10.0)  # saturates at 27.6 nm
    members = jnp.zeros((1, 1, 41, 1), jnp.uint8).at[0, 0, 20:23].set(1)
    known = jnp.ones(members.shape, bool).at[0, 0, :12].set(False).at[0, 0, 36:].set(False)
    found = make_targets([channel], members, known, voxel_size_nm=CUBE_NM, padding=(0, 0, 7))
    # Known are voxels 12..35, with the outermost at 12 and 35; the object's border is at 20 and 22.
    places = np.arange(7, 34)
    distance = np.select([places < 20, places == 21, places > 22], [4.0 * (places - 20), 4.0, 4.0 * (22 - places)], 0.0)
    np.testing.assert_allclose(found.values[0, 0, :, 0], np.tanh(np.clip(distance, -27.6, 27.6) / 10), rtol=1e-5)
    edge = 4.0 * np.minimum(places - 12, 35 - places)
    expected = (places >= 12) & ((np.abs(distance) < edge + (distance < 0)) | (edge + (distance < 0) >= 27.6))
    np.testing.assert_array_equal(found.known[0, 0, :, 0], expected)
    assert 0 < expected.sum() < len(places)


def test_a_saturated_distance_is_certain_however_near_the_end_is() -> None:
    distance, border = jnp.array([132.0, 132.0, -132.0, -129.0]), jnp.array([129.0, 131.0, 131.0, 128.5])
    certain = partial(is_certain, distance, border, reach_nm=138.0)
    assert certain(added_nm=8.0).tolist() == [False, True, True, True]  # of the last, the end is farther by 1 nm
    assert certain(added_nm=0.0).tolist() == [False, False, False, True]


def test_targets_and_certainty_are_those_of_cosem(cases_dir: Path) -> None:
    arrays = np.load(cases_dir / "sdt_targets" / "cases.npz")
    case = json.loads((cases_dir / "sdt_targets" / "expected.json").read_text())
    volumes = {"all": arrays["labels_all"], "ribosomes": arrays["labels_ribosomes"]}
    record = case["crop_record"]["labels"]
    lists = {word: {"all": tuple(n for n, _ in record[f"{word}_annotated"])} for word in ("present", "absent")}
    for name, location in case["locations"].items():
        begin = (np.array(location["offset_nm"]) - case["label_offset_nm"] - case["context_nm"]) // 2
        blocks = {key: cut(volume, begin) for key, volume in volumes.items()}
        for label, entry in case["channels"].items():
            own = "ribosomes" if entry["separate_labelset"] else "all"
            ids, generic = tuple(entry["ids"]), tuple(entry["generic"] or ())
            channel = Channel(label, "distance", "all", ids, generic, added_nm=float(entry["add_constant"] or 0))
            annotated = is_annotated(channel, **lists, unknown={})
            target, mask = at_4_nm(channel, np.isin(blocks[own], ids), (blocks["all"] > 0) & annotated)
            np.testing.assert_allclose(target, arrays[f"{name}/{label}/target"], rtol=0, atol=1e-5, err_msg=label)
            np.testing.assert_array_equal(mask, arrays[f"{name}/{label}/mask"] != 0, err_msg=f"{name} {label}")


def cut(volume: npt.NDArray[np.uint8], begin: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Returns labels of an output block and 140 nm around it; 0 beyond the volume."""
    wide = np.pad(volume, 200)
    return wide[tuple(slice(200 + b, 200 + b + n) for b, n in zip(begin, (180, 172, 188), strict=True))]


def at_4_nm(
    channel: Channel, members: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]
) -> tuple[jax.Array, npt.NDArray[np.bool_]]:
    """Returns target and mask as COSEM makes them: distances on labels of 2 nm, certainty at 4 nm."""
    reach, added = channel.reach_nm, channel.added_nm
    distance = distance_of(jnp.asarray(members), voxel_size_nm=(2.0,) * 3, padding=(70,) * 3, reach_nm=reach + added)[
        ::2, ::2, ::2
    ]
    coarse = known[::2, ::2, ::2]
    border = border_of(jnp.asarray(coarse), voxel_size_nm=CUBE_NM, padding=(35,) * 3, reach_nm=reach)
    certain = is_certain(distance, border, reach_nm=reach, added_nm=added)
    return tanh_distance(distance, channel), coarse[35:-35, 35:-35, 35:-35] & np.asarray(certain)
