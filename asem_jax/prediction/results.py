"""The volumes of a prediction: made empty, filled block by block, completed.

Of each organelle there are its probability and its segmentation. What no block covers, as the mask or the tiling has
it, is never written: once a prediction is complete, its volumes say that what is absent is 0, and until then such a
gap is an error, as everywhere. Coarser levels are written with the blocks as far as these fill whole chunks of them,
the others in the end, when the volumes also say how they were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax import __version__
from asem_jax.prediction.job import Job, Result
from asem_jax.prediction.planner import scaled
from asem_jax.segmentation.labels import threshold
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.mask import read_mask
from asem_jax.volumes.ngff import ABSENT_IS_ZERO
from asem_jax.volumes.pyramid import GrowingImage, write_pyramid
from asem_jax.volumes.store import Pending
from asem_jax.volumes.volume import Volume, annotate_volume, create_volume, open_volume

VOLUMES = ("probability", "segmentation")


@dataclass(frozen=True)
class Prediction:
    """What is written per organelle.

    Attributes:
      probability: uint8, 255 = 1; of a distance, see `program.organelle_bytes`.
      segmentation: uint8, 1 where the probability reaches the threshold, or, without one, where the organelle is the
        likeliest of those that exclude each other.
    """

    probability: Volume
    segmentation: Volume


Growing = Mapping[str, Mapping[str, GrowingImage]]  # name of the result -> one of VOLUMES -> the image


def create_results(job: Job) -> Growing:
    """Makes, or on a second call opens, the volumes of every organelle."""
    found = {}
    for result in job.results:
        plan, card = job.plan.plans[result.model], job.ensembles[result.model].card
        voxel_size_nm, offset_nm = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
        shape = _block_shape(job, result)
        volumes = {
            name: create_volume(
                f"{result.folder}/{name}",
                shape=plan.result_box(plan.box).shape,
                dtype=np.uint8,
                voxel_size_nm=voxel_size_nm,
                offset_nm=offset_nm,
                chunk_shape=plan.chunk_shape,
                attributes={"raw": job.raw.address, "model": card.to_dict()},
            )
            for name in VOLUMES
        }
        found[result.name] = {
            name: GrowingImage.begin(volume, shape, labels=name == "segmentation") for name, volume in volumes.items()
        }
    return found


def start_writes(job: Job, results: Growing, box: Box, values: Sequence[npt.NDArray[Any]]) -> list[Pending[None]]:
    """Starts to write a block.

    Args:
      job: the prediction.
      results: as `create_results` returned them.
      box: the block, voxels of raw.
      values: of each model what `organelle_bytes` gave for it.
    """
    writes, inside = [], [_inside(job, number, box) for number in range(len(values))]
    for result, images in zip(job.results, results.values(), strict=True):
        said, where = values[result.model], job.plan.plans[result.model].result_box(box)
        probability = said[..., result.place]
        if result.threshold is None:
            found = (said[..., -1] == result.place + 1).astype(np.uint8)
        else:
            found = threshold(probability, result.threshold).astype(np.uint8)
        if (mask := inside[result.model]) is not None:
            probability, found = probability * mask, found * mask
        writes += images["probability"].write_async(where, probability)
        writes += images["segmentation"].write_async(where, found)
    return writes


def complete_results(job: Job, results: Growing, notes: Mapping[str, Any]) -> None:
    """Writes the coarser levels that blocks do not fill, and how the volumes were made.

    Args:
      job: the prediction; all its blocks have landed.
      results: as `create_results` returned them.
      notes: JSON values to keep with the volumes, such as the config.
    """
    fingerprint = job.fingerprint()
    for result in job.results:
        coding = "round(128 tanh + 127)" if result.channel.kind == "distance" else "round(255 probability)"
        made = {"fingerprint": fingerprint, "version": __version__, ABSENT_IS_ZERO: job.leaves_gaps, **notes}
        own: dict[str, dict[str, Any]] = {
            "probability": {"coding": coding},
            "segmentation": {"threshold": result.threshold},
        }
        for name in VOLUMES:
            image = results[result.name][name]
            volume = open_volume(image.finest.address, missing_as_zero=job.leaves_gaps)
            written = GrowingImage.begin(volume, _block_shape(job, result), labels=image.labels).coarse
            write_pyramid(volume, labels=image.labels, written=written)
            annotate_volume(volume, made | own[name])


def reopened(results: Growing) -> dict[str, Prediction]:
    """Returns the volumes opened anew, with what was noted of them since."""
    return {
        name: Prediction(*(open_volume(images[volume].finest.address) for volume in VOLUMES))
        for name, images in results.items()
    }


def _block_shape(job: Job, result: Result) -> Int3 | None:
    """Returns the voxels of the result that a block writes; None where blocks meet anywhere."""
    plan = job.plan.plans[result.model]
    return None if plan.snapped else scaled(Box.of_shape(plan.write_shape), plan.scale).shape


def _inside(job: Job, number: int, box: Box) -> npt.NDArray[np.bool_] | None:
    """Returns which voxels of a block of one model's result lie in the mask; None = all."""
    if job.mask is None:
        return None
    plan = job.plan.plans[number]
    place = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
    inside = read_mask(job.mask, plan.result_box(box), *place)
    return None if inside.all() else inside
