"""Planes through labelled regions: evenly spaced ones, and those of the blocks with most errors."""

from collections.abc import Sequence
from typing import Any

from asem_jax.measurement import metrics
from asem_jax.measurement.scoring import Region, count_blocks, scored_blocks, voxel_shift
from asem_jax.reporting import overlays, page
from asem_jax.reporting.page import number
from asem_jax.volumes.geometry import Box, nm_from_voxels
from asem_jax.volumes.volume import Volume

COLOUR_KEY = [
    (overlays.THERE, "labels; in the error map: missed"),
    (overlays.FOUND, "segmentation; in the error map: found rightly"),
    (overlays.WRONG, "found wrongly"),
]


def overlay_section(
    raw: Volume,
    segmentation: Volume,
    regions: Sequence[Region],
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    planes_per_axis: int,
    picture_shape: Sequence[int],
) -> list[str]:
    """Returns pictures of evenly spaced planes through each region.

    Args:
      raw: grey values.
      segmentation: nonzero = found.
      regions: what is shown.
      exclude_inwards: thickness of the exclusion zone inside objects, voxels.
      exclude_outwards: its thickness outside.
      planes_per_axis: pictures per region and direction.
      picture_shape: largest picture, voxels z y x; of a larger region the middle is shown.
    """
    text = (
        "Sections at even distances, not chosen by eye, each as raw, with the outline of the labels, with "
        "that of the segmentation, and as a map of errors. Colours are faint where no voxel is scored."
    )
    parts = [page.heading("Pictures"), page.paragraph(text), page.colour_key(COLOUR_KEY)]
    for region in regions:
        window = overlays.middle_window(region.box, picture_shape)
        parts.append(page.heading(region.name, 3))
        parts.append(page.paragraph(_place(region, window)))
        for axis in range(3):
            for box in overlays.even_sections(window, axis, planes_per_axis):
                plane = overlays.read_plane(
                    raw,
                    segmentation,
                    region,
                    box,
                    exclude_inwards=exclude_inwards,
                    exclude_outwards=exclude_outwards,
                )
                parts.append(plane_picture(plane, f"{region.name}, {plane.name}"))
    return parts


def _position(position: Sequence[int]) -> str:
    return ", ".join(str(v) for v in position)


def _place(region: Region, window: Box) -> str:
    """Returns, in words, which part of a region is shown."""
    size = " x ".join(f"{s:g}" for s in region.labels.voxel_size_nm)
    shown = "" if window == region.box else f"; shown is its middle, {window.start} to {window.stop}"
    return f"Voxels {region.box.start} to {region.box.stop} (z, y, x) of {size} nm{shown}."


def plane_picture(plane: overlays.Plane, caption: str) -> str:
    """Returns one plane, drawn, with its counts in words for those who cannot see it."""
    counts = metrics.count(plane.segmentation, plane.labels, plane.used)
    alt = (
        f"{caption}: raw, labels, segmentation and errors; {counts.true_positive} voxels found rightly, "
        f"{counts.false_positive} found wrongly, {counts.false_negative} missed"
    )
    return page.picture(overlays.draw_plane(plane), alt=alt, caption=caption)


def worst_blocks_section(
    raw: Volume,
    segmentation: Volume,
    regions: Sequence[Region],
    *,
    exclude_inwards: int,
    exclude_outwards: int,
    block_shape: Sequence[int],
    num_worst_blocks: int,
) -> list[str]:
    """Returns the blocks with the most errors, with where they are and a picture of each.

    Args:
      raw: grey values.
      segmentation: nonzero = found.
      regions: where to look.
      exclude_inwards: thickness of the exclusion zone inside objects, voxels.
      exclude_outwards: its thickness outside.
      block_shape: voxels, z y x.
      num_worst_blocks: at most this many, over all regions.
    """
    zone: dict[str, Any] = {"exclude_inwards": exclude_inwards, "exclude_outwards": exclude_outwards}
    found = [
        (region, box, counts)
        for region in regions
        for box, counts in count_blocks(
            segmentation, region.labels, box=region.box, mask=region.mask, block_shape=block_shape, **zone
        )
        if counts.num_errors
    ]
    worst = sorted(found, key=lambda entry: entry[2].num_errors, reverse=True)[:num_worst_blocks]
    parts = [page.heading("Worst blocks")]
    if not worst:
        return [
            *parts,
            page.paragraph("No block has an error outside the exclusion zone, or none was asked for.", "missing"),
        ]
    text = (
        "Blocks with the most wrong voxels outside the exclusion zone, with their coordinates (z, y, x). "
        "Each picture shows the xy plane of a block with most errors, and half a block around it."
    )
    parts += [page.paragraph(text), _block_table(worst)]
    for region, box, _ in worst:
        around = box.grow([n // 2 for n in box.shape]).intersect(region.box)
        plane_box = overlays.section(around, 0, _worst_z(segmentation, region, box, **zone))
        plane = overlays.read_plane(raw, segmentation, region, plane_box, **zone)
        caption = f"{region.name}, block at voxel {_position(box.start)}, middle at {_middle_nm(region, box)} nm"
        parts.append(plane_picture(plane, f"{caption}; {plane.name}"))
    return parts


def _block_table(worst: Sequence[tuple[Region, Box, metrics.Counts]]) -> str:
    rows = []
    for region, box, counts in worst:
        row = [region.name, _position(box.start), _position(box.shape), _middle_nm(region, box)]
        row += [str(counts.false_positive), str(counts.false_negative), number(metrics.f1(counts))]
        rows.append(row)
    head = ["region", "first voxel", "voxels", "middle (nm)", "found wrongly", "missed", "F1"]
    return page.table(head, rows, numbers_from=4)


def _middle_nm(region: Region, box: Box) -> str:
    middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    place = nm_from_voxels(middle, region.labels.voxel_size_nm, region.labels.offset_nm)
    return ", ".join(f"{v:.0f}" for v in place)


def _worst_z(segmentation: Volume, region: Region, box: Box, *, exclude_inwards: int, exclude_outwards: int) -> int:
    """Returns z of the xy plane of a block that has most errors."""
    (block,) = scored_blocks(
        region.labels,
        box=box,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        mask=region.mask,
        block_shape=box.shape,
    )
    found = segmentation.read(box.shift(voxel_shift(segmentation, region.labels, box))) != 0
    wrong = (found != (block.labels != 0)) & block.used
    return box.start[0] + int(wrong.sum(axis=(1, 2)).argmax())
