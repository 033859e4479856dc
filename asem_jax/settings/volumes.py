"""What is said of volumes on their way in and out, and of their grey values."""

from typing import Any

Settings = dict[str, Any]

CONVERT: Settings = {
    "volumes": {
        "*": {
            "source": "a TIFF file or a folder with one per section, file.h5/dataset, an MRC file, or the address of "
            "an image in OME-Zarr, zarr, N5 or neuroglancer precomputed, on disk or https://, http://, s3://, gs://",
            "part": {
                "level": "which resolution, of an image that has several; 0 = the finest",
                "channel": "which one, of an image that has several; None = there is one",
                "axes": 'letters of the stored axes, e.g. "tzyxc", where the file does not name them; None = z y x',
                "start": "first voxel of the source to read, z y x; None = its first",
                "stop": "one past the last voxel of the source to read, z y x; None = its end",
            },
            "target": "address to write, e.g. cell.zarr/raw",
            "labels": "True = numbers of objects, kept; False = grey values, written as uint8",
            "annotation": {
                "names": "name or number of a label -> number to write, all others become 0; None = kept as they are",
                "names_file": "the segment metadata that VAST saved, which tells the names; None = numbers only",
                "raw": "address of the grey values that the labels must overlap; None = not checked",
            },
            "voxel_size_nm": "z y x, fractions allowed; None = as the source states it",
            "offset_nm": "centre of the first voxel, z y x; labels of a part of raw: of that part; None = as the "
            "source states it, else (0, 0, 0)",
            "percentiles": "grey values that become 0 and 255, e.g. (0.5, 99.5); None = no",
            "window": "the grey values that become 0 and 255, (lower, upper); None = no; neither = uint8 as it is",
            "invert": "whether dark becomes bright",
            "polarity": '"dark" or "bright": what membranes shall be in the target, a warning says if they look '
            "otherwise; None = not looked at",
            "allow_gaps": "whether sections of a folder may be missing, or chunks of a zarr array (read as 0)",
            "chunk_shape": "voxels compressed together, z y x",
            "shard_shape": "voxels per file, z y x, multiples of chunk_shape; None = one file per chunk",
            "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5, which shards need)",
        }
    },
    "exports": {
        "*": {
            "source": "address of a volume",
            "target": "a .tif file to write, a folder ending in / for one per section, file.h5/dataset, "
            "folder.n5/image or folder.precomputed/image",
            "labels": "True = numbers of objects, which precomputed stores as a segmentation; False = grey values",
        }
    },
    "num_threads": "blocks in work, and in memory, at a time",
}

PREPROCESS: Settings = {
    "masks": {  # of cells; made before the volumes
        "*": {
            "source": "address of raw, uint8",
            "target": "address to write, e.g. cell.zarr/mask; bool, True = cell",
            "voxel_size_nm": "of the mask, z y x, whole multiples of that of source, e.g. 32 to 64 nm: noise is "
            "averaged away over them",
            "texture_nm": "standard deviation of the Gaussian window in which grey values are compared, about two "
            "voxels of the mask; without a margin the mask reaches about two windows beyond the cell",
            "threshold": "standard deviation of grey values in the window from which it is cell; None = the one that "
            "parts cell and resin best",
            "min_um3": "smaller pieces are left out, cubic micrometres; None = all but the largest are",
            "max_hole_um3": "larger holes stay; None = all are filled",
            "margin_nm": "by how much the mask is grown; negative = shrunk",
            "chunk_shape": "voxels compressed together, z y x; as many, of source, are read at a time and thread",
            "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5)",
        }
    },
    "volumes": {
        # What is asked for is done in this order: resampled, inverted, matched, equalised.
        "*": {
            "source": "address of a volume",
            "target": "address to write, e.g. cell.zarr/raw_10nm",
            "voxel_size_nm": "wanted, z y x; per axis a whole multiple or fraction of that of source; None = as it is",
            "labels": "True = only values that occur; False = mean and linear interpolation",
            "invert": "True = grey value v becomes 255 - v, where membranes have the other polarity; uint8 only",
            "match": {  # None in place of the section = grey values stay
                "reference": "address of the volume whose distribution of grey values the result shall have, uint8",
                "mask": "where the distribution of source counts, an address; None = everywhere",
                "reference_mask": "where that of the reference counts; None = everywhere",
            },
            "equalise": {  # None in place of the section = not equalised; published models of ASEM need it
                "kernel_shape": "voxels over which grey values are counted, z y x, even; ASEM (128, 128, 128)",
                "clip_limit": "largest share of them that one grey value keeps, up to 1 = all; ASEM 0.02",
            },
            "chunk_shape": "voxels compressed together, z y x",
            "shard_shape": "voxels per file, z y x, multiples of chunk_shape; None = one file per chunk",
            "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5, which shards need)",
        }
    },
    "num_threads": "blocks in work at a time",
}
