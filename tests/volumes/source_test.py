"""A part of a source keeps its place, and what cannot be a volume is refused before it is read."""

from dataclasses import dataclass

import numpy as np
import pytest

from asem_jax.volumes.geometry import Box
from asem_jax.volumes.source import check_source, take_part

ARRAY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


@dataclass(frozen=True)
class Array:
    """An array in memory as a source."""

    shape: tuple = (4, 5, 6)
    dtype: np.dtype = ARRAY.dtype
    voxel_size_nm: tuple | None = (8.0, 4.0, 4.0)
    offset_nm: tuple | None = (100.0, 0.0, 2.0)
    chunk_shape: tuple = (1, 5, 6)
    address: str = "a.h5/raw"

    def read(self, box):
        return ARRAY[box.slices]


def test_a_part_is_read_and_placed_as_in_the_whole():
    part = take_part(Array(), (1, 2, 0), None)
    assert (part.shape, part.offset_nm) == ((3, 3, 6), (108.0, 8.0, 2.0))
    assert (part.address, part.dtype, part.chunk_shape) == ("a.h5/raw", np.uint8, (1, 5, 6))
    np.testing.assert_array_equal(part.read(Box((1, 0, 1), (3, 2, 4))), ARRAY[2:4, 2:4, 1:4])
    assert take_part(Array(voxel_size_nm=None), (1, 2, 0), None).offset_nm is None
    whole = Array()
    assert take_part(whole, None, None) is whole


@pytest.mark.parametrize(("start", "stop"), [((0, 0, 0), (5, 5, 6)), ((-1, 0, 0), None), ((2, 2, 2), (2, 3, 3))])
def test_a_part_lies_inside(start, stop):
    with pytest.raises(ValueError, match=r"a.h5/raw has the shape \(4, 5, 6\), the part .* is not in it; give start"):
        take_part(Array(), start, stop)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"shape": (0, 5, 6)}, r"its shape is \(0, 5, 6\); .*damaged"),
        ({"shape": (2**40, 2**40, 6)}, "its shape is .*damaged"),
        ({"dtype": np.dtype(np.complex64)}, "voxels of type complex64; whole or real numbers"),
        ({"dtype": np.dtype([("r", "u1"), ("g", "u1")])}, "voxels of type .*save it as"),
        ({"voxel_size_nm": (float("nan"), 4, 4)}, r"its voxel size is \(nan, 4, 4\) nm; .*voxel_size_nm"),
        ({"voxel_size_nm": (-4.0, 4, 4)}, "must be positive"),
        ({"voxel_size_nm": (float("inf"), 4, 4)}, "must be positive"),
        ({"offset_nm": (0, float("inf"), 0)}, r"begins at \(0, inf, 0\) nm; .*offset_nm"),
    ],
)
def test_what_no_volume_can_be_is_refused(said, message):
    check_source(Array())
    with pytest.raises(ValueError, match=message):
        check_source(Array(**said))
