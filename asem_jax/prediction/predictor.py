"""The sliding window: raw in, probabilities out, over all devices of this process.

Every tile goes through the same compiled program, one block per device at a time, so neither the order of the
blocks nor the number of devices changes a bit of the result on the CPU. What lies outside the volume is reflected
at its edge: the result covers all of it. What becomes of a block that cannot be read or written: see `sweep`.

Of a network with several heads the first is used: its outputs are the card's `channels`. Further heads serve the
training; `Model.heads` returns them. A network with a final upsampling gives a result with smaller voxels than those of
raw, over the same nanometres. Several models share the reading of raw, and each block goes to the device once.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from asem_jax.devices import make_local_mesh
from asem_jax.models.model import Model
from asem_jax.prediction.appearance import missing_equalisation, warn_of_appearance
from asem_jax.prediction.ensemble import Ensemble, as_ensemble
from asem_jax.prediction.job import Job, Models, make_job
from asem_jax.prediction.memory import BATCHES_AHEAD, memory_at_hand
from asem_jax.prediction.planner import Plan, SharedPlan, choose_write_shape, plan_sweep, scaled
from asem_jax.prediction.program import Finish, all_outputs, compile_sweep, members_of, organelle_bytes, placements
from asem_jax.prediction.results import (
    VOLUMES,
    Growing,
    Prediction,
    complete_results,
    create_results,
    reopened,
    start_writes,
)
from asem_jax.prediction.sweep import Read, sweep
from asem_jax.prediction.waiting import Waiting
from asem_jax.volumes.blockwise import Agenda, complete
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger, Shard, alone, ledger_files, lock_path, remove_ledger
from asem_jax.volumes.reflect import reflect_block
from asem_jax.volumes.volume import Volume

logger = logging.getLogger(__name__)


def predict(model: Model | Ensemble, block: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Returns the probabilities of a block held in memory, all of it.

    Args:
      model: see `asem_jax.load_model`; or several of them, or one in several orientations: `Ensemble`.
      block: grey values 0..255, z y x, of the model's voxel size; reflected at its border.

    Returns:
      float32 `[z, y, x, c]` in 0..1; c follows `model.card.channels`. On the grid of `block`, or, where the network
      has a final upsampling, with so many times smaller voxels (`model.card.output_voxel_size_nm`).

    Raises:
      ValueError: `block` is not a uint8 array with three axes.

    Example (given a model)::

      probability = predict(model, np.zeros((64, 64, 64), np.uint8))
    """
    if block.ndim != 3 or block.dtype != np.uint8:
        raise ValueError(
            f"block has shape {block.shape} and dtype {block.dtype}; give uint8 grey values with axes z, y, x."
        )
    whole = Box.of_shape(block.shape)
    plan = make_plan(model, whole)
    result = np.empty((*plan.result_box(whole).shape, len(model.card.channels)), np.float32)
    read = partial(reflect_block, block, whole, whole=whole)
    for box, probability in predict_blocks(model, read, plan, plan.write_boxes, all_outputs):
        result[plan.result_box(box).slices] = probability
    return result


def predict_volume(
    models: Models,
    raw: Volume,
    address: str,
    *,
    box: Box | None = None,
    write_shape: Sequence[int] | None = None,
    mask: Volume | None = None,
    thresholds: Mapping[str, float] | None = None,
    tiling: str = "seamless",
    equalise: bool = False,
) -> dict[str, Prediction]:
    """Predicts a volume block by block; a killed call, made again, goes on where it stopped.

    Logs a warning first if raw looks unlike what the model was trained on.

    Args:
      models: see `asem_jax.load_model`; or an `Ensemble`; or several of these by name, which share the reading of raw.
      raw: uint8 grey values of the models' voxel size.
      address: image group to write to: `address/probability` and `address/segmentation`; with several organelles
        one folder per organelle below `address`, with several models one per model, named like it.
      box: what to predict, in voxels of raw; None = all of it. The result covers just this box.
      write_shape: voxels of raw per block, z y x; None = what fits the memory at hand with least waste.
      mask: nonzero = wanted, of any voxel size; elsewhere the result is 0. None = everything is wanted.
      thresholds: probability from which a voxel is foreground, by organelle (of several models: "model/organelle", or
        "model" where it has just one); without one, the likeliest organelle, or 0.5 where they do not exclude each
        other.
      tiling: "seamless", or "incasem", that of the original program, for comparison with published predictions.
      equalise: raw that is not equalised (CLAHE) is, as it is read, where the models learned on such.

    Returns:
      The written volumes per organelle, with their pyramids; keys as of `thresholds`.

    Raises:
      ValueError: the voxel sizes of model and raw differ, raw is not uint8, the box leaves it, or `address` holds a
        prediction begun with other settings.
      RuntimeError: blocks failed every time; all others are finished.
    """
    job = make_job(
        models,
        raw,
        address,
        box=box,
        write_shape=write_shape,
        mask=mask,
        thresholds=thresholds,
        tiling=tiling,
        equalisation=missing_equalisation(models, raw, box or raw.box) if equalise else None,
    )
    for model in job.ensembles:
        warn_of_appearance(model, raw, job.plan.box, job.equalisation)
    return sweep_volume(job)


