"""What turns probabilities into segmentations, scores and pages."""

from typing import Any

from asem_jax.settings.volumes import CLUSTER, RETRIES

Settings = dict[str, Any]

SCORED_REGION: Settings = {
    "labels": "address of the ground truth, 0 = background",
    "mask": "address of a volume on the grid of labels, above 0 = score this voxel; None = all",
    "start": "first voxel, voxels of labels, z y x; None = the first there is",
    "stop": "one past the last voxel, z y x; None = the end of labels",
}

POSTPROCESS: Settings = {
    "probability": "address of the probability, uint8, 255 = 1",
    "target": "group to write segmentation (and objects, probability_resampled, probability_smoothed) to; not the "
    "target of predict, which holds a segmentation of its own",
    "voxel_size_nm": "of the segmentation, whole multiples or fractions of that predicted; None = the same",
    "threshold": "probability from which a voxel is foreground; None = best F1 on threshold_regions",
    "threshold_probability": "address of another probability of the same model, to choose the threshold on where it "
    "has labels; None = on `probability`",
    "threshold_regions": {"*": SCORED_REGION},
    "exclude_inwards": "voxels inside objects' borders that threshold_regions leave out",
    "exclude_outwards": "voxels outside objects' borders that threshold_regions leave out",
    "smoothing_nm": "standard deviation of a Gaussian over the probability before anything is decided; None = none",
    "fill_holes_nm3": "largest background enclosed by objects that becomes foreground, nm^3; None = none does",
    "objects": {  # None in place of the section = no objects are written, and none is left out
        "connectivity": "6 = voxels hang together through faces, 26 = also through edges and corners",
        "min_nm3": "smaller objects are left out, of the segmentation too, nm^3; None = none",
        "split_depth_nm": "objects that touch are parted at necks thinner than twice this; None = they stay one",
        "split_reach_nm": "how far from their cores parted objects are looked for, a few times that depth; None too",
    },
    "block_shape": "voxels of the steps above in work at a time and thread, z y x, multiples of the file below; "
    "bounds the memory, not the result; None = a file",
    "chunk_shape": "unit of compression of what is written, voxels z y x",
    "shard_shape": "unit of a file, zarr 3 only, multiples of chunk_shape; None = each chunk is a file",
    "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5)",
    "num_threads": "blocks written at a time",
    "retries": RETRIES,
    "cluster": CLUSTER,
}

SUPERIMPOSE: Settings = {
    "volumes": {
        "*": {
            "segmentation": "address of what this organelle claims, nonzero = claimed; the others on the grid of the "
            "first by name, which says what is covered",
            "probability": "address of its probability, uint8, 255 = 1; None = not known, it has to be in priority",
            "objects": "address of ids to carry over to the voxels that stay; None = none",
        }
    },
    "rules": {
        "*": {
            "organelle": "whose claims are taken away",
            "relation": "inside = its claims stay at most within_nm from one that `of` claims; outside = the others",
            "of": "the other organelle; its claims as they were given, whatever rules say of them",
            "within_nm": "centre to centre, nm; 0 = that voxel itself",
        }
    },
    "priority": "organelles that win voxels that several claim, the first first; those not in it win by probability",
    "target": "group to write labels, conflicts, and NAME/segmentation and NAME/objects of each organelle to",
    "block_shape": "voxels in work at a time and thread, z y x, multiples of the file below; bounds the memory, not "
    "the result; None = a file",
    "chunk_shape": "unit of compression of what is written, voxels z y x",
    "shard_shape": "unit of a file, zarr 3 only, multiples of chunk_shape; None = each chunk is a file",
    "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5)",
    "num_threads": "blocks in work at a time",
    "cluster": CLUSTER,
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
    "raw": "address of grey values, on the grid of the labels; None = no volume is shown",
    "segmentation": "address of the segmentation to show; None = none",
    "regions": {"*": SCORED_REGION},
    "exclude_inwards": "exclusion zone inside objects' borders, voxels; errors there are shown faintly",
    "exclude_outwards": "exclusion zone outside objects' borders, voxels",
    "planes_per_axis": "pictures of each region in each of the three directions, evenly spaced",
    "picture_shape": "largest picture, voxels z y x: of a larger region its middle is shown",
    "block_shape": "of the blocks that are ranked by their errors, voxels z y x",
    "num_worst_blocks": "how many of them are shown over all regions; 0 = none",
    "objects": {"*": "address of objects, or of labels of several organelles, to show in colours on raw"},
    "runs": {"*": "name under which another run is compared with this one -> its run folder"},
    "pictures": "PNG files to show as well, such as the plots of stage analyse; () = none",
}

VIEW: Settings = {
    "layers": {
        "*": {
            "source": "address of an OME-Zarr volume, here or on a server",
            "kind": "raw = grey values; probability = a colour, the stronger the likelier; labels = a colour where not "
            "0; objects = a colour for each number",
            "color": "#rrggbb of probability and labels; None = the next of seven",
            "visible": "whether the layer is shown at first",
        }
    },
    "position_nm": "place to look at first, z y x; None = the middle of the first layer",
    "width_nm": "how much of it is seen across a plane at first; None = all of the first layer",
    "client": "address of a neuroglancer whose page is used; None = the package neuroglancer (extra view), which needs "
    "no network",
    "host": "address to serve at; 127.0.0.1 = only for this machine, 0.0.0.0 = for all that reach it",
    "port": "of the volumes; 0 = one that is free",
    "seconds": "after which it ends; None = at Ctrl-C",
}

DOCTOR: Settings = {
    "stores": "addresses of volumes of which the middle is read, to see whether and how fast; () = none",
    "read_shape": "how much of each is read, voxels z y x",
}
