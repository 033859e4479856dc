"""The sliding window: raw in, probabilities out, over all devices of this process.

Every tile goes through the same compiled program, one tile per device at a time, so neither the order of the
blocks nor the number of devices changes a bit of the result on the CPU. What lies outside the volume is reflected
at its edge: the result covers all of it. What becomes of a block that cannot be read or written: see `sweep`.

Of a network with several heads the first is used: its outputs are the card's `channels`. Further heads serve the
training; `Model.heads` returns them. A network with a final upsampling gives a result with smaller voxels than those of
raw, over the same nanometres.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asem_jax.devices import make_local_mesh
from asem_jax.models.channels import Channel, exclusive, num_softmax, output_names
from asem_jax.models.model import Model, Params, scale_raw
from asem_jax.models.unet import UNet
from asem_jax.prediction.appearance import warn_of_appearance
from asem_jax.prediction.ensemble import Ensemble, Orientation, as_ensemble, mean_probabilities
from asem_jax.prediction.planner import Plan, choose_write_shape, plan_sweep, scaled
from asem_jax.prediction.sweep import Read, sweep
from asem_jax.segmentation.labels import threshold
from asem_jax.volumes.blockwise import Agenda, complete
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger, Shard, alone, lock_path, remove_ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.reflect import read_reflected, reflect_block
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume, create_volume

BATCHES_AHEAD = 2  # batches of tiles that are read while one is computed
DEFAULT_MEMORY_BYTES = 4e9  # for activations, where the device does not say how much it has
_VOLUMES = ("probability", "segmentation")
VOXEL_SIZE_TOLERANCE = 0.01  # relative difference of voxel sizes that a model is not refused for

Finish = Callable[[jax.Array, tuple[Channel, ...]], jax.Array]


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


@dataclass(frozen=True)
class Prediction:
    """What `predict_volume` writes per organelle.

    Attributes:
      probability: uint8, 255 = 1.
      segmentation: uint8, 1 where the organelle is the likeliest of those that exclude each other, or, if it does
        not exclude others, where its probability is at least 0.5.
    """

    probability: Volume
    segmentation: Volume


def predict_volume(
    model: Model | Ensemble,
    raw: Volume,
    address: str,
    *,
    box: Box | None = None,
    write_shape: Sequence[int] | None = None,
) -> dict[str, Prediction]:
    """Predicts a volume block by block; a killed call, made again, goes on where it stopped.

    Logs a warning first if raw looks unlike what the model was trained on.

    Args:
      model: see `asem_jax.load_model`; or an `Ensemble`.
      raw: uint8 grey values of the model's voxel size.
      address: image group to write to: `address/probability` and `address/segmentation`; with several organelles
        one folder per organelle below `address`.
      box: what to predict, in voxels of raw; None = all of it. The result covers just this box.
      write_shape: voxels of raw per block, z y x; None = what fits the memory at hand with least waste.

    Returns:
      The written volumes per organelle, with their pyramids.

    Raises:
      ValueError: the voxel sizes of model and raw differ, raw is not uint8, the box leaves it, or `address` holds a
        prediction begun with other settings.
      RuntimeError: blocks failed every time; all others are finished.
    """
    box = raw.box if box is None else box
    check_raw(model, raw, box)
    warn_of_appearance(model, raw, box)
    return sweep_volume(model, raw, address, box, write_shape)


def sweep_volume(
    model: Model | Ensemble,
    raw: Volume,
    address: str,
    box: Box,
    write_shape: Sequence[int] | None,
    *,
    retries: int = 2,
    shard: Shard | None = None,
    run: Callable[[Plan, Ledger], None] | None = None,
) -> dict[str, Prediction]:
    """Does what `predict_volume` does with a box that `check_raw` has passed, without a look at its grey values.

    Args:
      model: as for `predict_volume`.
      raw: the same.
      address: the same.
      box: the same, but not None.
      write_shape: the same.
      retries: how many times a block that fails is tried again.
      shard: does only the blocks of a shard; the pyramids are written by the shard that finishes last.
      run: does the blocks that the ledger lacks, instead of the devices of this process.

    Raises: as `predict_volume`.
    """
    plan, path = make_plan(model, box, write_shape), Path(address) / "ledger.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock_path(path, "begin"), wait=True):  # shards start together
        if not all(Path(folder, name).exists() for folder in _folders(model, address) for name in _VOLUMES):
            remove_ledger(path)  # what it speaks of is gone
        ledger = Ledger(path, _fingerprint(model, raw, plan), shard=shard)
        results = _create_results(model, raw, address, plan)
    if ledger.is_complete:
        return results
    if run is not None:
        run(plan, ledger)
    else:
        with Agenda(plan.write_boxes, label="predict", ledger=ledger, retries=retries, shard=shard) as agenda:
            predict_some = partial(predict_blocks, model, plan=plan, finish=organelle_bytes)
            write = partial(_start_writes, results, plan, model.card.meanings)
            sweep(agenda, partial(read_reflected, raw), tile_box=plan.tile_box, predict=predict_some, write=write)
    complete(partial(_write_pyramids, results), ledger=ledger, num_blocks=len(plan.write_boxes), label="pyramids")
    return results


def sweep_block(model: Model | Ensemble, raw: Volume, address: str, plan: Plan, box: Box) -> None:
    """Predicts and writes one block of a sweep that was begun; it has landed on return."""
    results = _create_results(model, raw, address, plan)
    for found, values in predict_blocks(model, partial(read_reflected, raw), plan, [box], organelle_bytes):
        for write in _start_writes(results, plan, model.card.meanings, found, values):
            write.result()


def _write_pyramids(results: Mapping[str, Prediction]) -> None:
    for prediction in results.values():
        write_pyramid(prediction.probability, labels=False)
        write_pyramid(prediction.segmentation, labels=True)


def make_plan(model: Model | Ensemble, box: Box, write_shape: Sequence[int] | None = None) -> Plan:
    """Returns the plan of a sweep over `box`, its blocks chosen by the memory at hand unless given."""
    architecture = model.card.architecture
    if write_shape is None:
        write_shape = choose_write_shape(box, architecture, _memory_bytes())
    return plan_sweep(box, architecture, write_shape)


def predict_blocks(
    model: Model | Ensemble, read: Read, plan: Plan, write_boxes: Iterable[Box], finish: Finish
) -> Iterator[tuple[Box, npt.NDArray[np.generic]]]:
    """Yields each write box with what the network says of it, in order.

    Args:
      model: the network.
      read: gives raw for any box, uint8 z y x, also for what lies outside the volume.
      plan: the sweep that the boxes belong to.
      write_boxes: which of its blocks to predict; taken as they are read.
      finish: maps probabilities `[z, y, x, c]` on the device, and what they mean, to what is wanted per voxel,
        `[z, y, x, k]`; `all_outputs` and `organelle_bytes` are such.

    Yields:
      The box, and `[z, y, x, k]` of its shape, times `plan.scale`.
    """
    mesh = make_local_mesh()
    kept = Box.of_shape(scaled(Box.of_shape(plan.write_shape), plan.scale).shape, plan.skipped)
    ensemble = as_ensemble(model)
    orientations = ensemble.orientations(plan.tile_shape)
    run = _tile_program(model.card.network(), model.card.meanings, orientations, kept=kept, finish=finish, mesh=mesh)
    members = tuple(member.params for member in ensemble.models)
    params = jax.device_put(members, NamedSharding(mesh, PartitionSpec()))
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    running: deque[tuple[Sequence[Box], jax.Array]] = deque()
    for boxes, tiles in _read_ahead(read, plan, write_boxes, mesh.size):
        running.append((boxes, run(params, jax.device_put(tiles, split))))
        if len(running) > 1:
            yield from _unstack(plan, *running.popleft())
    while running:
        yield from _unstack(plan, *running.popleft())


def all_outputs(probability: jax.Array, channels: tuple[Channel, ...]) -> jax.Array:
    """Returns the probabilities of all outputs as they are; a `finish` for `predict_blocks`."""
    return probability


def organelle_bytes(probability: jax.Array, channels: tuple[Channel, ...]) -> jax.Array:
    """Returns uint8 `[z, y, x, k + 1]`: probabilities of the k organelles (255 = 1), then the likeliest of the softmax.

    The latter is 0 for background, and where there is no softmax. A `finish` for `predict_blocks`.
    """
    organelles = probability[..., len(output_names(channels)) - len(channels) :]
    together = probability[..., : len(output_names(channels[: num_softmax(channels)]))]
    likeliest = jnp.argmax(together, axis=-1) if together.shape[-1] else jnp.zeros(together.shape[:-1])
    stored = jnp.round(255.0 * organelles).astype(jnp.uint8)
    return jnp.concatenate([stored, likeliest[..., None].astype(jnp.uint8)], axis=-1)


def _read_ahead(
    read: Read, plan: Plan, write_boxes: Iterable[Box], num_devices: int
) -> Iterator[tuple[Sequence[Box], npt.NDArray[np.uint8]]]:
    """Yields batches of one tile per device, uint8 `[devices, z, y, x]`; the last one is filled up with zeros."""
    waiting: deque[tuple[Sequence[Box], list[Future[npt.NDArray[np.generic]]]]] = deque()
    with ThreadPoolExecutor(BATCHES_AHEAD * num_devices, thread_name_prefix="tiles") as pool:
        remaining = iter(write_boxes)
        while boxes := list(islice(remaining, num_devices)):
            waiting.append((boxes, [pool.submit(read, plan.tile_box(box)) for box in boxes]))
            if len(waiting) > BATCHES_AHEAD:
                yield _stack(*waiting.popleft(), num_devices)
        while waiting:
            yield _stack(*waiting.popleft(), num_devices)


def _stack(
    boxes: Sequence[Box], futures: Sequence[Future[npt.NDArray[np.generic]]], num_devices: int
) -> tuple[Sequence[Box], npt.NDArray[np.uint8]]:
    tiles = [np.asarray(future.result(), np.uint8) for future in futures]
    tiles += [np.zeros_like(tiles[0])] * (num_devices - len(tiles))
    return boxes, np.stack(tiles)


def _unstack(plan: Plan, boxes: Sequence[Box], batch: jax.Array) -> Iterator[tuple[Box, npt.NDArray[np.generic]]]:
    for box, values in zip(boxes, np.asarray(batch), strict=False):
        yield box, values[scaled(Box.of_shape(box.shape), plan.scale).slices]


@lru_cache(maxsize=8)
def _tile_program(
    network: UNet,
    channels: tuple[Channel, ...],
    orientations: tuple[Orientation, ...],
    *,
    kept: Box,
    finish: Finish,
    mesh: Mesh,
) -> Callable[[tuple[Params, ...], jax.Array], jax.Array]:
    """Returns the compiled sweep step: (members, uint8 `[devices, z, y, x]`) -> `[devices, z', y', x', k]`."""

    def predict_tile(members: tuple[Params, ...], tile: jax.Array) -> jax.Array:
        raw = scale_raw(tile)
        probability = mean_probabilities(network, members, raw, channels=channels, orientations=orientations)
        return finish(probability[kept.slices], channels)

    def predict_on_device(members: tuple[Params, ...], tiles: jax.Array) -> jax.Array:
        return jax.lax.map(partial(predict_tile, members), tiles)

    everywhere, split = PartitionSpec(), PartitionSpec(mesh.axis_names[0])
    return jax.jit(
        jax.shard_map(predict_on_device, mesh=mesh, in_specs=(everywhere, split), out_specs=split, check_vma=False)
    )


def check_raw(model: Model | Ensemble, raw: Volume, box: Box) -> None:
    """Raises unless `model` can predict `box` of `raw`.

    Args:
      model: the network and what it was trained on.
      raw: grey values.
      box: voxels of raw.

    Raises:
      ValueError: raw is not uint8, its voxel size is not the model's, or the box leaves it.
    """
    if raw.dtype != np.uint8:
        raise ValueError(
            f"{raw.address} has dtype {raw.dtype}, the model reads uint8 grey values; "
            "convert it first (stage convert scales 16-bit and float volumes)."
        )
    if not np.allclose(raw.voxel_size_nm, model.card.voxel_size_nm, rtol=VOXEL_SIZE_TOLERANCE):
        raise ValueError(
            f"{raw.address} has voxel size {raw.voxel_size_nm} nm, the model was trained at "
            f"{model.card.voxel_size_nm} nm; resample the volume (stage preprocess)."
        )
    if not raw.box.contains(box) or box.num_voxels == 0:
        raise ValueError(
            f"the box {box.start} to {box.stop} is empty or leaves {raw.address}, whose shape is {raw.shape} "
            "(z y x); give a box inside it."
        )


def _create_results(model: Model | Ensemble, raw: Volume, address: str, plan: Plan) -> dict[str, Prediction]:
    """Makes, or on a second call opens, the empty volumes of every organelle."""
    provenance = {"raw": raw.address, "model": model.card.to_dict()}
    voxel_size_nm, offset_nm = plan.result_place(raw.voxel_size_nm, raw.offset_nm)

    def create(folder: str, name: str) -> Volume:
        return create_volume(
            f"{folder}/{name}",
            shape=plan.result_box(plan.box).shape,
            dtype=np.uint8,
            voxel_size_nm=voxel_size_nm,
            offset_nm=offset_nm,
            chunk_shape=plan.chunk_shape,
            attributes=provenance,
        )

    return {
        organelle: Prediction(*(create(folder, name) for name in _VOLUMES))
        for organelle, folder in zip(model.card.organelles, _folders(model, address), strict=True)
    }


def _folders(model: Model | Ensemble, address: str) -> list[str]:
    """Returns where each organelle's volumes lie: in `address` itself if there is only one organelle."""
    organelles = model.card.organelles
    return [address] if len(organelles) == 1 else [f"{address}/{organelle}" for organelle in organelles]


