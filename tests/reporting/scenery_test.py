"""The state of neuroglancer: where things lie, and what is shown how."""

import json
from urllib.parse import unquote

import pytest

from asem_jax.reporting.scenery import Layer, link, state

URL = "http://127.0.0.1:1/cell.zarr"


def test_places_are_in_metres_and_in_the_order_of_the_screen() -> None:
    shown = state([], position_nm=(40.0, 50.0, 60.0), voxel_size_nm=(4.0, 5.0, 6.0), width_nm=3000.0)
    assert shown["dimensions"] == {"x": [6e-9, "m"], "y": [5e-9, "m"], "z": [4e-9, "m"]}
    assert shown["position"] == [10.0, 10.0, 10.0]  # the centre of voxel 10
    # 6 nm per pixel and twice 3000 nm in all, in units of the shortest side of a voxel.
    assert shown["crossSectionScale"] == pytest.approx(1.5)
    assert shown["projectionScale"] == pytest.approx(1500.0)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("raw", {"type": "image"}),
        ("probability", {"type": "image", "blend": "additive"}),
        ("labels", {"type": "segmentation", "segmentDefaultColor": "#0072b2"}),
        ("objects", {"type": "segmentation"}),
    ],
)
def test_layers(kind: str, kept: dict[str, str]) -> None:
    shown = Layer("mito", f"{URL}/mito", kind, "#0072b2", is_visible=False).to_json()
    assert shown.items() >= kept.items()
    assert shown["source"] == f"zarr://{URL}/mito" and shown["visible"] is False
    assert ("segmentDefaultColor" in shown) == (kind == "labels")
    assert ('default="#0072b2"' in shown.get("shader", "")) == (kind == "probability")


def test_a_link_holds_the_state() -> None:
    shown = state(
        [Layer("a b", URL, "raw", "#000000")], position_nm=(0, 0, 0), voxel_size_nm=(1.0, 1.0, 1.0), width_nm=1.0
    )
    client, _, kept = link(shown, "https://example.org/").partition("/#!")
    assert client == "https://example.org" and json.loads(unquote(kept)) == shown
    assert not set(kept) & set(' "{}#')


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"er: kind='mesh' is none of raw, probability, labels, objects; choose"):
        Layer("er", URL, "mesh", "#000000")
