"""The reader of each address, published containers among them, and addresses that are none."""

import functools
import http.server
import json
import threading

import mrcfile
import numpy as np
import pytest
import tifffile

from asem_jax.volumes.containers import Reading
from asem_jax.volumes.exports import write_export
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger
from tests.phantoms import write_volume

ARRAY = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(np.uint8)


def whole(source):
    return source.read(Box.of_shape(source.shape))


def test_each_address_finds_its_reader(tmp_path):
    (tmp_path / "sections").mkdir()
    for z, section in enumerate(ARRAY):
        tifffile.imwrite(tmp_path / f"sections/s{z}.tif", section)
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, photometric="minisblack")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(ARRAY.astype(np.int16))
    volume = write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    for number, target in enumerate(("a.h5/raw", "a.n5/raw", "a.precomputed/raw")):
        ledger = Ledger(tmp_path / f"{number}.jsonl", {})
        write_export(volume, f"{tmp_path}/{target}", labels=False, ledger=ledger, num_threads=1)
    for name in (
        "sections",
        "sections/",
        "a.tif",
        "a.mrc",
        "cell.zarr/raw",
        "a.h5/raw",
        "a.n5/raw/",
        "a.precomputed/raw",
    ):
        np.testing.assert_array_equal(whole(open_source(f"{tmp_path}/{name}")), ARRAY)
    assert open_source(f"{tmp_path}/a.n5/raw/s0", voxel_size_nm=(1, 1, 1)).voxel_size_nm == (10, 10, 10)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, without a line per request."""

    def log_message(self, format, *args):
        """Says nothing."""


def test_containers_on_a_server_are_sources_and_files_are_not(tmp_path):
    volume = write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    for number, target in enumerate(("a.n5/raw", "a.precomputed/raw")):
        ledger = Ledger(tmp_path / f"{number}.jsonl", {})
        write_export(volume, f"{tmp_path}/{target}", labels=False, ledger=ledger, num_threads=1)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        server = f"http://127.0.0.1:{running.server_address[1]}"
        for name in ("cell.zarr/raw", "a.n5/raw/", "a.precomputed/raw"):
            np.testing.assert_array_equal(whole(open_source(f"{server}/{name}")), ARRAY)
        running.shutdown()
        thread.join()
    with pytest.raises(ValueError, match=r"https://x.org/a.h5/raw is a file on a server; .*: download it"):
        open_source("https://x.org/a.h5/raw")


def test_published_containers_are_sources(cases_dir):
    folder = cases_dir / "published_like_n5"
    expected, arrays = json.loads((folder / "expected.json").read_text()), np.load(folder / "expected_zyx.npz")
    for path in ("em/fibsem-uint16/s0", "labels/gt/0003/crop7/labels/all"):
        source = open_source(f"{folder}/jrc_tiny.n5/{path}")
        np.testing.assert_array_equal(whole(source), arrays[path.replace("/", ".")])
        np.testing.assert_allclose(source.offset_nm, expected[path]["translate_nm_zyx"], atol=1e-6)
    raw = open_source(f"{cases_dir}/incasem_zarr/cell_b.zarr/volumes/raw")
    assert raw.dtype == np.uint16 and whole(raw).any()


def test_what_is_no_source_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no volume")
    with pytest.raises(ValueError, match=r"a.png is of no format that is read; give a TIFF file or a folder"):
        open_source(f"{tmp_path}/a.png")
    with pytest.raises(FileNotFoundError, match=r"is a folder without an image, nor is a .zarr folder above it"):
        open_source(str(tmp_path))
    write_volume(tmp_path / "cell.zarr/raw", ARRAY)
    metadata = tmp_path / "cell.zarr/raw/.zattrs"
    text = metadata.read_text().replace("10.0", "NaN")
    metadata.write_text(text)
    with pytest.raises(ValueError, match=r"its voxel size is \(nan, nan, nan\) nm; it must be positive"):
        open_source(f"{tmp_path}/cell.zarr/raw")
    assert Reading().level == 0


@pytest.mark.parametrize(
    ("name", "choice"), [("a.h5/raw", {"level": 1}), ("a.mrc", {"channel": 0}), ("a.tif", {"axes": "zyx"})]
)
def test_a_choice_that_a_file_does_not_offer_is_not_passed_over(name, choice):
    with pytest.raises(ValueError, match=f"{name}: {next(iter(choice))}=.* means nothing .*leave it out"):
        open_source(name, **choice)
