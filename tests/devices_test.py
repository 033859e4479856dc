"""Processes join as the environment says; batches are divided, parameters are not."""

import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from asem_jax import devices

_MEAN_OVER_PROCESSES = """
import jax, numpy as np
from asem_jax import devices
devices.join_processes()
mesh = devices.make_mesh()
batch = devices.place_batch(mesh, np.arange(4.0) + 4 * jax.process_index())
weight = devices.replicate(mesh, {"w": np.float32(2)})["w"]
mean = jax.jit(lambda w, x: w * x.mean())(weight, batch)
asked = devices.in_any_process(jax.process_index() == 1), devices.in_any_process(False)
print(devices.is_speaker(), jax.device_count(), devices.make_local_mesh().size, batch.shape[0], float(mean), *asked)
"""


def test_mesh_covers_all_devices_along_data():
    mesh = devices.make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.size == jax.device_count() == 8
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,)


def test_batch_is_divided_and_keeps_its_order():
    batch = np.arange(16, dtype=np.uint8).reshape(16, 1)
    placed = devices.place_batch(devices.make_mesh(), batch)
    np.testing.assert_array_equal(placed, batch)
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 1)}


def test_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="make batch_size a multiple of 8"):
        devices.place_batch(devices.make_mesh(), np.zeros((12, 1)))


def test_replicated_tree_is_whole_on_every_device():
    tree = devices.replicate(devices.make_mesh(), {"kernel": np.ones((3, 2), np.float32), "step": 7})
    assert tree["kernel"].is_fully_replicated
    assert len(tree["kernel"].addressable_shards) == 8
    assert int(tree["step"]) == 7


def test_single_process_speaks_and_joins_nobody(monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    devices.join_processes()
    assert devices.is_speaker()
    assert "8 cpu" in devices.describe()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"ASEM_JAX_COORDINATOR": "a:1"},
            "set without ASEM_JAX_NUM_PROCESSES, ASEM_JAX_PROCESS_ID; set all three",
        ),
        (
            {"ASEM_JAX_COORDINATOR": "a:1", "ASEM_JAX_NUM_PROCESSES": "2", "ASEM_JAX_PROCESS_ID": "2"},
            "from 0 to",
        ),
        (
            {"ASEM_JAX_COORDINATOR": "a:1", "ASEM_JAX_NUM_PROCESSES": "x", "ASEM_JAX_PROCESS_ID": "0"},
            "do not fit",
        ),
    ],
)
def test_half_described_jobs_are_refused(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        devices.join_processes()


@pytest.mark.parametrize(
    ("nodes", "visible", "expected"), [("2", "0,1,2,3", [0, 1, 2, 3]), ("1", "0,1", None), ("2", "", None)]
)
def test_task_alone_on_its_slurm_node_uses_all_gpus(monkeypatch, nodes, visible, expected):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda local_device_ids: asked.append(local_device_ids))
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", nodes)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices.join_processes()
    assert asked == [expected]


def test_two_processes_join_and_share_a_batch(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ASEM_JAX_COORDINATOR", f"127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("ASEM_JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    running = []
    for index in range(2):
        monkeypatch.setenv("ASEM_JAX_PROCESS_ID", str(index))
        command = [sys.executable, "-c", _MEAN_OVER_PROCESSES]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    answers = [process.communicate(timeout=60)[0].split()[-7:] for process in running]
    of_both = ["4", "2", "8", "7.0", "True", "False"]
    assert answers == [["True", *of_both], ["False", *of_both]]
