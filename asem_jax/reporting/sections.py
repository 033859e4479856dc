"""The sections of a report: numbers and volumes in, HTML out.

A section whose numbers this run does not have says so in a sentence, and how to get them, instead of being
left out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asem_jax.measurement import metrics
from asem_jax.measurement.scoring import Region, count_blocks, scored_blocks, voxel_shift
from asem_jax.reporting import curves, overlays, page
from asem_jax.volumes.geometry import Box, nm_from_voxels
from asem_jax.volumes.volume import Volume

ZONES = {"outside_exclusion_zone": "outside the exclusion zone", "all": "all voxels"}
COLOUR_KEY = [
    (overlays.THERE, "labels; in the error map: missed"),
    (overlays.FOUND, "segmentation; in the error map: found rightly"),
    (overlays.WRONG, "found wrongly"),
]


def scores_section(scores: Mapping[str, Any] | None) -> list[str]:
    """Returns the headline numbers and the table of scores.

    Args:
      scores: the content of scores.json; None if there is none.
    """
    if scores is None:
        text = "This run has no scores.json: stage evaluate compares a segmentation with labels and writes it."
        return [page.heading("Scores"), page.paragraph(text, "missing")]
    inwards, outwards = scores["exclude_inwards"], scores["exclude_outwards"]
    text = (
        "F1 is the share of agreement between segmentation and labels, voxel by voxel; 1 is perfect. "
        f"The exclusion zone leaves out {inwards} voxels inside and {outwards} voxels outside every labelled "
        "border, where annotators differ among themselves."
    )
    parts = [_headline(scores), page.heading("Scores"), page.paragraph(text), _score_table(scores)]
    return [*parts, page.paragraph(_baseline_text(scores["baseline"]))]


def _headline(scores: Mapping[str, Any]) -> str:
    total, beside = scores["total"], (scores["baseline"] or {}).get("total", {})
    numbers = [(number(total[zone]["f1"]), f"F1, {name}") for zone, name in ZONES.items()]
    zone = "outside_exclusion_zone"
    if beside:
        numbers.append((number(beside[zone]["f1"]), f"F1 of the best grey-value threshold, {ZONES[zone]}"))
    return page.headline(numbers)


def _score_table(scores: Mapping[str, Any]) -> str:
    baseline = scores["baseline"] or {"regions": {}, "total": {}}
    parts = [(name, both, baseline["regions"].get(name, {})) for name, both in scores["regions"].items()]
    if len(parts) > 1:
        parts.append(("total", scores["total"], baseline["total"]))
    rows = []
    for name, both, beside in parts:
        for zone, zone_name in ZONES.items():
            found = both[zone]
            voxels = sum(found["counts"].values())
            values = [found[key] for key in ("f1", "iou", "precision", "recall")]
            values.append(beside.get(zone, {}).get("f1"))
            rows.append([name, zone_name, *map(number, values), f"{voxels / 1e6:.2f}"])
    head = ["region", "scored on", "F1", "IoU", "precision", "recall", "baseline F1", "million voxels"]
    strong = range(2 * (len(parts) - 1), 2 * len(parts)) if len(parts) > 1 else ()
    return page.table(head, rows, numbers_from=2, strong=list(strong))


def _baseline_text(baseline: Mapping[str, Any] | None) -> str:
    if baseline is None:
        return "No baseline was computed (evaluate.baseline_sigmas is empty, or nothing is labelled)."
    side = "at or above" if baseline["polarity"] == "bright" else "at or below"
    return (
        f"Baseline: Gaussian smoothing with sigma {baseline['sigma']:g} voxels, then grey values {side} "
        f"{baseline['threshold']} (outside the exclusion zone; on all voxels it has its own best values). "
        "Smoothing, threshold and polarity were chosen on the scored voxels themselves, so it is better than "
        "it could be on new data."
    )


def training_section(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the curves of the training; `records` are the lines of metrics.jsonl, () without a training."""
    if not records:
        text = "This run folder holds no training (no metrics.jsonl); see the run folder of the model."
        return [page.heading("Training"), page.paragraph(text, "missing")]
    validated = [record for record in records if "validation" in record]
    known = [record for record in validated if record["f1"] is not None]
    alt = f"Loss and validation F1 over {records[-1]['step']} steps"
    caption = "Loss (grey: training crops) and F1 of the validation regions over the training steps."
    if known:
        best = max(known, key=lambda record: record["f1"])
        alt += f"; the best mean F1 is {best['f1']:.3f}"
        caption += f" Best mean F1 {best['f1']:.3f} at step {best['step']}."
    return [page.heading("Training"), page.picture(curves.draw_training(records), alt=alt, caption=caption)]


