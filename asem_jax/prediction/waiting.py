"""How long the devices of a sweep stood idle because blocks were not yet read, or not yet written.

The devices are asked for nothing while the program waits for the storage, but they still have what they were given
before. So only that part of a wait counts in which they had finished it: a read that is slow, and yet there in time,
costs nothing. Reads of the first blocks and writes of the last ones count whole.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, Self

import jax

from asem_jax.volumes.geometry import Box

Kind = Literal["reads", "writes"]


class Waiting:
    """A clock of one sweep, used as a context around it.

    Attributes:
      seconds: from the begin of the sweep to its end.
      voxels: of raw that were predicted meanwhile.
      waited: seconds of it in which the devices had nothing to do until reads, or writes, were done.
    """

    def __init__(self) -> None:
        """Makes a clock that does not run yet."""
        self.seconds, self.voxels = 0.0, 0
        self.waited: dict[Kind, float] = {"reads": 0.0, "writes": 0.0}
        self._free: Future[float] = Future()  # when the devices had finished what they were given last

    def __enter__(self) -> Self:
        """Begins; the devices have nothing to do."""
        self._watch = ThreadPoolExecutor(1, thread_name_prefix="devices")
        self._begun = time.perf_counter()
        self._free.set_result(self._begun)
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends."""
        self.seconds = time.perf_counter() - self._begun
        self._watch.shutdown()

    def gave(self, results: Any) -> None:
        """Says that the devices were given work.

        Args:
          results: the arrays that come of it, perhaps not yet computed.
        """
        self._free = self._watch.submit(_time_of, results)

    def landed(self, box: Box) -> None:
        """Says that a block was predicted and written."""
        self.voxels += box.num_voxels

    @contextmanager
    def until(self, kind: Kind) -> Iterator[None]:
        """Counts a wait for the storage, as far as the devices have nothing to do meanwhile."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            if self._free.done():
                self.waited[kind] += max(0.0, end - max(begin, self._free.result()))

    def to_dict(self) -> dict[str, float | int]:
        """Returns the figures as plain values for JSON; shares are of `seconds`."""
        shares = {f"waiting_for_{kind}_share": waited / self.seconds for kind, waited in self.waited.items()}
        return {"seconds": self.seconds, "voxels": self.voxels, **shares}

    def describe(self) -> str:
        """Returns a line for the log."""
        reads, writes = (100 * waited / self.seconds for waited in self.waited.values())
        return (
            f"{self.voxels / 1e6:.3g} Mvoxel in {self.seconds:.0f} s, {self.voxels / self.seconds / 1e6:.2f} Mvoxel/s; "
            f"the devices waited {reads:.1f} % of it for reads, {writes:.1f} % for writes"
        )


def _time_of(results: Any) -> float:
    """Returns when the devices had computed some arrays."""
    jax.block_until_ready(results)
    return time.perf_counter()
