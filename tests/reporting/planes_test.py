import re

import numpy as np
import pytest

from asem_jax.measurement.scoring import Region
from asem_jax.reporting import planes
from asem_jax.volumes.volume import create_volume

ALL = {"exclude_inwards": 0, "exclude_outwards": 0}


@pytest.fixture
def volume(tmp_path):
    def make(name, array):
        made = create_volume(
            f"{tmp_path}/cell.zarr/{name}",
            shape=array.shape,
            dtype=array.dtype,
            voxel_size_nm=(5, 5, 5),
            offset_nm=(0, 0, 100),
            chunk_shape=(4, 4, 4),
        )
        made.write(made.box, array)
        return made

    return make


def test_segmentation_without_errors_has_no_worst_block(volume):
    labels = volume("labels", np.ones((4, 4, 4), np.uint8))
    region = Region("val", labels, labels.box)
    parts = planes.worst_blocks_section(labels, labels, [region], block_shape=(2, 2, 2), num_worst_blocks=3, **ALL)
    assert "No block has an error" in "".join(parts) and "<table" not in "".join(parts)


def test_worst_block_is_placed_in_voxels_and_nm(volume):
    array = np.zeros((4, 4, 8), np.uint8)
    labels = volume("labels", array)
    array[2:, :2, 4:6] = 1
    found = volume("found", array)
    region = Region("val", labels, labels.box)
    parts = planes.worst_blocks_section(labels, found, [region], block_shape=(2, 2, 4), num_worst_blocks=9, **ALL)
    # Voxels 2-3, 0-1, 4-7, the first at (0, 0, 100) nm.
    assert re.search(r"<td>2, 0, 4</td><td>2, 2, 4</td><td>12, 2, 128</td>", "".join(parts))
    assert "block at voxel 2, 0, 4, middle at 12, 2, 128 nm; xy plane, z = 2" in "".join(parts)


def test_window_smaller_than_the_region_is_said(volume):
    labels = volume("labels", np.ones((6, 6, 6), np.uint8))
    region = Region("val", labels, labels.box)
    parts = planes.overlay_section(labels, labels, [region], planes_per_axis=0, picture_shape=(6, 2, 2), **ALL)
    assert "shown is its middle, (0, 2, 2) to (6, 4, 4)" in "".join(parts)
