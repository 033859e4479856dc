"""The sheet through a curved, thick, broken membrane faces where the membrane does."""

import numpy as np

from asem_jax.measurement.normals import extent_along, frame, local_sheet, share_within


def shell(radius_nm, thick_nm, reach_nm, direction, step=5.0):
    """Voxels of a shell about a far centre, near the foot of a direction; the foot is at the origin."""
    n = int(reach_nm / step)
    axes = np.meshgrid(*[np.arange(-n, n + 1) * step + off for off in (0.3, 1.1, 2.2)], indexing="ij")
    places = np.stack([axis.ravel() for axis in axes], 1)
    away = np.linalg.norm(places + radius_nm * direction, axis=1) - radius_nm
    near = np.linalg.norm(places, axis=1) < reach_nm
    return places[(np.abs(away) <= thick_nm / 2) & near]


def test_the_normal_of_a_shell_is_found_also_where_a_part_is_missing():
    direction = np.array([0.48, -0.6, 0.64])
    places = shell(500.0, 40.0, 150.0, direction)
    side, other = frame(direction)
    hole = np.hypot(places @ side, places @ other) < 40
    cut = places @ side > 70
    for part in (places, places[~hole], places[~hole & ~cut]):
        normal, height = local_sheet(part, 10.0 * direction)
        normal, height = normal * np.sign(normal @ direction), height * np.sign(normal @ direction)
        assert np.degrees(np.arccos(min(normal @ direction, 1))) < 0.7
        assert abs(height - 10) < 1


def test_too_little_is_no_sheet():
    assert local_sheet(np.zeros((5, 3)), np.zeros(3)) is None
    line = np.arange(40.0)[:, None] * np.array([0.0, 0.0, 1.0])
    assert local_sheet(line, np.zeros(3)) is None


def test_layers_of_voxels_in_planes_have_their_volume():
    heights = np.arange(-10, 11) * 8.0
    for low, high in ((-12.0, 12.0), (-11.0, 3.0), (1.0, 2.5)):
        assert np.isclose(share_within(heights, low, high, 8.0).sum() * 8, high - low)


def test_a_voxel_reaches_farthest_along_its_diagonal():
    diagonal = np.full(3, 1 / np.sqrt(3))
    assert np.isclose(extent_along(diagonal, np.full(3, 4.0)), 4 * np.sqrt(3))
