"""What annotation from sparse strokes must be told."""

from typing import Any

Settings = dict[str, Any]

ANNOTATE: Settings = {
    "raw": "address of grey values, uint8",
    "start": "first voxel of the region, voxels of raw, z y x; None = that of raw",
    "stop": "one past the last voxel, z y x; None = the end of raw",
    "supervoxels": {
        "target": "address to write them to, uint32; they and the graph stay, and serve for all strokes to come",
        "pitch_nm": "about the distance of supervoxels, at most the thickness of what is sought",
        "sigma_nm": "smoothing before the gradient whose changes they follow; about one voxel",
        "grey_step": "change of grey between neighbouring voxels that counts as much as their distance, for bodies "
        "without a membrane; None = does not count",
        "gradient_step": "the same of the gradient, grey values per voxel, for what has a membrane; None = no",
        "looks_nm": "smoothings of the grey values that supervoxels are compared by, several",
    },
    "annotations": {
        "*": {
            "strokes": "address of a label volume on the grid of raw, of all of it or a part; chunks that nobody wrote "
            "hold no strokes; None = only what is painted",
            "mask": "address of a volume that is 1 under strokes, so that 0 may be a stroke; None = all but 0 are",
            "object_ids": "labels under object strokes; None = all but background_ids",
            "background_ids": "labels under background strokes, e.g. (2,); with a mask (0,)",
            "painted": "address of strokes painted in the window (1 object, 2 background), which count where `strokes` "
            "are too; need not be there yet; None = none",
            "target": "address whose labels (1 = object) and mask (1 = sure) to write, of the region; replaced when "
            "strokes are cut again",
            "smoothness": "what a contact of mean area without an edge costs where the border lies on it, in natural "
            "logarithms of odds; 2 is usual, more = smoother",
            "ridge": "penalty on the coefficients of the odds; 3 is usual, more = simpler",
            "surroundings": "steps from supervoxel to supervoxel over which what is around is compared too; 1 or more",
            "bias": "added to the natural logarithm of the odds of every supervoxel; above 0 = more object",
            "border_inwards": "voxels inside the object's border that are not sure; 0 = all are",
            "border_outwards": "voxels outside it that are not sure",
        }
    },
    "window": "name of the annotation that a window is opened for, to paint, cut and correct (extra annotate); only it "
    "is cut then; None = no window, all are cut",
    "block_shape": "voxels in work at a time, z y x, multiples of chunk_shape; bounds the memory, not the result",
    "chunk_shape": "voxels per file, z y x",
    "num_threads": "blocks in work at a time",
}
