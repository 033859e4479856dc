"""Pores and pits that are known, as voxels and as volumes."""

from typing import Any

import numpy as np

from asem_jax.measurement.morphometry import measure_objects
from asem_jax.measurement.normals import frame
from asem_jax.simulation import simulate_block
from asem_jax.simulation.cell import Cell
from asem_jax.simulation.scene import numbering
from asem_jax.simulation.truth import Truth, truths
from asem_jax.volumes.geometry import Box
from asem_jax.volumes.volume import Volume, create_volume


def write(address: str, array: np.ndarray, size: tuple[float, float, float], offset=(0.0, 0.0, 0.0)) -> Volume:
    volume = create_volume(
        address, shape=array.shape, dtype=array.dtype, voxel_size_nm=size, offset_nm=offset, chunk_shape=(32, 32, 32)
    )
    volume.write(volume.box, array)
    return volume


def objects_table(volume: Volume) -> dict[str, Any]:
    return measure_objects(volume, raw=None, block_shape=(64, 64, 64), num_threads=2, name="objects")


def lattice(reach_nm: float, voxel_nm: float, shift: np.ndarray) -> np.ndarray:
    """Voxel centres around the origin, [z, y, x, 3]."""
    axis = np.arange(-int(reach_nm / voxel_nm), int(reach_nm / voxel_nm) + 1) * voxel_nm
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) + shift * voxel_nm


def directions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random direction and two across it."""
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    side, other = frame(normal)
    turn = rng.random() * 2 * np.pi
    side, other = np.cos(turn) * side + np.sin(turn) * other, np.cos(turn) * other - np.sin(turn) * side
    return normal, side, other


def simulated(
    cell: Cell, box: Box, organelles: tuple[str, ...], folder: str
) -> tuple[dict[str, Volume], dict[tuple[str, int], Truth]]:
    """Objects of a piece of a simulated cell as volumes, and the rows of its truth by organelle and number."""
    block, numbers, size = simulate_block(cell, box), numbering(cell, box), cell.voxel_size_nm
    offset = tuple(a * s for a, s in zip(box.start, size, strict=True))
    volumes = {name: write(f"{folder}/{name}", block.instances(name, numbers), size, offset) for name in organelles}
    return volumes, {(row.organelle, row.number): row for row in truths(cell, box)}
