"""A window for stage `annotate`: paint strokes on sections, cut, correct, cut again, save.

It is napari (extra `annotate`) with four layers, each at its place in nm: raw, strokes from elsewhere, strokes that are
painted, what was found; and two buttons. All that the buttons do is in `segmentation/painting.py`.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from asem_jax.segmentation.painting import Painting, Sections
from asem_jax.volumes.geometry import Box, float3, nm_from_voxels
from asem_jax.volumes.volume import Volume

OBJECT_COLOR, BACKGROUND_COLOR, FOUND_COLOR = "#ff8c00", "#1e90ff", "#ffe000"
HINT = "Paint on layer 'painted': label 1 = object, 2 = background. Key c cuts again."


def check_window(name: str) -> None:
    """Raises if no window can be opened, before anything else is done.

    Args:
      name: of the annotation, for the message.

    Raises:
      ImportError: napari is missing.
      RuntimeError: this process has no display.
    """
    try:
        import napari  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"annotate.window={name!r} opens a window of napari, which is missing ({error}); "
            'pip install "asem_jax[annotate]", or set window=None and paint the strokes in another program.'
        ) from error
    # Without a display Qt ends the whole process, and says little.
    shown = [os.environ.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")]
    if sys.platform.startswith("linux") and not any(shown):
        raise RuntimeError(
            f"annotate.window={name!r} opens a window, and this process has no display (DISPLAY and WAYLAND_DISPLAY "
            "are not set); run it at a desktop or through ssh -X, or set window=None."
        )


def show(painting: Painting, raw: Volume, region: Box, title: str) -> None:
    """Opens the window, and returns when it is closed; what is painted then is kept.

    Args:
      painting: what is painted on, and cut.
      raw: grey values, uint8.
      region: what of raw is annotated, voxels.
      title: of the window.
    """
    import napari

    opened(painting, raw, region, title)
    napari.run()
    painting.sheet.keep()


def opened(painting: Painting, raw: Volume, region: Box, title: str) -> Any:
    """Returns napari's viewer, with everything in it, before its loop begins; arguments as for `show`."""
    import napari

    viewer = napari.Viewer(title=title)
    offset = nm_from_voxels(region.start, raw.voxel_size_nm, raw.offset_nm)
    place = {"scale": float3(raw.voxel_size_nm, "scale"), "translate": offset, "units": ("nm",) * 3}
    grey = Sections(region.shape, np.uint8, lambda box: raw.read(box.shift(region.start)))
    viewer.add_image(grey, name="raw", colormap="gray", contrast_limits=(0, 255), **place)
    if painting.given is not None:
        given = Sections(region.shape, np.uint8, painting.given)
        _add_labels(viewer, given, "strokes given", (OBJECT_COLOR, BACKGROUND_COLOR), opacity=0.5, **place)
    found = _add_labels(viewer, _found(painting, region), "found", (FOUND_COLOR,), opacity=0.3, **place)
    strokes = painting.sheet.painted
    painted = _add_labels(viewer, strokes, "painted", (OBJECT_COLOR, BACKGROUND_COLOR), opacity=0.7, **place)
    painted.mode, painted.brush_size, painted.selected_label = "paint", 5, 1

    def look_again() -> None:
        found.data = _found(painting, region)

    viewer.window.add_dock_widget(_buttons(viewer, painting, look_again), name="annotate", area="right")
    viewer.dims.set_current_step(0, region.shape[0] // 2)
    viewer.layers.selection.active = painted
    return viewer


def _found(painting: Painting, region: Box) -> Sections:
    """Returns what the last cut found, as a new array, so that napari looks again."""
    return Sections(region.shape, np.uint8, painting.found)


def _add_labels(viewer: Any, data: Any, name: str, colors: tuple[str, ...], **settings: Any) -> Any:
    """Adds a layer of labels with a colour for each of 1, 2 ...; only "painted" can be painted on."""
    from napari.utils import DirectLabelColormap

    table = {None: "transparent", 0: "transparent"} | dict(enumerate(colors, 1))
    layer = viewer.add_labels(data, name=name, colormap=DirectLabelColormap(color_dict=table), **settings)
    layer.editable = name == "painted"
    return layer


def _buttons(viewer: Any, painting: Painting, look_again: Callable[[], None]) -> Any:
    """Returns the widget with the buttons and what they said."""
    from magicgui.widgets import Container, Label, PushButton

    said = Label(value=HINT)
    said.native.setWordWrap(True)

    def press(action: Callable[[], str]) -> None:
        try:
            said.value = action()
        except ValueError as error:  # strokes are missing: the annotator adds some and presses again
            said.value = str(error)
        look_again()

    cut, save = PushButton(text="Cut"), PushButton(text="Save labels")
    cut.changed.connect(lambda: press(painting.cut))
    save.changed.connect(lambda: press(painting.save))
    viewer.bind_key("c", lambda viewer: press(painting.cut))
    return Container(widgets=[cut, save, said], labels=False)
