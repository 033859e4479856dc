"""A prediction on workers: what they are told survives the way there, and gives the same result."""

import pickle
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints, load_model
from asem_jax.prediction import workers as module
from asem_jax.prediction.job import make_job
from asem_jax.prediction.predictor import sweep_volume
from asem_jax.prediction.workers import Order, running_on
from asem_jax.volumes.blockwise import Workers
from asem_jax.volumes.clahe import Equalisation
from asem_jax.volumes.ledger import Shard
from tests.phantoms import balls, small_model, write_volume

RAW = balls((30, 40, 46))[0]
BLOCKS = (16, 16, 16)


class Elsewhere(ThreadPoolExecutor):
    """Threads that are given what another process would be given."""

    def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Future[Any]:
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return super().submit(function, *arguments, **more)


def test_workers_write_what_one_process_writes_and_open_the_model_once(tmp_path: Path, monkeypatch: Any) -> None:
    model = small_model()
    with Checkpoints(tmp_path) as checkpoints:
        state = {"params": model.params, "step": jnp.zeros((), jnp.int32)}
        checkpoints.save(1, state, config={}, card=model.card, score=NOT_VALIDATED)
    raw, opened = write_volume(tmp_path / "cell.zarr/raw", RAW), []
    monkeypatch.setattr(module, "load_model", lambda address: opened.append(address) or load_model(address))
    how, target = Equalisation((16, 16, 16), 0.02), f"{tmp_path}/cell.zarr/b"
    first = make_job(model, raw, f"{tmp_path}/cell.zarr/a", write_shape=BLOCKS, equalisation=how)
    expected = sweep_volume(first)["mito"]
    order = Order((("", (str(tmp_path),)),), "none", raw.address, target, raw.box, None, (), "seamless", how)
    job = replace(first, address=target)
    with Elsewhere(2) as executor:
        for shard in (Shard(1, 2), None):
            run = running_on(Workers(executor, 3), order, retries=0, shard=shard)
            found = sweep_volume(job, shard=shard, run=run)["mito"]
    for name in ("probability", "segmentation"):
        np.testing.assert_array_equal(getattr(found, name).read(raw.box), getattr(expected, name).read(raw.box))
    assert opened == [str(tmp_path)]
    assert len((tmp_path / "cell.zarr/b/ledger.1-of-2.jsonl").read_text().splitlines()) == 1 + 9
    assert len((tmp_path / "cell.zarr/b/ledger.jsonl").read_text().splitlines()) == 1 + 9 + 1
