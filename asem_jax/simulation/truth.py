"""The table of what is in a simulated volume: one row per object, in nm, from its geometry and never from voxels.

Places and sizes are those in the volume, after the shrinkage of the preparation and without the misalignment of
sections. An object is listed if it touches the
volume, with room for the wobble of its surface, so that each number in the instance labels is in the table; at the
border a row may be of an object without a voxel.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.cell import SWING, Cell, WholeCell
from asem_jax.simulation.golgi import golgi_radius_nm, num_cisternae
from asem_jax.simulation.nucleus import pore_diameter, pore_spread
from asem_jax.simulation.objects import Numbering, ObjectKey, extent_nm
from asem_jax.simulation.pits import pits
from asem_jax.simulation.placement import survivors
from asem_jax.simulation.populations import Population, populations
from asem_jax.simulation.scene import ONE_PER_CELL, living, numbering
from asem_jax.simulation.surfaces import Site, Surface, patches, sites_near
from asem_jax.simulation.texture import LARGEST
from asem_jax.simulation.tubes import meets
from asem_jax.volumes.geometry import Box, Float3


@dataclass(frozen=True)
class Truth:
    """One object. What an organelle does not have is None.

    Attributes:
      organelle: its name in the labels.
      number: its number in the instance labels of its organelle.
      z_nm: of the centroid.
      y_nm: of the centroid.
      x_nm: of the centroid.
      touches_border: whether it may go on outside of the volume.
      radius_nm: mean along the middle line; of a Golgi stack: lateral; of a nucleus or cell: of its mean sphere.
      length_nm: of the middle line with all its branches, without the caps.
      branches: ends of the middle line; 2 = not branched.
      diameter_nm: of the hole of a nuclear pore.
      width_nm: longest chord of a pit along the membrane.
      depth_nm: of a pit, from the membrane's plane.
      eccentricity: of a pit's section along the membrane, 0 = round.
      cisternae: of a Golgi stack.
    """

    organelle: str
    number: int
    z_nm: float
    y_nm: float
    x_nm: float
    touches_border: bool
    radius_nm: float | None = None
    length_nm: float | None = None
    branches: int | None = None
    diameter_nm: float | None = None
    width_nm: float | None = None
    depth_nm: float | None = None
    eccentricity: float | None = None
    cisternae: int | None = None


def truths(cell: Cell, box: Box) -> Iterator[Truth]:
    """Yields the objects of `cell` that touch the voxels of `box`, organelle by organelle, in the order of numbers."""
    shift = cell.microscope.shift_nm / cell.preparation.shrinkage
    tissue = living(cell)
    low, high = extent_nm(box, tissue.voxel_size_nm)
    volume = _Volume(tissue, numbering(cell, box), low, high, shift)
    for kind, population in enumerate(populations(cell)):
        if population.per_um3:
            yield from _tubes(volume, kind, population)
    if cell.whole is not None:
        for one in sites_near(tissue, volume.low_nm, volume.high_nm):
            yield from _of_site(volume, one)
            yield from _pores(volume, cell.whole, one)
            yield from _pits(volume, one)


def write_truths(cell: Cell, box: Box, folder: Path) -> None:
    """Writes `truth.csv` and `truth.jsonl`, the same rows in two forms, into an existing folder.

    Rows are written as they come, so memory does not grow with the volume.
    """
    with (folder / "truth.csv").open("w", newline="") as table, (folder / "truth.jsonl").open("w") as lines:
        rows = csv.DictWriter(table, [field.name for field in fields(Truth)])
        rows.writeheader()
        for truth in truths(cell, box):
            values = {name: round(v, 3) if isinstance(v, float) else v for name, v in asdict(truth).items()}
            rows.writerow(values)
            lines.write(json.dumps({name: value for name, value in values.items() if value is not None}) + "\n")


@dataclass(frozen=True)
class _Volume:
    """What a table is made of: living tissue, its numbers, its extent in nm, and how far sections may be off."""

    cell: Cell
    numbering: Numbering
    low_nm: Float3
    high_nm: Float3
    shift_nm: float

    def touches(self, centre: npt.NDArray[np.float64], reach_nm: float) -> bool:
        """Says whether a ball meets the volume."""
        off = np.maximum(np.maximum(self.low_nm - centre, centre - self.high_nm), 0)
        return bool(off @ off <= (reach_nm + self.shift_nm) ** 2)

    def holds(self, low_nm: npt.NDArray[np.float64], high_nm: npt.NDArray[np.float64]) -> bool:
        """Says whether a box lies within the volume."""
        room = self.shift_nm
        return bool((low_nm - room >= self.low_nm).all() and (high_nm + room <= self.high_nm).all())

    def row(self, key: ObjectKey, centre: Sequence[float], is_inside: bool, **sizes: float | int) -> Truth:
        """Returns a row; `sizes` are those that the organelle has."""
        left = self.cell.preparation.shrinkage
        z, y, x = (float(c) * left for c in centre)
        sizes = {name: value * left if name.endswith("_nm") else value for name, value in sizes.items()}
        return Truth(key.organelle, self.numbering.number(key), z, y, x, not is_inside, **sizes)  # type: ignore[arg-type]


def _tubes(volume: _Volume, kind: int, population: Population) -> Iterator[Truth]:
    """Yields the rows of one kind of tubes."""
    cell = volume.cell
    room = LARGEST * (cell.wobble_nm + cell.preparation.ruffle_nm)
    for index in population.lattice.cells(volume.low_nm, volume.high_nm):
        for tube in survivors(cell, kind, index):
            if not meets(tube, np.array(volume.low_nm), np.array(volume.high_nm), room + volume.shift_nm):
                continue
            sizes: dict[str, float | int] = {"radius_nm": tube.radius_nm}
            if population.organelle == "golgi":
                sizes = {"radius_nm": golgi_radius_nm(cell, tube), "cisternae": num_cisternae(cell, tube)}
            if population.organelle in ("mito", "microtubules"):
                ends = int((np.bincount(tube.links.ravel()) == 1).sum())
                sizes |= {"length_nm": tube.length_nm, "branches": ends}
            is_inside = volume.holds(tube.low_nm - room, tube.high_nm + room)
            yield volume.row(population.key(tube), tube.centroid_nm, is_inside, **sizes)


def _of_site(volume: _Volume, one: Site) -> Iterator[Truth]:
    """Yields what a cell has one of."""
    assert volume.cell.whole is not None
    swing = SWING * volume.cell.whole.roughness_nm
    for organelle in ONE_PER_CELL:
        surface = Surface.PLASMA if organelle == "er" else Surface.ENVELOPE
        centre, reach = one.centres_nm[surface], one.radii_nm[surface] + swing + volume.cell.whole.envelope_nm
        if volume.touches(centre, reach):
            is_inside = volume.holds(centre - reach, centre + reach)
            key = ObjectKey(organelle, one.index, 0)
            yield volume.row(key, centre.tolist(), is_inside, radius_nm=one.radii_nm[surface])


def _pores(volume: _Volume, whole: WholeCell, one: Site) -> Iterator[Truth]:
    """Yields the nuclear pores of a cell."""
    for patch in patches(volume.cell, pore_spread(whole), one.index):
        diameter = pore_diameter(whole, patch)
        reach = float(np.hypot(diameter / 2, whole.envelope_nm / 2)) + 2
        if volume.touches(patch.centre_nm, reach):
            is_inside = volume.holds(patch.centre_nm - reach, patch.centre_nm + reach)
            key = ObjectKey("nuclear_pores", patch.index, patch.rank)
            yield volume.row(key, patch.centre_nm.tolist(), is_inside, diameter_nm=diameter)


def _pits(volume: _Volume, one: Site) -> Iterator[Truth]:
    """Yields the coated pits and caveolae of a cell."""
    for pit in pits(volume.cell, one.index):
        centre = pit.patch.centre_nm - pit.patch.normal * pit.depth_nm / 2
        if volume.touches(centre, pit.reach_nm):
            is_inside = volume.holds(centre - pit.reach_nm, centre + pit.reach_nm)
            key = ObjectKey(pit.organelle, pit.patch.index, pit.patch.rank)
            sizes = {"width_nm": pit.width_nm, "depth_nm": pit.depth_nm, "eccentricity": pit.eccentricity}
            yield volume.row(key, centre.tolist(), is_inside, **sizes)
