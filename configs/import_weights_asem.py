"""Imports a published ASEM model, or a checkpoint of your own training with the original program (incasem).

Which models there are, and what is known of them: docs/published_models.md. For a published model `source` is enough;
for another checkpoint give organelles, voxel_size_nm and pool_factors too.

Source: Gallusser et al., J Cell Biol 222(2), e202208005 (2023), https://doi.org/10.1083/jcb.202208005.

Command:  bash launch/local.sh --config configs/import_weights_asem.py --workdir runs/er_cf --config.source=1841
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config."""
    return ConfigDict(
        {
            "stage": "import_weights",
            "source": "1841",  # id, path, https:// or s3:// address
            "target": "{workdir}/model",
            "downloads": "{workdir}/downloads",
            "organelles": None,  # None = as the catalogue says
            "voxel_size_nm": None,  # nm, z y x
            "polarity": None,
            "equalised": None,
            "pool_factors": None,  # z y x per pooling, finest first
            "compute_dtype": "float32",
        }
    )
