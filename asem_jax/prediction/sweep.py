"""A sweep through a volume: blocks are read, predicted and written, and each is answered for.

Reading runs ahead of the devices and writing behind them, so a block that cannot be read or written must not stop the
others: it is predicted from zeros and not written, or its write fails alone, and the agenda has it come again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.prediction.waiting import Waiting
from asem_jax.volumes.blockwise import Agenda
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.store import Pending

WRITES_BEHIND = 2  # blocks that are being written while others are predicted

Read = Callable[[Box], npt.NDArray[np.generic]]
Predict = Callable[..., Iterator[tuple[Box, Any]]]
Write = Callable[[Box, Any], Sequence[Pending[None]]]


def sweep(
    agenda: Agenda[Box],
    read: Read,
    *,
    tile_box: Callable[[Box], Box],
    predict: Predict,
    write: Write,
    waiting: Waiting,
) -> None:
    """Does the blocks of an agenda; each is done when its voxels have landed.

    Args:
      agenda: of write boxes.
      read: gives raw for any box, uint8 z y x.
      tile_box: what is read for a write box.
      predict: maps `read` and `write_boxes` to each box with what is written of it, in their order.
      write: starts to write that.
      waiting: the clock of this sweep; `predict` tells it of devices and reads.
    """
    for blocks in agenda.rounds():
        _Round(agenda, read, tile_box, waiting).run(blocks, predict, write)


class _Round:
    """The blocks of one round that are under way."""

    def __init__(self, agenda: Agenda[Box], read: Read, tile_box: Callable[[Box], Box], waiting: Waiting) -> None:
        self._agenda, self._read, self._tile_box, self._waiting = agenda, read, tile_box, waiting
        self._indices: deque[int] = deque()
        self._unread: dict[Box, Exception] = {}
        self._landing: deque[tuple[int, Box, Sequence[Pending[None]]]] = deque()

    def run(self, blocks: Iterable[tuple[int, Box]], predict: Predict, write: Write) -> None:
        for box, values in predict(read=self._read_or_note, write_boxes=self._boxes(blocks)):
            index, error = self._indices.popleft(), self._unread.pop(self._tile_box(box), None)
            if error is not None:
                self._agenda.failed(index, error)
                continue
            self._landing.append((index, box, write(box, values)))
            if len(self._landing) > WRITES_BEHIND:
                self._land()
        while self._landing:
            self._land()

    def _boxes(self, blocks: Iterable[tuple[int, Box]]) -> Iterator[Box]:
        for index, box in blocks:
            self._indices.append(index)
            yield box

    def _read_or_note(self, tile: Box) -> npt.NDArray[np.generic]:
        try:
            return self._read(tile)
        except Exception as error:  # its block is answered for when its turn to be written comes
            self._unread[tile] = error
            return np.zeros(tile.shape, np.uint8)

    def _land(self) -> None:
        index, box, writes = self._landing.popleft()
        try:
            with self._waiting.until("writes"):
                for pending in writes:
                    pending.result()
        except Exception as error:
            self._agenda.failed(index, error)
        else:
            self._agenda.done(index)
            self._waiting.landed(box)