def _start_writes(
    results: Mapping[str, Prediction], plan: Plan, channels: Sequence[Channel], box: Box, values: npt.NDArray[Any]
) -> list[Pending[None]]:
    """Starts to write what `organelle_bytes` gave for `box` (voxels of raw)."""
    writes, place_of_box = [], plan.result_box(box)
    for place, (channel, prediction) in enumerate(zip(channels, results.values(), strict=True)):
        probability = values[..., place]
        found = values[..., -1] == place + 1 if channel.kind == "softmax" else threshold(probability, 0.5)
        writes.append(prediction.probability.write_async(place_of_box, probability))
        writes.append(prediction.segmentation.write_async(place_of_box, found.astype(np.uint8)))
    return writes


def _fingerprint(model: Model | Ensemble, raw: Volume, plan: Plan) -> dict[str, Any]:
    """Settings that a resumed sweep must share with the one that began it."""
    card = model.card
    # Of the softmax nothing is said, so that predictions begun before there were other channels can go on.
    meanings = "" if card.meanings == exclusive(card.organelles) else repr(card.meanings)
    digest = hashlib.blake2b(f"{card.architecture!r}{meanings}".encode(), digest_size=16)
    ensemble = as_ensemble(model)
    for leaf in jax.tree.leaves([member.params for member in ensemble.models]):
        digest.update(np.asarray(leaf).tobytes())
    orientations = len(ensemble.orientations(plan.tile_shape))
    return {
        "model": digest.hexdigest(),
        "raw": raw.address,
        "raw_shape": list(raw.shape),
        "start": list(plan.box.start),
        "stop": list(plan.box.stop),
        "write_shape": list(plan.write_shape),
        "tile_shape": list(plan.tile_shape),
        **({"orientations": orientations} if orientations > 1 else {}),
    }


def _memory_bytes() -> float:
    """Memory for the activations of one device: what it reports, less a reserve for programs and buffers."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return 0.7 * statistics["bytes_limit"] if "bytes_limit" in statistics else DEFAULT_MEMORY_BYTES
