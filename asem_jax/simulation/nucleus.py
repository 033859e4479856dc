"""The nucleus: a double envelope with pores, and chromatin.

The envelope is the layer within half its width of the surface; at a pore it ends in a round rim, so that the
inner and the outer membrane are one. A pore is the round hole, through the whole width.
"""

import math

import numpy as np

from asem_jax.simulation.canvas import Canvas, blend
from asem_jax.simulation.cell import WholeCell
from asem_jax.simulation.objects import ObjectKey
from asem_jax.simulation.organelles import Grey, band, coverage
from asem_jax.simulation.surfaces import Patch, Spread, Surface, patches_near, site
from asem_jax.simulation.texture import Stream, smooth_field

_CLUMP_NM, _FIBRE_NM = 150.0, 40.0
# Chromatin is dense within this of the envelope, and absent this far around and below a pore.
_RIM_NM, _CHANNEL_NM, _CHANNEL_DEPTH_NM = 110.0, 30.0, 120.0
_NUCLEOLUS_SHARE = 0.3


def pore_spread(whole: WholeCell) -> Spread:
    """Returns how pores are spread over the envelope: no two rims touch."""
    spacing = whole.pore_diameter_nm[1] + 1.6 * whole.envelope_nm
    return Spread(Surface.ENVELOPE, Stream.PORE, whole.pores_per_um2, spacing)


def pore_diameter(whole: WholeCell, patch: Patch) -> float:
    """Returns the diameter of the hole, nm.

    With `narrow_pore_share`, even over the lower 30% of the range; else from 40% of the range up, the more
    often the smaller (density falls in a straight line to 0 at the top). Two humps, skewed: not normal.
    """
    low, high = whole.pore_diameter_nm
    if patch.traits[0] < whole.narrow_pore_share:
        return float(low + 0.3 * (high - low) * patch.traits[1])
    return float(low + (high - low) * (0.4 + 0.6 * (1 - math.sqrt(1 - patch.traits[1]))))


def paint_nucleus(canvas: Canvas, surface: Grey) -> Grey:
    """Paints nucleoplasm and pores, and returns the distance to the envelope, nm, negative in it.

    Args:
      canvas: holds the cytosol.
      surface: signed distance to the middle of the envelope, negative in the nucleus, nm, over the canvas.
    """
    whole, edge = canvas.whole, canvas.edge_nm
    half = np.float32(whole.envelope_nm / 2)
    inwards = np.full(canvas.box.shape, np.float32(-1e4))
    channel = np.zeros(canvas.box.shape, np.float32)
    low, high = canvas.low_nm, canvas.high_nm
    reach = whole.pore_diameter_nm[1] / 2 + max(whole.envelope_nm, _CHANNEL_DEPTH_NM)
    seen = []
    for patch in patches_near(canvas.cell, pore_spread(whole), low, high, reach):
        found = canvas.around(patch, reach)
        if found is None:
            continue
        part, (height, side, other) = found
        radius = np.float32(pore_diameter(whole, patch) / 2)
        off = np.sqrt(side * side + other * other)
        near = np.where(np.abs(height) < np.float32(1.5 * whole.envelope_nm), radius + half - off, np.float32(-1e4))
        np.maximum(inwards[part], near, out=inwards[part])
        free = np.clip((radius - off) * np.float32(1 / _CHANNEL_NM) + 1, 0, 1)
        free *= np.clip((height + np.float32(_CHANNEL_DEPTH_NM)) * np.float32(1 / 40), 0, 1)
        np.maximum(channel[part], free, out=channel[part])
        seen.append((patch, part, off, radius))
    if float(surface.min()) < edge:
        _chromatin(canvas, surface, channel)
    rim = np.maximum(inwards, 0)
    envelope = np.sqrt(rim * rim + surface * surface) - half
    for patch, part, off, radius in seen:
        _plug(canvas, patch, part, off - radius, np.abs(surface[part]) - half)
    return envelope


