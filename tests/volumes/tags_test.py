"""Physical sizes in TIFF tags: units, incomplete tags, exact ratios."""

import numpy as np
import pytest

from asem_jax.volumes.tags import imagej_voxel_size, nm_per_unit, ome_voxel_size, resolution_tags

OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{}</Image></OME>'


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        ("nm", 1.0),
        ("um", 1e3),
        ("µm", 1e3),
        ("\\u00B5m", 1e3),
        ("Micron", 1e3),
        ("cm", 1e7),
        ("inch", 2.54e7),
        ("pixel", None),
        ("", None),
    ],
)
def test_units_are_lengths_or_nothing(unit, nm):
    assert nm_per_unit(unit) == nm


@pytest.mark.parametrize(
    ("metadata", "resolution", "unit", "expected"),
    [
        ({"unit": "um", "spacing": 0.008}, ((200, 1), (250, 1)), 1, (8, 5, 4)),
        ({"unit": "nm", "spacing": -4.56}, ((25, 114), (1, 4)), 1, (4.56, 4.56, 4)),
        ({"spacing": 4e-7}, ((2000000, 1), (2000000, 1)), 3, (4, 5, 5)),
        ({"unit": "inch", "spacing": 1e-6}, ((1000000, 1), (1000000, 1)), 2, (25.4, 25.4, 25.4)),
        ({"unit": "nm"}, ((1, 5), (1, 5)), 1, None),
        ({"spacing": 5}, ((1, 5), (1, 5)), 1, None),
        ({"unit": "nm", "spacing": 5}, ((0, 1), (1, 5)), 1, None),
    ],
)
def test_imagej_tags_give_a_whole_voxel_size_or_none(metadata, resolution, unit, expected):
    found = imagej_voxel_size(metadata, *resolution, unit)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('PhysicalSizeZ="0.01" PhysicalSizeY="5" PhysicalSizeYUnit="nm" PhysicalSizeX="0.004"', (10, 5, 4)),
        ('PhysicalSizeY="5" PhysicalSizeX="4"', None),
        ('PhysicalSizeZ="1" PhysicalSizeZUnit="pixel" PhysicalSizeY="5" PhysicalSizeX="4"', None),
    ],
)
def test_ome_sizes_carry_their_own_units(attributes, expected):
    found = ome_voxel_size(OME.format(f"<Pixels {attributes}/>"))
    assert found == (None if expected is None else pytest.approx(expected))


def test_ome_without_pixels_has_no_size():
    assert ome_voxel_size(OME.format("")) is None


def test_written_ratios_come_back_exactly():
    for size in np.random.default_rng(0).integers(1, 100000, 50) / 1000:
        (x_up, x_down), (y_up, y_down) = resolution_tags((1.0, float(size), 2 * float(size)))
        assert (x_down / x_up, y_down / y_up) == (2 * size, size)
