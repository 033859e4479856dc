"""What this machine is and whether the program works on it: a block of text to paste when asking for help.

To see whether a volume can be read, and how fast: --config.stores="('cell.zarr/raw',)"

Command:  bash launch/local.sh --config configs/doctor.py --workdir runs/doctor
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config."""
    return ConfigDict(
        {
            "stage": "doctor",
            "stores": (),  # addresses
            "read_shape": (128, 128, 128),  # voxels z y x
        }
    )
