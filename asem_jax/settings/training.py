"""What a training, and the model it begins with, are described by."""

from typing import Any

Settings = dict[str, Any]

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

IMPORT_WEIGHTS: Settings = {
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
}

TRAIN: Settings = {
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
}
