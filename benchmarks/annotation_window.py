"""Drives the window of stage annotate as a person would, and scores what it saved.

    pip install -e ".[annotate]"
    xvfb-run -a -s "-screen 0 1400x1000x24" python -m benchmarks.annotation_window

Needs what docs/tiffs_to_training.md makes up to its strokes. The stage runs as it is, with an empty sheet, in a folder
of its own; in place of a person a function paints on napari's layer, presses the two buttons and closes the window: the
strokes of `runs/tiff_strokes`, two sections and then all four, then one dab of the brush where a section between them
is wrong, each time with a cut. The known labels decide where. Writes benchmarks/results/annotation_window.json and a
picture of the window, docs/images/annotate_window.png.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from asem_jax import main as door
from asem_jax.volumes.volume import Volume, open_volume
from benchmarks.records import RESULTS, ROOT, circumstances, save

RECORD = RESULTS / "annotation_window.json"
PICTURE = ROOT / "docs" / "images" / "annotate_window.png"
STROKES, CELL = "runs/tiff_strokes/strokes.zarr", "runs/tiff_data/cell.zarr"
CORRECTED = (8, 24, 40, 56, 4, 60)
BRUSH = 3
Mask = npt.NDArray[np.bool_]


def read(address: str) -> npt.NDArray[Any]:
    """Returns all voxels of a volume."""
    volume = open_volume(address, missing_as_zero=True)
    return volume.read(volume.box)


def f1(found: Mask, truth: Mask) -> float:
    """Returns the F1 over all voxels."""
    return round(2 * int((found & truth).sum()) / int(found.sum() + truth.sum()), 4)


class Person:
    """Who sits at the window: strokes to paint, labels to know better by, and what came of it."""

    def __init__(self, target: Path) -> None:
        self.truth = read(f"{CELL}/labels/mito") != 0
        self.strokes = np.where(read(f"{STROKES}/mask") == 0, 0, np.where(read(f"{STROKES}/labels") != 0, 1, 2))
        self.target, self.rows = target, []

    def work(self) -> None:
        """Paints, cuts, corrects, saves and closes the window."""
        viewer = napari.current_viewer()
        painted, found = viewer.layers["painted"], viewer.layers["found"]
        cut, save, said = viewer.window.dock_widgets["annotate"]

        def pressed(button: Any, what: str) -> None:
            began = time.monotonic()
            button.native.click()
            QApplication.processEvents()
            shown = np.asarray(found.data) != 0
            seconds = round(time.monotonic() - began, 2)
            self.rows.append({"what": what, "seconds": seconds, "f1": f1(shown, self.truth), "said": said.value})
            print(self.rows[-1], flush=True)

        sections = [z for z in range(len(self.strokes)) if self.strokes[z].any()]
        for count, part in ((2, sections[:2]), (4, sections[2:])):
            for z in part:
                for kind in (1, 2):
                    y, x = np.nonzero(self.strokes[z] == kind)
                    painted.data_setitem((np.full(len(y), z), y, x), kind)
            pressed(cut, f"strokes on {count} sections")
        dabs = self.correct(painted, np.asarray(found.data) != 0)
        pressed(cut, f"and {dabs} dabs of the brush")
        pressed(save, "saved")
        viewer.window._qt_window.resize(1380, 980)
        viewer.dims.set_current_step(0, sections[1])
        for _ in range(20):
            QApplication.processEvents()
        viewer.window.screenshot(str(PICTURE), canvas_only=False, flash=False)
        QTimer.singleShot(0, viewer.close)

    def correct(self, painted: Any, found: Mask) -> int:
        """Puts the brush into the thickest part that is wrong, of each kind, on a few sections; returns how often."""
        painted.brush_size, dabs = BRUSH, 0
        for z in CORRECTED:
            for kind, wrong in ((1, self.truth[z] & ~found[z]), (2, ~self.truth[z] & found[z])):
                depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
                if depth.max() >= BRUSH:
                    y, x = np.unravel_index(depth.argmax(), depth.shape)
                    painted.paint((z, int(y), int(x)), kind)
                    dabs += 1
        return dabs

    def saved(self) -> tuple[Volume, Mask]:
        """Returns the labels on disk."""
        volume = open_volume(f"{self.target}/annotations.zarr/mito/labels")
        return volume, volume.read(volume.box) != 0


def main() -> None:
    """Runs the stage with a person at its window, and writes the record."""
    loop = napari.run
    with tempfile.TemporaryDirectory() as folder:
        person = Person(Path(folder))

        def run() -> None:
            QTimer.singleShot(1000, person.work)
            loop()

        napari.run = run
        words = [
            f"volume={CELL}",
            "annotate.window=mito",
            "annotate.annotations.mito.strokes=None",
            "stages=('annotate',)",
        ]
        options = ["--config", "configs/annotate.py", "--workdir", folder, *(f"--config.{word}" for word in words)]
        if code := door.main(options):
            sys.exit(code)
        volume, labels = person.saved()
        place = {"shape": volume.shape, "voxel_size_nm": volume.voxel_size_nm, "offset_nm": volume.offset_nm}
        record = {
            **circumstances("napari", "PySide6"),
            "steps": person.rows,
            "saved": {**place, "f1": f1(labels, person.truth)},
        }
    save(RECORD, record)


if __name__ == "__main__":
    main()
