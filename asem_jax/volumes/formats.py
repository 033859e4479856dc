"""Which reader a source needs, told from its address: TIFF, HDF5, MRC, or a container that `open_volume` knows."""

from collections.abc import Sequence
from pathlib import Path

from asem_jax.volumes.hdf5 import is_hdf5, open_hdf5
from asem_jax.volumes.mrc import is_mrc, open_mrc
from asem_jax.volumes.remote import is_remote
from asem_jax.volumes.sections import SUFFIXES
from asem_jax.volumes.source import Source, check_source
from asem_jax.volumes.tiff import is_tiff, open_stack
from asem_jax.volumes.volume import open_volume

FORMATS = "a TIFF file or a folder of them, an HDF5 file and its dataset, an MRC file, OME-Zarr, N5 or precomputed"


def open_source(
    address: str,
    *,
    allow_gaps: bool = False,
    level: int = 0,
    channel: int | None = None,
    axes: str = "",
    voxel_size_nm: Sequence[float] | None = None,
) -> Source:
    """Finds and checks what lies at an address; reads no voxels, but those that show whether they can be decoded.

    Args:
      address: a TIFF file or a folder of sections, a dataset "file.h5/name", an MRC file, or an image in OME-Zarr,
        zarr, N5 or neuroglancer's precomputed format, on disk or over the network.
      allow_gaps: accept missing sections of a folder, and read chunks of zarr that nobody wrote as 0.
      level: which resolution, of an image that has several.
      channel: which one, of an image that has several.
      axes: letters of the stored axes, of HDF5 and plain arrays that do not name them.
      voxel_size_nm: of arrays that do not state it, z y x.

    Raises:
      FileNotFoundError: nothing is there.
      ValueError: it is damaged, or no volume.
    """
    address = address.rstrip("/") if is_remote(address) else address
    is_file = is_tiff(address) or is_hdf5(address) or is_mrc(address)
    if is_file and is_remote(address):
        raise ValueError(
            f"{address} is a file on a server; over the network OME-Zarr, N5 and precomputed are read: download it."
        )
    source: Source
    if is_hdf5(address):
        _check_unused(address, level=level or None)
        source = open_hdf5(address, channel=channel, axes=axes)
    elif is_mrc(address):
        _check_unused(address, level=level or None, channel=channel, axes=axes or None)
        source = open_mrc(address)
    elif is_tiff(address) or _holds_sections(address):
        _check_unused(address, level=level or None, channel=channel, axes=axes or None)
        source = open_stack(address, allow_gaps=allow_gaps)
    elif Path(address).is_file():
        raise ValueError(f"{address} is of no format that is read; give {FORMATS}.")
    else:
        source = open_volume(
            address, level=level, missing_as_zero=allow_gaps, channel=channel, axes=axes, voxel_size_nm=voxel_size_nm
        )
    check_source(source)
    return source


def _check_unused(address: str, **choices: int | str | None) -> None:
    """Raises if something is chosen that the format of an address does not have."""
    given = {name: value for name, value in choices.items() if value is not None}
    if given:
        text = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ValueError(f"{address}: {text} means nothing for a file of this kind; leave it out (None, level 0).")


def _holds_sections(address: str) -> bool:
    """Says whether an address is a folder with TIFF files in it."""
    folder = Path(address)
    return folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
