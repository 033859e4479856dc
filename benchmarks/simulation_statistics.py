"""Compares grey values of simulated cells and tissue with those of the EPFL volume: histogram, spectra, membranes.

    python -m benchmarks.simulation_statistics --workdir runs/statistics

Simulates a block of each config at the voxel size of the EPFL training volume, found as lucchi_training_raw.tif
in the folder ASEM_JAX_DATA, and takes a box of the same shape from its middle; that of the whole cell lies in its
cytoplasm. Per block: the histogram; the mean power
spectrum of lines along z and along y, as shares of the variance; and the mean profile across membranes.
A membrane is, without labels, the darkest tenth of the local minima along x, ranked by how far they lie below the
brightest value within 40 nm on either side; its edge contrast is that depth. Writes
benchmarks/results/simulation_statistics.json and a figure of the curves, and, into the run folder alone, three planes
of each volume side by side. The EPFL volume belongs to its authors: --planes, for the docs, leaves it out.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from asem_jax.simulation import Cell, simulate_block
from asem_jax.simulation.surfaces import Surface, site
from asem_jax.volumes.geometry import Box, tiles
from benchmarks.records import RESULTS, circumstances, save
from benchmarks.simulation_baselines import cell_of, settings_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RECORD = RESULTS / "simulation_statistics.json"
CONFIGS = ("quickstart", "simulate_cell", "simulate_cf", "simulate_hpf")
SHOWN = ("simulate_cell", "simulate_cf", "simulate_hpf")
VOXEL_NM = 5.0
REACH_NM = 40.0
# Voxels that are shown; of the whole cell, from the nucleus to the space outside. White lines between planes.
PLANES, LINE = (160, 256, 256), 6
Grey = npt.NDArray[np.uint8]


def main() -> None:
    """Measures, writes the record and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="folder for the figure")
    parser.add_argument("--shape", nargs=3, type=int, default=(64, 192, 192), help="voxels of 5 nm, z y x")
    parser.add_argument("--picture", type=Path, help="another place for the figure: curves alone, no image data")
    parser.add_argument("--planes", type=Path, help="another place for the planes of the simulated volumes alone")
    options = parser.parse_args()
    shape = tuple(options.shape)
    blocks = {"EPFL": epfl(Path(os.environ["ASEM_JAX_DATA"]) / "lucchi_training_raw.tif", shape)}
    blocks |= {name: simulated(name, shape) for name in CONFIGS}
    found = {name: statistics(block) for name, block in blocks.items()}
    record = {
        **circumstances("tifffile"),
        "shape": shape,
        "voxel_size_nm": VOXEL_NM,
        "volumes": found,
    }
    save(RECORD, record)
    options.workdir.mkdir(parents=True, exist_ok=True)
    for path in filter(None, (options.workdir / "simulation_statistics.png", options.picture)):
        draw(found, path)
    shown = {name: simulated_planes(name) for name in SHOWN}
    draw_planes(list(shown.values()), options.planes)
    real = epfl(Path(os.environ["ASEM_JAX_DATA"]) / "lucchi_training_raw.tif", PLANES)
    draw_planes([*shown.values(), planes_of(real)], options.workdir / "simulation_planes.png")
    for name, one in found.items():
        print(
            f"{name:<14} mean {one['mean']:6.1f}  deviation {one['deviation']:5.1f}  "
            f"membranes {one['edge_contrast']:5.1f} deep, {one['membrane_width_nm']:4.1f} nm wide"
        )


