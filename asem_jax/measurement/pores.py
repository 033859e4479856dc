"""Nuclear pores on their envelope: the diameter of each, and how far its neighbours are.

The diameter is that of the hole in a plane along the envelope. The normal of the envelope comes from its voxels around
the pore (`normals`), or without an envelope from the pore, as its shortest axis. Of the pore's voxels the middle half
of its height counts, projected along the normal: its volume over its thickness is the area of the section. The circle
of that area has the `diameter_nm`; the ellipse with the section's second moments has the axes `long_nm` and `short_nm`.
A tilt of the normal changes a section by its square only; the outline of the projected pore would grow with the tilt.

Source for the study: Gallusser et al., Journal of Cell Biology 222(2) (2023), nuclear pores of HPF cells.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from asem_jax.measurement.morphometry import box_of, of_length, places_nm
from asem_jax.measurement.normals import Places, extent_along, frame, local_sheet, share_within
from asem_jax.measurement.scoring import voxel_shift
from asem_jax.measurement.tables import Columns, Table
from asem_jax.progress import progress
from asem_jax.volumes.geometry import Float3
from asem_jax.volumes.volume import Volume

_MIDDLE = 0.5  # share of a pore's height in which its section is taken


@dataclass(frozen=True)
class Section:
    """A pore across its axis, nm.

    Attributes:
      diameter_nm: of the circle of the same area.
      long_nm: axis of the ellipse with the same second moments.
      short_nm: its other axis.
      height_nm: of the pore along the normal: of a plate with the same second moment.
    """

    diameter_nm: float
    long_nm: float
    short_nm: float
    height_nm: float


def measure_pores(
    objects: Volume, table: Table, *, envelope: Volume | None, reach_nm: float, length_nm: tuple[float, float]
) -> Columns:
    """Returns one row per pore: its section, its normal and its nearest neighbour.

    Columns: id; z_nm, y_nm, x_nm; diameter_nm, long_nm, short_nm, height_nm (see `Section`); normal_z, normal_y,
    normal_x; touches_border; neighbour_id; neighbour_nm (from centre to centre, straight), neighbour_arc_nm (the same
    along a circle that turns by the angle between both normals); neighbour_is_sure (no pore beyond the volume's border
    can be nearer, and the border cuts neither of both).

    Args:
      objects: pores, one number each.
      table: of `measure_objects`, of the same volume.
      envelope: above 0 = nuclear envelope, on the same grid; None = the normal of a pore is its shortest axis.
      reach_nm: how far from a pore's centre the envelope is looked at.
      length_nm: least and largest major axis of a pore; other objects are left out.

    Raises:
      ValueError: no object is of that length, or the volumes do not fit each other.
    """
    pores = of_length(table, length_nm, objects.address)
    shift = None if envelope is None else voxel_shift(envelope, objects, objects.box)
    sections, normals = [], []
    for row in progress(range(len(pores["id"])), label="measure pores", unit="pores"):
        box = box_of(pores, row)
        inside = places_nm(objects.read(box) == pores["id"][row], box, objects)
        normal = None
        if envelope is not None and shift is not None:
            near = box.grow([int(reach_nm / s) for s in objects.voxel_size_nm]).intersect(objects.box)
            sheet = places_nm(envelope.read(near.shift(shift)) > 0, near, objects)
            normal = normal_at(sheet, inside.mean(0), reach_nm)
        if normal is None:
            normal = _shortest_axis(inside, objects.voxel_size_nm)
        normals.append(normal)
        sections.append(section(inside, normal, np.array(objects.voxel_size_nm)))
    columns: Columns = {"id": pores["id"], **{f"{axis}_nm": pores[f"{axis}_nm"] for axis in "zyx"}}
    for name in ("diameter_nm", "long_nm", "short_nm", "height_nm"):
        columns[name] = np.array([getattr(one, name) for one in sections])
    columns |= {f"normal_{axis}": np.array(normals)[:, n] for n, axis in enumerate("zyx")}
    columns["touches_border"] = pores["touches_border"]
    centres = np.stack([pores[f"{axis}_nm"] for axis in "zyx"], 1)
    return columns | _neighbours(pores, centres, np.array(normals), objects)


def normal_at(sheet_nm: Places, centre_nm: Places, reach_nm: float) -> Places | None:
    """Returns the unit normal of an envelope at a pore; None where there is too little of it.

    Args:
      sheet_nm: voxel centres of the envelope, [n, 3].
      centre_nm: of the pore, [3].
      reach_nm: voxels farther away are not looked at.
    """
    near = sheet_nm[np.square(sheet_nm - centre_nm).sum(1) <= reach_nm**2]
    found = local_sheet(near, centre_nm)
    return None if found is None else found[0]


def section(inside_nm: Places, normal: Places, voxel_size_nm: Places) -> Section:
    """Returns the section of a pore across its normal.

    Args:
      inside_nm: voxel centres of the pore, [n, 3].
      normal: unit vector, [3].
      voxel_size_nm: z y x, [3].
    """
    side, other = frame(normal)
    away = inside_nm - inside_nm.mean(0)
    height = away @ normal
    extent = extent_along(normal, voxel_size_nm)
    # The second moment of a voxel itself, along the normal.
    own = float(np.square(normal * voxel_size_nm).sum() / 12)
    thick = float(np.sqrt(12 * (height.var() + own)))
    layer = _MIDDLE * thick
    share = share_within(height, -layer / 2, layer / 2, extent)
    area = share.sum() * voxel_size_nm.prod() / layer
    flat = np.stack([away @ side, away @ other], 1)
    spread = np.cov(flat.T, aweights=np.maximum(share, 1e-9), bias=True)
    short, long = 4 * np.sqrt(np.maximum(np.linalg.eigvalsh(np.atleast_2d(spread)), 0))
    return Section(float(2 * np.sqrt(area / np.pi)), float(long), float(short), thick)


def _shortest_axis(inside_nm: Places, voxel_size_nm: Float3) -> Places:
    """Returns the direction in which a body of voxels reaches least, [3]."""
    spread = np.cov(inside_nm.T, bias=True) + np.diag(np.square(voxel_size_nm) / 12)
    return np.asarray(np.linalg.eigh(spread)[1][:, 0])


def _neighbours(pores: Table, centres: Places, normals: Places, objects: Volume) -> Columns:
    """Returns the columns about the nearest other pore; NaN and 0 where there is none."""
    ids, is_cut = pores["id"], pores["touches_border"]
    if len(ids) < 2:
        none = np.full(len(ids), np.nan)
        return {
            "neighbour_id": np.zeros_like(ids),
            "neighbour_nm": none,
            "neighbour_arc_nm": none,
            "neighbour_is_sure": np.zeros(len(ids), bool),
        }
    distances, found = cKDTree(centres).query(centres, k=2)
    straight, nearest = distances[:, 1], found[:, 1]
    # Normals have no sign: neighbours face the same way to less than a right angle.
    half = np.arccos(np.clip(np.abs((normals * normals[nearest]).sum(1)), 0, 1)) / 2
    arc = straight * np.where(half > 1e-6, half / np.sin(np.maximum(half, 1e-6)), 1)
    size = np.array(objects.voxel_size_nm)
    low = np.array(objects.offset_nm) - size / 2
    high = low + size * np.array(objects.shape)
    to_border = np.minimum(centres - low, high - centres).min(1)
    return {
        "neighbour_id": ids[nearest],
        "neighbour_nm": straight,
        "neighbour_arc_nm": arc,
        # The centre of a pore that the border cuts is not known.
        "neighbour_is_sure": (straight <= to_border) & ~is_cut & ~is_cut[nearest],
    }
