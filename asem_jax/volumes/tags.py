"""The physical size that a TIFF file states: ImageJ's description, OME's XML, the resolution tags.

Only a complete size counts. Plain TIFF has no thickness of sections, and ImageJ leaves out a spacing of 1
as well as one that nobody gave, so without one the answer is None and the config has to say it.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from asem_jax.volumes.geometry import Float3, float3

Ratio = tuple[int, int]

NM_PER_UNIT = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("inch", "inches", "in"), 2.54e7),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    **dict.fromkeys(("pm", "picometer"), 1e-3),
    **dict.fromkeys(("a", "å", "å", "angstrom"), 0.1),
}
RESOLUTION_UNITS = {2: "inch", 3: "cm"}
"""Of the TIFF tag ResolutionUnit; 1 means that the unit is stated elsewhere."""


def nm_per_unit(unit: str) -> float | None:
    """Returns the length of a unit in nm, None for what is no length ("pixel").

    Example:
      >>> nm_per_unit("micron"), nm_per_unit("pixel")
      (1000.0, None)
    """
    plain = unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    return NM_PER_UNIT.get(plain.lower())


def imagej_voxel_size(
    metadata: Mapping[str, Any], y_resolution: Ratio, x_resolution: Ratio, resolution_unit: int
) -> Float3 | None:
    """Returns the voxel size that ImageJ's tags state, nm, z y x; None where a part is missing.

    Args:
      metadata: ImageJ's description as key and value.
      y_resolution: tag YResolution, pixels per unit as numerator and denominator.
      x_resolution: tag XResolution.
      resolution_unit: tag ResolutionUnit, used where the description names no unit.
    """
    unit = str(metadata.get("unit") or RESOLUTION_UNITS.get(resolution_unit, ""))
    nm, spacing = nm_per_unit(unit), metadata.get("spacing")
    if nm is None or not spacing or not all(y_resolution) or not all(x_resolution):
        return None
    y, x = (denominator / numerator for numerator, denominator in (y_resolution, x_resolution))
    return float3([abs(float(spacing)) * nm, y * nm, x * nm], "voxel size")


def ome_voxel_size(xml: str) -> Float3 | None:
    """Returns the voxel size that OME-XML states, nm, z y x; None where a part is missing."""
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    size = []
    for axis in "ZYX":
        length = pixels.get(f"PhysicalSize{axis}")
        nm = nm_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if length is None or nm is None:
            return None
        size.append(float(length) * nm)
    return float3(size, "voxel size")


def imagej_description(num_sections: int, voxel_size_nm: Float3) -> str:
    """Returns the description in which ImageJ looks for the number of sections, their distance and unit."""
    lines = ["ImageJ=1.54f", f"images={num_sections}", f"slices={num_sections}", "unit=nm"]
    return "\n".join([*lines, f"spacing={voxel_size_nm[0]!r}", "loop=false", ""])


def resolution_tags(voxel_size_nm: Float3) -> tuple[Ratio, Ratio]:
    """Returns XResolution and YResolution in pixels per nm, as exact ratios of 32-bit numbers.

    Example:
      >>> resolution_tags((6.0, 5.0, 4.56))
      ((25, 114), (1, 5))
    """
    y, x = (Fraction(size).limit_denominator(10**6) for size in voxel_size_nm[1:])
    return (x.denominator, x.numerator), (y.denominator, y.numerator)
