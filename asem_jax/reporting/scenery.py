"""What neuroglancer is told to show: layers of volumes in nm, and where to look first.

A state is the JSON object that neuroglancer keeps behind the "#!" of its address.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from asem_jax.volumes.geometry import Float3

KINDS = ("raw", "probability", "labels", "objects")
_NM_PER_M = 1e9
# Colours that most people can tell apart, and that stand out from grey (Okabe and Ito 2008).
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
_SHADER = """#uicontrol vec3 color color(default="{color}")
#uicontrol float opacity slider(min=0, max=1, default=0.6)
void main() {{ float p = toNormalized(getDataValue()); emitRGBA(vec4(color, p * opacity)); }}"""


@dataclass(frozen=True)
class Layer:
    """One volume as it is shown.

    Attributes:
      name: in the list of layers.
      url: where neuroglancer reads it: "http://127.0.0.1:8000/cell.zarr/raw", an OME-Zarr image.
      kind: raw = grey values; probability = a colour, the stronger the likelier; labels = a colour where not 0;
        objects = a colour for each number.
      color: "#rrggbb" of probability and labels.
      is_visible: whether it is shown at first.
    """

    name: str
    url: str
    kind: str
    color: str
    is_visible: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind={self.kind!r} is none of {', '.join(KINDS)}; choose one of them.")

    def to_json(self) -> dict[str, Any]:
        """Returns its part of a state."""
        base = {"name": self.name, "source": f"zarr://{self.url}", "visible": self.is_visible}
        if self.kind == "raw":
            return {"type": "image", **base}
        if self.kind == "probability":
            return {"type": "image", "blend": "additive", "shader": _SHADER.format(color=self.color), **base}
        one_color = {"segmentDefaultColor": self.color} if self.kind == "labels" else {}
        return {"type": "segmentation", "selectedAlpha": 0.4, "notSelectedAlpha": 0.4, **one_color, **base}


def state(layers: Sequence[Layer], *, position_nm: Float3, voxel_size_nm: Float3, width_nm: float) -> dict[str, Any]:
    """Returns a state that shows layers in three planes and in space.

    Args:
      layers: from the lowest to the topmost.
      position_nm: place to look at, z y x.
      voxel_size_nm: what one step of the shown coordinates is, z y x.
      width_nm: how much of the tissue is seen across a window of about 500 pixels.
    """
    names = ("x", "y", "z")
    sizes, places = voxel_size_nm[::-1], position_nm[::-1]
    unit = min(sizes)  # neuroglancer counts what is seen in voxels of the shortest side
    return {
        "dimensions": {name: [size / _NM_PER_M, "m"] for name, size in zip(names, sizes, strict=True)},
        # Of OME-Zarr whole numbers are centres of voxels, as of nm here; of other formats they are corners.
        "position": [place / size for place, size in zip(places, sizes, strict=True)],
        "crossSectionScale": width_nm / 500 / unit,
        "projectionScale": 2 * width_nm / unit,
        "layers": [layer.to_json() for layer in layers],
        "layout": "4panel",
        "showSlices": True,
    }


def link(state: Mapping[str, Any], client: str) -> str:
    """Returns the address that opens a state.

    Args:
      state: JSON object.
      client: address of a neuroglancer, "https://neuroglancer-demo.appspot.com".

    Example:
      >>> link({"layers": []}, "https://example.org/")
      'https://example.org/#!%7B%22layers%22%3A%5B%5D%7D'
    """
    return f"{client.rstrip('/')}/#!{quote(json.dumps(state, separators=(',', ':')), safe='')}"
