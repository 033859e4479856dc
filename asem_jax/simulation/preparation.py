"""How the tissue was fixed and stained: what a preparation does to the living shapes and to their grey values.

A `Preparation` changes how the same tissue looks. The numbers of two, CF-like and HPF-like, with those of `Cell`
and `Microscope` that follow from them, are in configs/simulate_cf.py and configs/simulate_hpf.py. They differ in what
is left of the cytosol, in how membranes lie and how evenly they are stained, in shrinkage and in noise; no linear
change of grey values turns one into the other.

What painting a block takes from here, in this order:

* voxels are `tissue_voxel_nm` large in the living tissue: shrunken tissue has more of it in a voxel. Sizes drawn
  for organelles are of living tissue; times `shrinkage` they are what is measured in the volume;
* `ruffles` are added to the distance from every closed surface, before labels are made, so labels follow;
* `cytosol` is applied once grain and tone of the cytosol are there, before membranes and organelles are painted;
* plasma membranes keep `extracellular_nm` between them, filled with `extracellular_grey`;
* `faded` is applied last, to everything.

Laws that hold (and are tested): each depends on the place alone, so blocks fit; with every number off (0, and
`shrinkage` 1) nothing changes by a bit.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from asem_jax.simulation.texture import Axes, Stream, smooth_field
from asem_jax.volumes.geometry import Float3

Grey = npt.NDArray[np.float32]

_NOT_NEGATIVE = ("ruffle_nm", "extracellular_nm")
_PITCHES = {
    "strand_grey": "strand_nm",
    "hole_share": "hole_nm",
    "ruffle_nm": "ruffle_pitch_nm",
    "fade": "fade_nm",
}
# A strand is where a field is within this of 0; holes and ribosomes have edges this wide. In standard deviations.
_STRAND = 0.5
_HOLE_EDGE = 0.3
_RIBOSOME_FROM, _RIBOSOME_EDGE = 1.3, 0.5


@dataclass(frozen=True)
class Preparation:
    """The numbers of a preparation.

    Attributes:
      shrinkage: what is left of a length, 1 = all; above 0.
      strand_grey: grey values added in strands of precipitated cytosol, negative = darker; 0 = none.
      strand_nm: size of the meshes between them.
      hole_share: share of the cytosol that was extracted, 0..1.
      hole_nm: size of the holes.
      hole_grey: their grey value.
      ribosome_grey: grey values added at ribosomes, negative = darker; 0 = they do not stand out.
      ruffle_nm: standard deviation of the ruffles of membranes, on top of the cell's own wobble.
      ruffle_pitch_nm: distance over which they change.
      fade: share of the stain that is missing where the stain is weakest, 0..1.
      fade_nm: distance over which it changes.
      extracellular_nm: width of the space between plasma membranes; 0 = they touch and look like one.
      extracellular_grey: its grey value.
    """

    shrinkage: float
    strand_grey: float
    strand_nm: float
    hole_share: float
    hole_nm: float
    hole_grey: float
    ribosome_grey: float
    ruffle_nm: float
    ruffle_pitch_nm: float
    fade: float
    fade_nm: float
    extracellular_nm: float
    extracellular_grey: float

    def __post_init__(self) -> None:
        if self.shrinkage <= 0:
            raise ValueError(f"shrinkage={self.shrinkage} leaves no tissue; give the share of a length, 1 = all.")
        for name in ("hole_share", "fade"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is no share; give 0 (none) to 1.")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative; give 0 (none) or more.")
        for name, pitch in _PITCHES.items():
            if getattr(self, name) and getattr(self, pitch) <= 0:
                raise ValueError(f"{pitch}={getattr(self, pitch)} is no length; {name} needs one above 0 nm.")


def tissue_voxel_nm(preparation: Preparation, voxel_size_nm: Float3) -> Float3:
    """Returns how large a voxel was in the living tissue, z y x."""
    z, y, x = voxel_size_nm
    return z / preparation.shrinkage, y / preparation.shrinkage, x / preparation.shrinkage


def ruffles(preparation: Preparation, seed: int, axes: Axes) -> Grey | None:
    """Returns how far surfaces lie from where they were, nm, `[len(z), len(y), len(x)]`; None = nowhere.

    Args:
      preparation: its numbers.
      seed: of the whole cell.
      axes: places in nm.
    """
    if not preparation.ruffle_nm:
        return None
    field = smooth_field(seed, Stream.RUFFLE, (preparation.ruffle_pitch_nm,) * 3, axes)
    return field * np.float32(preparation.ruffle_nm)


def cytosol(preparation: Preparation, grey: Grey, grain: Grey, *, seed: int, axes: Axes) -> Grey:
    """Returns cytosol as the preparation leaves it: strands, ribosomes and holes.

    Args:
      preparation: its numbers.
      grey: grey values of the living cytosol, float32 z y x; not modified.
      grain: its fine texture of mean 0 and standard deviation 1; ribosomes lie where it peaks.
      seed: of the whole cell.
      axes: places of the voxels in nm.
    """
    if preparation.strand_grey:
        field = smooth_field(seed, Stream.STRAND, (preparation.strand_nm,) * 3, axes)
        strand = np.abs(field, out=field)
        strand *= np.float32(1 / _STRAND)
        np.subtract(1, strand, out=strand)
        np.maximum(strand, 0, out=strand)
        strand *= np.float32(preparation.strand_grey)
        grey = np.add(grey, strand, out=strand)
    if preparation.ribosome_grey:
        share = grain - np.float32(_RIBOSOME_FROM)
        share *= np.float32(1 / _RIBOSOME_EDGE)
        np.clip(share, 0, 1, out=share)
        share *= np.float32(preparation.ribosome_grey)
        grey = np.add(grey, share, out=share)
    if preparation.hole_share:
        change = np.float32(preparation.hole_grey) - grey
        change *= _holes(preparation, seed, axes)
        grey = np.add(grey, change, out=change)
    return grey


def faded(preparation: Preparation, grey: Grey, unstained_grey: float, *, seed: int, axes: Axes) -> Grey:
    """Returns `grey` where stain is missing in patches: what is darker than `unstained_grey` comes nearer to it.

    Args:
      preparation: its numbers.
      grey: grey values of everything, float32 z y x; not modified.
      unstained_grey: grey value without stain, that of cytosol.
      seed: of the whole cell.
      axes: places of the voxels in nm.
    """
    if not preparation.fade:
        return grey
    field = smooth_field(seed, Stream.FADE, (preparation.fade_nm,) * 3, axes)
    # Half of the tissue is fully stained; the weakest places are those two deviations off.
    field *= np.float32(0.5)
    np.clip(field, 0, 1, out=field)
    field *= np.float32(preparation.fade)
    lighter = np.float32(unstained_grey) - grey
    np.maximum(lighter, 0, out=lighter)
    lighter *= field
    lighter += grey
    return lighter


def _holes(preparation: Preparation, seed: int, axes: Axes) -> Grey:
    """Returns which share of each voxel was extracted."""
    if preparation.hole_share == 1:
        return np.ones([len(axis) for axis in axes], np.float32)
    field = smooth_field(seed, Stream.HOLE, (preparation.hole_nm,) * 3, axes)
    edge = np.float32(NormalDist().inv_cdf(1 - preparation.hole_share))
    field -= edge
    field *= np.float32(1 / _HOLE_EDGE)
    field += np.float32(0.5)
    return np.clip(field, 0, 1, out=field)
