"""The volumes of a prediction: made empty, filled block by block, completed.

Of each organelle there are its probability and its segmentation. What no block covers, as the mask or the tiling has
it, is never written: once a prediction is complete, its volumes say that what is absent is 0, and until then such a
gap is an error, as everywhere. Only then do they get their coarser levels and say how they were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax import __version__
from asem_jax.prediction.job import Job
from asem_jax.prediction.mask import read_mask
from asem_jax.segmentation.labels import threshold
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.ngff import ABSENT_IS_ZERO
from asem_jax.volumes.pyramid import write_pyramid
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


def create_results(job: Job) -> dict[str, Prediction]:
    """Makes, or on a second call opens, the volumes of every organelle."""
    found = {}
    for result in job.results:
        plan, card = job.plan.plans[result.model], job.ensembles[result.model].card
        voxel_size_nm, offset_nm = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
        volumes = [
            create_volume(
                f"{result.folder}/{name}",
                shape=plan.result_box(plan.box).shape,
                dtype=np.uint8,
                voxel_size_nm=voxel_size_nm,
                offset_nm=offset_nm,
                chunk_shape=plan.chunk_shape,
                attributes={"raw": job.raw.address, "model": card.to_dict()},
            )
            for name in VOLUMES
        ]
        found[result.name] = Prediction(*volumes)
    return found


def start_writes(
    job: Job, results: Mapping[str, Prediction], box: Box, values: Sequence[npt.NDArray[Any]]
) -> list[Pending[None]]:
    """Starts to write a block.

    Args:
      job: the prediction.
      results: as `create_results` returned them.
      box: the block, voxels of raw.
      values: of each model what `organelle_bytes` gave for it.
    """
    writes, inside = [], [_inside(job, number, box) for number in range(len(values))]
    for result, prediction in zip(job.results, results.values(), strict=True):
        said, where = values[result.model], job.plan.plans[result.model].result_box(box)
        probability = said[..., result.place]
        if result.threshold is None:
            found = (said[..., -1] == result.place + 1).astype(np.uint8)
        else:
            found = threshold(probability, result.threshold).astype(np.uint8)
        if (mask := inside[result.model]) is not None:
            probability, found = probability * mask, found * mask
        writes.append(prediction.probability.write_async(where, probability))
        writes.append(prediction.segmentation.write_async(where, found))
    return writes


def complete_results(job: Job, results: Mapping[str, Prediction], notes: Mapping[str, Any]) -> dict[str, Prediction]:
    """Writes the coarser levels, and how the volumes were made; returns them opened anew.

    Args:
      job: the prediction; all its blocks have landed.
      results: as `create_results` returned them.
      notes: JSON values to keep with the volumes, such as the config.
    """
    fingerprint = job.fingerprint()
    complete = {}
    for result in job.results:
        coding = "round(128 tanh + 127)" if result.channel.kind == "distance" else "round(255 probability)"
        made = {"fingerprint": fingerprint, "version": __version__, ABSENT_IS_ZERO: job.leaves_gaps, **notes}
        own: dict[str, dict[str, Any]] = {
            "probability": {"coding": coding},
            "segmentation": {"threshold": result.threshold},
        }
        volumes = []
        for name in VOLUMES:
            volume = open_volume(getattr(results[result.name], name).address, missing_as_zero=job.leaves_gaps)
            write_pyramid(volume, labels=name == "segmentation")
            volumes.append(annotate_volume(volume, made | own[name]))
        complete[result.name] = Prediction(*volumes)
    return complete


def _inside(job: Job, number: int, box: Box) -> npt.NDArray[np.bool_] | None:
    """Returns which voxels of a block of one model's result lie in the mask; None = all."""
    if job.mask is None:
        return None
    plan = job.plan.plans[number]
    place = plan.result_place(job.raw.voxel_size_nm, job.raw.offset_nm)
    inside = read_mask(job.mask, plan.result_box(box), *place)
    return None if inside.all() else inside
