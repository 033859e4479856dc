"""Shape arithmetic against the published table and its own laws."""

import pytest

from asem_jax.models.shapes import context, output_shape, stride, valid_input_shape

ASEM = ((2, 2, 2),) * 3


@pytest.mark.parametrize("size", range(100, 413, 8))
def test_asem_output_is_94_less_than_input(size: int) -> None:
    expected = size - 94
    assert output_shape((size,) * 3, ASEM) == (expected,) * 3


def test_only_4_modulo_8_fits_asem() -> None:
    fitting = [n for n in range(60, 260) if _fits((n, 204, 204), ASEM)]
    assert fitting == list(range(100, 260, 8))


@pytest.mark.parametrize(
    "factors",
    [((2, 2, 2),), ((2, 2, 2),) * 2, ((1, 2, 2), (2, 2, 2)), ((2, 3, 3), (3, 3, 3)), ((1, 3, 3),) * 3],
)
def test_output_grows_with_the_stride_and_lies_centred(factors: tuple[tuple[int, int, int], ...]) -> None:
    shape = valid_input_shape((1, 1, 1), factors)
    wider = tuple(n + 2 * s for n, s in zip(shape, stride(factors), strict=True))
    small, large = output_shape(shape, factors), output_shape(wider, factors)
    assert [b - a for a, b in zip(small, large, strict=True)] == [2 * s for s in stride(factors)]
    both_sides = [n - m for n, m in zip(wider, large, strict=True)]
    assert [d // 2 for d in both_sides] == list(context(factors))


def test_axes_are_independent() -> None:
    assert output_shape((100, 204, 300), ASEM) == (6, 110, 206)
    assert context(((1, 2, 2),) * 2) != context(((2, 2, 2),) * 2)


def test_a_shape_that_does_not_fit_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"input_shape=\(200, 204, 90\).*nearest: \(196 or 204, 204, 100\)"):
        output_shape((200, 204, 90), ASEM)


def _fits(shape: tuple[int, int, int], factors: tuple[tuple[int, int, int], ...]) -> bool:
    try:
        output_shape(shape, factors)
    except ValueError:
        return False
    return True
