"""The table of what is in a simulated volume: one row per object, in nm, from its geometry and never from voxels.

An object is listed if it touches the volume, with room for the wobble of its surface, so that each number in the
instance labels is in the table; at the border a row may be of an object without a voxel.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from asem_jax.simulation.cell import Cell
from asem_jax.simulation.objects import Numbering, extent_nm
from asem_jax.simulation.placement import populations, survivors
from asem_jax.simulation.scene import lattices
from asem_jax.simulation.texture import LARGEST
from asem_jax.simulation.tubes import Tube, meets
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
      radius_nm: mean along the middle line.
      length_nm: of the middle line with all its branches, without the caps.
      branches: ends of the middle line; 2 = not branched.
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


def truths(cell: Cell, box: Box) -> Iterator[Truth]:
    """Yields the objects of `cell` that touch the voxels of `box`, organelle by organelle, in the order of numbers."""
    numbering = Numbering(lattices(cell), box, cell.voxel_size_nm)
    low, high = extent_nm(box, cell.voxel_size_nm)
    for kind, population in enumerate(populations(cell)):
        if population.per_um3 == 0:
            continue
        for index in population.lattice.cells(low, high):
            for tube in survivors(cell, kind, index):
                if meets(tube, np.array(low), np.array(high), LARGEST * cell.wobble_nm):
                    number = numbering.number(population.key(tube))
                    yield _of_tube(cell, population.organelle, number, tube, (low, high))


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


def _of_tube(cell: Cell, organelle: str, number: int, tube: Tube, volume: tuple[Float3, Float3]) -> Truth:
    room = LARGEST * cell.wobble_nm
    is_inside = bool((tube.low_nm - room >= volume[0]).all() and (tube.high_nm + room <= volume[1]).all())
    has_length = organelle == "mito"
    return Truth(
        organelle,
        number,
        *tube.centroid_nm,
        touches_border=not is_inside,
        radius_nm=tube.radius_nm,
        length_nm=tube.length_nm if has_length else None,
        branches=int((np.bincount(tube.links.ravel()) == 1).sum()) if has_length else None,
    )
