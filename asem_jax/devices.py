"""The devices of a job: its processes joined, one mesh over all of them, batches and parameters placed on it.

A job is one process per machine (or several, as its launcher likes), each with its own GPUs. A mesh has one
axis, "data": a batch is divided along it, parameters are the same everywhere. A program that is written
against a mesh is the same for one CPU and for several machines.
"""

import os
from typing import Any, TypeVar

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

_VARIABLES = ("ASEM_JAX_COORDINATOR", "ASEM_JAX_NUM_PROCESSES", "ASEM_JAX_PROCESS_ID")


def join_processes() -> None:
    """Joins the processes of a job, where the environment describes one; runs before any other use of JAX.

    Three variables describe it, on every process: `ASEM_JAX_COORDINATOR` (host:port of the first process),
    `ASEM_JAX_NUM_PROCESSES` and `ASEM_JAX_PROCESS_ID` (from 0). Under SLURM nothing is needed: JAX finds the
    tasks itself.

    Raises:
      ValueError: only some of the three are set, or the numbers do not fit.
    """
    given = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if given:
        # Detection is off because under SLURM it would overrule the choice of GPUs.
        jax.distributed.initialize(**_membership(given), cluster_detection_method="deactivate")
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_NUM_NODES" in os.environ:
        jax.distributed.initialize(local_device_ids=_gpus_of_task())
    if jax.distributed.is_initialized() and jax.default_backend() == "cpu":
        _connect_cpus()


def make_mesh() -> Mesh:
    """Returns a mesh with one axis, "data", over all devices of all processes."""
    # Auto: the step's shardings are deduced from its inputs. The default became Explicit in JAX 0.9.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def make_local_mesh() -> Mesh:
    """Returns a mesh with one axis, "data", over the devices of this process: for work that is shared out."""
    return Mesh(np.array(jax.local_devices()), ("data",), axis_types=(AxisType.Auto,))


def place_batch(mesh: Mesh, local_batch: npt.NDArray[Any]) -> jax.Array:
    """Returns a batch divided over the mesh.

    Args:
      mesh: from `make_mesh`.
      local_batch: `[b, ...]`, this process's part; b is a multiple of the number of its devices.

    Raises:
      ValueError: the part does not divide among the devices.
    """
    num_devices = jax.local_device_count()
    if local_batch.shape[0] % num_devices:
        raise ValueError(
            f"A batch of {local_batch.shape[0]} does not divide among {num_devices} devices; "
            f"make batch_size a multiple of {mesh.size}."
        )
    return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("data")), local_batch)


def replicate(mesh: Mesh, tree: Tree) -> Tree:
    """Returns a tree of arrays, equal in all processes, as arrays that every device holds whole."""
    sharding = NamedSharding(mesh, PartitionSpec())
    # From each process's own copy, so nothing is sent and no process waits for another.
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def is_speaker() -> bool:
    """Says whether this process speaks for the job: the first one writes logs and configs."""
    return jax.process_index() == 0


def in_any_process(flag: bool) -> bool:
    """Says whether `flag` is set in any process of the job; all of them have to ask, and get one answer."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def num_processes() -> int:
    """Returns how many processes the job has."""
    return jax.process_count()


def describe() -> str:
    """Returns what the job runs on, for a log line."""
    kinds = sorted({device.device_kind for device in jax.devices()})
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{jax.device_count()} {' and '.join(kinds)} device(s){processes}, JAX {jax.__version__}"


def _connect_cpus() -> None:
    """Connects the CPU devices of all processes while none is behind: later Gloo gives up on one that is 30 s late."""
    mesh = make_mesh()
    total = jax.shard_map(
        lambda x: jax.lax.psum(x, "data"), mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec()
    )
    # All devices with each other, as a training step asks for, then one of each process, as `in_any_process` does.
    jax.jit(total)(place_batch(mesh, np.ones(jax.local_device_count(), np.int32))).block_until_ready()
    multihost_utils.process_allgather(np.array(0))


def _gpus_of_task() -> list[int] | None:
    """Returns the GPUs of this SLURM task: all where it is alone on its node; None leaves it one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    alone = os.environ["SLURM_NTASKS"] == os.environ["SLURM_STEP_NUM_NODES"]
    return list(range(len(visible.split(",")))) if alone and visible else None


def _membership(given: dict[str, str]) -> dict[str, Any]:
    """Reads the three variables into the arguments of `jax.distributed.initialize`."""
    missing = [name for name in _VARIABLES if name not in given]
    if missing:
        raise ValueError(f"{', '.join(given)} set without {', '.join(missing)}; set all three, or none.")
    address, number, index = (given[name] for name in _VARIABLES)
    if not (number.isdigit() and index.isdigit() and int(index) < int(number)):
        raise ValueError(
            f"ASEM_JAX_PROCESS_ID={index} and ASEM_JAX_NUM_PROCESSES={number} do not fit; "
            "number the processes from 0 to one below their number."
        )
    return {"coordinator_address": address, "num_processes": int(number), "process_id": int(index)}
