import json
import re

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax.settings import SETTINGS
from asem_jax.stages import evaluate, report
from asem_jax.volumes.volume import create_volume

SHAPE = (20, 24, 28)


def _write(address, array):
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=(10, 5, 5), chunk_shape=(16, 16, 16)
    )
    volume.write(volume.box, array)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A block of 4 x 5 x 6 voxels found wrongly from (10, 3, 4) on, and a single wrong voxel elsewhere."""
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) > 0.1).astype(np.uint8)
    labels[8:16, :12, :14] = 0
    found = labels.copy()
    found[10:14, 3:8, 4:10] = 1
    found[2, 20, 20] ^= 1
    cell = f"{tmp_path_factory.mktemp('volumes')}/cell.zarr"
    _write(f"{cell}/raw", rng.integers(0, 256, SHAPE).astype(np.uint8))
    _write(f"{cell}/labels", labels)
    _write(f"{cell}/segmentation", found)
    return cell


@pytest.fixture
def config(cell):
    return _config(cell)


def _config(cell):
    whole = {"labels": f"{cell}/labels", "mask": None, "start": None, "stop": None}
    return ConfigDict(
        {
            "title": "Mitochondria <test>",
            "raw": f"{cell}/raw",
            "segmentation": f"{cell}/segmentation",
            "regions": {"whole": whole},
            "exclude_inwards": 0,
            "exclude_outwards": 0,
            "planes_per_axis": 1,
            "picture_shape": (64, 64, 64),
            "block_shape": (10, 12, 14),
            "num_worst_blocks": 1,
            "objects": {},
            "runs": {},
            "pictures": (),
        }
    )


def _page(config, workdir):
    report.run(config, workdir)
    return (workdir / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bare_page(cell, tmp_path_factory):
    """The page of a run folder in which no other stage ran."""
    return _page(_config(cell), tmp_path_factory.mktemp("bare"))


def test_config_holds_what_the_settings_list(config):
    assert set(config) == set(SETTINGS["report"])


def test_missing_pieces_are_said_and_the_page_is_whole(bare_page):
    for text in ("No scores.json", "no metrics.jsonl", "no postprocess.json", "no config.json", "no superimpose.json"):
        assert text in bare_page
    assert "<h1>Mitochondria &lt;test&gt;</h1>" in bare_page
    # Three planes, one worst block.
    assert bare_page.count("data:image/png") == 4
    assert bare_page.rstrip().endswith("</html>")


def test_page_refers_to_nothing_outside_itself(bare_page):
    assert "<script" not in bare_page
    sources = re.findall(r'(?:src|href)="([^"]{0,20})', bare_page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import|https?://", bare_page)


def test_worst_block_is_the_one_with_the_error(bare_page):
    row = re.search(r"<td>whole</td><td>(.*?)</td>.*?</tr>", bare_page[bare_page.index("Worst blocks") :])
    assert row[1] == "10, 0, 0"
    assert '<td class="number">120</td><td class="number">0</td>' in row[0]
    # The middle of voxels 10-19, 0-11, 0-13 at (10, 5, 5) nm.
    assert "145, 28, 32" in row[0]


def test_what_the_stages_left_is_shown(config, tmp_path):
    regions = config.regions.to_dict()
    shared = {name: config[name] for name in ("segmentation", "raw", "exclude_inwards", "exclude_outwards")}
    more = {"compared": {}, "distance_cap_nm": None, "tolerances_nm": (), "iou_thresholds": (), "min_object_voxels": 0}
    more |= {"bootstrap_samples": 0, "bootstrap_cell_shape": (8, 8, 8), "bootstrap_seed": 0, "baseline_sigmas": (1,)}
    scored = ConfigDict({**shared, **more, "regions": regions, "block_shape": (16, 16, 16)})
    evaluate.run(scored, tmp_path)
    lines = [{"step": 1, "loss": 0.7}, {"step": 2, "validation": {"a": {"loss": 0.5, "f1": 0.7}}, "f1": 0.7}]
    torn = '{"step": 3, "lo'
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    sweep = {key: [0.0, 0.5, 1.0] for key in ("threshold", "f1", "precision", "recall")}
    notes = {"threshold": 0.5, "fixed": False, "regions": ["tuning"], "sweep": sweep}
    (tmp_path / "postprocess.json").write_text(json.dumps(notes))
    (tmp_path / "config.json").write_text(json.dumps({"stages": ["train", "report"]}))
    html = _page(config, tmp_path)
    f1 = json.loads((tmp_path / "scores.json").read_text())["total"]["all"]["f1"]
    assert f"<b>{f1:.3f}</b>" in html
    for text in (
        "Best mean F1 0.700 at step 2",
        "0.500 has the best F1 on tuning",
        "train, report",
        "Baseline: ",
    ):
        assert text in html
    assert re.findall(r'class="missing">(.*?) \(', html) == ["No analysis/summary.json"]
    assert html.count("data:image/svg") == 2


def test_same_data_same_page(config, bare_page, tmp_path):
    assert _page(config, tmp_path) == bare_page


def test_what_analyse_and_superimpose_left_is_shown_without_regions(config, cell, tmp_path):
    config.update({"segmentation": None, "objects": {"mito": f"{cell}/labels"}})
    config.regions = ConfigDict()
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "summary.json").write_text(json.dumps({"objects": {}, "contacts": {}}))
    moved = {"organelles": {}, "conflict_voxels": 12, "moved": []}
    (tmp_path / "superimpose.json").write_text(json.dumps(moved))
    html = _page(config, tmp_path)
    assert "<h2>Measured objects</h2>" in html and "claimed 12 voxels" in html
    assert html.count("data:image/png") == 1 and "three planes of raw with mito" in html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw": None}, "names whole, but raw or segmentation is None; name both, or leave regions empty"),
        ({"segmentation": None}, "names whole, but raw or segmentation is None; name both"),
        ({"raw": None, "regions": {}, "objects": {"a": 0}}, "names a, but report.raw is None; name the grey values"),
    ],
)
def test_half_of_what_shall_be_shown_is_refused(config, cell, tmp_path, change, message):
    config.update({name: value for name, value in change.items() if name not in ("objects", "regions")})
    if "objects" in change:
        config.regions, config.objects = ConfigDict(), ConfigDict({"a": f"{cell}/labels"})
    with pytest.raises(ValueError, match=message):
        report.run(config, tmp_path)


def test_other_runs_and_pictures_are_shown(config, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "pore_diameters.png").write_bytes(b"\x89PNG")
    config.runs = {"before": str(tmp_path / "other")}
    config.pictures = (str(tmp_path / "pore_diameters.png"),)
    report.run(config, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "Runs beside each other" in html and "No scores.json: this run, before" in html
    assert 'alt="pore diameters"' in html


def test_runs_and_pictures_that_are_missing(config, tmp_path):
    config.pictures = (str(tmp_path / "none.png"),)
    with pytest.raises(FileNotFoundError, match=r"report\.pictures names .*none\.png, which is not there; run"):
        report.run(config, tmp_path)
    config.runs = {"before": str(tmp_path / "other")}
    with pytest.raises(FileNotFoundError, match=r"report\.runs\.before='.*other' is no folder; give the --workdir"):
        report.run(config, tmp_path)
