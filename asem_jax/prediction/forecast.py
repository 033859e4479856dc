"""What a prediction will cost, said before it starts: blocks, memory, bytes, disk, hours.

Bytes written are an upper bound: probabilities as if they could not be compressed, segmentations (0 and 1) at a quarter
of a byte per voxel, the coarser levels, whole units of the file system. Real ones take a fraction of it. Hours come
from running up to three blocks of the job itself on its devices.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asem_jax.devices import make_local_mesh
from asem_jax.prediction.ensemble import exchangeable
from asem_jax.prediction.exports import exported_bytes
from asem_jax.prediction.job import Job, Result
from asem_jax.prediction.memory import Memory, memory_of
from asem_jax.prediction.predictor import predict_together
from asem_jax.prediction.program import organelle_bytes
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.pyramid import level_shapes

BLOCKS_TIMED = 3
FILE_UNIT = 4096  # bytes by which a file grows on most disks
BLOSC_HEADER = 16  # bytes that an incompressible chunk grows by
SEGMENTATION_SHARE = 0.25  # of a byte per voxel: a chunk of random 0 and 1 takes a fifth
_CUBE: Int3 = (1, 1, 1)  # as far as exchanged axes go


@dataclass(frozen=True)
class Forecast:
    """What a job will take.

    Attributes:
      blocks: in the box.
      skipped: without a voxel of the mask; they are neither predicted nor written.
      left: to be predicted.
      voxels: of raw that are predicted, in all blocks that are left.
      memory: at the peak.
      read_bytes: of raw, decoded.
      written_bytes: at most.
      free_bytes: on the disk of the target.
      seconds: for what is left, on this machine; None = not timed.
    """

    blocks: int
    skipped: int
    left: int
    voxels: int
    memory: Memory
    read_bytes: int
    written_bytes: int
    free_bytes: int
    seconds: float | None = None

    def describe(self, job: Job) -> list[str]:
        """Returns lines for the log."""
        plan, done = job.plan, self.blocks - self.skipped - self.left
        shares = [f"{self.skipped} skipped by the mask"] if job.mask is not None else []
        shares += [f"{done} finished before"] if done else []
        tiles = ", ".join(dict.fromkeys(str(part.tile_shape) for part in plan.plans))
        overhead = prod(plan.read_shape) / prod(plan.write_shape)
        lines = [
            f"{self.left} of {self.blocks} blocks of {plan.write_shape} voxels to predict"
            + (f" ({', '.join(shares)})" if shares else ""),
            f"tiles of {tiles} voxels: {_reason(job)}; context makes {overhead:.2f} voxels read of one predicted",
            f"memory at the peak: {_size(self.memory.device)} per device of {_size(self.memory.limit)} allowed, "
            f"{_size(self.memory.host)} of this process",
            f"{_size(self.read_bytes)} of raw to read, at most {_size(self.written_bytes)} to write, "
            f"{_size(self.free_bytes)} free on the disk",
        ]
        lines += _orientations(job)
        if self.seconds is not None:
            rate = self.voxels / max(self.seconds, 1e-9) / 1e6
            lines.append(f"about {_duration(self.seconds)} on this machine, {rate:.2f} Mvoxel/s")
        return lines


def forecast(job: Job, finished: int = 0, *, timed: bool = False, exports: Sequence[str] = ()) -> Forecast:
    """Returns what is left of a job will take; compiles its program.

    Args:
      job: the prediction.
      finished: blocks that are done already.
      timed: runs up to three blocks for it.
      exports: formats that the results will be written in too, see `exports.FORMATS`.
    """
    boxes = job.write_boxes
    left = len(boxes) - finished
    share = left / max(len(boxes), 1)
    ends = np.array([(box.start, box.stop) for box in boxes], np.int64).reshape(-1, 2, 3)
    starts, stops = ends[:, 0], ends[:, 1]
    block = job.plan.read_box(Box.of_shape(job.plan.write_shape))
    read = np.minimum(starts + block.stop, job.raw.shape) - np.maximum(starts + block.start, 0)
    return Forecast(
        blocks=len(job.plan.write_boxes),
        skipped=len(job.plan.write_boxes) - len(boxes),
        left=left,
        voxels=round(share * int((stops - starts).prod(axis=1).sum())),
        memory=memory_of(job.ensembles, job.plan, job.raw, make_local_mesh(), job.equalisation),
        read_bytes=round(share * int(read.prod(axis=1).sum())),
        written_bytes=round(share * sum(_written_bytes(job, result, stops - starts) for result in job.results))
        + exported_bytes(job, exports),
        free_bytes=shutil.disk_usage(_existing(Path(job.address))).free,
        seconds=(seconds_per_block(job) * left if left else 0.0) if timed else None,
    )


def check_disk(job: Job, cost: Forecast) -> None:
    """Raises where the disk may be too small for what a job will write.

    Raises:
      ValueError: the upper bound of what is written is more than what is free.
    """
    if cost.written_bytes > cost.free_bytes:
        raise ValueError(
            f"{job.address}: the prediction may take {_size(cost.written_bytes)} if it can hardly be compressed, and "
            f"{_size(cost.free_bytes)} are free there; free more, write to another disk, or predict a smaller box."
        )


def seconds_per_block(job: Job) -> float:
    """Returns how long a block takes on this process's devices, its reading included; runs up to three batches."""
    devices = make_local_mesh().size
    batches = min(BLOCKS_TIMED, ceil(len(job.write_boxes) / devices))
    boxes = job.write_boxes[: batches * devices]
    ends = [time.perf_counter()]
    blocks = predict_together(job.ensembles, job.read, job.plan, boxes, organelle_bytes)
    for number, _ in enumerate(blocks, start=1):
        if number % devices == 0 or number == len(boxes):
            ends.append(time.perf_counter())
    # The first batch also waits for the first reads and for pages of memory; where there are more, it is not counted.
    times = [b - a for a, b in pairwise(ends)]
    return sum(times[1:] or times) / min(devices * len(times[1:] or times), len(boxes))


