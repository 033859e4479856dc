"""Stage `analyse`: objects become tables of sizes and shapes in nm, with plots.

    python -m asem_jax.main --config configs/analyse_pores.py --workdir runs/pores

Writes into the folder `analysis` of the run: `objects_<name>` for each volume of objects, `pores` and `pits`, with
plots (PNG), `contacts_<name>`, as CSV and if asked as Parquet; and last `summary.json`, which is not there while the
others may be incomplete or old. It is cheap next to a prediction, so it always measures anew.
"""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from asem_jax import devices
from asem_jax.measurement.contacts import measure_contacts
from asem_jax.measurement.distributions import describe
from asem_jax.measurement.morphometry import measure_objects
from asem_jax.measurement.pits import is_caveola, measure_pits
from asem_jax.measurement.pores import measure_pores
from asem_jax.measurement.scoring import voxel_shift
from asem_jax.measurement.tables import Columns, check_formats, rows_where, write_table
from asem_jax.reporting.plots import draw_objects, draw_pits, draw_pores
from asem_jax.volumes.cluster import open_workers
from asem_jax.volumes.files import replaced, write_json
from asem_jax.volumes.volume import Volume, open_volume

logger = logging.getLogger(__name__)

_SIZES = ("volume_nm3", "surface_nm2", "sphericity", "major_nm")
_PORE_SIZES = ("diameter_nm", "long_nm", "short_nm", "height_nm")
_PIT_SIZES = ("depth_nm", "width_nm", "eccentricity", "stage", "neck", "tilt_degrees")


def run(config: ConfigDict, workdir: Path) -> None:
    """Measures the objects that `config` (section "analyse") names; see `asem_jax.settings`.

    Raises:
      ValueError: there is nothing to measure, or the volumes do not fit each other.
      ImportError: Parquet is asked for, and pyarrow is not installed.
    """
    if not devices.is_speaker():
        return
    check_formats(config.tables)
    volumes = {name: open_volume(address) for name, address in config.objects.items()}
    others = open_others(config)
    check(config, volumes, others)
    folder = workdir / "analysis"
    with open_workers(config.cluster and config.cluster.to_dict()) as workers:
        (folder / "summary.json").unlink(missing_ok=True)
        speed = {"block_shape": config.block_shape, "num_threads": config.num_threads, "workers": workers}
        tables = measure_all(config, volumes, others["raw"], folder, speed)
        contacts = {name: analyse_contacts(config, name, volumes, folder, speed) for name in config.contacts}
    summary: dict[str, Any] = {
        "objects": {name: {"address": volumes[name].address, **of_objects(table)} for name, table in tables.items()}
    }
    if config.pores is not None:
        summary["pores"] = analyse_pores(config, volumes, tables, others["pores.envelope"], folder)
    if config.pits is not None:
        summary["pits"] = analyse_pits(config, volumes, tables, others["pits.membrane"], folder)
    write_json(folder / "summary.json", summary | {"contacts": contacts})
    logger.info("tables, plots and summary.json are in %s", folder)


def open_others(config: ConfigDict) -> dict[str, Volume | None]:
    """Returns the volumes that hold no objects, by the setting that names them; None where none is named."""
    addresses = {
        "raw": config.raw,
        "pores.envelope": None if config.pores is None else config.pores.envelope,
        "pits.membrane": None if config.pits is None else config.pits.membrane,
    }
    return {name: None if address is None else open_volume(address) for name, address in addresses.items()}


def check(config: ConfigDict, volumes: Mapping[str, Volume], others: Mapping[str, Volume | None]) -> None:
    """Looks at names and grids before anything is measured.

    Raises:
      ValueError: no objects, a name that is none of them, or volumes that do not fit each other.
    """
    if not volumes:
        raise ValueError("analyse.objects={} leaves nothing to measure; name at least one volume of objects.")
    named = {
        f"contacts.{name}.{end}": pair[end] for name, pair in config.contacts.items() for end in ("first", "second")
    }
    if config.pores is not None:
        named["pores.objects"] = config.pores.objects
    if config.pits is not None:
        named |= {f"pits.objects[{number}]": name for number, name in enumerate(config.pits.objects)}
        if not config.pits.objects:
            raise ValueError(
                "analyse.pits.objects=() names no pits; name some of analyse.objects, or set pits to None."
            )
    for setting, name in named.items():
        if name not in volumes:
            raise ValueError(
                f"analyse.{setting}={name!r} is no name of analyse.objects; there are {', '.join(volumes)}."
            )
    for volume in volumes.values():
        for other in others.values():
            if other is not None:
                voxel_shift(other, volume, volume.box)


