"""Shape arithmetic against the published tables and its own laws."""

from dataclasses import replace

import pytest

from asem_jax.models.architecture import (
    Architecture,
    asem,
    cosem_4nm,
    cosem_8to4nm,
    funke_cremi,
    funke_fib25,
    lsd_fib25,
)
from asem_jax.models.shapes import axis_sizes, context, output_shape, output_start, stride, valid_input_shape
from asem_jax.volumes.geometry import Int3
from tests.phantoms import NARROW_NETWORKS

ASEM, COSEM, FINER = asem(), cosem_4nm(14), cosem_8to4nm(14)
COSEM_3A = cosem_4nm(14, pool_factors=((2, 2, 2), (2, 2, 2), (3, 3, 3)))
# First input, first output, step of both, and known pairs; the published tables (COSEM 1A, 1B, 2A, 3A; ASEM; Funke).
TABLE: dict[str, tuple[Architecture, int, int, int, int, dict[int, int]]] = {
    "cosem_4nm": (COSEM, 198, 18, 18, 18, {216: 36, 360: 180, 396: 216}),
    "cosem_4nm_uncropped": (replace(COSEM, crop_to_factor=False), 162, 18, 18, 18, {216: 72}),
    "cosem_8to4nm": (FINER, 198, 32, 18, 36, {216: 68, 288: 212}),
    "cosem_2a": (cosem_4nm(14, pool_factors=((3, 3, 3),) * 3), 295, 27, 27, 27, {}),
    "cosem_3a": (COSEM_3A, 136, 12, 12, 12, {}),
    "asem": (ASEM, 100, 6, 8, 8, {204: 110, 252: 158, 396: 302, 236: 142, 268: 174, 300: 206, 332: 238, 412: 318}),
    "funke_fib25": (funke_fib25(3), 92, 4, 8, 8, {132: 44}),
    "lsd_fib25": (lsd_fib25(3), 112, 8, 12, 12, {196: 92, 268: 164}),
}


@pytest.mark.parametrize("name", TABLE)
def test_sizes_are_those_of_the_published_table(name: str) -> None:
    network, first_in, first_out, step_in, step_out, known = TABLE[name]
    fitting = {n: sizes.output for n in range(1, 420) if (sizes := axis_sizes(n, network, 0))}
    expected = {first_in + step_in * k: first_out + step_out * k for k in range((419 - first_in) // step_in + 1)}
    assert fitting == expected
    assert known.items() <= fitting.items()
    assert stride(network) == (step_in,) * 3


def test_sizes_on_the_way_are_those_of_the_published_graphs() -> None:
    training, inference = axis_sizes(216, COSEM, 0), axis_sizes(396, COSEM, 0)
    assert training is not None and inference is not None
    assert training.encoder == (212, 102, 30, 6)
    assert (training.upsampled, training.cropped) == ((54, 36, 18), (40, 31, 16))
    assert inference.encoder == (392, 192, 60, 16)
    assert (inference.upsampled, inference.cropped) == ((234, 126, 48), (220, 121, 46))
    ours = axis_sizes(204, ASEM, 0)
    assert ours is not None
    assert ours.encoder == (200, 96, 44, 18)
    assert (ours.upsampled, ours.cropped, ours.decoder) == ((120, 64, 36), (116, 64, 36), (112, 60, 32))


def test_sections_are_pooled_within_their_plane_only() -> None:
    network = funke_cremi(3)
    assert output_shape((84, 268, 268), network) == (56, 56, 56)
    assert stride(network) == (1, 27, 27)
    assert context(network) == (14, 106, 106)


@pytest.mark.parametrize(
    ("network", "ratio", "margin", "start"),
    [(ASEM, 1, 47, 47), (COSEM, 1, 90, 90), (FINER, 2, 91, 182), (replace(ASEM, padding="same"), 1, 47, 0)],
)
def test_context_ratio_and_begin_of_the_output(network: Architecture, ratio: int, margin: int, start: int) -> None:
    assert network.final_factor == (ratio,) * 3
    assert context(network) == (margin,) * 3
    assert output_start(network) == (start,) * 3


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_output_grows_with_the_stride_behind_the_same_begin(name: str) -> None:
    network = NARROW_NETWORKS[name]
    shape = valid_input_shape((1, 1, 1), network)
    wider = tuple(n + 2 * s for n, s in zip(shape, stride(network), strict=True))
    small, large = output_shape(shape, network), output_shape(wider, network)
    grown = [2 * s * r for s, r in zip(stride(network), network.final_factor, strict=True)]
    assert [b - a for a, b in zip(small, large, strict=True)] == grown
    if network.padding == "valid":
        both_sides = [n * r - m for n, r, m in zip(shape, network.final_factor, small, strict=True)]
        assert [d // 2 for d in both_sides] == list(output_start(network))


def test_same_padding_returns_what_it_is_given_and_is_felt_as_far_as_its_kernels_reach() -> None:
    network = replace(asem(pool_factors=((2, 2, 2), (1, 2, 2))), padding="same")
    assert output_shape((30, 32, 36), network) == (30, 32, 36)
    # Along z: 2 voxels, pooled 1; + 2 + 2 + 2 at the coarser levels, 14 when upsampled; + 2, + 1 of the head.
    assert context(network)[0] == 17
    with pytest.raises(ValueError, match=r"with same 3x3x3 convolutions; nearest: \(30 or 32, 28 or 32, 32\)"):
        output_shape((31, 30, 32), network)


def test_axes_are_independent() -> None:
    assert output_shape((100, 204, 300), ASEM) == (6, 110, 206)
    flat = asem(pool_factors=((1, 2, 2), (1, 2, 2)))
    assert context(flat) == (11, context(flat)[1], context(flat)[1])
    thin = replace(flat, kernel_sizes=((1, 3, 3),) * 3)
    assert context(thin) == (1, context(flat)[1], context(flat)[1])


@pytest.mark.parametrize(
    ("network", "given", "message"),
    [
        (ASEM, (200, 204, 90), r"input_shape=\(200, 204, 90\).* valid 3x3x3 .*nearest: \(196 or 204, 204, 100\)"),
        (FINER, (200, 216, 216), r"by \(2, 2, 2\) and \(3, 3, 3\) and \(3, 3, 3\) .*nearest: \(198 or 216, 216, 216\)"),
        (
            replace(ASEM, kernel_sizes=((1, 3, 3), *ASEM.kernel_sizes[1:])),
            (99, 100, 100),
            r"valid 1x3x3 and 3x3x3 convolutions; nearest: \(96 or 104, 100, 100\)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_names_the_nearest(network: Architecture, given: Int3, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        output_shape(given, network)
