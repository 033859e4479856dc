"""(seed, index) -> a training crop; batches read ahead of the device.

Crop number i is a function of (seed, i) alone: a Philox generator with this key draws a region, draws a position,
looks at the labels there and, when there is too little foreground, draws again. So any process can make any crop,
and a restart needs nothing but the step number.

The labels of a crop always lie inside the box of their region; what of the crop reaches beyond a box smaller than
it is unknown. Raw around them is read where the volume has it and reflected at the volume's edge.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.training.regions import TrainingRegion, is_foreground
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.reflect import read_reflected

MAX_DRAWS = 1000  # positions looked at before a crop gives up finding foreground


@dataclass(frozen=True)
class Sampling:
    """How crops are drawn.

    Attributes:
      seed: of all crops of a run.
      input_shape: voxels of raw per crop, z y x.
      output_shape: voxels that the network predicts of it, z y x, centred.
      min_foreground: a position with a smaller fraction of foreground may be rejected; ASEM 0.05.
      reject_probability: how often it is; ASEM 0.9.
      margin: voxels of raw on each side beyond input_shape, z y x, that its deformation may look up; see
        `elastic.margin`. It changes neither where crops lie nor what counts as their foreground.
      label_margin: voxels of labels on each side beyond output_shape; unknown where they leave the region.
      label_padding: voxels of labels on each side, z y x, that the targets of the output depend on, read beside
        label_margin; see `targets.label_padding`.
      min_known: a position where a smaller fraction is annotated may be rejected as well; ASEM 0.75.
      favoured: an organelle; None = all regions are drawn alike.
      favoured_probability: how often a crop comes from the regions that have labels of it, otherwise from the others.
      only: number of the crop that stands for all of them, to see whether a network can learn it; None = all differ.
    """

    seed: int
    input_shape: Int3
    output_shape: Int3
    min_foreground: float
    reject_probability: float
    margin: Int3 = (0, 0, 0)
    label_margin: Int3 = (0, 0, 0)
    label_padding: Int3 = (0, 0, 0)
    min_known: float = 0.0
    favoured: str | None = None
    favoured_probability: float = 0.5
    only: int | None = None

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
      raw: uint8 `[z, y, x]`, the network's input and the margin of raw.
      members: `[z, y, x, c]`, 1 where a voxel belongs to a channel, see `TrainingRegion.read_members`; of the network's
        output with the padding and the margin of labels.
      known: bool `[z, y, x, c]`, True = that is annotated.
      address: where it lies, for messages.
    """

    raw: npt.NDArray[np.uint8]
    members: npt.NDArray[np.integer]
    known: npt.NDArray[np.bool_]
    address: str


def read_crop(regions: Sequence[TrainingRegion], sampling: Sampling, index: int) -> Crop:
    """Returns crop number `index`: the same one whoever asks, whenever.

    Args:
      regions: drawn from in proportion to the voxels of their boxes, or to their weights.
      sampling: how.
      index: not negative.
    """
    number = index if sampling.only is None else sampling.only
    rng = np.random.Generator(np.random.Philox(key=np.array([sampling.seed, number], np.uint64)))
    shares = region_shares(regions, sampling.favoured, sampling.favoured_probability)
    for _ in range(MAX_DRAWS):
        region = regions[int(rng.choice(len(regions), p=shares))]
        box = Box.of_shape(sampling.output_shape, _draw_start(region.box, sampling.output_shape, rng))
        members, known = region.read_members(box)
        enough = is_foreground(region.channels, members, known).mean() >= sampling.min_foreground
        enough = enough and known.any(-1).mean() >= sampling.min_known
        if enough or rng.random() >= sampling.reject_probability:
            break
    if any(sampling.label_margin + sampling.label_padding):
        members, known = region.read_members(box.grow(sampling.label_margin).grow(sampling.label_padding))
    context = [(n - m) // 2 for n, m in zip(sampling.input_shape, sampling.output_shape, strict=True)]
    raw_box = box.grow(context).grow(sampling.margin)
    raw = read_reflected(region.raw, raw_box).astype(np.uint8, copy=False)
    return Crop(raw, members, known, f"{region.name} {box.start} to {box.stop}")


def region_shares(
    regions: Sequence[TrainingRegion], favoured: str | None, favoured_probability: float
) -> npt.NDArray[np.float64]:
    """Returns how likely each region is drawn.

    Args:
      regions: all with a weight, or none.
      favoured: see `Sampling`.
      favoured_probability: see `Sampling`.

    Raises:
      ValueError: only some have a weight, one is not positive, or none has labels of the favoured organelle.
    """
    weights = [region.weight for region in regions]
    if any(weight is not None and weight <= 0 for weight in weights) or len({weight is None for weight in weights}) > 1:
        given = ", ".join(f"{region.name} {region.weight}" for region in regions)
        raise ValueError(f"the weights of the regions are {given}; give a positive one to each, or to none.")
    sizes = np.array([region.weight or region.box.num_voxels for region in regions], float)
    shares = sizes / sizes.sum()
    if favoured is None:
        return shares
    chosen = np.array([region.has_labels_of(favoured) for region in regions])
    if not chosen.any():
        raise ValueError(f"favoured={favoured!r}: no region has labels of it; name an organelle that one has.")
    if chosen.all():
        return shares
    groups = np.where(chosen, shares / shares[chosen].sum(), shares / shares[~chosen].sum())
    return groups * np.where(chosen, favoured_probability, 1 - favoured_probability)


def _draw_start(box: Box, shape: Int3, rng: np.random.Generator) -> list[int]:
    """Draws where `shape` voxels lie in `box`; where they do not fit, the box lies somewhere in them."""
    spare = [b - a - n for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    return [
        a + int(rng.integers(min(0, room), max(0, room), endpoint=True))
        for a, room in zip(box.start, spare, strict=True)
    ]


Batch = Mapping[str, npt.NDArray[np.generic]]


def stack_crops(crops: Sequence[Crop]) -> Batch:
    """Returns the crops as one batch: `raw` uint8 `[b, z, y, x, 1]`, `members` and `known` `[b, z, y, x, c]`."""
    return {
        "raw": np.stack([crop.raw for crop in crops])[..., None],
        "members": np.stack([crop.members for crop in crops]),
        "known": np.stack([crop.known for crop in crops]),
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
