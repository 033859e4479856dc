"""Opens what stage predict writes in other programs, and compares what they find with what was written.

    python -m benchmarks.opens [--napari-python PATH ...] [--imagej ij.jar] [--pictures DIR]

A network whose parameters were set by hand finds dark balls in a small volume of anisotropic voxels that does not begin
at 0, as a probability and as a distance; a part of it is predicted, so that the results begin elsewhere than raw. Then:

* ome-zarr-models validates the metadata of each result (extra `test`);
* napari opens them by its plugin napari-ome-zarr (of each interpreter PATH, which needs these two): kind, scale, place,
  and values at places in nm. Its window needs a display; `xvfb-run -a` gives one;
* neuroglancer (extra `view`), in a Chromium without a window, follows the link that predict leaves in the run folder:
  the coloured ball in its picture lies where the ball is;
* ImageJ opens TIFF exports in a macro: dimensions, voxel size, unit and values.

What is not installed is left out, and the record says so. `--pictures` keeps what the viewers showed. Writes
benchmarks/results/opens.json; ends with an error if something that was opened is not what was written.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jax
import numpy as np
import numpy.typing as npt
import optax
import zarr
from ome_zarr_models import open_ome_zarr

from asem_jax import experiment
from asem_jax.models.architecture import asem
from asem_jax.models.channels import Channel
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints
from asem_jax.models.model import ModelCard
from asem_jax.models.shapes import valid_input_shape
from asem_jax.stages import predict
from asem_jax.training.step import init_state
from asem_jax.volumes.geometry import Float3, int3, nm_from_voxels, voxels_from_nm
from asem_jax.volumes.serving import FolderServer, container
from asem_jax.volumes.tiff import write_stack
from asem_jax.volumes.volume import Volume, create_volume, open_volume
from benchmarks.records import RESULTS, circumstances, save
from benchmarks.worker import Process

RECORD = RESULTS / "opens.json"
MACRO = Path(__file__).parent / "opens_imagej.ijm"
CONFIG = Path(__file__).parent.parent / "configs" / "predict_hpf.py"

VOXEL_SIZE_NM = (20.0, 5.0, 8.0)
OFFSET_NM = (1000.0, 240.5, -36.0)
SHAPE = (24, 80, 60)
START, STOP = (4, 8, 6), (24, 80, 60)
BLOCK = (16, 16, 16)
BALL, RADIUS_NM = (13, 30, 25), 90.0  # voxel of raw at the centre
DARK, BRIGHT = 60, 180  # grey values
RESULT_NAMES = ("mito/probability", "mito/segmentation", "er/probability", "er/segmentation")
PORT = 8000  # where the link of stage predict expects the volumes
PICTURE = 800  # pixels per side of neuroglancer's picture
SEEN = 15  # of 255, between the channels of a pixel that counts as coloured
PIXELS = 3  # by which an end of the ball may be off in a picture

Figures = dict[str, Any]


def main() -> None:
    """Makes the prediction, opens it, prints and saves what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--napari-python", nargs="+", default=[], help="interpreters with napari and napari-ome-zarr")
    parser.add_argument("--imagej", type=Path, help="ij.jar")
    parser.add_argument("--pictures", type=Path, help="folder for what the viewers showed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = make_results(folder)
        pictures = options.pictures or folder
        pictures.mkdir(parents=True, exist_ok=True)
        programs: dict[str, Callable[[], Figures]] = {
            "ome-zarr-models": partial(in_ome_zarr_models, results),
            **{
                f"napari {number}": partial(in_napari, results, python, pictures / f"napari_{number}.png")
                for number, python in enumerate(options.napari_python, start=1)
            },
            "neuroglancer": partial(in_neuroglancer, folder, results, pictures / "neuroglancer.png"),
            "ImageJ": partial(in_imagej, folder, results, options.imagej),
        }
        found = {name: opened(name, open_results) for name, open_results in programs.items()}
    record = {
        **circumstances(),
        "voxel_size_nm": VOXEL_SIZE_NM,
        "offset_nm": results["mito/probability"].offset_nm,
        "shape": results["mito/probability"].shape,
        **found,
    }
    save(RECORD, record)
    sys.exit(any(figures.get("differs") for figures in found.values()))


def opened(name: str, open_results: Callable[[], Figures]) -> Figures:
    """Returns what a program found, after printing it; or why it is not there."""
    try:
        figures = open_results()
    except NotThereError as reason:
        figures = {"not run": str(reason)}
    print(f"{name}: {json.dumps(figures, indent=1)}", flush=True)
    return figures


class NotThereError(Exception):
    """A program is not installed."""


def make_results(folder: Path) -> dict[str, Volume]:
    """Predicts a part of a volume by stage predict, and returns what was written by its names."""
    raw = create_volume(
        folder / "cell.zarr/raw", shape=SHAPE, dtype="uint8", voxel_size_nm=VOXEL_SIZE_NM, offset_nm=OFFSET_NM
    )
    raw.write(raw.box, balls())
    write_model(folder / "model")
    config = experiment.load(str(CONFIG), {}).copy_and_resolve_references()
    with config.unlocked():
        config.predict.model = str(folder / "model")
        config.predict.write_shape = BLOCK
        (section,) = config.predict.volumes.values()
        section.update(raw=raw.address, target=f"{folder}/cell.zarr/predictions", start=START, stop=STOP)
        config.predict.volumes = {"cell": section}
    predict.run(config.predict, folder)
    return {name: open_volume(f"{folder}/cell.zarr/predictions/{name}") for name in RESULT_NAMES}


def balls() -> npt.NDArray[np.uint8]:
    """Returns grey values: a dark ball, and a small one elsewhere so that no mirrored volume looks the same."""
    grid = np.stack(np.indices(SHAPE), axis=-1)
    distance = [np.linalg.norm((grid - centre) * VOXEL_SIZE_NM, axis=-1) for centre in (BALL, (19, 70, 50))]
    return np.where((distance[0] <= RADIUS_NM) | (distance[1] <= RADIUS_NM / 3), DARK, BRIGHT).astype(np.uint8)


def write_model(folder: Path) -> None:
    """Writes a network that says how dark a voxel is: one map is handed on, from raw to the end."""
    network = asem(3, 1, 1, ((2, 2, 2),))
    channels = (Channel("mito", "softmax", "mito"), Channel("er", "distance", "er"))
    card = ModelCard(("mito", "er"), VOXEL_SIZE_NM, network, "float32", "membranes dark", meanings=channels)
    params = init_state(card.network(), optax.identity(), valid_input_shape((1, 1, 1), network), 0).params
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), params)
    for level in ("encoder_0", "encoder_1", "decoder_0"):
        for step in ("conv_0", "conv_1"):
            # Of a joined map the first is that of the encoder, whose voxels are those of raw.
            params[level][step]["kernel"][1, 1, 1, 0, 0] = 1.0
    params["encoder_0"]["conv_0"]["kernel"][1, 1, 1, 0, 0] = -1.0
    params["head"]["kernel"][1, 1, 1, 0] = (0.0, 20.0, 12.0)
    params["head"]["bias"][:] = (0.0, -5.0, -3.0)
    with Checkpoints(folder) as checkpoints:
        state = {"params": params, "step": np.zeros((), np.int32)}
        checkpoints.save(1, state, config={}, card=card, score=NOT_VALIDATED)


