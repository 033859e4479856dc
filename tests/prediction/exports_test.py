"""Results in other formats: the same voxels at the same place, once, after all blocks; refusals before any work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asem_jax.prediction.exports import FORMATS, check_exports, export_address, export_results, exported_bytes
from asem_jax.prediction.job import Job, make_job
from asem_jax.prediction.predictor import sweep_volume
from asem_jax.prediction.results import VOLUMES
from asem_jax.volumes import exports
from asem_jax.volumes.formats import open_source
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import alone
from asem_jax.volumes.volume import open_volume
from tests.phantoms import balls, small_model, write_volume

SHAPE = (20, 24, 40)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A prediction of two organelles in a box of a volume."""
    raw = write_volume(tmp_path / "cell.zarr/raw", balls(SHAPE)[0], offset_nm=(10.0, 0.0, 20.0))
    return make_job(
        small_model(organelles=2),
        raw,
        f"{tmp_path}/cell.zarr/predictions/both",
        box=Box((2, 0, 0), SHAPE),
        write_shape=(16, 16, 16),
    )


def test_every_format_holds_what_the_volumes_hold(job: Job, tmp_path: Path) -> None:
    check_exports(job, FORMATS)
    results = sweep_volume(job)
    export_results(job, results, FORMATS)
    for organelle in ("mito", "er"):
        for name in VOLUMES:
            expected = getattr(results[organelle], name)
            inner = f"predictions/both/{organelle}/{name}"
            for address in (f"cell.n5/{inner}", f"cell.precomputed/{inner}", f"cell_tiff/{inner}.tif"):
                found = open_source(f"{tmp_path}/{address}")
                assert found.voxel_size_nm == expected.voxel_size_nm
                assert found.offset_nm == (None if "tiff" in address else (30.0, 0.0, 20.0))
                np.testing.assert_array_equal(found.read(expected.box), expected.read(expected.box))
            assert open_volume(f"{tmp_path}/cell.n5/{inner}", level=1).shape == (9, 12, 20)
    folders = ("cell.n5", "cell.precomputed", "cell_tiff")
    files = [path for name in folders for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < exported_bytes(job, FORMATS)
    assert exported_bytes(job, ("n5",)) > exported_bytes(job, ("tiff",)) >= 4 * 18 * 24 * 40
    check_exports(job, FORMATS)  # also when they are there
    other = replace(job, thresholds={"er": 0.3})
    with pytest.raises(ValueError, match=r"other settings \(prediction.thresholds.er: None -> 0.3\)"):
        check_exports(other, ("n5",))
    before = {path: path.stat().st_mtime_ns for path in files}
    export_results(job, results, FORMATS)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_killed_export_goes_on(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, original, written = sweep_volume(job), exports._write_piece, []

    def write_piece(piece: exports._Piece) -> None:
        written.append((piece.source.address, piece.source.level, piece.box))
        if len(written) == 9:
            raise KeyboardInterrupt
        original(piece)

    monkeypatch.setattr(exports, "_write_piece", write_piece)
    with pytest.raises(KeyboardInterrupt):
        export_results(job, results, ("n5",))
    export_results(job, results, ("n5",))
    assert len(written) - len(set(written)) <= 1  # the one that was killed
    for organelle, prediction in results.items():
        found = open_volume(f"{tmp_path}/cell.n5/predictions/both/{organelle}/probability")
        np.testing.assert_array_equal(found.read(found.box), prediction.probability.read(found.box))


def test_one_process_at_a_time_exports(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = sweep_volume(job)
    with alone(Path(job.address) / ".ledger.export.lock", wait=False), caplog.at_level("INFO"):
        export_results(job, results, ("n5",))
    assert "another process exports it" in caplog.text
    assert not (tmp_path / "cell.n5").exists()


def test_what_cannot_be_exported_is_refused_before_work(job: Job, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"exports=\('n5', 'tif'\): 'tif' is no format; did you mean 'tiff'\? There is"
    ):
        check_exports(job, ("n5", "tif"))
    there = Path(export_address(f"{job.address}/er/segmentation", "tiff"))
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    with pytest.raises(ValueError, match=r"er/segmentation\.tif exists already; remove it or leave the format out"):
        check_exports(job, FORMATS)
    odd = write_volume(tmp_path / "cell.zarr/odd", balls(SHAPE)[0], offset_nm=(3.0, 0.0, 0.0))
    job = make_job(small_model(), odd, f"{tmp_path}/cell.zarr/p", write_shape=(16, 16, 16))
    with pytest.raises(ValueError, match=r"no whole number of voxels of .* export to another format"):
        check_exports(job, ("precomputed",))
