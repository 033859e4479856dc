"""Which way a surface faces near a place: a curved sheet laid through the voxels of a membrane or an envelope."""

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.float64]

_LEAST = 30  # voxels that six numbers are taken from
_ROUNDS = 3


def local_sheet(places_nm: Places, centre_nm: Places) -> tuple[Places, float] | None:
    """Returns the unit normal of a sheet at the foot of a place, and how far the place is above it, nm.

    A parabola of two variables is fitted to the voxels by least squares, in a frame that is turned into its normal and
    laid anew; a sheet of any thickness is taken in its middle. Holes do not matter, nor that one side is missing.

    Args:
      places_nm: voxel centres of the membrane near the place, z y x, [n, 3].
      centre_nm: the place, [3].

    Returns:
      Normal [3], one of the two, and height; None where there are too few voxels, or they are no sheet.

    Example:
      >>> z, y, x = np.meshgrid([2.0], range(9), range(9), indexing="ij")
      >>> sheet = local_sheet(np.stack([z.ravel(), y.ravel(), x.ravel()], 1), np.array([5.0, 4.0, 4.0]))
      >>> np.abs(sheet[0]).round(6).tolist(), round(abs(sheet[1]), 6)
      ([1.0, 0.0, 0.0], 3.0)
    """
    if len(places_nm) < _LEAST:
        return None
    away = places_nm - centre_nm
    normal = np.linalg.eigh(np.cov(away.T))[1][:, 0]
    height = 0.0
    for _ in range(_ROUNDS):
        side, other = frame(normal)
        u, v, h = away @ side, away @ other, away @ normal
        terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)
        found, _, rank, _ = np.linalg.lstsq(terms, h, rcond=None)
        if rank < terms.shape[1]:
            return None
        height = -float(found[0])
        normal = normal - found[1] * side - found[2] * other
        normal /= np.linalg.norm(normal)
    return normal, height


def frame(normal: Places) -> tuple[Places, Places]:
    """Returns two unit vectors across `normal` and each other.

    Example:
      >>> side, other = frame(np.array([1.0, 0.0, 0.0]))
      >>> float(side @ other), abs(float(np.cross(side, other)[0]))
      (0.0, 1.0)
    """
    side = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    side /= np.linalg.norm(side)
    return side, np.cross(normal, side)


def extent_along(normal: Places, voxel_size_nm: Places) -> float:
    """Returns how far a voxel reaches along a direction, nm.

    Example:
      >>> round(extent_along(np.array([0.0, 0.6, 0.8]), np.array([4.0, 4.0, 4.0])), 6)
      5.6
    """
    return float(np.abs(normal) @ voxel_size_nm)


def share_within(height: Places, low: float, high: float, extent: float) -> Places:
    """Returns how much of voxels lies between two heights, 0 to 1: as if each were spread evenly over its extent.

    A layer of any thickness then has its true volume, also where voxels lie in planes along it.

    Args:
      height: of voxel centres, nm, [n].
      low: lower end, nm.
      high: upper end, nm.
      extent: see `extent_along`.

    Example:
      >>> share_within(np.array([-4.0, 0.0, 4.0, 8.0]), -3.0, 3.0, 4.0).tolist()
      [0.25, 1.0, 0.25, 0.0]
    """
    top = np.minimum(height + extent / 2, high)
    bottom = np.maximum(height - extent / 2, low)
    return np.asarray(np.clip(top - bottom, 0, None) / extent, np.float64)
