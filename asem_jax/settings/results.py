"""What turns probabilities into segmentations, scores and pages."""

from typing import Any

from asem_jax.settings.volumes import CLUSTER, RETRIES

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
    "retries": RETRIES,
    "cluster": CLUSTER,
}

EVALUATE: Settings = {
    "segmentation": "address of the segmentation, nonzero = found",
    "raw": "address of grey values, uint8, for the baseline; on the grid of the labels",
    "regions": {"*": SCORED_REGION},
    "exclude_inwards": "exclusion zone inside objects' borders, voxels; scored with and without it",
    "exclude_outwards": "exclusion zone outside objects' borders, voxels",
    "baseline_sigmas": "Gaussian smoothings that the baseline tries, voxels, 0 = none; () = no baseline",
    "block_shape": "voxels read at a time, z y x; bounds the memory, not the result",
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