def sweep_volume(
    job: Job,
    notes: Mapping[str, Any] | None = None,
    *,
    retries: int = 2,
    shard: Shard | None = None,
    run: Callable[[Job, Ledger], None] | None = None,
    waiting: Waiting | None = None,
) -> dict[str, Prediction]:
    """Does a job, or what is left of it; see `predict_volume`.

    Args:
      job: see `make_job`.
      notes: JSON values to keep with the volumes, such as the config.
      retries: how many times a block that fails is tried again.
      shard: does only the blocks of a shard; what follows the blocks is done by the shard that finishes last.
      run: does the blocks that the ledger lacks, instead of the devices of this process.
      waiting: a clock that the devices of this process have not used; it tells afterwards how long they stood idle.

    Raises:
      ValueError: the address holds a prediction begun with other settings.
      RuntimeError: blocks failed every time; all others are finished.
    """
    path = _ledger_path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock_path(path, "begin"), wait=True):  # shards start together
        if not _is_begun(job):
            remove_ledger(path)  # what it speaks of is gone
        ledger = Ledger(path, job.fingerprint(), shard=shard)
        results = create_results(job)
    if ledger.is_complete:
        return reopened(results)
    if run is not None:
        run(job, ledger)
    else:
        agenda = Agenda(job.write_boxes, label="predict", ledger=ledger, retries=retries, shard=shard)
        _sweep(job, results, agenda, waiting or Waiting())
    last = partial(complete_results, job, results, notes or {})
    complete(last, ledger=ledger, num_blocks=len(job.write_boxes), label="pyramids")
    return reopened(results)


def _sweep(job: Job, results: Growing, agenda: Agenda[Box], waiting: Waiting) -> None:
    """Does the blocks of an agenda on the devices of this process."""
    with waiting, agenda:
        sweep(
            agenda,
            job.read,
            tile_box=job.plan.read_box,
            predict=partial(predict_together, job.ensembles, plan=job.plan, finish=organelle_bytes, waiting=waiting),
            write=partial(start_writes, job, results),
            waiting=waiting,
        )
    if waiting.voxels:
        logger.info("%s: %s", job.address, waiting.describe())


def sweep_block(job: Job, box: Box) -> None:
    """Predicts and writes one block of a sweep that was begun; it has landed on return."""
    results = create_results(job)
    for found, values in predict_together(job.ensembles, job.read, job.plan, [box], organelle_bytes):
        for write in start_writes(job, results, found, values):
            write.result()


def num_finished(job: Job, shard: Shard | None = None) -> int:
    """Returns how many blocks of a job were written before, by all shards.

    Raises:
      ValueError: another job was begun there.
    """
    ledger = _ledger_of(job, shard)
    return 0 if ledger is None else len(ledger.finished)


def is_finished(job: Job, shard: Shard | None = None) -> bool:
    """Says whether all of a job is done, by whomever: its blocks, and what follows them.

    Raises:
      ValueError: another job was begun there.
    """
    ledger = _ledger_of(job, shard)
    return ledger is not None and ledger.is_complete


def _ledger_of(job: Job, shard: Shard | None) -> Ledger | None:
    """Returns the ledger of a job that was begun."""
    path = _ledger_path(job)
    return Ledger(path, job.fingerprint(), shard=shard) if ledger_files(path) and _is_begun(job) else None


def _ledger_path(job: Job) -> Path:
    return Path(job.address) / "ledger.jsonl"


def _is_begun(job: Job) -> bool:
    """Says whether all volumes of a job are there."""
    return all(Path(result.folder, name).exists() for result in job.results for name in VOLUMES)


