"""Stage view: what is served and shown, seen in a real browser where there is one, and wrong settings."""

import io
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import view
from asem_jax.volumes.volume import create_volume

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def volume(address: Path, array: np.ndarray, voxel_nm: float = 10.0, offset_nm: float = 0.0) -> str:
    made = create_volume(
        address,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_nm=(voxel_nm,) * 3,
        offset_nm=(offset_nm,) * 3,
        chunk_shape=(16, 16, 16),
    )
    made.write(made.box, array)
    return made.address


@pytest.fixture
def container(tmp_path: Path) -> Path:
    raw = np.full((32, 32, 32), 60, np.uint8)
    volume(tmp_path / "cell.zarr/raw", raw)
    box = np.zeros((16, 16, 16), np.uint16)
    box[4:12, 4:12, 4:12] = 7
    # Voxels twice as large; the centre of the first one is between two of raw.
    volume(tmp_path / "cell.zarr/objects/mito", box, voxel_nm=20.0, offset_nm=5.0)
    return tmp_path / "cell.zarr"


def settings(container: Path, **changes: object) -> ConfigDict:
    layer = {"color": None, "visible": True}
    return ConfigDict(
        {
            "layers": {
                "raw": {"source": str(container / "raw"), "kind": "raw", **layer},
                "mito": {"source": str(container / "objects/mito"), "kind": "labels", **layer, "color": "#ff0000"},
            },
            "position_nm": None,
            "width_nm": None,
            "client": "https://example.org",
            "host": "127.0.0.1",
            "port": 0,
            "seconds": 0.0,
        }
        | changes
    )


def test_the_settings_are_those_of_the_stage(container: Path) -> None:
    assert set(settings(container)) == set(SETTINGS["view"])
    assert set(settings(container).layers.raw) == set(SETTINGS["view"]["layers"]["*"])


def test_the_link_shows_what_is_served(container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def read(seconds: float) -> None:
        for layer in json.loads((tmp_path / "view.json").read_text())["layers"]:
            url = layer["source"].removeprefix("zarr://")
            with urllib.request.urlopen(f"{url}/.zattrs", timeout=20) as answer:
                seen[layer["name"]] = json.load(answer)

    monkeypatch.setattr(view, "_wait", read)
    view.run(settings(container), tmp_path)
    assert set(seen) == {"raw", "mito"} and "multiscales" in seen["mito"]
    assert (tmp_path / "view.txt").read_text().startswith("https://example.org/#!%7B")
    shown = json.loads((tmp_path / "view.json").read_text())
    assert shown["position"] == [15.5, 15.5, 15.5]  # the middle of 32 voxels, counted from the centre of the first
    assert [layer["name"] for layer in shown["layers"]] == ["raw", "mito"]


def test_a_layer_on_a_server_is_not_served_again(container: Path, tmp_path: Path) -> None:
    with view.FolderServer([container], host="127.0.0.1", port=0) as other:
        config = settings(container)
        config.layers.raw.source = other.url(container / "raw")
        view.run(config, tmp_path)
        shown = json.loads((tmp_path / "view.json").read_text())
        assert shown["layers"][0]["source"] == f"zarr://{other.url(container / 'raw')}"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"kind": "mesh"}, r"mito\.kind='mesh' is none of"),
        ({"kind": "probability"}, r"mito: .*objects/mito has dtype uint16, kind='probability' is uint8 .*; give"),
    ],
)
def test_what_cannot_be_shown(container: Path, tmp_path: Path, layer: dict[str, str], message: str) -> None:
    config = settings(container)
    config.layers.mito.update(layer)
    with pytest.raises(ValueError, match=message):
        view.run(config, tmp_path)


def test_other_messages(container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"view\.layers=\{\} leaves nothing to show; name at least one"):
        view.run(settings(container, layers=ConfigDict({})), tmp_path)
    share = volume(container / "share", np.zeros((16, 16, 16), np.float32))
    config = settings(container)
    config.layers.mito.source = share
    with pytest.raises(ValueError, match=r"share has dtype float32, kind='labels' needs whole numbers; give"):
        view.run(config, tmp_path)
    shutil.rmtree(share)
    (container / "share").mkdir()
    (container / "share/attributes.json").write_text('{"pixelResolution": [4, 4, 4]}')
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(ImportError, match=r"view\.client=None shows the page of the package .*; pip install"):
        view.run(settings(container, client=None), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_objects_at_their_place(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neuroglancer = pytest.importorskip("neuroglancer")
    image = pytest.importorskip("PIL.Image")
    viewers = []
    make = neuroglancer.Viewer
    monkeypatch.setattr(neuroglancer, "Viewer", lambda: viewers.append(make()) or viewers[0])
    shots = []

    def look(seconds: float) -> None:
        words = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        address = (tmp_path / "view.txt").read_text().strip()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([BROWSER, *words, profile, "--remote-debugging-port=0", address], **quiet) as browser:
            shots.append(viewers[0].screenshot([400, 400]).screenshot.image)
            browser.kill()

    monkeypatch.setattr(view, "_wait", look)
    config = settings(container, client=None, width_nm=320.0 * 500 / 195)
    config.layers.mito.color = "#ff0000"
    view.run(config, tmp_path)
    (tmp_path / "shot.png").write_bytes(shots[0])
    shot = np.asarray(image.open(io.BytesIO(shots[0])).convert("RGB"), np.int32)
    plane = shot[:195, :195]  # x to the right, y downwards, the whole of raw across it
    red = plane[..., 0] - plane[..., 1] > 40
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red[60:80].any(0))  # without the red line of the x axis
    # Object voxels 4..11 of 20 nm: half of the tissue's width, in its middle.
    assert 80 < len(rows) < 120 and 80 < len(columns) < 120
    assert abs(rows.mean() - 97) < 6 and abs(columns.mean() - 97) < 6
