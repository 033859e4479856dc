"""What is said of a model at work: over a volume, or on its way to other programs."""

from typing import Any

from asem_jax.settings.volumes import CLUSTER, RETRIES

Settings = dict[str, Any]

PREDICT: Settings = {
    "model": "run folder of a training, FOLDER:ORGANELLE for the checkpoint that is best for one of several, "
    "FOLDER/checkpoints/<step>, or the file of a published ASEM model; several = the mean of their probabilities; "
    "a section of such, by name = predictions that share the reading of raw, each in a folder of its name",
    "symmetries": "none; mirrors = the mean over 8 orientations of each block; all = with axes exchanged too "
    "along which tiles and voxels are alike, 48 of a cube, 8 where all sides differ: so many times the work",
    "thresholds": {
        "*": "probability from which a voxel of this organelle is foreground in its segmentation; card = the one that "
        "the training's validation chose; or the postprocess.json of a run that chose one"
    },
    "tiling": "seamless; incasem = that of the original program, with its seams, for comparison with its predictions",
    "equalise": "True = a volume that is not equalised (CLAHE) is, as it is read, where the model learned on such; "
    "False = it is left as it is",
    "dry_run": "True = say what it costs, time a few blocks, predict no more",
    "seams": "(start, stop) of a region of each volume, voxels of raw z y x, to predict whole and in blocks first; the "
    "largest difference goes to seams.json; None = not done",
    "volumes": {
        "*": {
            "raw": "address of grey values, uint8, of the model's voxel size",
            "target": "image group to write probability and segmentation to",
            "mask": "address of a volume of any voxel size, nonzero = predict, elsewhere 0; None = everything",
            "start": "first voxel to predict, voxels of raw, z y x; None = that of raw",
            "stop": "one past the last voxel, z y x; None = the end of raw",
        }
    },
    "exports": "formats that finished results are written in too, beside the container of target: n5, precomputed, "
    "tiff; () = none",
    "write_shape": "voxels per block, z y x; None = what fits the memory at hand with least waste",
    "retries": RETRIES,
    "shard": "i/N = only every N-th block, from the i-th: for N processes that share the work; None = all",
    "cluster": CLUSTER,
}

EXPORT: Settings = {
    "model": "as for predict",
    "format": "stablehlo = a folder that JAX runs without asem_jax; pytorch = a checkpoint of the original program",
    "target": "the folder, or the file, to write",
    "input_shape": "voxels z y x that the program takes, None = all that fit, slower on a CPU; of pytorch: None",
}
