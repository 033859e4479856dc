"""What the config of each stage must hold: every key, and what it means with its unit.

`asem_jax.main` compares a config with this before anything heavy is imported, in both directions: a key that is
missing and a key that nobody reads are errors. `"*"` stands for names that the user chooses.
"""

from typing import Any

from asem_jax.settings.annotation import ANNOTATE
from asem_jax.settings.measurement import ANALYSE
from asem_jax.settings.prediction import EXPORT, PREDICT
from asem_jax.settings.results import DOCTOR, EVALUATE, POSTPROCESS, REPORT, SUPERIMPOSE, VIEW
from asem_jax.settings.simulation import SIMULATE, SIMULATE_ANNOTATIONS
from asem_jax.settings.training import IMPORT_WEIGHTS, TRAIN
from asem_jax.settings.volumes import CONVERT, PREPROCESS

Settings = dict[str, Any]

# Settings that name a volume to be made: they must lie in a .zarr folder. `check_targets` of experiment.py reads this.
VOLUME_TARGETS = (
    "simulate.container",
    "simulate_annotations.annotations.*.target",
    "convert.volumes.*.target",
    "preprocess.masks.*.target",
    "preprocess.volumes.*.target",
    "annotate.supervoxels.target",
    "annotate.annotations.*.target",
    "predict.volumes.*.target",
    "postprocess.target",
    "superimpose.target",
)

SETTINGS: dict[str, Settings] = {
    "simulate": SIMULATE,
    "simulate_annotations": SIMULATE_ANNOTATIONS,
    "convert": CONVERT,
    "preprocess": PREPROCESS,
    "annotate": ANNOTATE,
    "import_weights": IMPORT_WEIGHTS,
    "train": TRAIN,
    "predict": PREDICT,
    "export": EXPORT,
    "postprocess": POSTPROCESS,
    "superimpose": SUPERIMPOSE,
    "evaluate": EVALUATE,
    "analyse": ANALYSE,
    "report": REPORT,
    "view": VIEW,
    "doctor": DOCTOR,
}
