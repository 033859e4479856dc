"""Invaginations of a membrane, coated pits and caveolae: depth, width, eccentricity and stage of each.

An object is what a pit holds, from the plane of the membrane down. The normal of that plane comes from the membrane's
voxels around the pit (`normals`), where there are any; else from the mouth of the pit itself, which is its largest flat
face. Along the normal the area of the sections of every ellipsoid is a parabola, whether a plane cuts it or not. It is
fitted to sections one voxel thick; its lower root is the bottom of the pit, and the pit's volume says where the plane
cuts it. From there:

* depth: from the plane to the bottom;
* width: the longest chord of the widest section; eccentricity: of the ellipse with the second moments of the sections;
* stage: share of the ellipsoid's height that is below the plane: near 0 a dent, 0.5 half of it, near 1 a narrow neck;
* neck: diameter of the mouth over that of the widest section, 1 = the mouth is widest;
* tilt: angle between the normal and the line through the centres of the sections.

An outline that is no ellipsoid is measured by the one that fits it. Where none does, depth and width are those of the
voxels, and `is_fitted` is False. A section always looks somewhat oblong: eccentricities below 0.25 are not told from
0. Where a pit is less than 10 voxels wide, another side may be taken for its mouth: there a membrane is needed.

Source for the study: Gallusser et al., Journal of Cell Biology 222(2) (2023), clathrin-coated pits and caveolae.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asem_jax.measurement.morphometry import box_of, of_length, places_nm
from asem_jax.measurement.normals import Places, extent_along, frame, local_sheet
from asem_jax.measurement.scoring import voxel_shift
from asem_jax.measurement.tables import Columns, Table
from asem_jax.progress import progress
from asem_jax.volumes.volume import Volume

_DIRECTIONS = 800  # tried for the mouth: 4 degrees apart
_FACE = 1.5  # thickness of the layer in which a flat face is looked for, voxels
_SECTIONS = 4  # at least so many, or no parabola is fitted
_PER_EXTENT = 4  # sections per extent of a voxel
_RIM = 0.3  # at most this share of a pit's height is left out at its mouth, which a curved membrane cuts unevenly


@dataclass(frozen=True)
class Pit:
    """The shape of one invagination; see the module.

    Attributes:
      depth_nm: from the plane of the membrane to the bottom.
      width_nm: the longest chord in a plane along the membrane.
      short_nm: the chord across it.
      eccentricity: of its sections, 0 = round.
      stage: share of the height of the ellipsoid that is below the membrane, 0 to 1.
      neck: diameter of the mouth over that of the widest section.
      tilt_degrees: between its middle line and the membrane's normal.
      is_fitted: whether an ellipsoid was fitted.
    """

    depth_nm: float
    width_nm: float
    short_nm: float
    eccentricity: float
    stage: float
    neck: float
    tilt_degrees: float
    is_fitted: bool


class Ellipsoid(NamedTuple):
    """An ellipsoid along the normal, cut by a plane: heights in nm.

    Attributes:
      bottom: its lowest place.
      plane: where it is cut.
      top: where it would end without.
      steepness: its section at a height has the area steepness * (height - bottom) * (top - height).
    """

    bottom: float
    plane: float
    top: float
    steepness: float

    def area(self, height: float) -> float:
        """Returns the area of the section at a height, nm^2, 0 beyond its ends."""
        return max(self.steepness * (height - self.bottom) * (self.top - height), 0.0)


def measure_pits(
    objects: Volume, table: Table, *, membrane: Volume | None, reach_nm: float, length_nm: tuple[float, float]
) -> Columns:
    """Returns one row per pit: its shape (`Pit`) and the direction that it opens to.

    Columns: id; z_nm, y_nm, x_nm; those of `Pit`; normal_z, normal_y, normal_x (out of the cell); long_z, long_y,
    long_x (direction of the longest chord, along the membrane); touches_border.

    Args:
      objects: pits, one number each.
      table: of `measure_objects`, of the same volume.
      membrane: above 0 = membrane, on the same grid; None = the mouth of each pit says where it is.
      reach_nm: how far from a pit's centre the membrane is looked at.
      length_nm: least and largest major axis of a pit; other objects are left out.

    Raises:
      ValueError: no object is of that length, or the volumes do not fit each other.
    """
    kept = of_length(table, length_nm, objects.address)
    shift = None if membrane is None else voxel_shift(membrane, objects, objects.box)
    size = np.array(objects.voxel_size_nm)
    found, normals, longs = [], [], []
    for row in progress(range(len(kept["id"])), label="measure pits", unit="pits"):
        box = box_of(kept, row)
        inside = places_nm(objects.read(box) == kept["id"][row], box, objects)
        normal = None
        if membrane is not None and shift is not None:
            near = box.grow([int(reach_nm / s) for s in size]).intersect(objects.box)
            normal = normal_at(places_nm(membrane.read(near.shift(shift)) > 0, near, objects), inside, reach_nm)
        if normal is None:
            normal = mouth_normal(inside, size)
        pit, long = shape(inside, normal, size)
        found.append(pit)
        normals.append(normal)
        longs.append(long)
    columns: Columns = {"id": kept["id"], **{f"{axis}_nm": kept[f"{axis}_nm"] for axis in "zyx"}}
    columns |= {name: np.array([getattr(pit, name) for pit in found]) for name in Pit.__dataclass_fields__}
    for name, vectors in (("normal", np.array(normals)), ("long", np.array(longs))):
        columns |= {f"{name}_{axis}": vectors[:, n] for n, axis in enumerate("zyx")}
    return columns | {"touches_border": kept["touches_border"]}


def is_caveola(pits: Table, *, width_nm: float, eccentricity: float, stage: float) -> npt.NDArray[np.bool_]:
    """Says which pits are caveolae by their size and shape: small, round and deep, all three.

    Args:
      pits: of `measure_pits`.
      width_nm: a caveola is at most that wide.
      eccentricity: it is at most that oblong.
      stage: it has sunk at least that far.

    Example:
      >>> pits = {"width_nm": np.array([60.0, 120.0]), "eccentricity": np.zeros(2), "stage": np.array([0.8, 0.8])}
      >>> is_caveola(pits, width_nm=77.0, eccentricity=0.5, stage=0.6).tolist()
      [True, False]
    """
    small, round_ = pits["width_nm"] <= width_nm, pits["eccentricity"] <= eccentricity
    return np.asarray(small & round_ & (pits["stage"] >= stage), bool)


def normal_at(sheet_nm: Places, inside_nm: Places, reach_nm: float) -> Places | None:
    """Returns the normal of a membrane at a pit, away from the pit; None where there is too little of it.

    The membrane that lines the pit is not looked at: only what is farther from the pit's centre than its own voxels.

    Args:
      sheet_nm: voxel centres of the membrane, [n, 3].
      inside_nm: voxel centres of the pit, [n, 3].
      reach_nm: voxels farther from the pit's centre are not looked at.
    """
    centre = inside_nm.mean(0)
    nearest = 1.2 * np.sqrt(np.square(inside_nm - centre).sum(1).max())
    away = np.sqrt(np.square(sheet_nm - centre).sum(1))
    found = local_sheet(sheet_nm[(away > nearest) & (away <= reach_nm)], centre)
    if found is None:
        return None
    normal, height = found
    return -normal if height > 0 else normal


def mouth_normal(inside_nm: Places, voxel_size_nm: Places) -> Places:
    """Returns the unit normal of the largest flat face of a pit, outwards.

    Args:
      inside_nm: voxel centres of the pit, [n, 3].
      voxel_size_nm: z y x, [3].
    """
    away = inside_nm - inside_nm.mean(0)
    ways = _ways(_DIRECTIONS)
    layer = _FACE * float(voxel_size_nm.max())
    best = max(ways, key=lambda way: _face(away, way, layer).sum())
    for _ in range(4):
        face = away[_face(away, best, layer)]
        if len(face) < 3:
            break
        turned = np.linalg.eigh(np.cov(face.T))[1][:, 0]
        best = turned * np.sign(turned @ best or 1.0)
    return best


def shape(inside_nm: Places, normal: Places, voxel_size_nm: Places) -> tuple[Pit, Places]:
    """Returns the shape of a pit, and the direction of its longest chord, [3].

    Args:
      inside_nm: voxel centres of the pit, [n, 3].
      normal: of the membrane, out of the cell, [3].
      voxel_size_nm: z y x, [3].
    """
    side, other = frame(normal)
    away = inside_nm - inside_nm.mean(0)
    height, flat = away @ normal, np.stack([away @ side, away @ other], 1)
    extent = extent_along(normal, voxel_size_nm)
    levels, areas, middles = _sections(height, flat, extent, float(voxel_size_nm.prod()))
    variances, vectors = np.linalg.eigh(_flat_spread(height, flat, levels, middles))
    aspect = float(np.sqrt(max(variances[0], 0) / variances[1])) if variances[1] > 0 else 1.0
    long = side * vectors[0, 1] + other * vectors[1, 1]
    tilt = _tilt(levels, areas, middles)
    body = _parabola(levels, areas, len(inside_nm) * float(voxel_size_nm.prod()))
    if body is None:
        deep, widest = float(np.ptp(height) + extent), float(areas.max())
        mouth, stage = float(areas[-1]), float("nan")
    else:
        deep, stage = body.plane - body.bottom, (body.plane - body.bottom) / (body.top - body.bottom)
        widest, mouth = body.area(min((body.bottom + body.top) / 2, body.plane)), body.area(body.plane)
    width = float(2 * np.sqrt(widest / np.pi / aspect))
    neck = float(np.sqrt(mouth / widest))
    eccentricity = float(np.sqrt(1 - aspect**2))
    return Pit(deep, width, width * aspect, eccentricity, stage, neck, tilt, body is not None), long


def _ways(number: int) -> Places:
    """Returns unit vectors that are spread evenly over the sphere, [number, 3]."""
    height = 1 - (2 * np.arange(number) + 1) / number
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(number)
    flat = np.sqrt(1 - height**2)
    return np.stack([height, flat * np.cos(angle), flat * np.sin(angle)], 1)


def _face(away: Places, way: Places, layer: float) -> npt.NDArray[np.bool_]:
    """Returns which voxels lie in the outermost layer along a direction."""
    height = away @ way
    return np.asarray(height > height.max() - layer)


def _sections(height: Places, flat: Places, extent: float, voxel_nm3: float) -> tuple[Places, Places, Places]:
    """Returns height, area and centre [n, 2] of sections, from the bottom up.

    A section is what a layer as thick as a voxel's extent holds, so both ends of the pit, where such a layer would be
    filled in part, are left out.
    """
    low, high = float(height.min()) + extent / 2, float(height.max()) - min(extent, _RIM * float(np.ptp(height)))
    levels = np.linspace(low, high, max(int((high - low) / extent * _PER_EXTENT), 0) + 1)
    shares = (np.abs(height - levels[:, None]) <= extent / 2).astype(np.float64)
    sums = np.maximum(shares.sum(1), 1e-9)
    return levels, sums * voxel_nm3 / extent, shares @ flat / sums[:, None]


def _flat_spread(height: Places, flat: Places, levels: Places, middles: Places) -> Places:
    """Returns the second moments of voxels in their section, about its centre, [2, 2]."""
    centres = np.stack([np.interp(height, levels, middles[:, n]) for n in (0, 1)], 1)
    away = flat - centres
    return away.T @ away / len(away)


def _tilt(levels: Places, areas: Places, middles: Places) -> float:
    """Returns the angle of the line through the centres of sections, degrees; large sections count more."""
    if len(levels) < 2:
        return float("nan")
    slope = np.polyfit(levels, middles, 1, w=np.sqrt(areas))[0]
    return float(np.degrees(np.arctan(np.linalg.norm(slope))))


def _parabola(levels: Places, areas: Places, volume_nm3: float) -> Ellipsoid | None:
    """Returns the ellipsoid that fits the sections, cut by the plane that leaves the volume; None where none fits.

    Args:
      levels: heights of sections, nm.
      areas: of the sections, nm^2: about steepness * (level - bottom) * (top - level).
      volume_nm3: of the pit, all that lies between the bottom and the plane.
    """
    if len(levels) < _SECTIONS:
        return None
    second, first, zeroth = np.polyfit(levels, areas, 2)
    inner = first**2 - 4 * second * zeroth
    if second >= 0 or inner <= 0:
        return None
    bottom, top = (float(-first + sign * np.sqrt(inner)) / (2 * second) for sign in (1, -1))
    full = top - bottom
    if volume_nm3 >= -second * full**3 / 6:
        return Ellipsoid(bottom, top, top, -second)
    # The volume up to a height h above the bottom is steepness * (full / 2 * h^2 - h^3 / 3), growing as far as `full`.
    roots = np.roots([1 / 3, -full / 2, 0, volume_nm3 / -second])
    sunk = [float(root.real) for root in roots if abs(root.imag) < 1e-6 * full and 0 < root.real <= full]
    return Ellipsoid(bottom, bottom + sunk[0], top, -second) if sunk else None
