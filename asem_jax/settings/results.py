"""What turns probabilities into segmentations, scores and pages."""

from typing import Any

Settings = dict[str, Any]

SCORED_REGION: Settings = {
    "labels": "address of the ground truth, 0 = background",
    "start": "first voxel, voxels of labels, z y x; None = the first there is",
    "stop": "one past the last voxel, z y x; None = the end of labels",
}

POSTPROCESS: Settings = {
    "probability": "address of the probability, uint8, 255 = 1",
    "target": "group to write segmentation (and probability_resampled) to; not the target of predict, which "
    "holds a segmentation of its own",
    "voxel_size_nm": "of the segmentation, whole multiples or fractions of that predicted; None = the same",
    "threshold": "probability from which a voxel is foreground; None = best F1 on threshold_regions",
    "threshold_regions": {"*": SCORED_REGION},
    "exclude_inwards": "voxels inside objects' borders that threshold_regions leave out",
    "exclude_outwards": "voxels outside objects' borders that threshold_regions leave out",
    "chunk_shape": "unit of compression of what is written, voxels z y x",
    "shard_shape": "unit of a file, zarr 3 only, multiples of chunk_shape; None = each chunk is a file",
    "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5)",
    "num_threads": "blocks written at a time",
}

COMPARED: Settings = {
    "kind": "'segmentation' (nonzero = found), 'probability' (uint8, 255 = 1) or 'objects' (ids; so are the labels)",
    "address": "address of the volume",
    "threshold": "probability from which a voxel is found; None = best F1 on the regions, so better than on new data; "
    "None for the other kinds",
}

EVALUATE: Settings = {
    "segmentation": "address of the segmentation, nonzero = found",
    "raw": "address of grey values, uint8, for the baseline; on the grid of the labels",
    "regions": {"*": SCORED_REGION},
    "exclude_inwards": "exclusion zone inside objects' borders, voxels; scored with and without it",
    "exclude_outwards": "exclusion zone outside objects' borders, voxels",
    "baseline_sigmas": "Gaussian smoothings that the baseline tries, voxels, 0 = none; () = no baseline",
    "block_shape": "voxels read at a time, z y x; bounds the memory, not the result",
    "compared": {"*": COMPARED},
    "distance_cap_nm": "distances are measured up to here, nm; None = no distances",
    "tolerances_nm": "scores with tolerance: distances that still count as right, below distance_cap_nm; () = none",
    "iou_thresholds": "objects match above this IoU, each 0.5 to below 1; for kind objects; () = no matches",
    "min_object_voxels": "true parts of fewer voxels in a region are neither to be found nor missed; 0 = all count",
    "bootstrap_samples": "resamples behind each interval, e.g. 1000; 0 = no intervals",
    "bootstrap_cell_shape": "what is resampled: cells of a region, voxels z y x, wider than an organelle; 10 or more",
    "bootstrap_seed": "of the resamples; 0 or more",
}

REPORT: Settings = {
    "title": "headline of the page",
    "raw": "address of grey values, on the grid of the labels",
    "segmentation": "address of the segmentation to show",
    "regions": {"*": SCORED_REGION},
    "exclude_inwards": "exclusion zone inside objects' borders, voxels; errors there are shown faintly",
    "exclude_outwards": "exclusion zone outside objects' borders, voxels",
    "planes_per_axis": "pictures of each region in each of the three directions, evenly spaced",
    "picture_shape": "largest picture, voxels z y x: of a larger region its middle is shown",
    "block_shape": "of the blocks that are ranked by their errors, voxels z y x",
    "num_worst_blocks": "how many of them are shown over all regions; 0 = none",
}

DOCTOR: Settings = {
    "stores": "addresses of volumes of which the middle is read, to see whether and how fast; () = none",
    "read_shape": "how much of each is read, voxels z y x",
}
