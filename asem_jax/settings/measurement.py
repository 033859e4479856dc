"""Sizes and shapes of objects."""

from typing import Any

from asem_jax.settings.volumes import CLUSTER

Settings = dict[str, Any]

ANALYSE: Settings = {
    "objects": {"*": "address of objects: whole numbers, one per object, 0 = background; all on one grid"},
    "raw": "address of grey values on that grid, for their mean and deviation per object; None = without",
    "pores": {
        "objects": "name, of analyse.objects, of the nuclear pores",
        "envelope": "address of the nuclear envelope, above 0 = there; None = a pore's shortest axis is its normal",
        "reach_nm": "how far from a pore's centre the envelope is looked at",
        "length_nm": "least and largest major axis of a pore; other objects are left out",
    },
    "pits": {
        "objects": "names, of analyse.objects, of the coated pits, caveolae or both",
        "membrane": "address of the plasma membrane, above 0 = there; None = the mouth of a pit says where it is",
        "reach_nm": "how far from a pit's centre the membrane is looked at",
        "length_nm": "least and largest major axis of a pit; other objects are left out",
        "caveola_width_nm": "a caveola is at most that wide",
        "caveola_eccentricity": "a caveola is at most that oblong, 0 to 1",
        "caveola_stage": "a caveola has at least that share of its height below the membrane, 0 to 1",
    },
    "contacts": {
        "*": {
            "first": "name, of analyse.objects, of those whose surface is measured",
            "second": "name, of analyse.objects, of those that they may be near",
            "within_nm": "largest distance of a contact, from voxel centre to voxel centre",
        }
    },
    "tables": "formats of the tables: csv, parquet (extra `tables`)",
    "block_shape": "voxels at a time, z y x; bounds the memory, not the result",
    "num_threads": "blocks at a time",
    "cluster": CLUSTER,
}
