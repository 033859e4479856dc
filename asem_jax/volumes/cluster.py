"""Workers beyond this process: those of a Dask cluster take the blocks of `run_blocks` instead of threads.

Dask brings blocks to workers and runs those of a lost worker again; the ledger stays with the process that began the
job. So nothing here is a scheduler: the four ways to get workers differ only in who starts them.
"""

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from asem_jax.volumes.blockwise import Workers

BLOCKS_PER_THREAD = 2  # given to a cluster: one in work, one waiting, so that no worker waits for the next


@contextmanager
def open_workers(cluster: Mapping[str, Any] | None) -> Iterator[Workers | None]:
    """Starts workers, or finds them, and lets them go at the end of the context.

    Args:
      cluster: the section described in `settings.volumes.CLUSTER`; None = no workers, blocks run in threads here.

    Yields:
      What to give to `run_blocks`.

    Raises:
      ImportError: Dask is not installed.
      ValueError: the section asks for no workers.
    """
    if cluster is None:
        yield None
        return
    count, threads = cluster["num_workers"], cluster["threads_per_worker"]
    starts_some = cluster["address"] in ("local", "slurm", "lsf")
    if starts_some != (count is not None) or (starts_some and count < 1) or threads < 1:
        raise ValueError(
            f"cluster.address={cluster['address']!r} with num_workers={count}, threads_per_worker={threads}; give at "
            "least 1 of each, and num_workers=None only with the address of a running scheduler."
        )
    with ExitStack() as stack:
        client = stack.enter_context(_client(cluster, stack))
        client.wait_for_workers(1)
        num_threads = count * threads if starts_some else sum(client.nthreads().values())
        # pure: Dask would answer a block that is tried again with the error that it remembers.
        executor = stack.enter_context(client.get_executor(pure=False))
        yield Workers(executor, BLOCKS_PER_THREAD * num_threads)


@contextmanager
def shared(function: Callable[[Any], Any], folder: Path, workers: Workers | None) -> Iterator[Callable[[Any], Any]]:
    """Makes a function small to send: each worker reads it, with the arrays and volumes it refers to, once.

    Args:
      function: of a block.
      folder: where it lies until the end of the context; all workers see it.
      workers: those that are given it; None = it stays as it is.

    Yields:
      What to give to `run_blocks` instead.
    """
    if workers is None:
        yield function
        return
    import cloudpickle  # comes with Dask; unlike pickle it takes functions that are defined in others

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid4().hex}.pickle"  # a new name, as workers may outlive a job and remember the old one
    path.write_bytes(cloudpickle.dumps(function))
    try:
        yield partial(_run_shared, path)
    finally:
        path.unlink()


def _run_shared(path: Path, block: Any) -> Any:
    return _read_shared(path)(block)


@lru_cache(maxsize=1)
def _read_shared(path: Path) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = pickle.loads(path.read_bytes())
    return function


def _client(cluster: Mapping[str, Any], stack: ExitStack) -> Any:
    """Returns a connection to the workers, after starting them where they have to be."""
    address, count, threads = cluster["address"], cluster["num_workers"], cluster["threads_per_worker"]
    try:
        import distributed

        logging.getLogger("distributed").setLevel(logging.WARNING)
        if address == "local":
            return distributed.Client(
                n_workers=count,
                threads_per_worker=threads,
                memory_limit=cluster["memory"] or 0,
                dashboard_address=None,
            )
        if address not in ("slurm", "lsf"):
            return distributed.Client(address)
        import dask_jobqueue
    except ImportError as error:
        raise ImportError(
            f'cluster.address={address!r} needs Dask ({error}); pip install "asem_jax[dask]", or give cluster=None.'
        ) from error
    kind = dask_jobqueue.SLURMCluster if address == "slurm" else dask_jobqueue.LSFCluster
    jobs = stack.enter_context(
        kind(
            processes=1,
            cores=cluster["cores"],
            memory=cluster["memory"],
            walltime=cluster["walltime"],
            job_extra_directives=list(cluster["directives"]),
            worker_extra_args=["--nthreads", str(threads)],
            scheduler_options={"dashboard_address": None},
        )
    )
    jobs.scale(jobs=count)
    return distributed.Client(jobs)
