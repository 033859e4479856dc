"""(seed, index) -> a training crop; batches read ahead of the device.

Crop number i is a function of (seed, i) alone: a Philox generator with this key draws a region, draws a position,
looks at the labels there and, when there is too little foreground, draws again. So any process can make any crop,
and a restart needs nothing but the step number.

The labels of a crop always lie inside the box of their region; what of the crop reaches beyond a box smaller than
it is masked. Raw around them is read where the volume has it and reflected at the volume's edge.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.training.targets import class_target
from asem_jax.volumes.alignment import grid_shift
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.reflect import read_reflected
from asem_jax.volumes.volume import Volume

MAX_DRAWS = 1000  # positions looked at before a crop gives up finding foreground


@dataclass(frozen=True)
class TrainingRegion:
    """A box of a volume with its labels.

    Attributes:
      name: as the config calls it.
      raw: grey values, uint8.
      labels: one volume per organelle, in the order of the output channels; non-zero = organelle.
      mask: non-zero = annotated; None = all of the box is.
      box: the annotated part, in voxels of `raw`.
    """

    name: str
    raw: Volume
    labels: tuple[Volume, ...]
    mask: Volume | None
    box: Box

    def __post_init__(self) -> None:
        if self.raw.dtype != np.uint8:
            raise ValueError(
                f"{self.name}: raw {self.raw.address} has dtype {self.raw.dtype}, training reads uint8; "
                "convert it first (stage convert scales 16-bit and float volumes)."
            )
        if not self.raw.box.contains(self.box) or self.box.num_voxels == 0:
            raise ValueError(
                f"{self.name}: the box {self.box.start} to {self.box.stop} is empty or leaves raw, whose shape is "
                f"{self.raw.shape} (z y x); give start and stop inside it."
            )
        for volume in self._companions():
            box = self.box.shift(grid_shift(volume, self.raw))
            if not volume.box.contains(box):
                raise ValueError(
                    f"{self.name}: {volume.address} covers voxels {volume.box.start} to {volume.box.stop}, the "
                    f"region needs {box.start} to {box.stop} of it; make the region smaller."
                )

    def _companions(self) -> tuple[Volume, ...]:
        return self.labels if self.mask is None else (*self.labels, self.mask)

    @property
    def labelled(self) -> Box:
        """What all the labels cover, in voxels of `raw`; contains `box`."""
        covered = self.raw.box
        for volume in self.labels:
            shift = grid_shift(volume, self.raw)
            covered = covered.intersect(volume.box.shift([-s for s in shift]))
        return covered

    def read_labels(self, box: Box) -> list[npt.NDArray[np.integer]]:
        """Returns the labels of each organelle in `box`, a part of `labelled` (voxels of raw), z y x."""
        return [volume.read(box.shift(grid_shift(volume, self.raw))) for volume in self.labels]

    def read_target(self, box: Box) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Returns target and mask of `box` (voxels of raw), z y x; masked where it leaves the region."""
        inside = box.intersect(self.box)
        target, mask = class_target(self.read_labels(inside))
        if self.mask is not None:
            mask = mask & (self.mask.read(inside.shift(grid_shift(self.mask, self.raw))) != 0)
        margins = tuple(
            (a - b, c - d) for a, b, c, d in zip(inside.start, box.start, box.stop, inside.stop, strict=True)
        )
        return np.pad(target, margins), np.pad(mask, margins)


@dataclass(frozen=True)
class Sampling:
    """How crops are drawn.

    Attributes:
      seed: of all crops of a run.
      input_shape: voxels of raw per crop, z y x.
      output_shape: voxels of target per crop, z y x, centred in it.
      min_foreground: a position with a smaller fraction of foreground may be rejected; ASEM 0.05.
      reject_probability: how often it is; ASEM 0.9.
    """

    seed: int
    input_shape: Int3
    output_shape: Int3
    min_foreground: float
    reject_probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.reject_probability < 1:
            raise ValueError(
                f"reject_probability={self.reject_probability} would never end where foreground is rare; "
                "give at least 0 and less than 1 (ASEM: 0.9)."
            )


