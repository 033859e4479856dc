"""Elastic deformation: the original's numbers and statistics, and what it leaves as it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from asem_jax.training.augment import allowed_transpositions, augment_geometry, deform_crop
from asem_jax.training.elastic import (
    Elastic,
    centre,
    draw_control_offsets,
    draw_sections,
    draw_symmetry,
    margin,
    rotated_coordinates,
    source_coordinates,
    spline_field,
    warp_labels,
    warp_raw,
)
from asem_jax.volumes.geometry import Int3
from tests.phantoms import balls

ASEM = Elastic(1.0, (32.0, 32.0, 32.0), (2.0, 2.0, 2.0), 90.0, 0.05, 0.0, 2)
NOTHING = Elastic(1.0, (32.0, 32.0, 32.0), (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0)
CUBE = allowed_transpositions((4, 4, 4), (5.0, 5.0, 5.0))
AS_IT_IS = ((0, 1, 2),)
ALL = (0, 1, 2)


def deformation(
    elastic: Elastic,
    shape: Int3,
    label_shape: Int3,
    orders: tuple[Int3, ...] = CUBE,
    mirror_axes: tuple[int, ...] = ALL,
) -> Callable:
    """Returns `deform_crop` for crops that are read with their margins."""
    return jax.jit(
        partial(
            deform_crop,
            elastic=elastic,
            margin=margin(elastic, shape, orders),
            label_margin=margin(elastic, label_shape, orders),
            mirror_axes=mirror_axes,
            transpositions=orders,
        )
    )


def grown(shape: Int3, by: Int3) -> Int3:
    """Returns a shape with a margin on each side."""
    z, y, x = (n + 2 * m for n, m in zip(shape, by, strict=True))
    return z, y, x


def test_field_rotation_and_sampling_are_the_originals(cases_dir: Path) -> None:
    case = np.load(cases_dir / "elastic" / "deterministic.npz")
    z, y, x = (int(n) for n in case["spline/shape"])
    field = spline_field(jnp.asarray(case["spline/control_offsets"]), (z, y, x))
    np.testing.assert_allclose(field[:, ::8, ::8, ::8], case["spline/field_full_stride8"], atol=1e-4)
    z, y, x = (int(n) for n in case["rotation/shape"])
    middle = np.array([z - 1, y - 1, x - 1]).reshape(3, 1, 1, 1) / 2
    turned = rotated_coordinates(jnp.eye(3), jnp.float32(case["rotation/angle_rad"]), (z, y, x))
    np.testing.assert_allclose(turned + middle, case["rotation/source_coords_subsample1"], atol=1e-4)
    largest = (np.array(case["warp/image"].shape) - 1).reshape(3, 1, 1, 1)
    places = case["warp/source_coords"]
    source = jnp.asarray(places - largest / 2, jnp.float32)
    # Outside, the original has 0, ours the outermost voxel.
    inside = ((places >= 0) & (places <= largest)).all(axis=0)
    warped = warp_raw(jnp.asarray(case["warp/image"]), source)
    np.testing.assert_allclose(np.where(inside, warped, 0), case["warp/image_linear"], atol=1e-5)
    np.testing.assert_array_equal(warp_labels(jnp.asarray(case["warp/labels"]), source), case["warp/labels_nearest"])


@pytest.mark.parametrize("size", [96, 128])
def test_the_jitter_is_as_large_as_the_originals(cases_dir: Path, size: int) -> None:
    expected = json.loads((cases_dir / "elastic" / "statistics.json").read_text())[f"{size}x{size}x{size}"]
    shape = (size, size, size)
    draw = jax.jit(lambda key: spline_field(draw_control_offsets(ASEM, shape, key), shape)[:, ::4, ::4, ::4])
    fields = np.stack([draw(jax.random.key(i)) for i in range(30)])
    assert draw_control_offsets(ASEM, shape, jax.random.key(0)).shape == (3, *expected["control_points"])
    assert np.sqrt((fields**2).mean()) == pytest.approx(expected["rms_vox_per_component"], rel=0.1)
    assert np.abs(fields).max(axis=(1, 2, 3, 4)).mean() == pytest.approx(expected["mean_of_max_abs"], rel=0.15)


def test_sections_are_shifted_as_often_and_as_far_as_the_originals(cases_dir: Path) -> None:
    expected = json.loads((cases_dir / "elastic" / "statistics.json").read_text())["section_shift"]
    keys = jax.random.split(jax.random.key(0), 400)
    walks = np.asarray(jax.vmap(lambda key: draw_sections(ASEM, 204, key))(keys))
    assert not walks[:, 0].any() and not walks[:, :, 102].any()
    steps = np.diff(walks[:, 1:], axis=2)
    moved = steps.any(axis=1)
    assert moved.mean() == pytest.approx(expected["expected_visible_rate"], abs=0.003)
    drawn = steps.transpose(0, 2, 1)[moved]
    assert sorted(np.unique(drawn)) == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(drawn.std(axis=0), expected["offset_std"], rtol=0.05)
    drift = (walks[:, 1:, -1] - walks[:, 1:, 0]).std(axis=0)
    np.testing.assert_allclose(drift, expected["end_to_end_drift_std_204_planes"], rtol=0.12)


def test_all_angles_are_as_likely() -> None:
    turned = replace(NOTHING, rotation_degrees=90.0)
    draw = jax.jit(partial(source_coordinates, turned, (1, 1, 3), mirror_axes=(), transpositions=AS_IT_IS))
    ends = np.stack([draw(jax.random.key(i))[:, 0, 0, 2] for i in range(200)])
    angles = np.degrees(np.arctan2(ends[:, 1], ends[:, 2]))
    assert stats.kstest(angles, stats.uniform(0, 90).cdf).pvalue > 0.01


def test_a_section_that_slips_moves_alone() -> None:
    slipping = replace(ASEM, shift_probability=0.0, slip_probability=0.1)
    walk = np.asarray(draw_sections(slipping, 2000, jax.random.key(0)))
    assert walk.any(axis=0).mean() == pytest.approx(0.1 * 24 / 25, abs=0.02)
    assert np.abs(walk).max() == 2


def test_settings_of_zero_change_no_bit() -> None:
    raw, labels = (jnp.asarray(a) for a in balls((16, 20, 22)))
    assert margin(NOTHING, (16, 20, 22), AS_IT_IS) == margin(None, (16, 20, 22), AS_IT_IS) == (0, 0, 0)
    deform = deformation(NOTHING, (16, 20, 22), (8, 20, 22), AS_IT_IS, mirror_axes=())
    warped, (found,) = deform(raw, (labels[4:12],), jax.random.key(0))
    np.testing.assert_array_equal(warped, raw.astype(jnp.float32))
    np.testing.assert_array_equal(found, labels[4:12])


def test_some_crops_are_left_as_they_are() -> None:
    sometimes = replace(ASEM, probability=0.25)
    deform = deformation(sometimes, (8, 8, 8), (4, 4, 4))
    sides, label_sides = margin(ASEM, (8, 8, 8), CUBE), margin(ASEM, (4, 4, 4), CUBE)
    raw, labels = (jnp.asarray(a) for a in balls(grown((8, 8, 8), sides)))
    labels = centre(labels, grown((4, 4, 4), label_sides))
    found = [deform(raw, (labels,), jax.random.key(i)) for i in range(80)]
    left = [bool((grey == centre(raw, (8, 8, 8))).all()) for grey, _ in found]
    assert np.mean(left) == pytest.approx(0.75, abs=0.12)
    for (_, (same,)), is_left in zip(found, left, strict=True):
        assert not is_left or bool((same == centre(labels, (4, 4, 4))).all())


def test_a_quarter_turn_is_exact() -> None:
    raw, labels = (jnp.asarray(a) for a in balls((5, 16, 16)))
    source = rotated_coordinates(jnp.eye(3), jnp.float32(np.pi / 2), raw.shape)
    np.testing.assert_array_equal(warp_labels(labels, source), np.rot90(labels, 1, (1, 2)))
    np.testing.assert_allclose(warp_raw(raw, source), np.rot90(raw, 1, (1, 2)), atol=1e-2)


def test_mirrors_and_transpositions_are_those_of_augment_geometry() -> None:
    array = jnp.arange(27, dtype=jnp.int32).reshape(3, 3, 3)
    words = {"mirror_axes": (0, 2), "transpositions": CUBE}

    @jax.jit
    def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        source = rotated_coordinates(draw_symmetry(key, **words), jnp.float32(0), (3, 3, 3))
        return warp_labels(array, source), augment_geometry((array,), key, **words)[0]

    for i in range(30):
        np.testing.assert_array_equal(*both(jax.random.key(i)))


def test_labels_take_no_other_values_and_raw_moves_with_them() -> None:
    strong = replace(ASEM, jitter=(3.0, 3.0, 3.0), shift_probability=0.1)
    shape, label_shape = (40, 40, 40), (24, 24, 24)
    labels = balls(grown(shape, margin(strong, shape, CUBE)))[1]
    raw = jnp.asarray(255 * ndimage.gaussian_filter(labels.astype(float), 1.0), jnp.uint8)
    ids = jnp.asarray(labels) * 200 + 3
    deform = deformation(strong, shape, label_shape)
    narrow = grown(label_shape, margin(strong, label_shape, CUBE))
    for i in range(4):
        grey, (found, known) = deform(raw, (centre(ids, narrow), jnp.ones((*narrow, 2), bool)), jax.random.key(i))
        assert grey.shape == shape and found.shape == label_shape and known.shape == (*label_shape, 2)
        assert set(np.unique(found)) <= {0, 3, 203} and found.dtype == ids.dtype and known.dtype == bool
        differs = np.asarray(centre(grey, label_shape) > 127) != np.asarray(found == 203)
        border = np.asarray(found == 203) ^ ndimage.binary_erosion(found == 203, iterations=2, border_value=1)
        border |= ndimage.binary_dilation(found == 203, iterations=2) & ~np.asarray(found == 203)
        assert differs.mean() < 0.03 and not (differs & ~border).any()


def test_the_same_key_does_the_same() -> None:
    deform = deformation(ASEM, (12, 12, 12), (6, 6, 6))
    read = grown((12, 12, 12), margin(ASEM, (12, 12, 12), CUBE))
    raw = jnp.asarray(balls(read)[0])
    first, again, other = (deform(raw, (), jax.random.key(i))[0] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert bool((first != other).any())


@pytest.mark.parametrize("orders", [AS_IT_IS, CUBE], ids=["sections", "cube"])
def test_the_margin_holds_what_is_looked_up(orders: tuple[Int3, ...]) -> None:
    shape = (48, 48, 48)
    sides = np.array(margin(ASEM, shape, orders))
    draw = jax.jit(partial(source_coordinates, ASEM, shape, mirror_axes=ALL, transpositions=orders))
    limits = ((np.array(shape) - 1) / 2 + sides).reshape(3, 1, 1, 1)
    beyond = [(np.abs(np.asarray(draw(jax.random.key(i)))) > limits).any(axis=0).mean() for i in range(60)]
    assert np.mean(beyond) < 1e-3
    turned = replace(NOTHING, rotation_degrees=90.0)
    turn = jax.jit(lambda angle: jnp.abs(rotated_coordinates(jnp.eye(3), angle, shape)).max())
    needed = max(float(turn(angle)) for angle in np.linspace(0, np.pi / 2, 33))
    assert 0 <= margin(turned, shape, AS_IT_IS)[1] - (needed - 23.5) < 1


def test_what_lies_beyond_is_the_edge_of_raw_and_unknown() -> None:
    array = jnp.arange(1, 9, dtype=jnp.uint8).reshape(2, 2, 2)
    source = jnp.array([0.5, 0.5, 5.0]).reshape(3, 1, 1, 1)
    assert float(warp_raw(array, source)[0, 0, 0]) == 8
    assert int(warp_labels(array, source)[0, 0, 0]) == 0
    assert not bool(warp_labels(array > 0, source)[0, 0, 0])


def test_lengths_in_nm_are_those_of_the_tissue() -> None:
    words = {"probability": 1.0, "shift_probability": 0.05, "slip_probability": 0.0, "max_misalign": 2}
    lengths = {"spacing_nm": (160.0, 160.0, 160.0), "jitter_nm": (10.0, 10.0, 10.0)}
    asem = Elastic.from_nm(**lengths, rotation_degrees=90.0, voxel_size_nm=(5.0, 5.0, 5.0), **words)
    assert asem == ASEM
    thick = Elastic.from_nm(**lengths, rotation_degrees=90.0, voxel_size_nm=(40.0, 4.0, 4.0), **words)
    assert thick.spacing == (4.0, 40.0, 40.0) and thick.jitter == (0.25, 2.5, 2.5)
    with pytest.raises(
        ValueError, match=r"rotation_degrees=90\.0 needs voxels that are square.*give rotation_degrees 0"
    ):
        Elastic.from_nm(**lengths, rotation_degrees=90.0, voxel_size_nm=(8.0, 4.0, 5.0), **words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation_degrees": 180.0}, r"rotation_degrees=180\.0 is not from 0 to 90; give 90 for all angles"),
        ({"spacing": (0.0, 32.0, 32.0)}, r"spacing=\(0\.0, 32\.0, 32\.0\) of the control points is not positive"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ASEM, **change)