def threshold_section(notes: Mapping[str, Any] | None) -> list[str]:
    """Returns the sweep over thresholds; `notes` is the content of postprocess.json, None without one."""
    parts = [page.heading("Threshold")]
    if notes is None:
        text = "This run has no postprocess.json: stage postprocess did not run in this folder."
        return [*parts, page.paragraph(text, "missing")]
    origin = "was given" if notes["fixed"] else f"has the best F1 on {', '.join(notes['regions'])}"
    parts.append(page.paragraph(f"The threshold {notes['threshold']:.3f} {origin}."))
    if notes["sweep"] is None:
        text = "No sweep: postprocess.threshold_regions names no region."
        return [*parts, page.paragraph(text, "missing")]
    where = ", ".join(notes["regions"])
    svg = curves.draw_sweep(notes["sweep"], notes["threshold"])
    alt = f"F1, precision and recall over the threshold on {where}"
    caption = f"Scores on {where}, outside the exclusion zone, at every threshold."
    return [*parts, page.picture(svg, alt=alt, caption=caption)]


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
        "that of the segmentation, and as a map of errors. Inside the exclusion zone colours are faint."
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
        for box, counts in count_blocks(segmentation, region.labels, box=region.box, block_shape=block_shape, **zone)
        if counts.num_errors
    ]
    worst = sorted(found, key=lambda entry: entry[2].num_errors, reverse=True)[:num_worst_blocks]
    parts = [page.heading("Worst blocks")]
    if not worst:
        return [
            *parts,
            page.paragraph("No block with an error outside the exclusion zone is shown.", "missing"),
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
        parts.append(plane_picture(plane, f"{region.name}, block at {_position(box.start)}, {plane.name}"))
    return parts


def _block_table(worst: Sequence[tuple[Region, Box, metrics.Counts]]) -> str:
    rows = []
    for region, box, counts in worst:
        middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
        place = nm_from_voxels(middle, region.labels.voxel_size_nm, region.labels.offset_nm)
        row = [region.name, _position(box.start), _position(box.shape), ", ".join(f"{v:.0f}" for v in place)]
        row += [str(counts.false_positive), str(counts.false_negative), number(metrics.f1(counts))]
        rows.append(row)
    head = ["region", "first voxel", "voxels", "middle (nm)", "found wrongly", "missed", "F1"]
    return page.table(head, rows, numbers_from=4)


def _worst_z(segmentation: Volume, region: Region, box: Box, *, exclude_inwards: int, exclude_outwards: int) -> int:
    """Returns z of the xy plane of a block that has most errors."""
    (block,) = scored_blocks(
        region.labels,
        box=box,
        exclude_inwards=exclude_inwards,
        exclude_outwards=exclude_outwards,
        block_shape=box.shape,
    )
    found = segmentation.read(box.shift(voxel_shift(segmentation, region.labels, box))) != 0
    wrong = (found != (block.labels != 0)) & block.used
    return box.start[0] + int(wrong.sum(axis=(1, 2)).argmax())


def pictures_section(files: Sequence[str]) -> list[str]:
    """Returns pictures that other stages made, as the plots of stage analyse; nothing without any.

    Args:
      files: PNG files.

    Raises:
      FileNotFoundError: one is not there.
    """
    parts = []
    for file in map(Path, files):
        if not file.is_file():
            raise FileNotFoundError(f"report.pictures names {file}, which is not there; run the stage that makes it.")
        title = file.stem.replace("_", " ")
        parts.append(page.picture(file.read_bytes(), alt=title, caption=title))
    return [page.heading("Measurements"), *parts] if parts else []


def run_section(raw: Volume, segmentation: Volume, config: Mapping[str, Any] | None) -> list[str]:
    """Returns what was run on which data.

    Args:
      raw: with its fingerprint, so that two reports can be told to show the same data.
      segmentation: what is shown.
      config: the content of config.json; None if the stage was run without.
    """
    parts = [page.heading("What was run")]
    pairs = [("raw", raw.address), ("shape", f"{_position(raw.shape)} voxels (z, y, x), {raw.dtype}")]
    pairs += [("voxel size", f"{_nm(raw.voxel_size_nm)} nm"), ("first voxel at", f"{_nm(raw.offset_nm)} nm")]
    pairs += [("fingerprint of raw", fingerprint(raw)), ("segmentation", segmentation.address)]
    stages = (config or {}).get("stages") or (config or {}).get("stage")
    if stages:
        pairs.append(("stages", stages if isinstance(stages, str) else ", ".join(stages)))
    parts.append(page.facts(pairs))
    if config is None:
        return [*parts, page.paragraph("The run folder holds no config.json.", "missing")]
    return [*parts, page.folded("The whole configuration", json.dumps(config, indent=2))]


def fingerprint(volume: Volume) -> str:
    """Returns 16 hexadecimal digits that change with metadata, first and middle chunk of a volume."""
    place = (volume.shape, volume.dtype.name, volume.voxel_size_nm, volume.offset_nm)
    digest = hashlib.sha256(repr(place).encode())
    middle = [n // 2 // c * c for n, c in zip(volume.shape, volume.chunk_shape, strict=True)]
    for start in ((0, 0, 0), middle):
        chunk = Box.of_shape(volume.chunk_shape, start).intersect(volume.box)
        digest.update(np.ascontiguousarray(volume.read(chunk)).tobytes())
    return digest.hexdigest()[:16]


def number(value: float | None) -> str:
    """Returns three decimals; a dash for 0/0 and for what is not there.

    Example:
      >>> number(0.98765), number(None), number(float("nan"))
      ('0.988', '-', '-')
    """
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def _position(position: Sequence[int]) -> str:
    return ", ".join(str(v) for v in position)


def _nm(values: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in values)
