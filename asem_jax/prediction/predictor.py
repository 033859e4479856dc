"""The sliding window: raw in, probabilities out, over all devices of this process.

Every tile goes through the same compiled program, one tile per device at a time, so neither the order of the
blocks nor the number of devices changes a bit of the result on the CPU. What lies outside the volume is reflected
at its edge: the result covers all of it. Reading runs ahead of the devices, writing behind them, and a block enters
the ledger only after its voxels have landed.

Of a network with several heads the first is used: its outputs are the card's `channels`. Further heads serve the
training; `Model.heads` returns them. A network with a final upsampling gives a result with smaller voxels than those of
raw, over the same nanometres.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
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
from asem_jax.progress import progress
from asem_jax.segmentation.labels import threshold
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.reflect import read_reflected, reflect_block
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume, create_volume

BATCHES_AHEAD = 2  # batches of tiles that are read while one is computed
DEFAULT_MEMORY_BYTES = 4e9  # for activations, where the device does not say how much it has
_VOLUMES = ("probability", "segmentation")
VOXEL_SIZE_TOLERANCE = 0.01  # relative difference of voxel sizes that a model is not refused for

Read = Callable[[Box], npt.NDArray[np.generic]]
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
    """
    box = raw.box if box is None else box
    check_raw(model, raw, box)
    warn_of_appearance(model, raw, box)
    return sweep_volume(model, raw, address, box, write_shape)


def sweep_volume(
    model: Model | Ensemble, raw: Volume, address: str, box: Box, write_shape: Sequence[int] | None
) -> dict[str, Prediction]:
    """Does what `predict_volume` does with a box that `check_raw` has passed, without a look at its grey values."""
    plan = make_plan(model, box, write_shape)
    path = Path(address) / "ledger.jsonl"
    if not all(Path(folder, name).exists() for folder in _folders(model, address) for name in _VOLUMES):
        path.unlink(missing_ok=True)  # what it speaks of is gone
    ledger = Ledger(path, _fingerprint(model, raw, plan))
    results = _create_results(model, raw, address, plan)
    if not ledger.is_complete:
        _sweep(model, raw, plan, results, ledger)
        for prediction in results.values():
            write_pyramid(prediction.probability, labels=False)
            write_pyramid(prediction.segmentation, labels=True)
        ledger.mark_complete()
    return results


def _sweep(model: Model | Ensemble, raw: Volume, plan: Plan, results: Mapping[str, Prediction], ledger: Ledger) -> None:
    """Predicts and writes the blocks that the ledger lacks; marks each when its voxels have landed."""
    boxes, finished = plan.write_boxes, ledger.finished
    remaining = [index for index in range(len(boxes)) if index not in finished]
    read = partial(read_reflected, raw)
    landing: deque[tuple[int, list[Pending[None]]]] = deque()
    with progress(len(boxes), label="predict", unit="blocks", initial=len(boxes) - len(remaining)) as bar:

        def land() -> None:
            index, writes = landing.popleft()
            for write in writes:
                write.result()
            ledger.mark(index)
            bar.update(1)

        blocks = predict_blocks(model, read, plan, [boxes[index] for index in remaining], organelle_bytes)
        for index, (box, values) in zip(remaining, blocks, strict=True):
            landing.append((index, _start_writes(results, plan.result_box(box), values, model.card.meanings)))
            if len(landing) > BATCHES_AHEAD:
                land()
        while landing:
            land()


def make_plan(model: Model | Ensemble, box: Box, write_shape: Sequence[int] | None = None) -> Plan:
    """Returns the plan of a sweep over `box`, its blocks chosen by the memory at hand unless given."""
    architecture = model.card.architecture
    if write_shape is None:
        write_shape = choose_write_shape(box, architecture, _memory_bytes())
    return plan_sweep(box, architecture, write_shape)


def predict_blocks(
    model: Model | Ensemble, read: Read, plan: Plan, write_boxes: Sequence[Box], finish: Finish
) -> Iterator[tuple[Box, npt.NDArray[np.generic]]]:
    """Yields each write box with what the network says of it, in order.

    Args:
      model: the network.
      read: gives raw for any box, uint8 z y x, also for what lies outside the volume.
      plan: the sweep that the boxes belong to.
      write_boxes: which of its blocks to predict.
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
    read: Read, plan: Plan, write_boxes: Sequence[Box], num_devices: int
) -> Iterator[tuple[Sequence[Box], npt.NDArray[np.uint8]]]:
    """Yields batches of one tile per device, uint8 `[devices, z, y, x]`; the last one is filled up with zeros."""
    waiting: deque[tuple[Sequence[Box], list[Future[npt.NDArray[np.generic]]]]] = deque()
    with ThreadPoolExecutor(BATCHES_AHEAD * num_devices, thread_name_prefix="tiles") as pool:
        for first in range(0, len(write_boxes), num_devices):
            boxes = write_boxes[first : first + num_devices]
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
    results: Mapping[str, Prediction], box: Box, values: npt.NDArray[Any], channels: Sequence[Channel]
) -> list[Pending[None]]:
    """Starts to write what `organelle_bytes` gave for `box` (voxels of the results)."""
    writes = []
    for place, (channel, prediction) in enumerate(zip(channels, results.values(), strict=True)):
        probability = values[..., place]
        found = values[..., -1] == place + 1 if channel.kind == "softmax" else threshold(probability, 0.5)
        writes.append(prediction.probability.write_async(box, probability))
        writes.append(prediction.segmentation.write_async(box, found.astype(np.uint8)))
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
