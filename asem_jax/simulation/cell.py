"""The numbers of a simulated cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.preparation import Preparation
from asem_jax.volumes.geometry import Float3, float3

Range = tuple[float, float]

# A mitochondrion's wall in membranes: outer membrane, gap, inner membrane.
GAP_MEMBRANES = 0.7
INNER_MEMBRANES = 0.9
WALL_MEMBRANES = 1 + GAP_MEMBRANES + INNER_MEMBRANES
_RANGES = (
    "mitochondrion_radius_nm",
    "mitochondrion_length_nm",
    "cristae_spacing_nm",
    "body_radius_nm",
    "matrix_grey",
    "body_grey",
    "vesicle_radius_nm",
    "process_tone_grey",
)
_NOT_NEGATIVE = (
    "mitochondria_per_um3",
    "branched_share",
    "bodies_per_um3",
    "vesicles_per_um3",
    "process_nm",
    "er_nm",
    "membrane_nm",
    "texture_grey",
    "wobble_nm",
)


@dataclass(frozen=True)
class Cell:
    """A piece of tissue without borders: the same numbers give the same tissue everywhere.

    Densities count what is tried: what would touch an organelle that is there already is left out.

    Attributes:
      seed: 0 or more.
      voxel_size_nm: z y x; objects stay where they are, in nm, when it changes.
      microscope: how the tissue is imaged.
      preparation: how it was fixed and stained; all sizes here are those of living tissue.
      mitochondria_per_um3: tried per cubic micrometre.
      mitochondrion_radius_nm: smallest and largest.
      mitochondrion_length_nm: smallest and largest, along the middle line, without the caps.
      branched_share: of the mitochondria, 0..1.
      cristae_spacing_nm: smallest and largest distance of the lamellae.
      bodies_per_um3: look-alikes with one membrane (lysosomes, endosomes), tried per cubic micrometre.
      body_radius_nm: smallest and largest.
      matrix_grey: smallest and largest grey value of the inside of mitochondria.
      body_grey: smallest and largest grey value of the inside of bodies; where both overlap, grey says nothing.
      vesicles_per_um3: small vesicles, tried per cubic micrometre.
      vesicle_radius_nm: smallest and largest.
      process_nm: size of the processes that plasma membranes divide the tissue into; 0 for none.
      process_tone_grey: lowest and highest grey value added to the cytosol of a process.
      er_nm: size of the meshes of the endoplasmic reticulum; 0 for none.
      membrane_nm: thickness of a membrane as stained.
      membrane_grey: its grey value.
      cytosol_grey: mean grey value of cytosol.
      texture_grey: standard deviation of the grain of cytosol and interiors.
      wobble_nm: standard deviation of the surfaces around their smooth shapes.
    """

    seed: int
    voxel_size_nm: Float3
    microscope: Microscope
    preparation: Preparation
    mitochondria_per_um3: float
    mitochondrion_radius_nm: Range
    mitochondrion_length_nm: Range
    branched_share: float
    cristae_spacing_nm: Range
    bodies_per_um3: float
    body_radius_nm: Range
    matrix_grey: Range
    body_grey: Range
    vesicles_per_um3: float
    vesicle_radius_nm: Range
    process_nm: float
    process_tone_grey: Range
    er_nm: float
    membrane_nm: float
    membrane_grey: float
    cytosol_grey: float
    texture_grey: float
    wobble_nm: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxel_size_nm", float3(self.voxel_size_nm, "voxel_size_nm"))
        for name in _RANGES:
            object.__setattr__(self, name, _range(getattr(self, name), name))
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} is no seed; give a whole number from 0 to 2**63 - 1.")
        if min(self.voxel_size_nm) <= 0:
            raise ValueError(f"voxel_size_nm={self.voxel_size_nm} has an empty side; give nm above 0, z y x.")
        negative = [name for name in _NOT_NEGATIVE if getattr(self, name) < 0]
        if negative:
            raise ValueError(f"{negative[0]}={getattr(self, negative[0])} is negative; give 0 (none) or more.")
        wall = WALL_MEMBRANES * self.membrane_nm
        if self.mitochondrion_radius_nm[0] <= wall:
            raise ValueError(
                f"mitochondrion_radius_nm={self.mitochondrion_radius_nm} leaves no room inside a wall of "
                f"{wall:g} nm ({WALL_MEMBRANES} times membrane_nm); give larger radii or a thinner membrane."
            )


def _range(values: Sequence[float], name: str) -> Range:
    """Returns two ascending numbers as a tuple; `name` is used in the message."""
    bounds = tuple(values)
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise ValueError(f"{name}={bounds} is no range; give the smallest and the largest value.")
    return float(bounds[0]), float(bounds[1])
