"""Stage export: a model for programs other than asem_jax.

    python -m asem_jax.main --config configs/export_quickstart.py --workdir runs/quickstart_export

"stablehlo" is a folder that JAX runs without asem_jax, "pytorch" a checkpoint of the original (incasem). What is
exported again is written anew.
"""

import logging
from pathlib import Path

from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.models.checkpoint import load_model
from asem_jax.models.export import check_export, export_model
from asem_jax.models.torch_export import export_torch

logger = logging.getLogger(__name__)

FORMATS = ("stablehlo", "pytorch")


def run(config: ConfigDict, workdir: Path) -> None:
    """Exports the model that `config` (section "export") names.

    Args:
      config: the section described in `settings.SETTINGS["export"]`.
      workdir: not written to.

    Raises:
      FileNotFoundError: there is no model.
      FileExistsError: the target holds something else.
      ValueError: the format is not known, or the model cannot be exported in it.
    """
    if not devices.is_speaker():
        return
    _check(config)
    model = load_model(config.model)
    if config.format == "stablehlo":
        export_model(model, config.target, input_shape=config.input_shape)
    else:
        export_torch(model, config.target)
    card = model.card
    logger.info("%s is written; channels %s", config.target, ", ".join(card.channels))
    logger.info("raw: %s nm, %s, %s", card.voxel_size_nm, card.raw_scaling, card.polarity)


def _check(config: ConfigDict) -> None:
    """Raises where the settings cannot be met, before a model is read."""
    if config.format not in FORMATS:
        raise ValueError(f"export.format={config.format!r} is none of {', '.join(FORMATS)}; choose one of them.")
    if config.format == "stablehlo":
        check_export(config.target)
        return
    if config.input_shape is not None:
        raise ValueError(
            f"export.input_shape={config.input_shape} has no meaning for format 'pytorch', a file of parameters; "
            "set it to None."
        )
    if Path(config.target).is_dir():
        raise FileExistsError(
            f"export.target={config.target} is a folder; give the file to write, e.g. model.pt in it."
        )
