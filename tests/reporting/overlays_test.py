import io
import struct

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from asem_jax.measurement.scoring import Region
from asem_jax.reporting import overlays
from asem_jax.reporting.overlays import FOUND, THERE, WRONG, Plane, draw_plane, error_map, read_plane
from asem_jax.segmentation.labels import exclusion_zone
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume

SHAPE = (6, 10, 14)


def _volume(folder, name, array, offset_nm=(0, 0, 0)):
    volume = create_volume(
        str(folder / "cell.zarr" / name),
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(20, 5, 10),
        offset_nm=offset_nm,
        chunk_shape=(8, 8, 8),
    )
    volume.write(volume.box, array)
    return volume


def _plane(labels, segmentation, pixel_nm=(5.0, 5.0), used=None):
    labels, segmentation = np.array(labels, bool), np.array(segmentation, bool)
    raw = np.arange(labels.size, dtype=np.uint8).reshape(labels.shape)
    used = np.ones(labels.shape, bool) if used is None else np.array(used, bool)
    box = Box.of_shape((1, *labels.shape))
    return Plane(0, box, pixel_nm, raw, labels, segmentation, used)


@pytest.mark.parametrize("axis", range(3))
def test_plane_is_the_section_of_each_volume(tmp_path, axis):
    rng = np.random.default_rng(axis)
    raw = rng.integers(0, 256, SHAPE).astype(np.uint8)
    labels, found = (rng.integers(0, 2, SHAPE).astype(np.uint8) for _ in range(2))
    region = Region("val", _volume(tmp_path, "labels", labels), Box.of_shape(SHAPE))
    # One voxel more at the start of each axis, at the same place in nm.
    padded = np.pad(raw, [(1, 0)] * 3)
    volumes = _volume(tmp_path, "raw", padded, (-20, -5, -10)), _volume(tmp_path, "found", found)
    box = overlays.section(region.box, axis, 2)
    plane = read_plane(*volumes, region, box, exclude_inwards=1, exclude_outwards=1)
    zone = exclusion_zone(labels, inwards=1, outwards=1)
    for got, whole in (
        (plane.raw, raw),
        (plane.labels, labels != 0),
        (plane.segmentation, found != 0),
        (plane.used, ~zone),
    ):
        np.testing.assert_array_equal(got, whole.take(2, axis))
    assert plane.pixel_nm == [(5, 10), (20, 10), (20, 5)][axis]
    assert plane.name == f"{('xy', 'xz', 'yz')[axis]} plane, {'zyx'[axis]} = 2"


def test_error_map_colours_right_wrong_and_missed():
    plane = _plane([[1, 1, 0, 0]], [[1, 0, 1, 0]])
    picture = error_map(plane, np.zeros((1, 4)))
    np.testing.assert_allclose(picture[0, 1], 0.9 * np.array(to_rgb(THERE)))
    np.testing.assert_allclose(picture[0, 2], 0.9 * np.array(to_rgb(WRONG)))
    np.testing.assert_allclose(picture[0, 0], 0.35 * np.array(to_rgb(FOUND)))
    np.testing.assert_allclose(picture[0, 3], 0)


def test_error_map_is_faint_where_nothing_is_scored():
    clear, faint = (error_map(_plane([[0]], [[1]], used=[[u]]), np.zeros((1, 1))) for u in (1, 0))
    assert 0 < faint.max() < 0.5 * clear.max()


def _size(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def test_picture_keeps_the_shape_in_nanometres():
    square = np.zeros((10, 10), bool)
    heights = [_size(draw_plane(_plane(square, square, (5.0 * k, 5.0))))[1] for k in (1, 2)]
    head = 0.26 * 150
    assert (heights[1] - head) / (heights[0] - head) == pytest.approx(2, abs=0.02)


def test_picture_shows_outlines_in_their_colours():
    labels, found = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    labels[5:15, 5:15], found[2:8, 2:8] = True, True
    pixels = imread(io.BytesIO(draw_plane(_plane(labels, found))), format="png")[..., :3]
    quarters = np.array_split(pixels, 4, axis=1)
    there, seen = (np.array(to_rgb(colour)) for colour in (THERE, FOUND))

    def holds(quarter, colour):
        return (np.abs(quarter - colour).max(axis=-1) < 0.05).any()

    assert [holds(q, there) for q in quarters[:3]] == [False, True, False]
    assert [holds(q, seen) for q in quarters[:3]] == [False, False, True]


@pytest.mark.parametrize("value", [0, 1])
def test_plane_without_borders_can_be_drawn(value):
    plane = _plane(np.full((3, 4), value), np.full((3, 4), value))
    assert _size(draw_plane(plane))[0] > 1000


@pytest.mark.parametrize("width_nm", [17, 100, 999, 4321, 250_000])
def test_scale_bar_is_round_and_fits(width_nm):
    length = overlays.scale_bar_nm(width_nm)
    assert 0.1 * width_nm < length <= 0.3 * width_nm
    assert f"{length:.0e}"[0] in "125"


def test_sections_stay_inside_a_thin_box():
    box = Box((3, 0, 0), (5, 4, 4))
    assert [b.start[0] for b in overlays.even_sections(box, 0, 5)] == [3, 4]
    assert overlays.middle_window(box, (9, 2, 9)) == Box((3, 1, 0), (5, 3, 4))


def test_a_box_that_is_no_plane_is_refused(tmp_path):
    labels = _volume(tmp_path, "labels", np.zeros(SHAPE, np.uint8))
    region = Region("val", labels, labels.box)
    with pytest.raises(ValueError, match=r"shape \(6, 10, 14\) is no plane; give one that is 1 voxel thick"):
        read_plane(labels, labels, region, labels.box, exclude_inwards=0, exclude_outwards=0)