def places() -> list[Float3]:
    """Returns places in nm: the centre of the ball, and on both sides of its surface along each axis."""
    centre = nm_from_voxels(BALL, VOXEL_SIZE_NM, OFFSET_NM)
    found = [centre]
    for axis in range(3):
        for step in (-RADIUS_NM - 12, -RADIUS_NM + 12, RADIUS_NM - 12, RADIUS_NM + 12):
            place = list(centre)
            place[axis] += step
            found.append((place[0], place[1], place[2]))
    return found


def values_at(volume: Volume, positions: list[Float3]) -> list[int]:
    """Returns the values of a volume's voxels that are nearest to places in nm."""
    array = volume.read(volume.box)
    indices = [voxels_from_nm(place, volume.voxel_size_nm, volume.offset_nm) for place in positions]
    return [int(array[int3([round(n) for n in index], "index")]) for index in indices]


def differences(found: Figures, written: Figures) -> list[str]:
    """Returns what a program found otherwise than it was written."""
    same = {
        name: np.allclose(found[name], value, rtol=1e-6) if isinstance(value, list) else found[name] == value
        for name, value in written.items()
    }
    return [f"{name}: {found[name]}, written {written[name]}" for name, is_same in same.items() if not is_same]


def in_ome_zarr_models(results: dict[str, Volume]) -> Figures:
    """Validates the metadata of all results."""
    figures: Figures = {"version": version("ome-zarr-models"), "differs": []}
    for name, volume in results.items():
        image = open_ome_zarr(zarr.open_group(volume.address, mode="r"))
        (multiscale,) = image.attributes.multiscales
        scale, translation = multiscale.datasets[0].coordinateTransformations
        found = {"scale": list(scale.scale), "translation": list(translation.translation)}
        written = {"scale": list(volume.voxel_size_nm), "translation": list(volume.offset_nm)}
        figures["ngff"] = str(multiscale.version)
        figures[name] = f"{type(image).__name__}, {len(multiscale.datasets)} levels"
        figures["differs"] += differences(found, written)
    return figures