def epfl(path: Path, shape: tuple[int, ...]) -> Grey:
    """Returns a box from the middle of the EPFL volume."""
    with tifffile.TiffFile(path) as file:
        first = (len(file.pages) - shape[0]) // 2
        pages = [file.pages[first + z].asarray() for z in range(shape[0])]
    start = [(size - n) // 2 for size, n in zip(pages[0].shape, shape[1:], strict=True)]
    return np.stack([page[start[0] : start[0] + shape[1], start[1] : start[1] + shape[2]] for page in pages])


def simulated(name: str, shape: tuple[int, ...]) -> Grey:
    """Returns a block of what a config describes, at the voxel size compared here."""
    settings = settings_of(name)
    cell = cell_of(settings, settings["seed"], VOXEL_NM)
    raw = np.empty(shape, np.uint8)
    box = place(cell, shape, share=0.5)
    for tile in tiles(box, (64, 64, 64)):
        raw[tile.shift([-a for a in box.start]).slices] = simulate_block(cell, tile).raw
    return raw


def place(cell: Cell, shape: tuple[int, ...], share: float) -> Box:
    """Returns the box that is looked at: at the origin of a tissue; in a cell, beside its nucleus along x.

    Args:
      cell: what is simulated.
      shape: of the box, voxels.
      share: where its middle lies between the nuclear envelope, 0, and the plasma membrane, 1.
    """
    if cell.whole is None:
        return Box.of_shape(shape)
    one = site(cell, (0, 0, 0))
    inner, outer = (one.centres_nm[s][2] + one.radii_nm[s] for s in (Surface.ENVELOPE, Surface.PLASMA))
    middle = [*one.centres_nm[Surface.ENVELOPE][:2], inner + share * (outer - inner)]
    start = np.rint(np.multiply(middle, cell.preparation.shrinkage / VOXEL_NM)).astype(int) - np.array(shape) // 2
    return Box.of_shape(shape, start.tolist())


def simulated_planes(name: str) -> list[Grey]:
    """Returns the middle planes of a box, across z, y and x, without simulating all of it."""
    settings = settings_of(name)
    cell = cell_of(settings, settings["seed"], VOXEL_NM)
    box = place(cell, PLANES, share=0.5)
    found = []
    for axis, middle in enumerate(np.array(PLANES) // 2):
        shape, start = list(box.shape), list(box.start)
        shape[axis], start[axis] = 1, start[axis] + int(middle)
        found.append(simulate_block(cell, Box.of_shape(shape, start)).raw.squeeze(axis))
    return found


def planes_of(raw: Grey) -> list[Grey]:
    """Returns the middle planes of a block, across z, y and x."""
    return [np.take(raw, size // 2, axis) for axis, size in enumerate(raw.shape)]


def draw_planes(volumes: list[list[Grey]], path: Path | None) -> None:
    """Draws the planes of each volume in a column of its own, voxel for pixel; None = not at all."""
    if path is None:
        return
    columns = []
    for planes in volumes:
        framed = [np.pad(plane, ((0, LINE), (0, LINE)), constant_values=255) for plane in planes]
        columns.append(np.concatenate(framed))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, 1)[:-LINE, :-LINE]).save(path, optimize=True)


def statistics(raw: Grey) -> dict[str, Any]:
    """Returns the numbers of one block, as JSON holds them."""
    depth, profile = membranes(raw)
    inside = profile < (profile.min() + profile.max()) / 2
    return {
        "mean": round(float(raw.mean()), 2),
        "deviation": round(float(raw.std()), 2),
        "histogram": (np.bincount(raw.ravel(), minlength=256) / raw.size).round(6).tolist(),
        "spectrum_z": spectrum(raw, 0).round(6).tolist(),
        "spectrum_y": spectrum(raw, 1).round(6).tolist(),
        "edge_contrast": round(depth, 2),
        "membrane_width_nm": float(inside.sum() * VOXEL_NM),
        "membrane_profile": profile.round(2).tolist(),
    }


def spectrum(raw: Grey, axis: int) -> npt.NDArray[np.float64]:
    """Returns the mean power of lines along an axis, without their mean, as shares that sum to 1.

    Share k belongs to k cycles over the length of the axis.
    """
    lines = np.moveaxis(raw, axis, -1).astype(np.float64)
    lines = (lines - lines.mean(-1, keepdims=True)) * np.hanning(lines.shape[-1])
    power = np.square(np.abs(np.fft.rfft(lines))).mean((0, 1))[1:]
    return power / power.sum()


def membranes(raw: Grey) -> tuple[float, npt.NDArray[np.float64]]:
    """Returns how deep the strongest dark lines are, grey values, and the mean profile across them along x."""
    grey = raw.astype(np.float64)
    smooth = (grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]) / 4
    reach = round(REACH_NM / VOXEL_NM)
    windows = np.lib.stride_tricks.sliding_window_view(smooth, 2 * reach + 1, -1)
    middle = windows[..., reach]
    depth = np.minimum(windows[..., :reach].max(-1), windows[..., reach + 1 :].max(-1)) - middle
    lowest = middle <= windows.min(-1)
    strong = lowest & (depth >= np.quantile(depth[lowest], 0.9))
    return float(depth[strong].mean()), windows[strong].mean(0)


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws the curves of all blocks."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    for name, one in found.items():
        style = {
            "label": name,
            "linewidth": 2.5 if name == "EPFL" else 1.2,
            "color": "black" if name == "EPFL" else None,
        }
        axes[0, 0].plot(one["histogram"], **style)
        for place, key in ((axes[0, 1], "spectrum_z"), (axes[1, 0], "spectrum_y")):
            power = np.array(one[key])
            cycles = np.arange(1, len(power) + 1) * 500 / len(power) / VOXEL_NM
            place.loglog(cycles, power * len(power), **style)
        profile = one["membrane_profile"]
        axes[1, 1].plot((np.arange(len(profile)) - len(profile) // 2) * VOXEL_NM, profile, **style)
    axes[0, 0].set(title="histogram", xlabel="grey value", ylabel="share of voxels")
    axes[0, 1].set(title="spectrum along z", xlabel="cycles per micrometre", ylabel="power, mean 1")
    axes[1, 0].set(title="spectrum along y", xlabel="cycles per micrometre", ylabel="power, mean 1")
    axes[1, 1].set(title="across the strongest dark lines, along x", xlabel="nm", ylabel="grey value")
    axes[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
