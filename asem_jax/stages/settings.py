"""What the config of each stage must hold: every key, and what it means with its unit.

`asem_jax.main` compares a config with this before anything heavy is imported, in both directions: a key that is
missing and a key that nobody reads are errors. `"*"` stands for names that the user chooses.
"""

from typing import Any

Settings = dict[str, Any]

# Settings that name a volume to be made: they must lie in a .zarr folder. `check_targets` of experiment.py reads this.
VOLUME_TARGETS = (
    "simulate.container",
    "simulate_annotations.annotations.*.target",
    "convert.volumes.*.target",
    "preprocess.volumes.*.target",
    "predict.volumes.*.target",
    "postprocess.target",
)

TRAINING_REGION: Settings = {
    "raw": "address of grey values, uint8",
    "labels": {"*": "organelle, or what channels call labels -> their address, non-zero = organelle; None = none"},
    "mask": "address of a volume that is non-zero where annotated; None = everywhere in the box",
    "start": "first voxel of the box, voxels of raw, z y x; None = the first that raw and all labels cover",
    "stop": "one past its last voxel, z y x; None = the last that they cover",
    "weight": "how often crops come from here, beside those of the other regions; None in all = by the size of the box",
    "annotation": {  # None in place of the section = all values of all labels; of each list in it = nothing
        "present": {
            "*": "labels -> values that are annotated and occur, None = all; a channel is learned here if all its "
            "values are in present or absent, or if its labels are in no list"
        },
        "absent": {
            "*": "labels -> values that were looked for and do not occur, None = all; the labels may be None then"
        },
        "unknown": {"*": "labels -> values that are not annotated, None = all; the others are"},
        "ignore": {"*": "labels -> value of voxels that nobody annotated, e.g. 0 where all else has a value"},
    },
}

SCORED_REGION: Settings = {
    "labels": "address of the ground truth, 0 = background",
    "start": "first voxel, voxels of labels, z y x; None = the first there is",
    "stop": "one past the last voxel, z y x; None = the end of labels",
}

