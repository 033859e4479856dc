"""Grey values: ranges against NumPy's percentiles, scaling by hand, never wrapped, messages."""

import numpy as np
import pytest

from asem_jax.volumes.contrast import grey_range, to_uint8


def sample(dtype):
    values = np.random.default_rng(0).normal(100, 30, (7, 50, 40))
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("percentiles", [(0, 100), (0.5, 99.5), (10, 50)])
def test_the_range_of_pieces_is_the_percentiles_of_the_whole(dtype, percentiles):
    array = sample(dtype)
    found = grey_range(lambda: (array[a : a + 2] for a in range(0, 7, 2)), percentiles)
    expected = np.percentile(array, percentiles, method="inverted_cdf")
    span = float(array.max()) - float(array.min())
    np.testing.assert_allclose(found, expected, atol=0 if dtype.endswith(("t8", "t16")) else span / 65535)


def test_values_that_are_not_finite_are_left_out():
    array = np.array([np.nan, np.inf, 2, 3, 4, -np.inf])
    np.testing.assert_allclose(grey_range(lambda: [array], (0, 100)), (2, 4), atol=1e-4)


def test_scaling_is_linear_and_rounded():
    assert to_uint8(np.array([10, 11, 12, 20, 30], np.int16), 10, 20).tolist() == [0, 26, 51, 255, 255]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32"])
def test_brighter_never_becomes_darker(dtype):
    ramp = np.linspace(-30000 if dtype != "uint16" else 0, 32767, 5000).astype(dtype)
    scaled = to_uint8(ramp, 300, 700)
    assert (np.diff(scaled.astype(int)) >= 0).all()
    assert (scaled[0], scaled[-1]) == (0, 255)


def test_what_is_not_a_number_becomes_zero():
    array = np.array([np.nan, np.inf, -np.inf, 0.5])
    assert to_uint8(array, 0, 1).tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize(
    ("array", "percentiles", "message"),
    [
        (np.zeros(5, np.uint16), (1, 99), r"percentiles \(1, 99\) .* both 0, so it has no contrast"),
        (np.full(5, np.nan), (1, 99), "no finite grey value .*check the source"),
        (np.arange(5), (99, 1), r"percentiles=\(99, 1\) are not 0 <= lower"),
        (np.arange(5), (0, 101), "not 0 <= lower < upper <= 100"),
    ],
)
def test_a_range_that_means_nothing_is_refused(array, percentiles, message):
    with pytest.raises(ValueError, match=message):
        grey_range(lambda: [array], percentiles)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="low=3, high=3: give a range"):
        to_uint8(np.arange(5), 3, 3)
