"""Small views of a whole cell around a chosen patch, seen through a perfect microscope."""

from dataclasses import replace

import numpy as np

from asem_jax.simulation import Block, simulate_block
from asem_jax.simulation.cell import Cell
from asem_jax.volumes.geometry import Box
from tests.simulation.cells import CELLS, PERFECT

FINE = replace(CELLS, microscope=PERFECT, voxel_size_nm=(4.0, 4.0, 4.0))


def box_around(centre_nm: np.ndarray, reach_nm: float, cell: Cell = FINE) -> Box:
    """Returns the voxels within `reach_nm` of a place along each axis."""
    low = np.floor((centre_nm - reach_nm) / cell.voxel_size_nm).astype(int).tolist()
    high = np.ceil((centre_nm + reach_nm) / cell.voxel_size_nm).astype(int).tolist()
    return Box(tuple(low), tuple(high))


def view(centre_nm: np.ndarray, reach_nm: float, cell: Cell = FINE) -> tuple[Block, np.ndarray]:
    """Returns the block around a place, and where its voxels are relative to it, nm [z, y, x, 3]."""
    box = box_around(centre_nm, reach_nm, cell)
    axes = [
        np.arange(a, b) * s - c for a, b, s, c in zip(box.start, box.stop, cell.voxel_size_nm, centre_nm, strict=True)
    ]
    return simulate_block(cell, box), np.stack(np.meshgrid(*axes, indexing="ij"), -1)
