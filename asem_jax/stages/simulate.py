"""Stage `simulate`: a FIB-SEM-like volume in which everything is known.

    python -m asem_jax.main --config configs/simulate_tiff.py --workdir runs/simulated

Writes `raw` (uint8) and `labels/mito` (uint8, 0 or 1), both with a pyramid, into the container, block by
block. Run again it continues with the blocks that are missing, and does nothing when there are none.
"""

import json
import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.simulation.cell import Cell
from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.preparation import Preparation
from asem_jax.simulation.scene import simulate_block
from asem_jax.volumes.blockwise import Ledger, run_blocks
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.pyramid import write_pyramid
from asem_jax.volumes.volume import Volume, create_volume

logger = logging.getLogger(__name__)


def run(config: ConfigDict, workdir: Path) -> None:
    """Fills the container that `config` (section "simulate") names; see `asem_jax.stages.settings`."""
    settings = json.loads(config.to_json())
    del settings["num_threads"]
    cell = Cell(
        seed=config.seed,
        voxel_size_nm=config.voxel_size_nm,
        microscope=Microscope(**config.microscope),
        preparation=Preparation(**config.preparation),
        **config.cell,
    )
    blocks = list(tiles(Box.of_shape(config.shape), _block_shape(config)))
    ledger = _ledger(workdir, config.container, settings)
    if len(ledger.finished) == len(blocks) + 1:
        logger.info("%s is finished; nothing to do", config.container)
        return
    raw, mito = (_create(config, name, settings) for name in ("raw", "labels/mito"))

    def simulate(box: Box) -> None:
        block = simulate_block(cell, box)
        written = [raw.write_async(box, block.raw), mito.write_async(box, block.labels["mito"])]
        for future in written:
            future.result()

    run_blocks(simulate, blocks, label="simulate", ledger=ledger, num_threads=config.num_threads)
    write_pyramid(raw, labels=False)
    write_pyramid(mito, labels=True)
    # One mark more than there are blocks: the pyramids.
    ledger.mark(len(blocks))
    logger.info("%s and %s are written", raw.address, mito.address)


def _block_shape(config: ConfigDict) -> Int3:
    """Returns the blocks' shape, after checking that no two blocks write to one chunk."""
    block, chunk = int3(config.block_shape, "block_shape"), int3(config.chunk_shape, "chunk_shape")
    if any(b % c for b, c in zip(block, chunk, strict=True)):
        raise ValueError(
            f"simulate.block_shape={block} is not a multiple of chunk_shape={chunk}; "
            "make it one on every axis, so that each file is written by one block."
        )
    return block


def _ledger(workdir: Path, container: str, settings: dict[str, Any]) -> Ledger:
    """Opens the ledger of the container; that of a container which is gone is started anew."""
    path = workdir / "ledgers" / f"simulate-{Path(container).stem}.jsonl"
    if not (Path(container) / "raw").exists():
        path.unlink(missing_ok=True)
    return Ledger(path, settings)


def _create(config: ConfigDict, name: str, settings: dict[str, Any]) -> Volume:
    return create_volume(
        f"{config.container}/{name}",
        shape=config.shape,
        dtype="uint8",
        voxel_size_nm=config.voxel_size_nm,
        chunk_shape=config.chunk_shape,
        attributes={"made_by": "asem_jax simulate", "settings": settings},
    )
