"""An annotation that is being painted: strokes are added, the region is cut again, and what was found is looked at.

Nothing here knows of a window; `stages/window.py` has one. Laws that hold (and are tested):

* strokes are kept on disk before each cut, so what was painted outlives whatever goes wrong after it;
* what is shown of a section is what the saved labels hold there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.segmentation.annotation import Cut
from asem_jax.segmentation.strokes import Sheet, Strokes, overlaid
from asem_jax.volumes.geometry import Box, Int3, int3


class Sections:
    """What a viewer takes for an array, and reads only where it is looked at.

    Attributes:
      shape: voxels, z y x.
      dtype: of the voxels.
      ndim: 3.
    """

    ndim = 3

    def __init__(self, shape: Int3, dtype: npt.DTypeLike, read: Callable[[Box], npt.NDArray[Any]]) -> None:
        self.shape, self.dtype, self._read = shape, np.dtype(dtype), read

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """Returns what NumPy would: whole numbers, slices with steps of 1, and `...`."""
        given = index if isinstance(index, tuple) else (index,)
        if any(part is Ellipsis for part in given):
            at = next(i for i, part in enumerate(given) if part is Ellipsis)
            given = (*given[:at], *[slice(None)] * (self.ndim + 1 - len(given)), *given[at + 1 :])
        given = (*given, *[slice(None)] * (self.ndim - len(given)))
        whole = [isinstance(part, slice) for part in given]
        spans = [
            range(n)[part] if isinstance(part, slice) else range(n)[int(part) : int(part) + 1 or None]
            for part, n in zip(given, self.shape, strict=True)
        ]
        start = int3([span.start for span in spans], "start")
        stop = int3([max(span.stop, span.start) for span in spans], "stop")
        found = self._read(Box(start, stop))
        return found[tuple(slice(None) if keep else 0 for keep in whole)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Returns all voxels; viewers ask for that in 3D."""
        return self[:, :, :].astype(self.dtype if dtype is None else dtype, copy=False)


class Painting:
    """Strokes on a sheet, and the last cut by them.

    Attributes:
      sheet: to paint on.
      given: strokes from elsewhere below it, or None.
      last: the last cut; None before the first.
    """

    def __init__(
        self, sheet: Sheet, given: Strokes | None, *, cut: Callable[[Strokes], Cut], save: Callable[[Cut], object]
    ) -> None:
        self.sheet, self.given = sheet, given
        self.last: Cut | None = None
        self._cut, self._save = cut, save

    @property
    def strokes(self) -> Strokes:
        """What counts: painted over given."""
        return self.sheet if self.given is None else overlaid(self.given, self.sheet)

    def cut(self) -> str:
        """Keeps the strokes and cuts by them; returns what was found, in words.

        Raises:
          ValueError: strokes of a kind are missing.
        """
        return self._in_words(self._cut_now())

    def save(self) -> str:
        """Cuts by the strokes as they are now, and writes labels and mask; returns what was found, in words.

        Raises:
          ValueError: strokes of a kind are missing.
        """
        cut = self._cut_now()
        self._save(cut)
        return f"saved; {self._in_words(cut)}"

    def found(self, box: Box) -> npt.NDArray[np.uint8]:
        """Returns the labels of a box, uint8 [z, y, x], 1 = object; all 0 before the first cut."""
        return np.zeros(box.shape, np.uint8) if self.last is None else self.last.labels(box)

    def _cut_now(self) -> Cut:
        """Keeps the strokes first, whatever becomes of the cut."""
        self.sheet.keep()
        self.last = self._cut(self.strokes)
        return self.last

    def _in_words(self, cut: Cut) -> str:
        """Returns what a cut found."""
        row = cut.row()
        counts = row["stroked"]
        return (
            f"{row['object_voxels_share']:.1%} of the voxels are object; {counts['object']} supervoxels under object "
            f"strokes, {counts['background']} under background, {counts['both']} under both; {row['seconds_to_cut']} s"
        )
