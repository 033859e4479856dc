"""A FIB-SEM-like cell whose every organelle is known, block by block."""

from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.preparation import Preparation
from asem_jax.simulation.scene import Block, simulate_block

__all__ = ["Block", "Cell", "Microscope", "Preparation", "WholeCell", "simulate_block"]
