"""What configs/quickstart.py made, in neuroglancer: raw, truth, probability and segmentation, each at its place in nm.

Open the link that the command prints in a browser on the same machine; Ctrl-C ends it. On a server without a browser
forward two ports (`ssh -L`), or set client to the address of a neuroglancer and forward one.

Command:  bash launch/local.sh --config configs/view_quickstart.py --workdir runs/view
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config."""
    return ConfigDict(
        {
            "stage": "view",
            "run": "runs/quickstart",
            "layers": {
                "raw": _layer("{run}/cell.zarr/raw", "raw"),
                "truth": _layer("{run}/cell.zarr/labels/mito", "labels", color="#56b4e9", visible=False),
                "probability": _layer("{run}/cell.zarr/predictions/mito/probability", "probability", visible=False),
                "segmentation": _layer("{run}/cell.zarr/predictions/mito/thresholded/segmentation", "labels"),
            },
            "position_nm": None,
            "width_nm": None,
            "client": None,  # or e.g. "https://neuroglancer-demo.appspot.com", without the package neuroglancer
            "host": "127.0.0.1",
            "port": 0,
            "seconds": None,
        }
    )


def _layer(source: str, kind: str, *, color: str | None = None, visible: bool = True) -> dict[str, object]:
    return {"source": source, "kind": kind, "color": color, "visible": visible}
