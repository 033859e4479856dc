"""The proof finds no seam where there is none, and one that is made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asem_jax.prediction import job as module
from asem_jax.prediction.job import make_job
from asem_jax.prediction.seams import measure_seams
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.reflect import read_reflected
from tests.phantoms import balls, small_model, write_volume

SHAPE = (30, 40, 46)
REGION = Box((4, 2, 7), (28, 34, 40))


def test_blocks_leave_no_seam_and_one_that_is_made_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", balls(SHAPE)[0])
    job = make_job(small_model(), raw, "p", write_shape=(16, 16, 64))
    found = measure_seams(job, REGION)
    assert found.has_none
    assert found.num_blocks == 2 * 2 * 2
    assert found.order == 0.0
    assert found.whole_to_blocks < 1e-5
    # Grey values scaled block by block, as some programs do.
    monkeypatch.setattr(
        module, "read_reflected", lambda volume, box: read_reflected(volume, box) // (2 if box.start[0] > 0 else 1)
    )
    made = measure_seams(replace(job), REGION)
    assert made.whole_to_blocks > 0.01
    assert not made.has_none


def test_a_region_that_proves_nothing_is_refused(tmp_path: Path) -> None:
    raw = write_volume(tmp_path / "cell.zarr/raw", np.zeros(SHAPE, np.uint8))
    job = make_job(small_model(), raw, "p", write_shape=(16, 16, 16))
    with pytest.raises(ValueError, match=r"leaves raw of shape \(30, 40, 46\); give less"):
        measure_seams(job, Box((0, 0, 0), (31, 16, 16)))
    with pytest.raises(ValueError, match=r"is one block of \(2, 2, 2\); give a larger one"):
        measure_seams(job, Box((0, 0, 0), (2, 2, 2)))
