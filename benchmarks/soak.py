"""A prediction that is killed again and again, compared with one that is not.

    python -m benchmarks.soak --workdir runs/soak [--voxels 1e9] [--block 128] [--kills 20] [--shards 1] [--seed 0]

Writes a volume of so many grey values and a model of the smallest network with random parameters, predicts it once in
peace, and once with SIGKILL at random stages to one of its processes, which is started again each time. All chunks and
metadata of both results must be equal, byte for byte, but for the config that is noted in them: it names target and
shard. The folder takes about 6 bytes per voxel and is left behind; what is finished in it is not made again. Writes
benchmarks/results/soak.json.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from asem_jax.models.architecture import asem
from asem_jax.models.checkpoint import NOT_VALIDATED, Checkpoints
from asem_jax.models.model import ModelCard
from asem_jax.models.shapes import valid_input_shape
from asem_jax.training.step import init_state
from asem_jax.volumes.blockwise import run_blocks
from asem_jax.volumes.geometry import Box, tiles
from asem_jax.volumes.ledger import Ledger
from asem_jax.volumes.volume import Volume, create_volume
from benchmarks.records import RESULTS, circumstances, config_of, save

RECORD = RESULTS / "soak.json"
VOXEL_SIZE_NM = (8.0, 8.0, 8.0)


def write_raw(address: Path, side: int) -> Volume:
    """Writes a cube of cheap grey values, other ones in every chunk: noise on slopes."""
    raw = create_volume(address, shape=(side,) * 3, dtype="uint8", voxel_size_nm=VOXEL_SIZE_NM)
    slopes = np.add.outer(np.add.outer(np.arange(64), np.arange(64)), np.arange(64)) // 2 + 60

    def fill(box: Box) -> None:
        noise = np.random.Generator(np.random.Philox(key=box.start[0] << 40 | box.start[1] << 20 | box.start[2]))
        grey = slopes + noise.integers(0, 60, slopes.shape, np.int16)
        raw.write(box, grey[tuple(slice(n) for n in box.shape)].astype(np.uint8))

    ledger = Ledger(address.parent / "raw.jsonl", {"side": side})
    run_blocks(fill, tiles(raw.box, (64, 64, 64)), label="raw", ledger=ledger)
    return raw


def write_model(folder: Path) -> None:
    """Writes a checkpoint of the smallest network that has a pooling."""
    network = asem(2, 2, 2, ((2, 2, 2),))
    card = ModelCard(("mito",), VOXEL_SIZE_NM, network, "float32", "membranes dark")
    params = init_state(card.network(), optax.identity(), valid_input_shape((1, 1, 1), network), 0).params
    with Checkpoints(folder) as checkpoints:
        # Amplified, so that its probabilities differ from voxel to voxel.
        state = {"params": jax.tree.map(lambda leaf: 2.4 * leaf, params), "step": np.zeros((), np.int32)}
        checkpoints.save(1, state, config={}, card=card, score=NOT_VALIDATED)


def start(workdir: Path, name: str, shard: str | None, block: int) -> subprocess.Popen[bytes]:
    """Starts to predict into `name`, or goes on."""
    base = config_of("predict_hpf")["predict"]
    (volume,) = base["volumes"].values()
    places = {"raw": f"{workdir}/cell.zarr/raw", "target": f"{workdir}/cell.zarr/{name}", "start": None, "stop": None}
    how = {"model": f"{workdir}/model", "write_shape": (block,) * 3, "shard": shard}
    config = {"stage": "predict", **base, **how, "volumes": {"cell": {**volume, **places}}}
    label = f"{name}_{(shard or 'all').replace('/', '_of_')}"
    file = workdir / f"{label}.json"
    file.write_text(json.dumps(config))
    words = ["--config", str(file), "--workdir", str(workdir / label)]
    with (workdir / f"{label}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "asem_jax.main", *words], stderr=log)


def predict_in_peace(workdir: Path, block: int) -> tuple[float, float]:
    """Predicts without kills and returns the seconds, by the clock and of CPU."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if start(workdir, "whole", None, block).wait():
        raise RuntimeError(f"{workdir}/whole_all.log says what failed; the soak needs a prediction that ends.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def num_marks(folder: Path) -> int:
    """Returns how many blocks the ledgers of a result have by now."""
    return sum(file.read_bytes().count(b"finished") for file in folder.glob("ledger*.jsonl"))


def predict_with_kills(workdir: Path, shards: list[str | None], marks: list[int], block: int, seed: int) -> int:
    """Predicts; when so many blocks are marked, kills one of the processes and starts it again. Returns how often."""
    rng, done = np.random.default_rng(seed), 0
    processes = {shard: start(workdir, "killed", shard, block) for shard in shards}
    while processes:
        time.sleep(0.05)
        for shard, process in list(processes.items()):
            if process.poll() == 0:
                del processes[shard]
            elif process.poll() is not None:
                raise RuntimeError(f"shard {shard} ended with {process.returncode}; see the logs in {workdir}.")
        if processes and marks and num_marks(workdir / "cell.zarr/killed") >= marks[0]:
            marks = marks[1:]
            time.sleep(rng.uniform(0, 0.5))
            shard = list(processes)[rng.integers(len(processes))]
            processes[shard].kill()
            done += processes[shard].wait() < 0
            processes[shard] = start(workdir, "killed", shard, block)
    return done


def digest(folder: Path) -> tuple[str, int]:
    """Returns a hash of all chunks and metadata of a result, and their number; the config that is noted names them."""
    found = hashlib.sha256()
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "ledger" not in p.name)
    for path in files:
        content = path.read_bytes()
        if path.name == ".zattrs":
            attributes = json.loads(content)
            attributes.get("asem_jax", {}).pop("config", None)
            content = json.dumps(attributes, sort_keys=True).encode()
        found.update(f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(content).digest())
    return found.hexdigest(), len(files)


