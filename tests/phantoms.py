"""Small volumes and models that tests share: everything in them is known."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt
import optax
from ml_collections import ConfigDict

from asem_jax.models.architecture import (
    Architecture,
    asem,
    asem_transposed,
    cosem_4nm,
    cosem_8to4nm,
    funke_cremi,
    funke_fib25,
    lsd_fib25,
    multitask,
)
from asem_jax.models.model import Model, ModelCard
from asem_jax.models.shapes import valid_input_shape
from asem_jax.segmentation.adjacency import join, piece_of
from asem_jax.segmentation.annotation import Region
from asem_jax.segmentation.supervoxels import Lattice, grow_supervoxels, lattice_pitch, slope, smoothed
from asem_jax.training.step import init_state
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.volume import Volume, create_volume

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)


def narrow(architecture: Architecture) -> Architecture:
    """Returns a network with the ways of another, but few maps and two poolings, its finest and its coarsest."""
    pool_factors = (architecture.pool_factors[0], architecture.pool_factors[-1])
    down = (2, 3, 4)
    up = (3, 2) if architecture.upsampling == "constant" else (2, 3)
    keeps_maps = architecture.upsampling in ("repeat", "transposed")
    final = architecture.final_upsampling
    return replace(
        architecture,
        encoder_maps=down,
        decoder_maps=up,
        upsampled_maps=(*up[1:], down[-1]) if keeps_maps else up,
        pool_factors=pool_factors,
        kernel_sizes=architecture.kernel_sizes[:3],
        final_upsampling=final and replace(final, num_maps=3),
    )


# Every kind of network.
NARROW_NETWORKS: dict[str, Architecture] = {
    "asem": narrow(asem()),
    "asem_transposed": narrow(asem_transposed()),
    "asem_same": replace(narrow(asem()), padding="same"),
    "asem_flat": replace(
        narrow(asem(pool_factors=((1, 2, 2), (2, 2, 2)))), kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 1, 1))
    ),
    "multitask": narrow(multitask(num_auxiliary=3)),
    "cosem_4nm": narrow(cosem_4nm(num_channels=2)),
    "cosem_8to4nm": narrow(cosem_8to4nm(num_channels=2)),
    "funke_cremi": narrow(funke_cremi(num_channels=2)),
    "funke_fib25": narrow(funke_fib25(num_channels=2)),
    "lsd_fib25": narrow(lsd_fib25(num_channels=2)),
}


def balls(shape: tuple[int, int, int], seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Returns raw and labels: dark balls on a brighter, noisy ground."""
    rng = np.random.default_rng(seed)
    positions = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    labels = np.zeros(shape, bool)
    for _ in range(max(2, int(np.prod(shape)) // 6000)):
        centre, radius = rng.uniform(0, shape), rng.uniform(4, 7)
        labels |= ((positions - centre) ** 2).sum(-1) < radius**2
    raw = np.where(labels, 90, 160) + rng.normal(0, 15, shape)
    return np.clip(raw, 0, 255).astype(np.uint8), labels.astype(np.uint8)


def write_volume(address: str | Path, array: npt.NDArray[np.generic], **settings: object) -> Volume:
    """Returns a volume on disk that holds `array`."""
    chosen: dict[str, object] = {"voxel_size_nm": VOXEL_SIZE_NM, "chunk_shape": (32, 32, 32)} | settings
    volume = create_volume(address, shape=array.shape, dtype=array.dtype, **chosen)  # type: ignore[arg-type]
    volume.write(Box.of_shape(array.shape), array)
    return volume


def divided_balls(container: Path) -> tuple[Volume, Region, npt.NDArray[np.uint8]]:
    """Returns raw with two grey balls, its region of supervoxels of 3 voxels, and the labels."""
    shape, size = (12, 30, 32), (20.0, 10.0, 10.0)
    z, y, x = np.indices(shape) * np.array(size).reshape(3, 1, 1, 1)
    bodies = [(z - 120) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 80**2 for cy, cx in ((90, 100), (210, 220))]
    labels = np.logical_or(*bodies).astype(np.uint8)
    grey = np.where(labels == 1, 90, 150) + np.random.default_rng(0).normal(0, 12, shape)
    place = {"voxel_size_nm": size, "offset_nm": (100.0, 0.0, -50.0), "chunk_shape": (8, 16, 16)}
    raw = write_volume(container / "raw", np.clip(grey, 0, 255).astype(np.uint8), **place)
    lattice, whole = Lattice(shape, lattice_pitch(30.0, size)), Box.of_shape(shape)
    smooth = smoothed(raw.read(whole), 10.0, size)
    gradient = slope(smooth, size)
    steps = {"grey_step": 0.6, "gradient_step": None, "lattice": lattice, "voxel_size_nm": size}
    found = grow_supervoxels(smooth, gradient, whole, **steps)
    ids = write_volume(container / "supervoxels", found, **place)
    piece = piece_of(raw.read(whole), whole, found, gradient, sigmas_nm=(10.0, 20.0), voxel_size_nm=size)
    blocks = list(tiles(whole, (8, 16, 16)))
    return raw, Region(ids, join([piece], lattice.count), lattice, blocks), labels


def small_model(
    seed: int = 0,
    pool_factors: tuple[tuple[int, int, int], ...] = ((2, 2, 2),),
    organelles: int = 1,
    architecture: Architecture | None = None,
) -> Model:
    """Returns a model with random parameters, amplified so that its probabilities differ from voxel to voxel."""
    architecture = architecture or asem(organelles + 1, 4, 2, pool_factors)
    card = ModelCard(
        organelles=("mito", "er", "golgi")[:organelles],
        voxel_size_nm=VOXEL_SIZE_NM,
        architecture=architecture,
        compute_dtype="float32",
        polarity="membranes dark",
    )
    optimizer = optax.identity()
    shape = valid_input_shape((1, 1, 1), architecture)
    params = init_state(card.network(), optimizer, shape, seed).params
    return Model(jax.tree.map(lambda leaf: leaf * 2.4, params), card)


def train_config(container: Path, **changes: object) -> ConfigDict:
    """Returns the section of a tiny training on `container`/raw and `container`/labels/mito."""
    region = {
        "raw": f"{container}/raw",
        "labels": {"mito": f"{container}/labels/mito"},
        "mask": None,
        "annotation": None,
        "weight": None,
        "start": None,
        "stop": None,
    }
    config = ConfigDict(
        {
            "seed": 3,
            "organelles": ("mito",),
            "channels": None,
            "voxel_size_nm": VOXEL_SIZE_NM,
            "polarity": "membranes dark",
            "regions": {"all": region},
            "validation_regions": {"part": {**region, "stop": (16, 32, 40)}},
            "incasem": None,
            "network": {
                "num_maps": 4,
                "map_growth": 2,
                "pool_factors": ((2, 2, 2),),
                "kernel_sizes": (3, 3, 3),
                "padding": "valid",
                "decoder_maps": None,
                "upsampling": "repeat",
                "head_kernel_size": (3, 3, 3),
                "rematerialize": False,
            },
            "kernel_gain": 2.4,
            "compute_dtype": "float32",
            "input_shape": (32, 32, 32),
            "batch_size": 8,
            "num_train_steps": 6,
            "learning_rate": 3e-3,
            "final_learning_rate": 1e-3,
            "weight_decay": 3e-5,
            "max_gradient_norm": None,
            "warmup_steps": 0,
            "adam_betas": (0.9, 0.999),
            "ema_decay": None,
            "crops_at_once": None,
            "frozen": (),
            "max_skipped_steps": 2,
            "min_class_fraction": 0.01,
            "max_class_fraction": 0.99,
            "class_weights": (1.0, 1.0),
            "class_fractions": None,
            "losses": None,
            "min_foreground": 0.05,
            "reject_probability": 0.9,
            "min_known": 0.0,
            "favoured": None,
            "favoured_probability": 0.5,
            "overfit_one_crop": False,
            "mirror_axes": (0, 1, 2),
            "intensity_scale": 0.15,
            "intensity_shift": 0.15,
            "elastic": None,
            "gamma": None,
            "noise_std": None,
            "defects": None,
            "batches_ahead": 2,
            "reader_threads": 2,
            "log_every": 1,
            "checkpoint_every": 2,
            "validate_every": 4,
            "stop_after": None,
            "images_every": None,
            "exclude_inwards": 1,
            "exclude_outwards": 1,
            "init_from": None,
            "init_new": (),
            "init_optimizer": False,
        }
    )
    with config.unlocked():
        config.update(changes)
    return config
