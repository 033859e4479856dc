"""Distances to tubes: formulas, brute force and hand-made cases."""

import numpy as np

from asem_jax.simulation.tubes import Tube, meets, overlaps, tube_distance, tube_field
from asem_jax.volumes.geometry import Box, tiles

VOXEL = (10.0, 10.0, 10.0)


def _tube(points, radii, links=((0, 1),), lengths=None):
    points = np.array(points, float)
    return Tube(
        points,
        np.array(radii, float),
        np.array(links),
        np.zeros(len(points)) if lengths is None else np.array(lengths, float),
        np.array([0.0, 1.0, 0.0]),
        np.zeros(4),
    )


def test_a_straight_tube_is_a_capsule():
    tube = _tube([(50, 50, 50), (50, 50, 90)], [20, 20], lengths=(0, 40))
    field = tube_field(tube, Box.of_shape((20, 20, 20)), voxel_size_nm=VOXEL, margin_nm=30.0)
    seen = dict(zip(("distance", "along", "aside"), _at(field, (5, 8, 7)), strict=True))
    assert seen == {"distance": 10.0, "along": 20.0, "aside": 30.0}
    assert _at(field, (5, 5, 11))[0] == 0.0
    assert _at(field, (5, 5, 5))[0] == -20.0


def _at(field, voxel):
    place = tuple(v - a for v, a in zip(voxel, field.box.start, strict=True))
    return tuple(float(values[place]) for values in (field.distance, field.along, field.aside))


def test_a_bent_tube_is_where_its_balls_are():
    tube = _tube([(60, 60, 60), (90, 70, 120), (60, 150, 150)], [25, 35, 30], [(0, 1), (1, 2)])
    box = Box.of_shape((16, 22, 22))
    field = tube_field(tube, box, voxel_size_nm=VOXEL, margin_nm=1e4)
    places = np.stack(np.meshgrid(*[np.arange(n) * 10.0 for n in box.shape], indexing="ij"), -1)
    brute = np.full(box.shape, np.inf)
    for a, b in tube.links:
        for share in np.linspace(0, 1, 60):
            centre = tube.points_nm[a] * (1 - share) + tube.points_nm[b] * share
            radius = tube.radii_nm[a] * (1 - share) + tube.radii_nm[b] * share
            brute = np.minimum(brute, np.linalg.norm(places - centre, axis=-1) - radius)
    # The nearest ball is not quite the one across from the voxel; far from the tube that matters least.
    np.testing.assert_allclose(field.distance, brute, rtol=0.02, atol=1.0)


def test_a_field_is_the_same_from_every_box():
    tube = _tube([(60, 60, 60), (90, 70, 120), (60, 150, 150)], [25, 35, 30], [(0, 1), (1, 2)])
    whole = tube_field(tube, Box.of_shape((16, 22, 22)), voxel_size_nm=VOXEL, margin_nm=40.0)
    for tile in tiles(whole.box, (5, 7, 9)):
        part = tube_field(tube, tile, voxel_size_nm=VOXEL, margin_nm=40.0)
        cut = part.slices(whole.box)
        for name in ("distance", "along", "aside"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[cut])


def test_overlap_counts_the_gap():
    one, other = _tube([(0, 0, 0), (0, 0, 10)], [20, 20]), _tube([(0, 0, 60), (0, 0, 70)], [20, 20])
    far = _tube([(0, 0, 90), (0, 0, 99)], [20, 20])
    assert overlaps(one, other, 11.0) and overlaps(other, one, 11.0) and overlaps(other, far, 11.0)
    assert not overlaps(one, far, 11.0) and not overlaps(one, other, 10.0)


def test_slices_hold_the_tube_and_its_margin():
    tube, box = _tube([(50, 50, 50), (50, 50, 90)], [20, 20]), Box((2, 0, 0), (20, 9, 20))
    assert tube.slices(box, VOXEL, 5.0) == (slice(0, 7), slice(2, 9), slice(2, 13))
    assert any(cut.start >= cut.stop for cut in tube.slices(Box((30, 0, 0), (40, 9, 9)), VOXEL, 5.0))


def test_a_ball_is_what_a_link_without_length_is():
    box = Box.of_shape((12, 12, 12))
    ball, link = _tube([(50, 60, 52)] * 2, [25, 25]), _tube([(50, 60, 52), (50, 60, 52 + 1e-6)], [25, 25])
    assert ball.is_ball and not link.is_ball
    found = [tube_distance(tube, box, voxel_size_nm=VOXEL, margin_nm=30.0).distance for tube in (ball, link)]
    np.testing.assert_allclose(*found, atol=1e-3)


def test_a_distance_is_cut_to_what_is_near():
    tube = _tube([(50, 50, 50), (50, 50, 90)], [20, 20])
    whole = tube_distance(tube, Box.of_shape((20, 20, 20)), voxel_size_nm=VOXEL, margin_nm=40.0)
    near = whole.where(whole.distance + 1, 5.0)
    assert near.box == Box((3, 3, 3), (8, 8, 12))
    np.testing.assert_array_equal(near.distance, whole.distance[near.slices(whole.box)] + 1)
    assert whole.where(whole.distance, -100.0).box.num_voxels == 0


def test_a_distance_alone_is_that_of_the_field():
    tube = _tube([(60, 60, 60), (90, 70, 120), (60, 150, 150)], [25, 35, 30], [(0, 1), (1, 2)])
    box = Box.of_shape((16, 22, 22))
    field, alone = (see(tube, box, voxel_size_nm=VOXEL, margin_nm=40.0) for see in (tube_field, tube_distance))
    np.testing.assert_array_equal(alone.distance, field.distance)


def test_a_tube_meets_a_box_at_its_surface():
    tube = _tube([(0, 0, 0), (0, 0, 100)], [10, 30])
    # Above the thick end, and above the middle, where the cone has a radius of 20 nm.
    for low, touches in (((29.5, -1, 95), True), ((30.8, -1, 95), False), ((19.0, -1, 50), True)):
        assert meets(tube, np.array(low), np.add(low, (50, 2, 1)), 0.0) == touches
    assert meets(tube, np.array((34.0, -1, 95)), np.array((90.0, 1, 96)), 5.0)


def test_length_radius_and_centroid_of_a_chain():
    tube = _tube([(0, 0, 0), (0, 0, 100), (0, 0, -100)], [10, 10, 10], [(0, 1), (0, 2)])
    assert tube.length_nm == 200.0 and tube.radius_nm == 10.0
    np.testing.assert_allclose(tube.centroid_nm, 0, atol=1e-12)