def envelope_wall(canvas: Canvas, distance: Grey) -> None:
    """Paints lumen and membranes of envelope and reticulum, whose union is where `distance` is negative."""
    thick, edge, cell = canvas.cell.membrane_nm, canvas.edge_nm, canvas.cell
    lumen = np.float32(cell.cytosol_grey + 5) + canvas.grain * np.float32(0.6 * cell.texture_grey)
    grey = canvas.grey
    grey += (lumen - grey) * coverage(distance, edge)
    grey += (np.float32(cell.membrane_grey + 5) - grey) * band(distance, -thick / 2, 0.9 * thick, edge)


def _chromatin(canvas: Canvas, surface: Grey, channel: Grey) -> None:
    """Paints the inside of nuclei: clumps, denser along the envelope, and a granular nucleolus."""
    cell, whole = canvas.cell, canvas.whole
    clumps = smooth_field(cell.seed, Stream.CHROMATIN, (_CLUMP_NM,) * 3, canvas.axes)
    fibres = smooth_field(cell.seed, Stream.CHROMATIN_FINE, (_FIBRE_NM,) * 3, canvas.axes)
    rim = np.clip(surface * np.float32(1 / _RIM_NM) + 1, 0, 1)
    dense = clumps
    for part, weight in ((fibres, 0.5), (rim, 1.3), (channel, -3)):
        dense += part * np.float32(weight)
    dense -= np.float32(0.6)
    dense *= np.float32(0.8)
    np.clip(dense, 0, 1, out=dense)
    for index, part in canvas.cubes():
        np.maximum(dense[part], _nucleolus(canvas, index, part, fibres[part]), out=dense[part])
    grey = fibres
    grey *= np.float32(0.7)
    grey += canvas.grain
    grey *= np.float32(cell.texture_grey)
    grey += np.float32(whole.nucleoplasm_grey)
    dense *= np.float32(whole.chromatin_grey - whole.nucleoplasm_grey)
    grey += dense
    canvas.grey[...] = blend(canvas.grey, grey, coverage(surface, canvas.edge_nm))
    inside = surface < np.float32(-whole.envelope_nm / 2)
    for index, part in canvas.cubes():
        canvas.objects[part][inside[part]] = canvas.add(ObjectKey("nucleus", index, 0))


def _nucleolus(canvas: Canvas, index: tuple[int, int, int], part: tuple[slice, slice, slice], fibres: Grey) -> Grey:
    """Returns how much of the voxels of a cube belongs to the nucleolus."""
    one = site(canvas.cell, index)
    z, y, x = (
        (axis[cut] - c).astype(np.float32).reshape([-1 if n == other else 1 for other in range(3)])
        for n, (axis, cut, c) in enumerate(zip(canvas.axes, part, one.nucleolus_nm, strict=True))
    )
    radius = np.float32(_NUCLEOLUS_SHARE * one.radii_nm[Surface.ENVELOPE])
    places = (canvas.axes[0][part[0]], canvas.axes[1][part[1]], canvas.axes[2][part[2]])
    bumps = smooth_field(canvas.cell.seed, Stream.NUCLEOLUS, (200.0,) * 3, places)
    away = np.sqrt(z * z + y * y + x * x) - radius + bumps * np.float32(40)
    return np.clip(np.float32(0.8) + fibres * np.float32(0.2), 0, 1) * coverage(away, 25.0)


def _plug(canvas: Canvas, patch: Patch, part: tuple[slice, slice, slice], beyond: Grey, outside: Grey) -> None:
    """Paints what fills a pore, a dark ring and a plug in the middle, and marks the pore."""
    whole, edge = canvas.whole, canvas.edge_nm
    radius = np.float32(pore_diameter(whole, patch) / 2)
    ring = np.clip(1 - np.abs(beyond + 10) * np.float32(1 / 12), 0, 1)
    middle = np.clip(2 - (beyond + radius) * np.float32(1 / 10), 0, 1)
    filled = (np.float32(0.25) + np.float32(0.35) * np.maximum(ring, middle)) * coverage(beyond, edge)
    filled *= coverage(outside, 2 * edge)
    canvas.grey[part] += (np.float32(canvas.cell.membrane_grey) - canvas.grey[part]) * filled
    mine = (beyond <= 0) & (outside <= 0)
    if mine.any():
        canvas.objects[part][mine] = canvas.add(ObjectKey("nuclear_pores", patch.index, patch.rank))