def make_plan(model: Model | Ensemble, box: Box, write_shape: Sequence[int] | None = None) -> Plan:
    """Returns the plan of a sweep over `box`, its blocks chosen by an estimate of their memory unless given."""
    architecture = model.card.architecture
    if write_shape is None:
        write_shape = choose_write_shape(box, [architecture], memory_at_hand())
    return plan_sweep(box, architecture, write_shape)


def predict_blocks(
    model: Model | Ensemble, read: Read, plan: Plan, write_boxes: Iterable[Box], finish: Finish
) -> Iterator[tuple[Box, npt.NDArray[np.generic]]]:
    """Yields each write box with what one model says of it, `[z, y, x, k]`; see `predict_together`."""
    for box, values in predict_together([as_ensemble(model)], read, SharedPlan((plan,)), write_boxes, finish):
        yield box, values[0]


def predict_together(
    models: Sequence[Ensemble],
    read: Read,
    plan: SharedPlan,
    write_boxes: Iterable[Box],
    finish: Finish,
    *,
    waiting: Waiting | None = None,
) -> Iterator[tuple[Box, tuple[npt.NDArray[np.generic], ...]]]:
    """Yields each write box with what the networks say of it, in order.

    Args:
      models: the networks.
      read: gives raw for any box, uint8 z y x, also for what lies outside the volume.
      plan: the sweep that the boxes belong to.
      write_boxes: which of its blocks to predict; taken as they are read.
      finish: what is wanted per voxel, see `program.compile_sweep`.
      waiting: a clock to be told of devices and reads.

    Yields:
      The box, and of each model `[z, y, x, k]` of its shape, times the model's `Plan.scale`.
    """
    mesh = make_local_mesh()
    run = compile_sweep(models, plan, finish, mesh)
    everywhere, split = placements(mesh)
    members = jax.device_put(members_of(models), everywhere)
    running: deque[tuple[Sequence[Box], tuple[jax.Array, ...]]] = deque()
    for boxes, blocks in _read_ahead(read, plan, write_boxes, mesh.size, waiting):
        running.append((boxes, run(members, jax.device_put(blocks, split))))
        if waiting is not None:
            waiting.gave(running[-1][1])
        if len(running) > 1:
            yield from _unstack(plan, *running.popleft())
    while running:
        yield from _unstack(plan, *running.popleft())


def _read_ahead(
    read: Read, plan: SharedPlan, write_boxes: Iterable[Box], num_devices: int, waiting: Waiting | None
) -> Iterator[tuple[Sequence[Box], npt.NDArray[np.uint8]]]:
    """Yields batches of one block of raw per device, uint8 `[devices, z, y, x]`; the last is filled up with zeros."""
    ahead: deque[tuple[Sequence[Box], list[Future[npt.NDArray[np.generic]]]]] = deque()
    with ThreadPoolExecutor(BATCHES_AHEAD * num_devices, thread_name_prefix="tiles") as pool:
        remaining = iter(write_boxes)
        while boxes := list(islice(remaining, num_devices)):
            ahead.append((boxes, [pool.submit(read, plan.read_box(box)) for box in boxes]))
            if len(ahead) > BATCHES_AHEAD:
                yield _stack(*ahead.popleft(), num_devices, waiting)
        while ahead:
            yield _stack(*ahead.popleft(), num_devices, waiting)


def _stack(
    boxes: Sequence[Box],
    futures: Sequence[Future[npt.NDArray[np.generic]]],
    num_devices: int,
    waiting: Waiting | None,
) -> tuple[Sequence[Box], npt.NDArray[np.uint8]]:
    with nullcontext() if waiting is None else waiting.until("reads"):
        wait(futures)
    blocks = [np.asarray(future.result(), np.uint8) for future in futures]
    blocks += [np.zeros_like(blocks[0])] * (num_devices - len(blocks))
    return boxes, np.stack(blocks)


def _unstack(
    plan: SharedPlan, boxes: Sequence[Box], batches: Sequence[jax.Array]
) -> Iterator[tuple[Box, tuple[npt.NDArray[np.generic], ...]]]:
    fetched = [np.asarray(batch) for batch in batches]
    for place, box in enumerate(boxes):
        insides = [scaled(Box.of_shape(box.shape), part.scale).slices for part in plan.plans]
        yield box, tuple(values[place][inside] for values, inside in zip(fetched, insides, strict=True))
