import io

import numpy as np
from matplotlib.image import imread

from asem_jax.reporting.colouring import colour_of, coloured, colouring_section, draw_middle
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume


def _volume(folder, name, array, **more):
    volume = create_volume(
        f"{folder}/cell.zarr/{name}",
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(10, 5, 5),
        chunk_shape=(16, 16, 16),
        **more,
    )
    volume.write(volume.box, array)
    return volume


def test_what_is_nothing_stays_grey_and_a_number_has_one_colour():
    grey = np.array([[0, 100, 200, 100]], np.uint8)
    numbers = np.array([[0, 3, 5, 3]], np.uint64)
    picture = coloured(grey, numbers)
    assert np.ptp(picture[0, 0]) == 0
    np.testing.assert_array_equal(picture[0, 1], picture[0, 3])
    assert np.argmax(picture[0, 2] - picture[0, 1]) == np.argmax(np.subtract(colour_of(5), colour_of(3)))


def test_three_planes_stand_at_one_scale(tmp_path):
    numbers = np.zeros((4, 20, 40), np.uint8)
    numbers[:, :, 20:] = 1
    raw = _volume(tmp_path, "raw", np.full(numbers.shape, 99, np.uint8))
    labels = _volume(tmp_path, "labels", numbers)
    picture = imread(io.BytesIO(draw_middle(raw, labels, labels.box)))
    # xy is 200 x 100 nm, xz 200 x 40 nm, yz 100 x 40 nm.
    width = 150 * (11.6 - 0.24) / 500
    blue = np.ptp(picture[..., :3], axis=-1) > 0.2
    assert abs(blue[-10].sum() - 100 * width) < 4  # below xz and yz: half of xy alone
    assert abs(blue[60].sum() - 300 * width) < 8  # half of xy and of xz, all of yz at x = 20


def test_labels_with_names_get_a_key(tmp_path):
    numbers = np.ones((8, 8, 8), np.uint8)
    raw = _volume(tmp_path, "raw", numbers)
    named = _volume(tmp_path, "named", numbers, attributes={"labels": {"er <1>": 1}})
    assert colouring_section(raw, {}, (8, 8, 8)) == []
    html = "".join(colouring_section(raw, {"a": named, "b": raw}, (4, 8, 8)))
    assert html.count('<ul class="key">') == 1 and "er &lt;1&gt;" in html and html.count("<img") == 2
    assert "voxel 4, 4, 4 (z, y, x)" in html


def test_middle_is_that_of_the_window(tmp_path):
    numbers = np.zeros((8, 8, 8), np.uint8)
    numbers[6] = 1
    labels = _volume(tmp_path, "labels", numbers)
    ones = draw_middle(labels, labels, Box((5, 0, 0), (8, 8, 8)))
    assert ones != draw_middle(labels, labels, labels.box)
