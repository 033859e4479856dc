"""What is said of volumes on their way in and out, and of their grey values."""

from typing import Any

Settings = dict[str, Any]

CONVERT: Settings = {
    "volumes": {
        "*": {
            "source": "a TIFF file of many pages, or a folder with one file per section",
            "target": "address to write, e.g. cell.zarr/raw",
            "labels": "True = numbers of objects, kept; False = grey values, written as uint8",
            "voxel_size_nm": "z y x, fractions allowed; None = as the tags of the file state it",
            "offset_nm": "centre of the first voxel, z y x; labels of a part of raw: of that part",
            "percentiles": "grey values that become 0 and 255, e.g. (0.5, 99.5); None = uint8 as it is",
            "allow_gaps": "whether numbers may be missing between the sections of a folder",
            "chunk_shape": "voxels compressed together, z y x",
            "shard_shape": "voxels per file, z y x, multiples of chunk_shape; None = one file per chunk",
            "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5, which shards need)",
        }
    },
    "exports": {
        "*": {
            "source": "address of a volume",
            "target": "a .tif file to write, or a folder ending in / for one file per section",
        }
    },
    "num_threads": "slabs of one chunk's thickness in work, and in memory, at a time",
}

PREPROCESS: Settings = {
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
