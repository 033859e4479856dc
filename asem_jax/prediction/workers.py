"""A prediction on the workers of a cluster: what they are told, and what each does with it.

A block comes to a worker with addresses only. The first one makes it open the models and the volumes, which it keeps,
and compile its program.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Lock

from asem_jax.models.checkpoint import load_model
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.job import Job, make_job
from asem_jax.prediction.predictor import sweep_block
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.ledger import Ledger, Shard
from asem_jax.volumes.volume import open_volume

_opening = Lock()


@dataclass(frozen=True)
class Order:
    """What a worker has to know; all machines must find the same under these addresses.

    Attributes:
      models: name and addresses of each, see `load_model`; several addresses = their mean.
      symmetries: see `Ensemble`.
      raw: address of grey values.
      target: image group to write to, begun by `sweep_volume`.
      box: what is predicted, in voxels of raw.
      mask: address; None = everything is wanted.
      thresholds: name of a result and its threshold, see `Job`.
      tiling: see `make_job`.
      equalisation: see `Job`.
      write_shape: voxels of raw per block; None until the plan is made, as workers may have other memory.
    """

    models: tuple[tuple[str, tuple[str, ...]], ...]
    symmetries: str
    raw: str
    target: str
    box: Box
    mask: str | None
    thresholds: tuple[tuple[str, float], ...]
    tiling: str
    equalisation: Equalisation | None = None
    write_shape: Int3 | None = None


def job_of(order: Order) -> Job:
    """Returns the job that an order speaks of, its models and volumes opened."""
    models = {
        name: Ensemble(tuple(load_model(address) for address in addresses), order.symmetries)
        for name, addresses in order.models
    }
    mask = None if order.mask is None else open_volume(order.mask, missing_as_zero=True)
    return make_job(
        models,
        open_volume(order.raw),
        order.target,
        box=order.box,
        write_shape=order.write_shape,
        mask=mask,
        thresholds=dict(order.thresholds),
        tiling=order.tiling,
        equalisation=order.equalisation,
    )


def running_on(workers: Workers, order: Order, *, retries: int, shard: Shard | None) -> Callable[[Job, Ledger], None]:
    """Returns what `sweep_volume` takes as `run`, so that workers do the blocks.

    Args:
      workers: see `cluster.open_workers`.
      order: what they have to know.
      retries: how many times a block that fails is tried again.
      shard: does only the blocks of a shard.
    """

    def run(job: Job, ledger: Ledger) -> None:
        function = partial(predict_block, replace(order, write_shape=job.plan.write_shape))
        boxes = job.write_boxes
        run_blocks(function, boxes, label="predict", ledger=ledger, retries=retries, shard=shard, workers=workers)

    return run


def predict_block(order: Order, box: Box) -> None:
    """Predicts and writes one block, in a worker."""
    with _opening:
        job = _opened(order)
    sweep_block(job, box)


@lru_cache(maxsize=4)
def _opened(order: Order) -> Job:
    return job_of(order)
