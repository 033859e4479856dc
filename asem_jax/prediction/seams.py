"""Whether blocks leave seams: a region predicted whole and in blocks, and how much the two differ.

Blocks of one shape give the same bits in any order on a CPU. A block and the whole differ by the rounding of sums
that are added up in another order: some 1e-6 in float32. What is more than the bounds here is a seam.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asem_jax.models.shapes import stride
from asem_jax.prediction.job import Job
from asem_jax.prediction.planner import SharedPlan, plan_shared
from asem_jax.prediction.predictor import predict_together
from asem_jax.prediction.program import all_outputs
from asem_jax.volumes.geometry import Box, Int3

BOUNDS = {"float32": 1e-4, "bfloat16": 0.05}
"""Of the difference of two probabilities, by the type of the network's arithmetic."""


@dataclass(frozen=True)
class Seams:
    """The largest differences in a region, over all outputs of all models.

    Attributes:
      start: first voxel of the region, voxels of raw, z y x.
      stop: one past the last.
      write_shape: voxels per block.
      num_blocks: of the region.
      whole_to_blocks: largest difference between the region predicted whole and in blocks, probability 0 to 1.
      order: largest difference between blocks in one order and in the opposite one.
      bound: what `whole_to_blocks` may be.
      has_none: whether both are as they should be; of the order, that is 0.
    """

    start: Int3
    stop: Int3
    write_shape: Int3
    num_blocks: int
    whole_to_blocks: float
    order: float
    bound: float
    has_none: bool


def measure_seams(job: Job, region: Box) -> Seams:
    """Predicts a region of a job three times: whole, in blocks, and in blocks from the last to the first.

    Args:
      job: the prediction; its blocks are used, halved along axes where the region holds fewer than two.
      region: voxels of raw; it must fit the memory at once.

    Raises:
      ValueError: the region leaves raw, or is too small for two blocks.
    """
    if not job.raw.box.contains(region):
        raise ValueError(f"seams: {region.start} to {region.stop} leaves raw of shape {job.raw.shape}; give less.")
    architectures = [model.card.architecture for model in job.ensembles]
    steps = [stride(architecture) for architecture in architectures]
    unit = [int(np.lcm.reduce(axis)) for axis in zip(*steps, strict=True)]
    halves = [-(-n // (2 * s)) * s for n, s in zip(region.shape, unit, strict=True)]
    sides = [min(pair) for pair in zip(job.plan.write_shape, halves, strict=True)]
    blocks = plan_shared(region, architectures, sides)
    if len(blocks.write_boxes) < 2:
        raise ValueError(f"seams: a region of {region.shape} voxels is one block of {tuple(sides)}; give a larger one.")
    whole = plan_shared(region, architectures, [-(-n // s) * s for n, s in zip(region.shape, unit, strict=True)])
    expected = _predict(job, whole, whole.write_boxes)
    found = _predict(job, blocks, blocks.write_boxes)
    backwards = _predict(job, blocks, blocks.write_boxes[::-1])
    difference, order = _largest(expected, found), _largest(found, backwards)
    bound = max(BOUNDS[model.card.compute_dtype] for model in job.ensembles)
    return Seams(
        region.start,
        region.stop,
        blocks.write_shape,
        len(blocks.write_boxes),
        difference,
        order,
        bound,
        difference <= bound and order == 0,
    )


def _predict(job: Job, plan: SharedPlan, boxes: Sequence[Box]) -> list[npt.NDArray[np.floating]]:
    """Returns the probabilities of a region, of each model, float32 `[z, y, x, c]`."""
    found: list[npt.NDArray[np.floating]] = [
        np.full((*part.result_box(plan.box).shape, len(model.card.channels)), np.nan, np.float32)
        for model, part in zip(job.ensembles, plan.plans, strict=True)
    ]
    for box, values in predict_together(job.ensembles, job.read, plan, boxes, all_outputs):
        for array, part, value in zip(found, plan.plans, values, strict=True):
            array[part.result_box(box).slices] = value
    return found


def _largest(a: Sequence[npt.NDArray[np.floating]], b: Sequence[npt.NDArray[np.floating]]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(a, b, strict=True))
