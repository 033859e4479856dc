"""The process that benchmarks/opens.py opens volumes with in napari; needs napari and napari-ome-zarr alone.

Positions and sizes are z y x, as napari has them too.
"""

import platform
from importlib.metadata import version

import napari
import numpy as np
from napari.components import ViewerModel
from npe2 import PluginManager

from benchmarks.worker import serve

PLUGIN = "napari-ome-zarr"


class Worker:
    """What the commands do; each method answers one, by its name, with a dict for JSON."""

    def __init__(self) -> None:
        PluginManager.instance().discover()  # which napari's window does by itself

    def describe(self) -> dict[str, str]:
        """Returns versions."""
        names = ("napari", "napari-ome-zarr", "zarr", "numpy")
        return {"python": platform.python_version(), **{name: version(name) for name in names}}

    def read(self, path: str, positions_nm: list[list[float]]) -> dict[str, object]:
        """Returns what the first layer of an image is like, and its values at places of the world."""
        (layer, *more) = ViewerModel().open(path, plugin=PLUGIN)
        data = layer.data if layer.multiscale else [layer.data]
        values = []
        for position in positions_nm:
            index = np.round(layer.world_to_data(position)).astype(int)
            inside = np.all((index >= 0) & (index < data[0].shape))
            values.append(int(np.asarray(data[0][tuple(index)])) if inside else -1)
        return {
            "layers": 1 + len(more),
            "kind": layer._type_string,
            "scale": [float(size) for size in layer.scale],
            "place": [float(place) for place in layer.data_to_world([0] * layer.ndim)],
            "units": [str(unit) for unit in layer.units],
            "levels": len(data),
            "values": values,
        }

    def picture(self, layers: list[dict[str, object]], point_nm: list[float], file: str) -> dict[str, object]:
        """Shows images in napari's window, at a place of the world, and saves what is seen."""
        viewer = napari.Viewer(show=True)
        for words in layers:
            path = words.pop("path")
            viewer.open(path, plugin=PLUGIN, **words)
        viewer.dims.point = point_nm
        viewer.scale_bar.visible = True
        viewer.reset_view()
        image = viewer.screenshot(file, canvas_only=False, flash=False)
        viewer.close()
        return {"shape": list(image.shape)}


if __name__ == "__main__":
    serve(Worker())