def main() -> None:
    """Runs the soak and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder for volumes and logs")
    parser.add_argument("--voxels", type=float, default=1e9, help="of the volume, at least")
    parser.add_argument("--block", type=int, default=128, help="voxels per axis of a block")
    parser.add_argument("--kills", type=int, default=20, help="how often a process is killed")
    parser.add_argument("--shards", type=int, default=1, help="processes that share the killed prediction")
    parser.add_argument("--seed", type=int, default=0, help="of the stages at which it is killed")
    options = parser.parse_args()
    workdir, side = options.workdir.absolute(), int(np.ceil(np.cbrt(options.voxels)))
    workdir.mkdir(parents=True, exist_ok=True)
    raw = write_raw(workdir / "cell.zarr/raw", side)
    if not (workdir / "model").exists():
        write_model(workdir / "model")
    seconds, cpu_seconds = predict_in_peace(workdir, options.block)
    shards = [f"{n + 1}/{options.shards}" for n in range(options.shards)] if options.shards > 1 else [None]
    begin = time.perf_counter()
    num_blocks = len(tiles(raw.box, (options.block,) * 3))
    marks = sorted(np.random.default_rng(options.seed).integers(0, num_blocks, options.kills).tolist())
    kills = predict_with_kills(workdir, shards, marks, options.block, options.seed)
    killed_seconds = time.perf_counter() - begin
    (whole, files), (killed, _) = (digest(workdir / "cell.zarr" / name) for name in ("whole", "killed"))
    record: dict[str, Any] = {
        **circumstances(),
        "device": jax.devices()[0].device_kind,
        "voxels": raw.box.num_voxels,
        "blocks": num_blocks,
        "shards": options.shards,
        "kills": kills,
        "seconds_in_peace": round(seconds, 1),
        "cpu_seconds_in_peace": round(cpu_seconds, 1),
        "seconds_with_kills": round(killed_seconds, 1),
        "files": files,
        "sha256": whole,
        "equal": whole == killed,
    }
    print(json.dumps(record, indent=1))
    save(RECORD, record)
    sys.exit(0 if whole == killed else 1)


if __name__ == "__main__":
    main()
