"""A prediction on the workers of a cluster: what they are told, and what each does with it.

A block comes to a worker with addresses only. The first one makes it open the model and the volumes, which it keeps,
and compile its program.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Lock

from asem_jax.models.checkpoint import load_model
from asem_jax.prediction.ensemble import Ensemble
from asem_jax.prediction.planner import Plan
from asem_jax.prediction.predictor import make_plan, sweep_block
from asem_jax.volumes.blockwise import Workers, run_blocks
from asem_jax.volumes.geometry import Box, Int3
from asem_jax.volumes.ledger import Ledger, Shard
from asem_jax.volumes.volume import Volume, open_volume

_opening = Lock()


@dataclass(frozen=True)
class Order:
    """What a worker has to know; all machines must find the same under these addresses.

    Attributes:
      models: addresses, see `load_model`; the mean of several.
      symmetries: see `Ensemble`.
      raw: address of grey values.
      target: image group to write to, begun by `sweep_volume`.
      box: what is predicted, in voxels of raw.
      write_shape: voxels of raw per block; None until the plan is made, as workers may have other memory.
    """

    models: tuple[str, ...]
    symmetries: str
    raw: str
    target: str
    box: Box
    write_shape: Int3 | None = None


def running_on(workers: Workers, order: Order, *, retries: int, shard: Shard | None) -> Callable[[Plan, Ledger], None]:
    """Returns what `sweep_volume` takes as `run`, so that workers do the blocks.

    Args:
      workers: see `cluster.open_workers`.
      order: what they have to know.
      retries: how many times a block that fails is tried again.
      shard: does only the blocks of a shard.
    """

    def run(plan: Plan, ledger: Ledger) -> None:
        function = partial(predict_block, replace(order, write_shape=plan.write_shape))
        boxes = plan.write_boxes
        run_blocks(function, boxes, label="predict", ledger=ledger, retries=retries, shard=shard, workers=workers)

    return run


def predict_block(order: Order, box: Box) -> None:
    """Predicts and writes one block, in a worker."""
    with _opening:
        model, raw, plan = _opened(order)
    sweep_block(model, raw, order.target, plan, box)


@lru_cache(maxsize=4)
def _opened(order: Order) -> tuple[Ensemble, Volume, Plan]:
    model = Ensemble(tuple(load_model(address) for address in order.models), order.symmetries)
    return model, open_volume(order.raw), make_plan(model, order.box, order.write_shape)