def in_napari(results: dict[str, Volume], python: str, picture: Path) -> Figures:
    """Opens all results by napari-ome-zarr."""
    with Process(python, "benchmarks.opens_napari", dict(os.environ)) as theirs:
        figures: Figures = {**theirs.ask("describe"), "differs": []}
        for name, volume in results.items():
            found = theirs.ask("read", path=volume.address, positions_nm=places())
            written = {
                "layers": 1,
                "kind": "labels" if name.endswith("segmentation") else "image",
                "scale": list(volume.voxel_size_nm),
                "place": list(volume.offset_nm),
                "values": values_at(volume, places()),
            }
            figures[name] = found
            figures["differs"] += [f"{name} {difference}" for difference in differences(found, written)]
        raw = str(Path(results[RESULT_NAMES[0]].address).parents[2] / "raw")
        looks: dict[str, Figures] = {
            "mito/probability": {"colormap": "green", "blending": "additive"},
            "er/segmentation": {"opacity": 0.5, "visible": True},
        }
        layers = [{"path": raw}, *({"path": results[name].address, **look} for name, look in looks.items())]
        if os.environ.get("DISPLAY"):
            words = {"layers": layers, "point_nm": places()[0], "file": str(picture.absolute())}
            figures["picture"] = theirs.ask("picture", **words)
        else:
            figures["picture"] = "not run: there is no display"
    return figures


def in_neuroglancer(folder: Path, results: dict[str, Volume], picture: Path) -> Figures:
    """Follows the link of stage predict in a browser, and finds the ball in its picture."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise NotThereError("there is no Chromium")
    try:
        import neuroglancer
        from PIL import Image
    except ImportError as error:
        raise NotThereError(str(error)) from error
    state = json.loads(unquote((folder / "neuroglancer_cell.txt").read_text().split("#!")[1]))
    viewer = neuroglancer.Viewer()
    viewer.set_state(state)
    words = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    words += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", str(viewer.get_viewer_url())]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    served = [container(results[RESULT_NAMES[0]].address)]
    with FolderServer(served, host="127.0.0.1", port=PORT), subprocess.Popen([browser, *words], **quiet) as process:
        content = viewer.screenshot([PICTURE, PICTURE]).screenshot.image
        process.kill()
    neuroglancer.stop()
    picture.write_bytes(content)
    found = ball_in_picture(np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int32))
    expected = expected_pixels(results[RESULT_NAMES[0]])
    off = {name: max(abs(a - b) for a, b in zip(found[name], ends, strict=True)) for name, ends in expected.items()}
    return {
        "version": version("neuroglancer"),
        "browser": subprocess.run([browser, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "ball_pixels": found,
        "expected_pixels": expected,
        "differs": [f"{name}: {n} pixels off" for name, n in off.items() if n > PIXELS],
    }


def expected_pixels(result: Volume) -> dict[str, list[int]]:
    """Returns from where to where the ball should be seen in the plane of x and y, through the middle of the result."""
    nm_per_pixel = max(side * size for side, size in zip(result.shape[1:], result.voxel_size_nm[1:], strict=True)) / 500
    middle = [(side - 1) / 2 for side in result.shape]
    section = result.read(result.box)[round(middle[0])] >= 128
    expected = {}
    for axis, name in ((2, "x"), (1, "y")):
        there = np.flatnonzero(section.any(2 - axis))
        ends = (there[0] - 0.5 - middle[axis], there[-1] + 0.5 - middle[axis])
        expected[name] = [round(panel_side() / 2 + end * result.voxel_size_nm[axis] / nm_per_pixel) for end in ends]
    return expected


def panel_side() -> int:
    """Returns pixels per side of the plane at the top left, of x and y."""
    return PICTURE // 2


def ball_in_picture(shot: npt.NDArray[np.int32]) -> dict[str, list[int]]:
    """Returns from where to where the ball is seen in the plane of x and y."""
    plane = shot[: panel_side(), : panel_side()]
    coloured = plane.max(-1) - plane.min(-1) > SEEN
    # Lines of pixels that the thin axes alone colour do not count.
    columns, rows = (np.flatnonzero(coloured.sum(axis) > 12) for axis in (0, 1))
    return {"x": [int(columns[0]), int(columns[-1])], "y": [int(rows[0]), int(rows[-1])]}


def in_imagej(folder: Path, results: dict[str, Volume], jar: Path | None) -> Figures:
    """Opens TIFF exports of all results in ImageJ."""
    if jar is None or not os.environ.get("DISPLAY"):
        raise NotThereError("no --imagej was given, or there is no display")
    figures: Figures = {"differs": []}
    for name, volume in results.items():
        file = folder / f"{name.replace('/', '_')}.tif"
        write_stack(volume, file)
        indices = [voxels_from_nm(place, volume.voxel_size_nm, volume.offset_nm) for place in places()]
        asked = " ".join(str(round(n)) for index in indices for n in index)
        words = ["java", "-jar", str(jar), "-batch", str(MACRO), f"{file}|{asked}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout[done.stdout.index("{") :])
        z, y, x = volume.voxel_size_nm
        written = {
            "dimensions": [*volume.shape[::-1][:2], 1, volume.shape[0], 1],
            "voxel_size": [x, y, z],
            "unit": "nm",
            "values": values_at(volume, places()),
        }
        figures["version"] = found.pop("version")
        figures[name] = found
        figures["differs"] += [f"{name} {difference}" for difference in differences(found, written)]
    return figures


if __name__ == "__main__":
    main()
