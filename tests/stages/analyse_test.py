import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from asem_jax.settings import SETTINGS
from asem_jax.stages import analyse
from asem_jax.volumes import blockwise
from tests.measurement.bodies import write

SIZE = (5.0, 5.0, 5.0)
PORES = {3: (60, 80.0), 9: (170, 90.0), 12: (280, 100.0)}  # id -> y and diameter, nm


def bodies():
    """Three pores in a flat envelope, a deep coated pit, a caveola, and a plate above them all."""
    z, y, x = np.meshgrid(*(np.arange(n) * 5.0 for n in (40, 70, 40)), indexing="ij")
    arrays = {name: np.zeros(z.shape, np.uint16) for name in ("pores", "pits", "caveolae", "plate")}
    layer = np.abs(z - 45) <= 22
    for number, (centre, diameter) in PORES.items():
        arrays["pores"][layer & (np.hypot(y - centre, x - 97) <= diameter / 2)] = number
    arrays["envelope"] = (layer & (arrays["pores"] == 0)).astype(np.uint8)
    for name, number, centre, radius in (("pits", 4, 100, 50.0), ("caveolae", 5, 250, 32.0)):
        ball = (z - 187.5 + 0.6 * radius) ** 2 + (y - centre) ** 2 + (x - 97) ** 2 <= radius**2
        arrays[name][ball & (z < 187.5)] = number
    arrays["plate"][z > 187.5] = 1
    arrays["raw"] = (100 + 50 * (arrays["pits"] > 0)).astype(np.uint8)
    return arrays


@pytest.fixture
def config(tmp_path):
    for name, array in bodies().items():
        write(f"{tmp_path}/cell.zarr/{name}", array, SIZE)
    cell = f"{tmp_path}/cell.zarr"
    content = {
        "objects": {name: f"{cell}/{name}" for name in ("pores", "pits", "caveolae", "plate")},
        "raw": f"{cell}/raw",
        "pores": {
            "objects": "pores",
            "envelope": f"{cell}/envelope",
            "reach_nm": 150.0,
            "length_nm": (40.0, 200.0),
        },
        "pits": {
            "objects": ("pits", "caveolae"),
            "membrane": None,
            "reach_nm": 150.0,
            "length_nm": (30.0, 200.0),
            "caveola_width_nm": 77.0,
            "caveola_eccentricity": 0.5,
            "caveola_stage": 0.6,
        },
        "contacts": {"pits_to_plate": {"first": "pits", "second": "plate", "within_nm": 5.0}},
        "tables": ("csv",),
        "block_shape": (32, 32, 32),
        "num_threads": 2,
        "cluster": None,
    }
    return ConfigDict(content)


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_config_holds_what_the_settings_list(config):
    wanted = SETTINGS["analyse"]
    assert set(config) == set(wanted)
    for name in ("pores", "pits"):
        assert set(config[name]) == set(wanted[name])
    assert set(config.contacts.pits_to_plate) == set(wanted["contacts"]["*"])


def test_tables_plots_and_summary_are_written(config, tmp_path):
    analyse.run(config, tmp_path)
    folder = tmp_path / "analysis"
    names = {
        "objects_pores",
        "objects_pits",
        "objects_caveolae",
        "objects_plate",
        "pores",
        "pits",
        "contacts_pits_to_plate",
    }
    assert {path.name for path in folder.iterdir()} == {f"{name}.csv" for name in names} | {
        *(f"{name}.png" for name in names if name.startswith("objects_")),
        "pores.png",
        "pits.png",
        "summary.json",
    }
    assert [float(row["grey_mean"]) for row in table(folder / "objects_pits.csv")] == [150]
    pores = {int(row["id"]): row for row in table(folder / "pores.csv")}
    for number, (centre, diameter) in PORES.items():
        assert abs(float(pores[number]["diameter_nm"]) - diameter) < 2.5
        assert abs(float(pores[number]["y_nm"]) - centre) < 1
        assert float(pores[number]["neighbour_nm"]) == pytest.approx(110, abs=1)
    pits = {row["organelle"]: row for row in table(folder / "pits.csv")}
    for name, (radius, caveola) in {"pits": (50, "False"), "caveolae": (32, "True")}.items():
        assert abs(float(pits[name]["depth_nm"]) - 1.6 * radius) < 2.5
        assert abs(float(pits[name]["width_nm"]) - 2 * radius) < 2.5
        assert pits[name]["is_caveola"] == caveola
    (contact,) = table(folder / "contacts_pits_to_plate.csv")
    assert (contact["first_id"], contact["second_id"], contact["gap_nm"]) == ("4", "1", "5")
    # The mouth, flat along the grid.
    assert float(contact["area_nm2"]) == pytest.approx(np.pi * 40**2, rel=0.15)
    assert (folder / "pores.png").read_bytes().startswith(b"\x89PNG")


