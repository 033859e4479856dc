"""MRC files, read: as IMOD, SerialEM and Amira write them, through a memory map of its own for each read.

The header states the size of the box in Å and how many voxels it has, so the voxel size, and where it begins
(`origin`). Bytes of mode 0 are signed by the standard; files of IMOD say which they are, and are followed.

Source: https://www.ccpem.ac.uk/mrc_format/mrc2014.php; IMOD's mrc_format.html (imodStamp, imodFlags).
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from asem_jax.volumes.axes import AxisOrder, find_axes
from asem_jax.volumes.geometry import Box, Float3, Int3, float3, int3

SUFFIXES = (".mrc", ".rec", ".st", ".map", ".ali")
NM_PER_ANGSTROM = 0.1
IMOD_STAMP = 1146047817
IMOD_PLACE = 40  # bytes of the stamp and the flags in the header's field `extra2`
SIGNED = 1  # bit of the flags
DIGITS = 6  # that 32-bit numbers of the header are good for


@dataclass(frozen=True)
class MrcFile:
    """An MRC file, found and checked, not yet read.

    Attributes:
      address: as the user wrote it.
      dtype: of the voxels.
      voxel_size_nm: z y x; None if the header does not state it.
      offset_nm: where the first voxel lies, z y x; None if the header does not state it.
      stored: dtype of the file.
      stored_shape: voxels, in the order of the file.
      start: byte at which they begin.
      order: where z, y, x are in the file.
    """

    address: str
    dtype: np.dtype[Any]
    voxel_size_nm: Float3 | None
    offset_nm: Float3 | None
    stored: np.dtype[Any] = field(repr=False, compare=False)
    stored_shape: Int3 = field(repr=False, compare=False)
    start: int = field(repr=False, compare=False)
    order: AxisOrder = field(repr=False, compare=False)

    @property
    def shape(self) -> Int3:
        """Voxels, z y x."""
        return self.order.shape

    @property
    def chunk_shape(self) -> Int3:
        """A section."""
        return 1, *self.shape[1:]

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Returns the voxels of `box`, [z, y, x]."""
        # Pages that were read count as memory of the process for as long as they are mapped.
        voxels = np.memmap(self.address, self.stored, "r", self.start, self.stored_shape)
        stored = voxels[self.order.index(box)]
        return self.order.arrange(np.array(stored.view(self.dtype.newbyteorder(stored.dtype.byteorder)), self.dtype))


def is_mrc(address: str | Path) -> bool:
    """Says whether `address` is written like an MRC file.

    Example:
      >>> is_mrc("cell.MRC"), is_mrc("cell.tif")
      (True, False)
    """
    return Path(address).suffix.lower() in SUFFIXES


def open_mrc(address: str | Path) -> MrcFile:
    """Finds and checks a file.

    Args:
      address: of the file.

    Raises:
      FileNotFoundError: it is not there.
      ValueError: it is damaged, or no volume.
    """
    path = Path(address)
    if not path.is_file():
        raise FileNotFoundError(f"{address} is not there; give an MRC file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of harmless oddities in the header
            file = mrcfile.mmap(path, mode="r")
    except (ValueError, OSError, OverflowError) as error:
        raise ValueError(f"{address} is no MRC file, or a damaged one ({error}); copy or export it anew.") from error
    header, voxels = file.header, file.data
    if voxels.dtype.kind == "c":
        raise ValueError(f"{address} holds complex numbers (mode {header.mode}, a transform); give the volume itself.")
    axes = _axes(header, str(address))
    stored_shape = voxels.shape if voxels.ndim == 3 else (1, *voxels.shape)
    order = find_axes(axes, stored_shape, None, str(address))
    size = _numbers(file.voxel_size)
    stated = all(side > 0 or side != side for side in size)  # 0 = unknown; what is no number is refused later
    offset = _numbers(header.origin)
    kind = np.dtype(np.uint8) if _is_unsigned(header) else voxels.dtype.newbyteorder("=")
    return MrcFile(
        str(address),
        kind,
        size if stated else None,
        offset if any(offset) else None,
        voxels.dtype,
        int3(stored_shape, "shape"),
        voxels.offset,
        order,
    )


def _axes(header: Any, address: str) -> str:
    """Returns the letters of the stored axes, slowest first."""
    numbers = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    if not any(numbers):
        return "zyx"
    if sorted(numbers) != [1, 2, 3]:
        raise ValueError(
            f"{address} has the axes {numbers} (maps, mapr, mapc), not 3, 2, 1 in some order; export anew."
        )
    return "".join("xyz"[number - 1] for number in numbers)


def _numbers(record: Any) -> Float3:
    """Returns three lengths of the header in nm, z y x."""
    return float3([float(f"{float(record[axis]) * NM_PER_ANGSTROM:.{DIGITS}g}") for axis in "zyx"], "header")


def _is_unsigned(header: Any) -> bool:
    """Says whether IMOD wrote bytes that are not signed."""
    if int(header.mode) != 0:
        return False
    order = header.mode.dtype.byteorder
    stamp, flags = np.frombuffer(header.extra2.tobytes(), np.dtype(np.int32).newbyteorder(order), 2, IMOD_PLACE)
    return bool(stamp == IMOD_STAMP and not flags & SIGNED)
