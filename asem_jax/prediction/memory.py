"""How much memory a sweep takes, known before it runs, and the largest blocks that fit into it.

What a block needs on its device is what the compiler states of the compiled program. A program is compiled for an
estimated block, and once or twice more for a corrected one where the estimate was wrong; the sweep then runs the last
of these. Laws (tested): what is stated is an upper bound of what a run takes, and does not grow with the volume;
without `MALLOC_BYTES` it is an upper bound of what the buffers of a run take, at most 1.5 times as much.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.planner import SharedPlan, activation_bytes, choose_write_shape, plan_shared
from asem_jax.prediction.program import compile_sweep, organelle_bytes
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.store import CACHE_BYTES
from asem_jax.volumes.volume import Volume

MOST_BYTES_OF_A_CPU = 16e9  # larger blocks gain little there: their context is small already
SHARE_OF_GPU = 0.85  # of what JAX holds; the rest is lost between buffers
SHARE_OF_HOST = 0.5
PROGRAMS = 3  # compiled at most to find the block shape
WORTH_GROWING = 0.6  # of the memory: below it a larger block is tried
BATCHES_AHEAD = 2  # batches of blocks that are read while one is computed, and as many that land
MALLOC_BYTES = 2**26  # that malloc may keep of freed buffers; up to 25 MB were seen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory:
    """What a sweep takes at its peak.

    Attributes:
      device: bytes on each device: parameters, raw, maps, what is returned.
      host: bytes of this process besides: blocks read ahead, results that land, decoded chunks; where the devices are
        CPUs, also what they take.
      limit: bytes of a device that blocks were chosen for.
    """

    device: int
    host: int
    limit: float


def memory_at_hand() -> float:
    """Returns the bytes that a sweep may use on each device of this process; the same at every start on one machine."""
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return SHARE_OF_GPU * statistics["bytes_limit"]
    return min(MOST_BYTES_OF_A_CPU, SHARE_OF_HOST * host_bytes() / jax.local_device_count())


def host_bytes() -> int:
    """Returns the memory of this machine, or what this process is allowed of it, in bytes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        path = Path("/sys/fs/cgroup", name)
        text = path.read_text().strip() if path.exists() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def fit_plan(models: Sequence[Ensemble], box: Box, mesh: Mesh, max_bytes: float) -> SharedPlan:
    """Returns the plan with the largest blocks whose compiled program fits into `max_bytes` per device.

    Args:
      models: that share the sweep.
      box: what to predict, voxels of raw.
      mesh: of the devices.
      max_bytes: of each.

    Raises:
      ValueError: not even the smallest tile fits.
    """
    architectures = [model.card.architecture for model in models]
    error, best = 1.0, None  # by how much the estimate is too low
    for _ in range(PROGRAMS):
        plan = plan_shared(box, architectures, choose_write_shape(box, architectures, max_bytes / error))
        if best is not None and plan.write_shape == best.write_shape:
            return best
        used = device_bytes(models, plan, mesh)
        logger.debug("blocks of %s voxels need %.3g bytes, of %.3g", plan.write_shape, used, max_bytes)
        if used <= max_bytes:
            best = plan
            if used > WORTH_GROWING * max_bytes or len(plan.write_boxes) == 1:
                return plan
        elif best is not None:
            return best
        error = used / activation_bytes(plan, architectures)
    while best is None:  # the error itself grows with the block: give way a little more each time
        error *= 1.15
        plan = plan_shared(box, architectures, choose_write_shape(box, architectures, max_bytes / error))
        best = plan if device_bytes(models, plan, mesh) <= max_bytes else None
    return best


def device_bytes(models: Sequence[Ensemble], plan: SharedPlan, mesh: Mesh) -> int:
    """Returns what a sweep takes at its peak on each device, as its compiled program states."""
    program = compile_sweep(models, plan, organelle_bytes, mesh)
    sizes: Any = program.memory_analysis()
    waiting = plan.read_shape[0] * plan.read_shape[1] * plan.read_shape[2]  # the next block, there before its turn
    running = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    return int(running + sizes.output_size_in_bytes + waiting)


def host_bytes_of(
    models: Sequence[Ensemble],
    plan: SharedPlan,
    raw: Volume,
    num_devices: int,
    equalisation: Equalisation | None = None,
) -> int:
    """Returns what a sweep holds in this process at its peak, besides what is on the devices.

    Args:
      models: that share the sweep.
      plan: theirs.
      raw: grey values.
      num_devices: blocks computed at a time.
      equalisation: of raw, while it is read.
    """
    read, block = _voxels(plan.read_shape), Box.of_shape(plan.write_shape)
    said = sum(
        (len(model.card.organelles) + 1) * part.result_box(block.shift(part.box.start)).num_voxels
        for model, part in zip(models, plan.plans, strict=True)
    )
    blocks = len(plan.write_boxes)
    read_ahead = min(BATCHES_AHEAD + 2, blocks)  # one more is begun before the first is taken, which is stacked
    results = min((BATCHES_AHEAD + 1) + num_devices, blocks)  # blocks that land, and those of the batch that came back
    decoded = min(CACHE_BYTES, _voxels(raw.shape) + said * blocks)
    readers = BATCHES_AHEAD * num_devices
    equalising = 0 if equalisation is None else equalisation.num_bytes(raw.shape, plan.read_shape, readers)
    return int(read_ahead * num_devices * read + 2 * results * said + decoded + equalising + MALLOC_BYTES)


def _voxels(shape: Int3) -> int:
    return shape[0] * shape[1] * shape[2]


def memory_of(
    models: Sequence[Ensemble], plan: SharedPlan, raw: Volume, mesh: Mesh, equalisation: Equalisation | None = None
) -> Memory:
    """Returns what a sweep takes at its peak, and compiles its program for that."""
    device, host = device_bytes(models, plan, mesh), host_bytes_of(models, plan, raw, mesh.size, equalisation)
    if mesh.devices.flat[0].platform == "cpu":
        host += device * mesh.size
    return Memory(device, host, memory_at_hand())