def test_summary_tells_the_studies(config, tmp_path):
    analyse.run(config, tmp_path)
    summary = json.loads((tmp_path / "analysis" / "summary.json").read_text())
    assert summary["objects"]["pores"]["count"] == 3 and summary["objects"]["plate"]["touching_border"] == 1
    assert summary["pores"]["diameter_nm"]["count"] == 3
    assert summary["pores"]["diameter_nm"]["median"] == pytest.approx(90, abs=2.5)
    assert summary["pores"]["neighbour_arc_nm"]["count"] == 0  # the border is nearer than the next pore
    assert summary["pits"]["by_volume"] == {
        "pits": {"caveolae": 0, "other_pits": 1},
        "caveolae": {"caveolae": 1, "other_pits": 0},
    }
    assert summary["contacts"]["pits_to_plate"]["pairs"] == 1


def test_parts_that_are_not_asked_for_are_left_out_and_a_second_run_writes_the_same(config, tmp_path):
    with config.ignore_type():
        config.pores = config.pits = config.raw = None
    config.contacts = ConfigDict()
    analyse.run(config, tmp_path)
    folder = tmp_path / "analysis"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "pores.csv" not in before and b"grey_mean" not in before["objects_pits.csv"]
    analyse.run(config, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_workers_of_a_cluster_measure_what_threads_measure(config, tmp_path, cluster, monkeypatch):
    with config.ignore_type():
        config.pores = config.pits = None
    del config.objects["pores"], config.objects["caveolae"]
    monkeypatch.setattr(analyse, "draw_objects", lambda table: b"")
    analyse.run(config, tmp_path)
    folder = tmp_path / "analysis"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.delattr(blockwise, "ThreadPoolExecutor")
    with config.ignore_type():
        config.cluster = cluster
    analyse.run(config, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_fails_leaves_no_summary(config, tmp_path):
    analyse.run(config, tmp_path)
    config.pores.length_nm = (900.0, 990.0)
    with pytest.raises(ValueError, match="none of 3 objects is"):
        analyse.run(config, tmp_path)
    assert not (tmp_path / "analysis" / "summary.json").exists()


def test_nothing_and_unknown_names_are_refused_before_anything_is_measured(config, tmp_path):
    config.contacts.pits_to_plate.second = "plates"
    with pytest.raises(
        ValueError, match=r"contacts.pits_to_plate.second='plates' is no name .* there are caveolae, pits"
    ):
        analyse.run(config, tmp_path)
    config.contacts = ConfigDict()
    config.pits.objects = ()
    with pytest.raises(ValueError, match=r"analyse.pits.objects=\(\) names no pits; name some of analyse.objects"):
        analyse.run(config, tmp_path)
    config.objects = ConfigDict()
    with pytest.raises(ValueError, match=r"analyse.objects=\{\} leaves nothing to measure; name at least one"):
        analyse.run(config, tmp_path)
    assert not (tmp_path / "analysis").exists()


def test_empty_objects_and_other_grids_are_refused(config, tmp_path):
    write(f"{tmp_path}/cell.zarr/empty", np.zeros((8, 8, 8), np.uint32), SIZE)
    write(f"{tmp_path}/cell.zarr/coarse", np.ones((20, 35, 20), np.uint8), (10.0, 10.0, 10.0))
    write(f"{tmp_path}/cell.zarr/aside", np.ones((40, 70, 40), np.uint8), SIZE, (5000.0, 0.0, 0.0))
    config.objects.pores = f"{tmp_path}/cell.zarr/empty"
    with pytest.raises(ValueError, match=r"empty holds no object: no voxel is above 0"):
        analyse.run(config, tmp_path)
    config.objects.pores = f"{tmp_path}/cell.zarr/pores"
    config.raw = f"{tmp_path}/cell.zarr/coarse"
    with pytest.raises(ValueError, match=r"coarse has voxel size \(10.0, 10.0, 10.0\) nm.* resample"):
        analyse.run(config, tmp_path)
    config.raw = f"{tmp_path}/cell.zarr/aside"
    with pytest.raises(ValueError, match=r"aside, which has shape .* they do not meet anywhere"):
        analyse.run(config, tmp_path)


def test_parquet_beside_csv(config, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    config.tables = ("csv", "parquet")
    analyse.run(config, tmp_path)
    read = parquet.read_table(tmp_path / "analysis" / "pits.parquet")
    assert read["organelle"].to_pylist() == ["pits", "caveolae"] and read["is_caveola"].to_pylist() == [False, True]
