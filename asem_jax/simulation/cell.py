"""The numbers of a simulated cell."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.nodes import Nodes
from asem_jax.simulation.preparation import Preparation
from asem_jax.volumes.geometry import Float3, float3

Range = tuple[float, float]

# A mitochondrion's wall in membranes: outer membrane, gap, inner membrane.
GAP_MEMBRANES = 0.7
INNER_MEMBRANES = 0.9
WALL_MEMBRANES = 1 + GAP_MEMBRANES + INNER_MEMBRANES
# A smooth field stays within 4.25 standard deviations; a rough surface adds a sixth of it in small bumps.
SWING = 4.25 * 7 / 6
# Nodes are no farther apart: at every voxel of 10 nm, at every second of 5 nm.
_APART_NM = 12.0
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
class WholeCell:
    """What whole cells have: one in each cube of `pitch_nm`, with a nucleus, in extracellular space.

    Attributes:
      pitch_nm: edge of the cubes; cell (0, 0, 0) lies in the cube from 0 to `pitch_nm`.
      radius_nm: smallest and largest radius of a cell.
      nucleus_radius_nm: smallest and largest.
      roughness_nm: standard deviation of the plasma membrane around a sphere; half of it for the nucleus.
      bare_share: of the cytoplasm, in regions of about a micrometre that hold no organelle but reticulum, 0..1.
      extracellular_grey: grey value between cells.
      nucleoplasm_grey: of the nucleus where there is no chromatin.
      chromatin_grey: of condensed chromatin and the nucleolus.
      envelope_nm: width of the nuclear envelope with both membranes.
      pores_per_um2: tried per square micrometre of nuclear envelope.
      pore_diameter_nm: smallest and largest.
      narrow_pore_share: share of pores in the lower part of that range, 0..1; see `nucleus.pore_diameter`.
      pits_per_um2: coated pits, tried per square micrometre of plasma membrane.
      pit_width_nm: smallest and largest long axis of a pit.
      pit_eccentricity: smallest and largest, 0 = round, below 1.
      coat_nm: thickness of the coat.
      caveolae_per_um2: tried per square micrometre.
      caveola_width_nm: smallest and largest.
      er_mesh_nm: size of the meshes of the endoplasmic reticulum; 0 = none.
      rough_share: of the reticulum, with ribosomes, 0..1.
      ribosome_share: of the places where one may be bound, 0..1; a tenth of it of those in the cytosol.
      golgi_per_um3: stacks tried per cubic micrometre.
      golgi_radius_nm: smallest and largest lateral radius.
      golgi_cisternae: fewest and most.
      droplets_per_um3: lipid droplets tried per cubic micrometre.
      droplet_radius_nm: smallest and largest.
      droplet_grey: smallest and largest.
      microtubules_per_um3: tried per cubic micrometre.
      microtubule_length_nm: smallest and largest.
    """

    pitch_nm: float
    radius_nm: Range
    nucleus_radius_nm: Range
    roughness_nm: float
    bare_share: float
    extracellular_grey: float
    nucleoplasm_grey: float
    chromatin_grey: float
    envelope_nm: float
    pores_per_um2: float
    pore_diameter_nm: Range
    narrow_pore_share: float
    pits_per_um2: float
    pit_width_nm: Range
    pit_eccentricity: Range
    coat_nm: float
    caveolae_per_um2: float
    caveola_width_nm: Range
    er_mesh_nm: float
    rough_share: float
    ribosome_share: float
    golgi_per_um3: float
    golgi_radius_nm: Range
    golgi_cisternae: Range
    droplets_per_um3: float
    droplet_radius_nm: Range
    droplet_grey: Range
    microtubules_per_um3: float
    microtubule_length_nm: Range

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is Range:
                object.__setattr__(self, field.name, _range(getattr(self, field.name), field.name))
            least = np.min(getattr(self, field.name))
            if least < 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)} is negative; give 0 (none) or more.")
        for name in ("bare_share", "narrow_pore_share", "rough_share", "ribosome_share"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)} is no share; give 0 to 1.")
        if self.pit_eccentricity[1] >= 1:
            raise ValueError(f"pit_eccentricity={self.pit_eccentricity} is flat; give values below 1.")
        swing = SWING * self.roughness_nm
        if self.pitch_nm < 2 * (self.radius_nm[1] + swing):
            raise ValueError(
                f"pitch_nm={self.pitch_nm:g} is too small for cells of radius_nm={self.radius_nm} with bumps of "
                f"{swing:.0f} nm; give at least {2 * (self.radius_nm[1] + swing):.0f}."
            )
        if self.radius_nm[0] - swing < self.nucleus_radius_nm[1] + swing / 2 + self.envelope_nm:
            raise ValueError(
                f"nucleus_radius_nm={self.nucleus_radius_nm} does not fit into radius_nm={self.radius_nm} with "
                f"roughness_nm={self.roughness_nm}; give smaller nuclei, larger cells or less roughness."
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
      whole: what whole cells have; None = tissue without borders and nuclei.
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
    whole: WholeCell | None

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
        if self.whole is not None and (self.process_nm or self.er_nm):
            raise ValueError(
                f"process_nm={self.process_nm} and er_nm={self.er_nm} belong to tissue; "
                "give 0 for both with whole cells, which have whole_cell.er_mesh_nm."
            )
        wall = WALL_MEMBRANES * self.membrane_nm
        if self.mitochondrion_radius_nm[0] <= wall:
            raise ValueError(
                f"mitochondrion_radius_nm={self.mitochondrion_radius_nm} leaves no room inside a wall of "
                f"{wall:g} nm ({WALL_MEMBRANES} times membrane_nm); give larger radii or a thinner membrane."
            )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def nodes(self) -> Nodes:
        """At which voxels smooth shapes are found; in between they are read."""
        return Nodes.within(_APART_NM, self.voxel_size_nm)

    @cached_property
    def at_nodes(self) -> "Cell":
        """The cell with the nodes as its voxels."""
        return replace(self, voxel_size_nm=self.nodes.apart_nm(self.voxel_size_nm))

    @cached_property
    def _hash(self) -> int:
        # A cell is the key of what is remembered about it, and is asked for its hash at every step.
        return hash(tuple(getattr(self, field.name) for field in fields(self)))


def _range(values: Sequence[float], name: str) -> Range:
    """Returns two ascending numbers as a tuple; `name` is used in the message."""
    bounds = tuple(values)
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise ValueError(f"{name}={bounds} is no range; give the smallest and the largest value.")
    return float(bounds[0]), float(bounds[1])