def measure_all(
    config: ConfigDict, volumes: Mapping[str, Volume], raw: Volume | None, folder: Path, speed: Mapping[str, Any]
) -> dict[str, Columns]:
    """Returns the table of each volume of objects, written and drawn as `objects_<name>`.

    Args:
      config: the section "analyse".
      volumes: of objects, by name.
      raw: grey values, or None.
      folder: gets tables and pictures.
      speed: block_shape, num_threads and workers, as for `measure_objects`.
    """
    tables = {}
    for name, volume in volumes.items():
        tables[name] = measure_objects(volume, raw=raw, name=name, **speed)
        write_table(tables[name], folder, f"objects_{name}", config.tables)
        picture = draw_objects(rows_where(tables[name], ~tables[name]["touches_border"]))
        replaced(folder / f"objects_{name}.png", partial(Path.write_bytes, data=picture))
    return tables


def of_objects(table: Columns) -> dict[str, Any]:
    """Returns what is said of all objects of a volume, as JSON: sizes of those that do not touch its border."""
    whole = rows_where(table, ~table["touches_border"])
    return {
        "count": len(table["id"]),
        "touching_border": int(table["touches_border"].sum()),
        "total_nm3": float(table["volume_nm3"].sum()),
        "whole": {name: describe(whole[name]) for name in _SIZES},
    }


def analyse_pores(
    config: ConfigDict,
    volumes: Mapping[str, Volume],
    tables: Mapping[str, Columns],
    envelope: Volume | None,
    folder: Path,
) -> dict[str, Any]:
    """Writes table and plot of the nuclear pores; returns what is said of them, as JSON.

    Diameters are those of pores that do not touch the volume's border, distances those that are sure.
    """
    settings = config.pores
    pores = measure_pores(
        volumes[settings.objects],
        tables[settings.objects],
        envelope=envelope,
        reach_nm=settings.reach_nm,
        length_nm=settings.length_nm,
    )
    write_table(pores, folder, "pores", config.tables)
    shown = {name: np.where(pores["touches_border"], np.nan, pores[name]) for name in _PORE_SIZES}
    distances = ("neighbour_nm", "neighbour_arc_nm")
    shown |= {name: np.where(pores["neighbour_is_sure"], pores[name], np.nan) for name in distances}
    picture = draw_pores(shown)
    replaced(folder / "pores.png", lambda path: path.write_bytes(picture))
    return {"count": len(pores["id"]), **{name: describe(column) for name, column in shown.items()}}


def analyse_pits(
    config: ConfigDict,
    volumes: Mapping[str, Volume],
    tables: Mapping[str, Columns],
    membrane: Volume | None,
    folder: Path,
) -> dict[str, Any]:
    """Writes table and plot of the pits of all volumes named; returns what is said of them, as JSON.

    The table has two columns more than `measure_pits` gives: `organelle`, the name of the volume, and `is_caveola`, by
    size and shape. Sizes are those of pits that do not touch the volume's border.
    """
    settings = config.pits
    parts = []
    for name in settings.objects:
        found = measure_pits(
            volumes[name], tables[name], membrane=membrane, reach_nm=settings.reach_nm, length_nm=settings.length_nm
        )
        parts.append({"organelle": np.full(len(found["id"]), name), **found})
    pits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    pits["is_caveola"] = is_caveola(
        pits,
        width_nm=settings.caveola_width_nm,
        eccentricity=settings.caveola_eccentricity,
        stage=settings.caveola_stage,
    )
    write_table(pits, folder, "pits", config.tables)
    whole = rows_where(pits, ~pits["touches_border"])
    picture = draw_pits({**whole, "kind": np.where(whole["is_caveola"], "caveolae", "other pits")})
    replaced(folder / "pits.png", lambda path: path.write_bytes(picture))
    kinds = {"caveolae": whole["is_caveola"], "other_pits": ~whole["is_caveola"]}
    return {
        "count": len(pits["id"]),
        **{kind: {name: describe(whole[name][mine]) for name in _PIT_SIZES} for kind, mine in kinds.items()},
        "by_volume": {
            name: {kind: int((mine & (whole["organelle"] == name)).sum()) for kind, mine in kinds.items()}
            for name in settings.objects
        },
    }


def analyse_contacts(
    config: ConfigDict, name: str, volumes: Mapping[str, Volume], folder: Path, speed: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the table of one kind of contacts; returns what is said of them, as JSON; see `measure_all`."""
    settings = config.contacts[name]
    contacts = measure_contacts(
        volumes[settings.first],
        volumes[settings.second],
        within_nm=settings.within_nm,
        name=name,
        **speed,
    )
    write_table(contacts, folder, f"contacts_{name}", config.tables)
    return {
        "pairs": len(contacts["first_id"]),
        "total_nm2": float(contacts["area_nm2"].sum()),
        "area_nm2": describe(contacts["area_nm2"]),
    }
