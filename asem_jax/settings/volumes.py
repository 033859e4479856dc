"""What is said of volumes on their way in and out, and of their grey values."""

from typing import Any

Settings = dict[str, Any]

RETRIES = "how many times a block that fails is tried again; what fails then is listed at the end, all else is done"

CLUSTER: Settings = {
    "address": "local = processes of this machine; slurm or lsf = jobs, submitted by dask-jobqueue; else that of a "
    "running Dask scheduler, tcp://HOST:8786",
    "num_workers": "processes to start; of a running scheduler None: those that it has",
    "threads_per_worker": "blocks that each does at a time",
    "cores": "of a job of slurm or lsf",
    "memory": "of a worker, e.g. 16GB; None = no limit, not for slurm or lsf",
    "walltime": "of a job of slurm or lsf, as it writes that",
    "directives": 'further lines for the head of its job scripts, e.g. ("--gpus=1",)',
}

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
    "retries": RETRIES,
    "cluster": CLUSTER,
}

PREPROCESS: Settings = {
    "volumes": {
        "*": {
            "source": "address of a volume",
            "target": "address to write, e.g. cell.zarr/raw_10nm",
            "voxel_size_nm": "wanted, z y x; per axis a whole multiple or fraction of that of source",
            "labels": "True = only values that occur; False = mean and linear interpolation",
            "chunk_shape": "voxels compressed together, z y x",
            "shard_shape": "voxels per file, z y x, multiples of chunk_shape; None = one file per chunk",
            "zarr_format": "2 (OME-Zarr 0.4) or 3 (OME-Zarr 0.5, which shards need)",
        }
    },
    "num_threads": "blocks in work at a time",
    "retries": RETRIES,
    "cluster": CLUSTER,
}
