"""Workers of a Dask cluster: four processes of this machine, one killed; what the section may say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.volume import create_volume, open_volume

ROOT = Path(__file__).parents[2]
LOCAL = {
    **{"address": "local", "num_workers": 4, "threads_per_worker": 1},
    **{"cores": None, "memory": None, "walltime": None, "directives": ()},
}
SHAPE = (16, 16, 16)
needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed")

# A module, as workers have to find the function by its name.
BLOCKS = """
import os, signal
from pathlib import Path
import numpy as np

def fill(volume, folder, box):
    if box.start == (4, 4, 4) and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if box.start == (8, 8, 8) and not (folder / "failed").exists():
        (folder / "failed").touch()
        raise OSError("Input/output error")
    (folder / f"by-{os.getpid()}").touch()
    volume.write(box, np.random.default_rng(box.start).integers(1, 255, box.shape).astype(np.uint8))
"""
MAIN = """
import sys
from functools import partial
from pathlib import Path
from asem_jax.volumes import blockwise
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.geometry import tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.volume import open_volume
from blocks import fill

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    volume, ledger = open_volume(folder / "cell.zarr/raw"), Ledger(folder / "ledger.jsonl", {})
    blockwise.PAUSE_SECONDS = 0.0
    with open_workers(CLUSTER) as workers:
        blocks, function = tiles(volume.box, (4, 4, 4)), partial(fill, volume, folder)
        run_blocks(function, blocks, label="fill", ledger=ledger, retries=1, workers=workers)
"""


@needs_dask
@pytest.mark.slow
def test_four_workers_one_killed_write_what_one_process_writes(tmp_path):
    volume = create_volume(
        tmp_path / "cell.zarr/raw", shape=SHAPE, dtype="uint8", voxel_size_nm=(5, 5, 5), chunk_shape=(4, 4, 4)
    )
    (tmp_path / "blocks.py").write_text(BLOCKS)
    (tmp_path / "main.py").write_text(MAIN.replace("CLUSTER", repr(LOCAL)))
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    expected = np.zeros(SHAPE, np.uint8)
    for box in tiles(Box.of_shape(SHAPE), (4, 4, 4)):
        expected[box.slices] = np.random.default_rng(box.start).integers(1, 255, box.shape)
    np.testing.assert_array_equal(open_volume(volume.address).read(volume.box), expected)
    assert Ledger(tmp_path / "ledger.jsonl", {}).finished == set(range(64))
    assert (tmp_path / "killed").exists() and (tmp_path / "failed").exists()
    assert len(list(tmp_path.glob("by-*"))) >= 4


def test_no_section_means_threads_of_this_process():
    with open_workers(None) as workers:
        assert workers is None


@pytest.mark.parametrize(
    "change",
    [{"num_workers": 0}, {"num_workers": None}, {"threads_per_worker": 0}, {"address": "tcp://a:1"}],
)
def test_a_section_without_workers_is_refused(change):
    with pytest.raises(ValueError, match=r"cluster\.address=.*num_workers=None only with the address of a running"):
        open_workers({**LOCAL, **change}).__enter__()


@pytest.mark.parametrize("address", ["local", "slurm"])
def test_without_dask_it_is_said_what_to_install(monkeypatch, address):
    for name in ("distributed", "dask_jobqueue"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"cluster.address='{address}' needs Dask .*asem_jax\[dask\].*cluster=None"):
        open_workers({**LOCAL, "address": address}).__enter__()


JOBS = """
from asem_jax.volumes import cluster
import dask_jobqueue

def scale(self, number=None, **how):
    if how:
        print(how, self.job_script())
        raise KeyError("as there is no scheduler")

dask_jobqueue.core.JobQueueCluster.scale = scale
if __name__ == "__main__":
    asked = {"memory": "16GB", "cores": 4, "walltime": "04:00", "directives": ("--gpus=1",)}
    for address in ("slurm", "lsf"):
        try:
            cluster.open_workers({**LOCAL, **asked, "address": address}).__enter__()
        except KeyError:
            pass
"""


@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed")
@pytest.mark.slow
def test_jobs_are_asked_for_with_what_the_section_says(tmp_path):
    command = [sys.executable, "-c", JOBS.replace("LOCAL", repr(LOCAL))]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("{'jobs': 4}") == done.stdout.count("--nthreads 1") == 2
    lines = [
        *("#SBATCH --cpus-per-task=4", "#SBATCH --mem=15G", "#SBATCH -t 04:00", "#SBATCH --gpus=1"),
        *("#BSUB -n 4", "#BSUB -M", "#BSUB -W 04:00", "#BSUB --gpus=1"),
    ]
    assert [line for line in lines if line not in done.stdout] == []
