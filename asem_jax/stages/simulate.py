"""Stage `simulate`: a FIB-SEM-like volume in which everything is known.

    python -m asem_jax.main --config configs/simulate_tiff.py --workdir runs/simulated

Writes into the container, block by block and with pyramids: `raw` (uint8), for each organelle asked for
`labels/<organelle>` (uint8, 0 or 1) and `objects/<organelle>` (uint32, one number per object), and the table of
the objects of all organelles in nm, `truth.csv` and `truth.jsonl`. Run again it continues with the blocks that
are missing, and does nothing when there are none.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from asem_jax.simulation.cell import Cell, WholeCell
from asem_jax.simulation.microscope import Microscope
from asem_jax.simulation.preparation import Preparation
from asem_jax.simulation.scene import lattices, numbering, simulate_block
from asem_jax.simulation.truth import write_truths
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, Int3, int3, tiles
from asem_jax.volumes.ledger import Ledger
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
        whole=None if config.whole_cell is None else WholeCell(**config.whole_cell),
        preparation=Preparation(**config.preparation),
        **config.cell,
    )
    whole = Box.of_shape(config.shape)
    blocks = list(tiles(whole, _block_shape(config)))
    _check_organelles(cell, config.organelles)
    numbers = numbering(cell, whole)
    ledger = _ledger(workdir, config.container, settings)
    if len(ledger.finished) == len(blocks) + 1:
        logger.info("%s is finished; nothing to do", config.container)
        return
    raw = _create(config, "raw", "uint8", settings)
    labels = {name: _create(config, f"labels/{name}", "uint8", settings) for name in config.organelles}
    objects = {name: _create(config, f"objects/{name}", "uint32", settings) for name in config.organelles}

    def simulate(box: Box) -> None:
        block = simulate_block(cell, box)
        written = [raw.write_async(box, block.raw)]
        written += [labels[name].write_async(box, block.labels(name)) for name in config.organelles]
        written += [objects[name].write_async(box, block.instances(name, numbers)) for name in config.organelles]
        for future in written:
            future.result()

    run_blocks(simulate, blocks, label="simulate", ledger=ledger, num_threads=config.num_threads)
    write_pyramid(raw, labels=False)
    for volume in (*labels.values(), *objects.values()):
        write_pyramid(volume, labels=True)
    write_truths(cell, whole, Path(config.container))
    # One mark more than there are blocks: the pyramids and the table.
    ledger.mark(len(blocks))
    logger.info("%s with %s and truth.csv is written", raw.address, ", ".join(config.organelles))


def _check_organelles(cell: Cell, organelles: Sequence[str]) -> None:
    """Raises if the simulator does not know an organelle."""
    known = lattices(cell)
    for name in organelles:
        if name not in known:
            raise ValueError(f"simulate.organelles names {name!r}; there is: {', '.join(sorted(known))}.")


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


def _create(config: ConfigDict, name: str, dtype: str, settings: dict[str, Any]) -> Volume:
    return create_volume(
        f"{config.container}/{name}",
        shape=config.shape,
        dtype=dtype,
        voxel_size_nm=config.voxel_size_nm,
        chunk_shape=config.chunk_shape,
        attributes={"made_by": "asem_jax simulate", "settings": settings},
    )
