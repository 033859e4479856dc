"""What defines a network: its way to JSON and back, its published numbers, and what is refused."""

import json
from dataclasses import replace

import pytest

from asem_jax.models.architecture import Architecture, FinalUpsampling, Head, asem, cosem_4nm, multitask, symmetric
from tests.phantoms import NARROW_NETWORKS


@pytest.mark.parametrize("name", NARROW_NETWORKS)
def test_an_architecture_survives_json(name: str) -> None:
    network = NARROW_NETWORKS[name]
    assert Architecture.from_dict(json.loads(json.dumps(network.to_dict()))) == network
    assert hash(network) == hash(replace(network))


def test_cosem_has_its_published_maps() -> None:
    network = cosem_4nm(num_channels=14)
    assert network.encoder_maps == (12, 72, 432, 2592)
    assert network.decoder_maps == network.upsampled_maps == (72, 72, 432)
    assert network.heads == (Head("head", 14, (1, 1, 1), "none"),)


def test_a_second_head_stands_behind_the_first() -> None:
    assert [head.name for head in multitask().heads] == ["head", "auxiliary"]
    assert multitask(3, 5).heads[1].num_channels == 5


@pytest.mark.parametrize(
    ("upsampling", "maps"),
    [("repeat", (8, 16)), ("transposed", (8, 16)), ("transposed_relu", (4, 8)), ("constant", (4, 8))],
)
def test_a_plain_network_upsamples_to_the_maps_that_its_way_gives(upsampling: str, maps: tuple[int, ...]) -> None:
    network = symmetric(
        num_channels=3,
        num_maps=4,
        map_growth=2,
        pool_factors=((1, 2, 2), (2, 2, 2)),
        kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        padding="same",
        upsampling=upsampling,
        head_kernel_size=(1, 1, 1),
    )
    assert network.encoder_maps == (4, 8, 16)
    assert network.decoder_maps == (4, 8)
    assert network.upsampled_maps == maps
    assert network.heads[0].num_channels == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": "vaild"}, r"padding='vaild' is none of valid, same; did you mean 'valid'\?"),
        ({"upsampling": "transposd"}, r"upsampling='transposd' is none of .*did you mean 'transposed'\?"),
        ({"upsampling": 3}, r"upsampling=3 is none of repeat, transposed, .*; choose one of them"),
        ({"decoder_maps": (4, 8)}, r"decoder_maps=\(4, 8\) has 2 entries for 3 poolings; give 3, finest level first"),
        ({"kernel_sizes": ((3, 3, 3),)}, r"kernel_sizes=.* has 1 entries for 3 poolings; give 4"),
        ({"encoder_maps": (0, 8, 16, 32)}, r"encoder_maps=\(0, 8, 16, 32\) must be whole numbers of at least 1"),
        ({"upsampled_maps": (4, 8, 16)}, r"\(4, 8, 16\) with upsampling='repeat'.*; give \(8, 16, 32\), or another"),
        ({"kernel_sizes": ((3, 2, 3),) * 4}, r"kernel_sizes=\(3, 2, 3\) has a side that is even .*give odd sides"),
        ({"pool_factors": ((2, 0, 2),) * 3}, r"pool_factors=\(2, 0, 2, .*\) must be whole numbers of at least 1"),
        ({"pool_factors": ()}, r"pool_factors=\(\) names no pooling; give at least one"),
        ({"heads": ()}, r"heads=\[\] are none, or two of one name; give at least one"),
        ({"heads": (Head("a", 1, (1, 1, 1), "none"),) * 2}, r"heads=\['a', 'a'\] are none, or two of one name"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(asem(num_maps=4), **changes)


def test_heads_and_the_final_upsampling_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"activation of head 'a'='sigmod' is none of .*did you mean 'sigmoid'\?"):
        Head("a", 1, (1, 1, 1), "sigmod")
    with pytest.raises(ValueError, match=r"num_channels of head 'a'=\(0,\) must be whole numbers"):
        Head("a", 0, (1, 1, 1), "none")
    with pytest.raises(ValueError, match=r"kernel_size of head 'a'=\(1, 1, 4\) has a side that is even"):
        Head("a", 1, (1, 1, 4), "none")
    with pytest.raises(ValueError, match=r"factor and num_maps of final_upsampling=\(2, 2, 0, 4\) must be whole"):
        FinalUpsampling((2, 2, 0), 4, (3, 3, 3))
