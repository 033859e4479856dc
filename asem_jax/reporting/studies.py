"""What stages analyse and superimpose found: sizes of objects, pores, pits, contacts, voxels that moved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asem_jax.reporting import page

Json = Mapping[str, Any]

_DESCRIBED = {
    "mean": "mean",
    "std": "deviation",
    "min": "smallest",
    "quartile_1": "quartile",
    "median": "median",
    "quartile_3": "quartile",
    "max": "largest",
}
_TESTS = {"shapiro_wilk": "Shapiro-Wilk p", "dagostino_pearson": "D'Agostino p"}
_UNITS = {"_nm3": " (nm³)", "_nm2": " (nm²)", "_nm": " (nm)", "_degrees": " (degrees)"}
_FEWEST = 3  # objects of which a distribution is drawn
_NORMALITY = (
    "p of two tests of normality: a small one speaks against a normal distribution; a large one says that no "
    "difference from one is seen, or that there are too few objects to see it."
)


def measured_section(summary: Json | None, folder: Path) -> list[str]:
    """Returns tables and plots of stage analyse; nothing where it did not run.

    Args:
      summary: the content of analysis/summary.json; None if there is none.
      folder: where the plots lie; one that is not there is left out.
    """
    if summary is None:
        return []
    parts = [page.heading("Measured objects"), page.paragraph(_NORMALITY)]
    for name, found in summary["objects"].items():
        parts += _objects(name, found, folder / f"objects_{name}.png")
    if "pores" in summary:
        parts += _pores(summary["pores"], folder / "pores.png")
    if "pits" in summary:
        parts += _pits(summary["pits"], folder / "pits.png")
    return [*parts, *_contacts(summary["contacts"])]


def _objects(name: str, found: Json, plot: Path) -> list[str]:
    text = (
        f"{found['count']} objects of {found['total_nm3'] / 1e9:.4g} µm³ together; {found['touching_border']} touch "
        "the volume's border and may go on outside. Sizes below are those of the others."
    )
    parts = [page.heading(name, 3), page.paragraph(text), _described(found["whole"])]
    if found["count"] - found["touching_border"] < _FEWEST:
        return parts
    return parts + _plot(plot, f"Distribution of size and shape of {name}")


def _pores(found: Json, plot: Path) -> list[str]:
    sizes = {name: column for name, column in found.items() if name != "count"}
    text = (
        f"{found['count']} pores. Diameters are those of pores that the volume's border does not cut, distances those "
        "to a neighbour that is surely the nearest."
    )
    parts = [page.heading("Nuclear pores", 3), page.paragraph(text), _described(sizes)]
    return parts + _plot(plot, "Diameters, their quantiles beside those of a normal distribution, nearest neighbours")


def _pits(found: Json, plot: Path) -> list[str]:
    parts = [page.heading("Coated pits and caveolae", 3)]
    parts.append(page.paragraph(f"{found['count']} pits; below are those that the volume's border does not cut."))
    kinds = {"other_pits": "pits other than caveolae", "caveolae": "caveolae"}
    head = ["volume", *kinds.values()]
    rows = [[name, *(str(counts[kind]) for kind in kinds)] for name, counts in found["by_volume"].items()]
    parts.append(page.table(head, rows, numbers_from=1))
    for kind, name in kinds.items():
        parts += [page.heading(name.capitalize(), 4), _described(found[kind])]
    return parts + _plot(plot, "Eccentricity against stage of assembly, and depth against width")


def _contacts(found: Json) -> list[str]:
    if not found:
        return []
    rows = [
        [name, str(c["pairs"]), amount(c["total_nm2"]), *(amount(c["area_nm2"].get(key)) for key in ("median", "max"))]
        for name, c in found.items()
    ]
    head = ["contacts", "pairs of objects", "area in all (nm²)", "median of a pair (nm²)", "largest (nm²)"]
    return [page.heading("Contact sites", 3), page.table(head, rows, numbers_from=1)]


def _described(columns: Json) -> str:
    """Returns a table of distributions, one row per measure."""
    rows = []
    for name, found in columns.items():
        tests = found.get("normality", {})
        p = [None if tests.get(test) is None else tests[test]["p"] for test in _TESTS]
        rows.append([_with_unit(name), str(found["count"]), *(amount(found.get(k)) for k in _DESCRIBED), *map(_p, p)])
    return page.table(["", "objects", *_DESCRIBED.values(), *_TESTS.values()], rows, numbers_from=1)


def _with_unit(name: str) -> str:
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " ") + unit
    return name.replace("_", " ")


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Returns about four digits of a size, thousands apart; a dash where it is not known.

    Example:
      >>> amount(0.12345), amount(94.25), amount(348051.7), amount(217445750.0), amount(None)
      ('0.1235', '94.25', '348,052', '2.174e+08', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _plot(file: Path, caption: str) -> list[str]:
    return [page.picture(file.read_bytes(), alt=caption, caption=f"{caption}.")] if file.is_file() else []


def superimposed_section(moved: Json | None) -> list[str]:
    """Returns which claims were taken from whom, and what is left; nothing where stage superimpose did not run.

    Args:
      moved: the content of superimpose.json; None if there is none.
    """
    if moved is None:
        return []
    text = (
        f"Several organelles claimed {moved['conflict_voxels']:,} voxels; now none belongs to two. The steps, in their "
        "order: rules first, then what wins a voxel that several still claim."
    )
    parts = [page.heading("Organelles superimposed"), page.paragraph(text)]
    rows = [_kept(name, counts) for name, counts in moved["organelles"].items()]
    parts.append(page.table(["organelle", "claimed voxels", "kept", "taken away", "share"], rows, numbers_from=1))
    rows = [[row["step"].replace("_", " "), *_way(row), f"{row['voxels']:,}"] for row in moved["moved"]]
    if rows:
        parts.append(page.table(["step", "from", "to", "voxels"], rows, numbers_from=3))
    return parts


def _kept(name: str, counts: Json) -> Sequence[str]:
    claimed, kept = counts["claimed_voxels"], counts["kept_voxels"]
    share = f"{(claimed - kept) / claimed:.2%}" if claimed else "-"
    return [name, f"{claimed:,}", f"{kept:,}", f"{claimed - kept:,}", share]


def _way(row: Json) -> Sequence[str]:
    return [row["from"], row["to"] or "nobody"]
