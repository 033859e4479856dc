"""The window of stage annotate: what it says where it cannot open, and a real one where napari and a display are.

pip install -e ".[annotate]"
xvfb-run -a python -m pytest tests/stages/window_test.py
"""

import os
import sys
import types

import numpy as np
import pytest

from asem_jax.segmentation.annotation import cut_region
from asem_jax.segmentation.painting import Painting
from asem_jax.segmentation.strokes import Sheet
from asem_jax.stages import window
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume, open_volume
from tests.phantoms import divided_balls

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def test_without_napari_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(
        ImportError, match=r"annotate.window='mito' opens a window of napari.* \"asem_jax\[annotate\]\""
    ):
        window.check_window("mito")


def test_without_a_display_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "napari", types.ModuleType("napari"))
    monkeypatch.setattr(sys, "platform", "linux")
    for variable in DISPLAYS:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(
        RuntimeError, match=r"annotate.window='mito' opens a window, .* no display .* or set window=None"
    ):
        window.check_window("mito")
    monkeypatch.setenv("DISPLAY", ":7")
    window.check_window("mito")


@pytest.fixture
def viewers(monkeypatch):
    """Gives back windows that tests open; skips where there can be none."""
    napari = pytest.importorskip("napari", reason='napari is not installed (pip install -e ".[annotate]")')
    if not any(os.environ.get(variable) for variable in DISPLAYS):
        pytest.skip("there is no display for a window (xvfb-run makes one)")
    opened = []
    monkeypatch.setattr(napari, "run", lambda: None)
    yield opened
    for viewer in opened:
        viewer.close()


@pytest.mark.filterwarnings("ignore")  # napari's own, and Qt's
def test_a_real_window_paints_cuts_and_saves(tmp_path, viewers):
    raw, region, truth = divided_balls(tmp_path / "cell.zarr")
    place = {"shape": raw.shape, "voxel_size_nm": raw.voxel_size_nm, "offset_nm": raw.offset_nm}
    create_volume(tmp_path / "cell.zarr/painted", dtype=np.uint8, chunk_shape=(8, 16, 16), **place)
    sheet, saved = Sheet(open_volume(tmp_path / "cell.zarr/painted", missing_as_zero=True)), []
    cutting = {"smoothness": 2.0, "ridge": 3.0, "surroundings": 2, "bias": 0.0}
    painting = Painting(
        sheet,
        lambda box: np.zeros(box.shape, np.uint8),
        cut=lambda strokes: cut_region(region, strokes, name="mito", **cutting),
        save=lambda cut: saved.append(cut.labels(region.ids.box)),
    )
    viewer = window.opened(painting, raw, Box.of_shape(raw.shape), "two balls")
    viewers.append(viewer)
    assert [layer.name for layer in viewer.layers] == ["raw", "strokes given", "found", "painted"]
    for layer in viewer.layers:
        np.testing.assert_allclose(layer.scale, raw.voxel_size_nm)
        np.testing.assert_allclose(layer.translate, raw.offset_nm)
    cut, save, said = viewer.window.dock_widgets["annotate"]
    cut.native.click()
    assert "has no strokes in the region; draw some there" in said.value
    painted = viewer.layers["painted"]
    for label, stroke in ((1, [(6, 9, x) for x in range(6, 14)]), (2, [(6, 2, x) for x in range(2, 30)])):
        painted.selected_label, painted.brush_size = label, 3
        for voxel in stroke:
            painted.paint(voxel, label)
    cut.native.click()
    assert "of the voxels are object" in said.value
    shown = np.asarray(viewer.layers["found"].data)
    assert 2 * (shown & truth).sum() / (shown.sum() + truth.sum()) > 0.8
    save.native.click()
    np.testing.assert_array_equal(saved[0], shown)
    # What was painted outlives the window.
    assert (open_volume(sheet.volume.address, missing_as_zero=True).read(raw.box) == sheet.painted).all()