SETTINGS: dict[str, Settings] = {
    "simulate": {
        "container": "address of the .zarr that gets raw, labels, objects, truth.csv and truth.jsonl",
        "shape": "voxels, z y x",
        "voxel_size_nm": "z y x; the objects stay where they are, in nm, when it changes",
        "seed": "0 or more; another seed is another tissue",
        "block_shape": "voxels made at a time, z y x, multiples of chunk_shape",
        "chunk_shape": "voxels per file, z y x",
        "num_threads": "blocks made at a time",
        "organelles": "names of those whose labels and objects are written; the table has all",
        "cell": {
            "mitochondria_per_um3": "placed where there is room, tried per cubic micrometre",
            "mitochondrion_radius_nm": "smallest and largest",
            "mitochondrion_length_nm": "smallest and largest, along the middle line, without the caps",
            "branched_share": "of the mitochondria, 0..1",
            "cristae_spacing_nm": "smallest and largest distance of the lamellae",
            "bodies_per_um3": "look-alikes with one membrane, tried per cubic micrometre",
            "body_radius_nm": "smallest and largest",
            "matrix_grey": "smallest and largest grey value of the inside of mitochondria",
            "body_grey": "smallest and largest grey value of the inside of bodies",
            "vesicles_per_um3": "small vesicles, tried per cubic micrometre",
            "vesicle_radius_nm": "smallest and largest",
            "process_nm": "size of the processes that plasma membranes divide the tissue into; 0 = none",
            "process_tone_grey": "lowest and highest grey value added to the cytosol of a process",
            "er_nm": "size of the meshes of the endoplasmic reticulum; 0 = none",
            "membrane_nm": "thickness of a membrane as stained",
            "membrane_grey": "its grey value",
            "cytosol_grey": "mean grey value of cytosol",
            "texture_grey": "standard deviation of the grain of cytosol and interiors, grey values",
            "wobble_nm": "standard deviation of the surfaces around their smooth shapes",
        },
        "whole_cell": {
            "pitch_nm": "edge of the cubes with one cell each; None in place of the section = tissue without borders",
            "radius_nm": "smallest and largest radius of a cell",
            "nucleus_radius_nm": "smallest and largest",
            "roughness_nm": "standard deviation of the plasma membrane around a sphere; half of it for the nucleus",
            "bare_share": "of the cytoplasm, in regions that hold no organelle but reticulum and vesicles, 0..1",
            "extracellular_grey": "grey value between cells",
            "nucleoplasm_grey": "grey value of the nucleus without chromatin",
            "chromatin_grey": "grey value of condensed chromatin and the nucleolus",
            "envelope_nm": "width of the nuclear envelope with both membranes",
            "pores_per_um2": "tried per square micrometre of nuclear envelope",
            "pore_diameter_nm": "smallest and largest",
            "narrow_pore_share": "of the pores, in the lower 30% of that range; the others are skewed to smaller ones",
            "pits_per_um2": "coated pits, tried per square micrometre of plasma membrane",
            "pit_width_nm": "smallest and largest long axis",
            "pit_eccentricity": "smallest and largest, 0 = round, below 1",
            "coat_nm": "thickness of their coat",
            "caveolae_per_um2": "tried per square micrometre of plasma membrane",
            "caveola_width_nm": "smallest and largest",
            "er_mesh_nm": "size of the meshes of the endoplasmic reticulum; 0 = none",
            "rough_share": "of the reticulum, with ribosomes, 0..1",
            "ribosome_share": "of the places where one may be bound, 0..1; a tenth of it in the cytosol",
            "golgi_per_um3": "stacks tried per cubic micrometre",
            "golgi_radius_nm": "smallest and largest lateral radius",
            "golgi_cisternae": "fewest and most",
            "droplets_per_um3": "lipid droplets tried per cubic micrometre",
            "droplet_radius_nm": "smallest and largest",
            "droplet_grey": "smallest and largest grey value",
            "microtubules_per_um3": "tried per cubic micrometre",
            "microtubule_length_nm": "smallest and largest",
        },
        "preparation": {
            "shrinkage": "what is left of a length of living tissue, 1 = all; the sizes in `cell` are living ones",
            "strand_grey": "grey values added in strands of precipitated cytosol, negative = darker; 0 = none",
            "strand_nm": "size of the meshes between them",
            "hole_share": "share of the cytosol that was extracted, 0..1",
            "hole_nm": "size of the holes",
            "hole_grey": "their grey value",
            "ribosome_grey": "grey values added at ribosomes, negative = darker; 0 = they do not stand out",
            "ruffle_nm": "standard deviation of the ruffles of membranes, on top of wobble_nm; 0 = none",
            "ruffle_pitch_nm": "distance over which they change",
            "fade": "share of the stain that is missing where it is weakest, 0..1",
            "fade_nm": "distance over which it changes",
            "extracellular_nm": "width of the space between plasma membranes; 0 = they touch and look like one",
            "extracellular_grey": "its grey value",
        },
        "microscope": {
            "blur_nm": "standard deviation of the Gaussian point spread",
            "depth_samples": "planes painted over the depth of a section, which shows their mean; odd, 1 = its middle",
            "charging": "grey values gained where empty resin charges, and lost where dense places do, per grey value "
            "beyond charging_greys; 0 = none",
            "charging_greys": "darker and brighter surroundings charge; two grey values",
            "charging_nm": "standard deviation of the Gaussian over which surroundings count: size of the halo",
            "streak_nm": "length of the opposite streak behind a charged place, along x; 0 = none",
            "shift_nm": "largest misalignment of a section along y and x; its standard deviation is 0.38 of it",
            "shot_noise_grey": "standard deviation at grey value 128; its square grows with the signal",
            "drift_grey": "standard deviation of the brightness along z, grey values",
            "drift_contrast": "standard deviation of the contrast along z, as a fraction",
            "drift_nm": "distance along z over which both change",
            "curtain_grey": "standard deviation of the milling stripes, which run along y, grey values",
            "window_grey": "grey values that become 0 and 255; (0, 255) = as they are",
        },
    },
    "simulate_annotations": {
        "annotations": {
            "*": {
                "labels": "address of exact labels, one id per object, 0 = background; where all objects share one id "
                "missed_share is all or nothing",
                "target": "address whose labels and mask to write, e.g. cell.zarr/annotations/loose",
                "seed": "of the annotator, 0 or more",
                "outlines": {
                    "section_step": "every how many sections one is outlined; 1 = all",
                    "missed_share": "of the objects, left out everywhere, 0..1",
                    "offset_nm": "standard deviation of an outline from the true one; 0 = exact",
                    "offset_pitch_nm": "distance over which it changes",
                },
                "strokes": {
                    "section_step": "every how many sections one gets strokes",
                    "foreground_pitch_nm": "edge of the squares that get a stroke inside an object each",
                    "background_pitch_nm": "edge of the squares that get a stroke in the background each",
                    "length_nm": "of the longest stroke; it ends where the brush would leave the object",
                    "radius_nm": "of the brush",
                },
            }
        },
        "pace": {
            "section_s": "seconds to go to a section and look it over",
            "object_s": "seconds to decide on an object there and take up its label",
            "outline_s_per_um": "seconds to outline it, per micrometre of outline",
            "stroke_s": "seconds to place a stroke",
            "stroke_s_per_um": "seconds to draw it, per micrometre",
        },
        "block_shape": "voxels annotated at a time, z y x, multiples of chunk_shape; bounds the memory, not the result",
        "chunk_shape": "voxels per file, z y x",
        "num_threads": "blocks in work at a time",
    },
    "convert": {
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
    },
    "preprocess": {
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
    },
    "import_weights": {
        "source": 'id of a published model as text ("1841"), path of a PyTorch checkpoint, https:// or s3:// address',
        "target": "run folder to write the model to, for `model` of predict and `init_from` of train",
        "downloads": "folder for what is downloaded; a download that broke goes on there",
        "organelles": "names of the output channels after background; None = as the catalogue says",
        "voxel_size_nm": "of the raw it was trained on, z y x; None = as the catalogue says",
        "polarity": "what dark and bright voxels of that raw are; None = as the catalogue says, else unknown",
        "equalised": "whether that raw was equalised (CLAHE); None = as the catalogue says, else unknown",
        "pool_factors": "max-pooling per level, finest first, each z y x; None = as the catalogue or learned "
        "upsampling says; ASEM three times (2, 2, 2)",
        "compute_dtype": "arithmetic of the network: float32 or bfloat16",
    },
    "train": {
        "seed": "of parameters, crops and augmentation",
        "organelles": "names of what is learned, in the order of the outputs, behind background",
        "channels": {  # None in place of the section = organelles that exclude each other, with labels of their names
            "*": {  # one for each organelle
                "kind": "softmax = exclusive, these come first; sigmoid = by itself; distance = tanh of the signed "
                "distance to its border, as COSEM; affinity = a voxel and its neighbour are of one object",
                "labels": "name of the labels it is read from",
                "ids": "values of these labels that belong to it; None = all but 0",
                "generic_ids": "those of ids that stand for all others where no more is annotated, e.g. COSEM's 37 for "
                "nucleus; () = none",
                "parent": "channel whose balance it shares, as a membrane that of its organelle; None = its own",
                "scale_nm": "of a distance: what becomes tanh(1), and 2.76 times it saturates; COSEM 50",
                "added_nm": "of a distance: added to it, for labels that are too small; COSEM 8 for ribosomes, else 0",
                "offset": "of an affinity: the neighbour, voxels z y x; None for other kinds",
            }
        },
        "voxel_size_nm": "of all raw here and of all volumes that the model may predict, z y x",
        "polarity": "what dark and bright voxels are, for the model card",
        "regions": {"*": TRAINING_REGION},
        "validation_regions": {"*": TRAINING_REGION},
        "incasem": {  # None in place of the section = none
            "regions": "JSON data config of the original (incasem), whose entries are trained on too; None = none",
            "validation_regions": "the same for validation; None = none",
            "data_dir": "folder that its files are in, the original's directories.data",
        },
        "network": {
            "num_maps": "maps of the finest level; ASEM 32",
            "map_growth": "factor of maps from level to level; ASEM 2",
            "pool_factors": "max-pooling below each level, finest first, each z y x; ASEM three times (2, 2, 2)",
            "kernel_sizes": "voxels of the convolutions, z y x, odd: one for all levels, or one per level from the "
            "finest to the deepest (one more than poolings), e.g. (1, 3, 3) where sections are thick; ASEM (3, 3, 3)",
            "padding": "valid = the network predicts only what it sees all around; same = it predicts all of its "
            "input, with zeros beyond the border, which is less sure there; ASEM valid",
            "decoder_maps": "maps of each level on the way up, finest first; None = those of the way down, as "
            "ASEM; COSEM (72, 72, 432)",
            "upsampling": "repeat = voxels repeated, as ASEM; transposed or transposed_relu = learned, linear or "
            "rectified; constant = channels mixed, rectified, then repeated, as COSEM",
            "head_kernel_size": "voxels of the last convolution, z y x, odd; ASEM (3, 3, 3), COSEM (1, 1, 1)",
            "rematerialize": "True = maps inside a level are computed again for the gradient instead of being kept: "
            "less memory, more time, the same result",
        },
        "kernel_gain": "factor of the initial kernels over PyTorch's default; ASEM 1, He et al. 6**0.5",
        "compute_dtype": "arithmetic of the network: float32 or bfloat16",
        "input_shape": "voxels of raw per crop, z y x",
        "batch_size": "crops per step over all devices",
        "num_train_steps": "updates in all",
        "learning_rate": "of Adam at the first step; ASEM 3e-5",
        "final_learning_rate": "at the last step, reached by a cosine; the same = constant, as ASEM",
        "weight_decay": "added to the gradient; ASEM 3e-5",
        "max_gradient_norm": "longer gradients are shortened to it; None = never, as ASEM",
        "warmup_steps": "steps over which the learning rate rises from 0, before the cosine; 0 = none, as ASEM",
        "adam_betas": "what stays of Adam's running means at a step; ASEM (0.9, 0.999), COSEM (0.95, 0.999)",
        "ema_decay": "what stays at a step of a running mean of the parameters, which is validated and predicts in "
        "their place, e.g. 0.999; None = no mean, as ASEM",
        "crops_at_once": "crops whose maps a device holds at a time, a divisor of its share of batch_size: less "
        "memory, the same update; None = all",
        "frozen": "patterns of the names of parameters that stay as they are, e.g. encoder_*; () = none",
        "max_skipped_steps": "steps in a row without an update, since loss or gradient are not finite, before it ends",
        "min_class_fraction": "lower clip of a class's share in the balance of the loss; ASEM 0.01",
        "max_class_fraction": "upper clip; ASEM 0.99",
        "class_weights": "how much background, where there is a softmax, and each organelle or channel add to the "
        "loss; ASEM (1, 1)",
        "class_fractions": "their shares of the voxels in all the data, to balance with; None = those of each crop",
        "losses": {  # None in place of the section = 1 for cross_entropy and squared, 0 for the others
            "cross_entropy": "weight of the balanced cross-entropy of softmax, sigmoid and affinity; ASEM 1",
            "squared": "weight of the balanced squared difference of distances; COSEM 1",
            "focal": "weight of the focal loss of softmax, sigmoid and affinity; 0 = none",
            "focal_exponent": "how much less it counts what is sure already, 1 or more; usual: 2",
            "dice": "weight of the Dice loss of softmax, sigmoid and affinity; 0 = none",
        },
        "min_foreground": "crops with a smaller fraction of organelle may be rejected; ASEM 0.05",
        "reject_probability": "how often they are; ASEM 0.9",
        "min_known": "crops of which a smaller fraction is annotated may be rejected as well; ASEM 0.75, 0 = never",
        "favoured": "organelle whose regions give more crops; None = all regions alike",
        "favoured_probability": "how often a crop comes from regions with labels of it; COSEM 0.5",
        "overfit_one_crop": "True = the first crop, as it is, in all steps: if the loss does not fall soon, labels, "
        "grey values or learning rate are wrong; False = training",
        "mirror_axes": "axes that crops may be mirrored along, 0 = z; those of one length and voxel size are also "
        "exchanged; ASEM (0, 1, 2)",
        "intensity_scale": "contrast is multiplied by 1 +- this; ASEM 0.15",
        "intensity_shift": "brightness is shifted by +- this share of the grey range; ASEM 0.15",
        "elastic": {
            "probability": "of each crop, to be deformed; ASEM 1; None in place of the section = none is",
            "spacing_nm": "about the distance of the points that are displaced at random, z y x, smooth between them; "
            "ASEM 32 voxels, COSEM 100 nm",
            "jitter_nm": "standard deviation of their displacement along each axis, z y x; ASEM 2 voxels, COSEM 10 nm",
            "rotation_degrees": "crops are turned in y x by 0 to this, at most 90, which with mirrors is all angles; "
            "0 where voxels are not square in y x; ASEM 90",
            "shift_probability": "of each section z, that it and all after it are shifted in y x; ASEM 0.05",
            "slip_probability": "of each section, that it alone is shifted; ASEM 0",
            "max_misalign": "largest such shift, whole voxels along each of y and x; ASEM 2",
        },
        "gamma": "smallest and largest power that grey values in 0..1 are raised to, 1 between them; None = none, as "
        "ASEM; COSEM (0.5, 2.0)",
        "noise_std": "standard deviation of Gaussian noise, as a share of the grey range; None = none, as ASEM",
        "defects": {
            "missing_probability": "of each section z, to be all black or all white; its labels stay; None in place "
            "of the section = no defects, as ASEM",
            "faint_probability": "of each section, to have less contrast",
            "faint_contrast": "the factor of it is drawn from this to 1",
            "dark_probability": "of each section, to be darker",
            "dark_shift": "by 0 to this share of the grey range",
        },
        "batches_ahead": "batches being read while one is used",
        "reader_threads": "crops read at a time",
        "log_every": "steps between records in metrics.jsonl",
        "checkpoint_every": "steps between checkpoints, a multiple of log_every",
        "validate_every": "steps between validations, a multiple of checkpoint_every",
        "stop_after": "validations without a better mean F1 after which the training ends; None = never",
        "images_every": "steps between pictures of a crop, its labels and what is predicted, for TensorBoard, a "
        "multiple of log_every; None = none",
        "exclude_inwards": "exclusion zone of validation scores inside objects, voxels",
        "exclude_outwards": "exclusion zone of validation scores outside objects, voxels",
        "init_from": "run folder or checkpoint whose parameters to start from; None = random",
        "init_new": "patterns of the names of parameters that are not taken from init_from, e.g. head/*; () = none",
        "init_optimizer": "True = Adam's running means come from init_from too, as in the original's fine-tuning; "
        "False = they begin at zero",
    },
    "predict": {
        "model": "run folder of a training, FOLDER:ORGANELLE for the checkpoint that is best for one of several, "
        "FOLDER/checkpoints/<step>, or the file of a published ASEM model; several = the mean of their probabilities",
        "symmetries": "none; mirrors = the mean over 8 orientations of each block; all = with axes exchanged too, 48 "
        "(16 where z differs): so many times the work",
        "volumes": {
            "*": {
                "raw": "address of grey values, uint8, of the model's voxel size",
                "target": "image group to write probability and segmentation to",
                "start": "first voxel to predict, voxels of raw, z y x; None = that of raw",
                "stop": "one past the last voxel, z y x; None = the end of raw",
            }
        },
        "write_shape": "voxels per block, z y x; None = what fits the memory at hand with least waste",
    },
    "export": {
        "model": "as for predict",
        "format": "stablehlo = a folder that JAX runs without asem_jax; pytorch = a checkpoint of the original program",
        "target": "the folder, or the file, to write",
        "input_shape": "voxels z y x that the program takes, None = all that fit, slower on a CPU; of pytorch: None",
    },
    "postprocess": {
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
    },
    "evaluate": {
        "segmentation": "address of the segmentation, nonzero = found",
        "raw": "address of grey values, uint8, for the baseline; on the grid of the labels",
        "regions": {"*": SCORED_REGION},
        "exclude_inwards": "exclusion zone inside objects' borders, voxels; scored with and without it",
        "exclude_outwards": "exclusion zone outside objects' borders, voxels",
        "baseline_sigmas": "Gaussian smoothings that the baseline tries, voxels, 0 = none; () = no baseline",
        "block_shape": "voxels read at a time, z y x; bounds the memory, not the result",
    },
    "report": {
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
    },
}
