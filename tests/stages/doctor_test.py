import logging

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from asem_jax import __version__
from asem_jax.models.convolution import convolve
from asem_jax.settings import SETTINGS
from asem_jax.stages import doctor
from asem_jax.stages.doctor import Finding
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import create_volume


@pytest.fixture
def store(tmp_path):
    address = f"{tmp_path}/cell.zarr/raw"
    volume = create_volume(
        address, shape=(8, 40, 40), dtype=np.uint8, voxel_size_nm=(8, 4, 4), chunk_shape=(16, 16, 16)
    )
    volume.write(volume.box, np.ones(volume.shape, np.uint8))
    return address


@pytest.fixture
def few_devices(monkeypatch):
    """One device instead of the eight that tests simulate."""
    first = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: first)


def _config(*stores):
    return ConfigDict({"stores": stores, "read_shape": (16, 16, 16)})


def test_config_holds_what_the_settings_list():
    assert set(_config()) == set(SETTINGS["doctor"])


def test_block_says_what_there_is(store, tmp_path, few_devices, caplog):
    caplog.set_level(logging.INFO)
    doctor.run(_config(store), tmp_path / "run")
    text = (tmp_path / "run" / "doctor.txt").read_text()
    assert text in caplog.text
    assert text.startswith("```\n") and text.endswith("\n```\n")
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["asem_jax"].endswith(__version__)
    assert lines["jax"].endswith(jax.__version__)
    assert lines["numpy"].endswith(np.__version__)
    assert "GiB free of" in lines["memory"] and "GiB free of" in lines["disk"]
    device = jax.local_devices()[0]
    assert device.device_kind in lines[str(device)]
    assert "differs from NumPy by" in lines[f"convolution on {device}"]
    assert "(8, 40, 40) uint8, 8 x 4 x 4 nm, chunks (16, 16, 16); read at" in lines[store]
    assert "FAILED" not in text


def test_everything_is_looked_at_before_the_stage_fails(store, tmp_path, few_devices):
    with pytest.raises(ValueError, match=r"nowhere.zarr/raw failed; .*doctor.txt says how, paste it"):
        doctor.run(_config(f"{tmp_path}/nowhere.zarr/raw", store), tmp_path)
    text = (tmp_path / "doctor.txt").read_text()
    assert "nowhere.zarr/raw  FAILED: " in text
    assert "is not there" in text
    assert "read at" in text


def test_store_with_a_gap_in_its_middle_fails(tmp_path):
    volume = create_volume(
        f"{tmp_path}/cell.zarr/gap", shape=(48, 48, 48), dtype=np.uint8, voxel_size_nm=(4, 4, 4), chunk_shape=(16,) * 3
    )
    volume.write(Box((0, 0, 0), (16, 16, 16)), np.ones((16, 16, 16), np.uint8))
    assert doctor.read_store(volume.address, (16, 16, 16)).failed
    assert not doctor.read_store(volume.address, (16, 16, 16)).text.count("\n")


def test_sum_over_taps_is_the_convolution_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 5, 6, 7, 2)).astype(np.float32)
    kernel, bias = rng.standard_normal((3, 3, 3, 2, 1)).astype(np.float32), np.array([0.5], np.float32)
    found = doctor.convolved(x, kernel, bias)[0, ..., 0]
    parts = [ndimage.correlate(x[0, ..., c].astype(float), kernel[..., c, 0].astype(float)) for c in range(2)]
    np.testing.assert_allclose(found, sum(parts)[1:-1, 1:-1, 1:-1] + 0.5, atol=1e-5)


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_device_that_computes_wrongly_fails(monkeypatch, factor):
    device = jax.local_devices()[0]
    assert not doctor.check_convolution(device).failed
    monkeypatch.setattr(doctor, "convolve", lambda *words: convolve(*words) * factor)
    assert doctor.check_convolution(device).failed


def test_device_that_cannot_compute_fails(monkeypatch):
    def break_down(*_):
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(doctor, "convolve", break_down)
    finding = doctor.check_convolution(jax.local_devices()[0])
    assert (finding.text, finding.failed) == ("no kernel image", True)


def test_package_that_is_missing_fails_but_for_those_of_gpus(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("jax-cuda13-plugin-of-nobody", "package-of-nobody"))
    findings = {finding.name: finding for finding in doctor.software()}
    assert findings["package-of-nobody"].failed
    assert "jax-cuda13-plugin-of-nobody" not in findings


def test_memory_is_that_of_the_machine_and_of_the_job(tmp_path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "max"
    assert doctor.memory(meminfo, limit) == "is not told by this system"
    meminfo.write_text("MemTotal:       8388608 kB\nMemAvailable:   4194304 kB\nHugePages_Total:       0\n")
    assert doctor.memory(meminfo, limit) == "4.0 GiB free of 8.0 GiB"
    limit.write_text("max\n")
    assert doctor.memory(meminfo, limit) == "4.0 GiB free of 8.0 GiB"
    limit.write_text(f"{2**30}\n")
    assert doctor.memory(meminfo, limit) == "4.0 GiB free of 8.0 GiB, this job may use 1.0 GiB"


def test_lines_are_aligned_and_failures_stand_out():
    text = doctor.block([Finding("a", "fine"), Finding("long name", "broken", failed=True)])
    assert text.splitlines() == ["```", "a          fine", "long name  FAILED: broken", "```"]