@dataclass(frozen=True)
class Crop:
    """A training sample.

    Attributes:
      raw: uint8 `[z, y, x]`, the network's input.
      target: uint8 `[z, y, x]`, channel per voxel of the network's output.
      mask: bool `[z, y, x]`, True = use.
      address: where it lies, for messages.
    """

    raw: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    address: str


def read_crop(regions: Sequence[TrainingRegion], sampling: Sampling, index: int) -> Crop:
    """Returns crop number `index`: the same one whoever asks, whenever.

    Args:
      regions: drawn from in proportion to the voxels of their boxes.
      sampling: how.
      index: not negative.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([sampling.seed, index], np.uint64)))
    sizes = np.array([region.box.num_voxels for region in regions], float)
    for _ in range(MAX_DRAWS):
        region = regions[int(rng.choice(len(regions), p=sizes / sizes.sum()))]
        box = Box.of_shape(sampling.output_shape, _draw_start(region.box, sampling.output_shape, rng))
        target, mask = region.read_target(box)
        foreground = float(((target > 0) & mask).mean())
        if foreground >= sampling.min_foreground or rng.random() >= sampling.reject_probability:
            break
    raw_box = box.grow([(n - m) // 2 for n, m in zip(sampling.input_shape, sampling.output_shape, strict=True)])
    raw = read_reflected(region.raw, raw_box).astype(np.uint8, copy=False)
    return Crop(raw, target, mask, f"{region.name} {box.start} to {box.stop}")


def _draw_start(box: Box, shape: Int3, rng: np.random.Generator) -> list[int]:
    """Draws where `shape` voxels lie in `box`; where they do not fit, the box lies somewhere in them."""
    spare = [b - a - n for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    return [
        a + int(rng.integers(min(0, room), max(0, room), endpoint=True))
        for a, room in zip(box.start, spare, strict=True)
    ]


Batch = Mapping[str, npt.NDArray[np.generic]]


def stack_crops(crops: Sequence[Crop]) -> Batch:
    """Returns the crops as one batch: `raw` uint8 `[b, z, y, x, 1]`, `target` uint8, `mask` bool `[b, z, y, x]`."""
    return {
        "raw": np.stack([crop.raw for crop in crops])[..., None],
        "target": np.stack([crop.target for crop in crops]),
        "mask": np.stack([crop.mask for crop in crops]),
    }


def read_batches(
    regions: Sequence[TrainingRegion],
    sampling: Sampling,
    *,
    first_step: int,
    slots: range,
    batch_size: int,
    batches_ahead: int,
    num_threads: int,
) -> Iterator[tuple[Batch, list[str]]]:
    """Yields the batches of steps `first_step`, `first_step` + 1, ... for ever; reading runs ahead.

    Step s uses the crops s * batch_size .. (s + 1) * batch_size - 1. Host memory is bounded by `batches_ahead` + 1
    batches. Close the generator to stop the threads.

    Args:
      regions: see `read_crop`.
      sampling: see `read_crop`.
      first_step: the step to start at.
      slots: which crops of each batch this process reads.
      batch_size: crops per step over all processes.
      batches_ahead: batches being read while one is used; at least 1.
      num_threads: crops read at a time.

    Yields:
      A batch (see `stack_crops`) and where its crops lie.
    """
    stopped = threading.Event()

    def read(index: int) -> Crop | None:
        return None if stopped.is_set() else read_crop(regions, sampling, index)

    waiting: deque[list[Future[Crop | None]]] = deque()
    step = first_step
    with ThreadPoolExecutor(num_threads, thread_name_prefix="crops") as pool:
        try:
            while True:
                while len(waiting) < batches_ahead:
                    waiting.append([pool.submit(read, step * batch_size + slot) for slot in slots])
                    step += 1
                crops = [crop for future in waiting.popleft() if (crop := future.result()) is not None]
                yield stack_crops(crops), [crop.address for crop in crops]
        finally:
            stopped.set()
