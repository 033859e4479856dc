"""The model of configs/quickstart.py as a folder that JAX runs without asem_jax; see docs/export.md.

For another model, or a PyTorch checkpoint for the original program:
    --config.model=runs/mito --config.format=pytorch --config.target=runs/mito_export/model_checkpoint_1

Command:  bash launch/local.sh --config configs/export_quickstart.py --workdir runs/quickstart_export
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config."""
    return ConfigDict(
        {
            "stage": "export",
            "model": "runs/quickstart",  # run folder, checkpoint, or file of a published model
            "format": "stablehlo",  # or pytorch
            "target": "{workdir}/program",  # folder; of pytorch: file
            "input_shape": None,  # z y x; None = every size that fits, slower on a CPU; of pytorch: None
        }
    )