def _written_bytes(job: Job, result: Result, sides: npt.NDArray[np.int64]) -> int:
    """Returns an upper bound of what the volumes of one organelle take; `sides` are those of the blocks."""
    plan = job.plan.plans[result.model]
    size, _ = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
    shapes = level_shapes(plan.result_box(plan.box).shape, size, plan.chunk_shape)
    # Chunks at the end of a level are as large as all others; what a mask leaves out is missing on the finest alone.
    finest = -(-sides * plan.scale // plan.chunk_shape) + (1 if plan.snapped else 0)
    chunks = int(finest.prod(axis=1).sum()) + sum(
        prod(ceil(n / c) for n, c in zip(shape, plan.chunk_shape, strict=True)) for shape in shapes[1:]
    )
    largest = [share * prod(plan.chunk_shape) + BLOSC_HEADER for share in (1.0, SEGMENTATION_SHARE)]
    return chunks * sum(ceil(each / FILE_UNIT) * FILE_UNIT for each in largest)


def _orientations(job: Job) -> list[str]:
    """Returns what there is to say of blocks that are predicted several times."""
    lines = []
    for model, part in zip(job.ensembles, job.plan.plans, strict=True):
        asked = len(model.orientations(part.tile_shape))
        orders, of_cube = (len(exchangeable(model.card, shape)) for shape in (part.tile_shape, _CUBE))
        missed = model.symmetries == "all" and orders < of_cube
        more = f", not {asked // orders * of_cube}: for those give a write_shape with equal sides" if missed else ""
        if asked > 1:
            lines.append(f"every block is predicted in {asked} orientations{more}")
    return list(dict.fromkeys(lines))


def _reason(job: Job) -> str:
    plan = job.plan
    if plan.plans[0].snapped:
        return "the tiling of the original program"
    if len(plan.write_boxes) == 1:
        return "the whole box at once"
    return "the largest that fit the memory, or as write_shape has it"


def _existing(path: Path) -> Path:
    """Returns the lowest folder on the way to `path` that is there."""
    return next(folder for folder in [path, *path.absolute().parents] if folder.exists())


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
