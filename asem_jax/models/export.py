"""A model as a folder that JAX runs without asem_jax and Flax.

The folder holds the network as StableHLO (what `jax.export` writes: one program for CPUs and CUDA GPUs), the
parameters, the model card, a README, and `run.py`, which needs jax, flatbuffers and numpy and shows in ten lines how
the parts go together. The program takes what `Model.__call__` takes and returns what it returns. Laws that hold (and
are tested): the folder gives the model's logits; one program takes every batch and every size that fits the network.

A program of open size computes with XLA's own convolution, because the fast one of `winograd` plans its blocks from
the size. On a CPU it is therefore several times slower than the model itself (`benchmarks/convolution.py`). A program
exported for one size is as fast as the model.

The parameters in a checkpoint of asem_jax outlive the program: JAX promises to run an exported one for six months.

Source: https://docs.jax.dev/en/latest/export/export.html
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from asem_jax.models.architecture import Architecture
from asem_jax.models.channels import num_softmax
from asem_jax.models.model import Model, ModelCard
from asem_jax.models.shapes import output_shape, output_start, stride, valid_input_shape
from asem_jax.volumes.geometry import Float3, int3

PLATFORMS = ("cpu", "cuda")
PROGRAM, WEIGHTS, CARD, README, RUN = "network.stablehlo", "weights.npz", "card.json", "README.md", "run.py"

_EQUALISED = {None: "not known", True: "yes", False: "no"}
_SLOW = """- **speed**: with open sizes a CPU computes with XLA's convolution, several times slower than asem_jax does.
  Exported with an input_shape it is as fast. On a GPU both are the same.
"""
RUN_TEXT = '''"""Logits of a block of raw: python run.py raw.npy logits.npy (raw: uint8, z y x; logits: z y x c)."""
import sys
from pathlib import Path
import numpy as np
from jax import export

folder = Path(__file__).parent
network = export.deserialize(bytearray((folder / "network.stablehlo").read_bytes()))
weights = dict(np.load(folder / "weights.npz"))
raw = np.load(sys.argv[1]).astype(np.float32)[None, ..., None] / 127.5 - 1  # [b, z, y, x, 1], from -1 to 1
np.save(sys.argv[2], np.asarray(network.call(weights, raw))[0])
'''


def export_model(model: Model, folder: Path | str, *, input_shape: Sequence[int] | None) -> None:
    """Writes a model as a folder that JAX runs without asem_jax; see the module.

    Args:
      model: what to export; of several heads only the first, the logits.
      folder: made where it does not exist; an earlier export there is replaced.
      input_shape: voxels z y x that the program takes, one block at a time; None = every batch and every size that
        fits the network.

    Raises:
      ImportError: flatbuffers, with which JAX writes programs, is not installed.
      FileExistsError: the folder holds something else.
      ValueError: `input_shape` does not fit the network, or the network cannot be exported without one.
    """
    folder = Path(folder)
    check_export(folder)
    net = model.card.architecture
    raw = _raw_of_any_size(net) if input_shape is None else _raw_of(input_shape, net)
    weights = traverse_util.flatten_dict(model.params, sep="/")
    program = _lower(model.card, weights, raw)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRAM).write_bytes(program.serialize())
    np.savez(folder / WEIGHTS, allow_pickle=False, **{name: np.asarray(array) for name, array in weights.items()})
    (folder / RUN).write_text(RUN_TEXT)
    (folder / README).write_text(_readme(model.card, program))
    (folder / CARD).write_text(json.dumps(_describe(model.card, program), indent=1) + "\n")


def check_export(folder: Path | str) -> None:
    """Raises what `export_model` raises for reasons other than the model; takes no time.

    Raises:
      ImportError: flatbuffers is not installed.
      FileExistsError: the folder holds something else than an earlier export, or is a file.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(f"{folder} cannot be written: JAX needs the package flatbuffers; pip install flatbuffers.")
    path = Path(folder)
    if path.is_file():
        raise FileExistsError(f"{folder} is a file; give a folder, it is made if it does not exist.")
    strangers = {file.name for file in path.iterdir()} - {PROGRAM, WEIGHTS, CARD, README, RUN} if path.exists() else ()
    if strangers:
        raise FileExistsError(
            f"{folder} holds {', '.join(sorted(strangers)[:5])}, which no export wrote; give another folder."
        )


def _raw_of(input_shape: Sequence[int], architecture: Architecture) -> jax.ShapeDtypeStruct:
    shape = int3(input_shape, "input_shape")
    output_shape(shape, architecture)
    return jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)


def _raw_of_any_size(architecture: Architecture) -> jax.ShapeDtypeStruct:
    """Returns the description of raw with every size that fits: the smallest one, and any number of strides more."""
    smallest, step = valid_input_shape((1, 1, 1), architecture), stride(architecture)
    # JAX lets z, y and x be 1, 2, ...: 1 is the smallest size.
    sides = (f"{s}*{axis} + {n - s}" for axis, n, s in zip("zyx", smallest, step, strict=True))
    return jax.ShapeDtypeStruct((*export.symbolic_shape(f"b, {', '.join(sides)}"), 1), jnp.float32)


def _lower(card: ModelCard, weights: dict[str, Any], raw: jax.ShapeDtypeStruct) -> export.Exported:
    network = card.network()

    def logits(weights: dict[str, jax.Array], raw: jax.Array) -> jax.Array:
        result: jax.Array = network.apply({"params": traverse_util.unflatten_dict(weights, sep="/")}, raw)  # type: ignore[assignment]
        return result

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
    try:
        return export.export(jax.jit(logits), platforms=PLATFORMS)(shapes, raw)
    except jax.errors.InconclusiveDimensionOperation as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"a network of {card.architecture} cannot be exported for sizes left open ({reason}); give input_shape, "
            f"e.g. {valid_input_shape((100, 100, 100), card.architecture)}."
        ) from error


def _describe(card: ModelCard, program: export.Exported) -> dict[str, Any]:
    """Returns the card for JSON, and beside it what the program takes and returns."""
    return {
        **card.to_dict(),
        "channels": card.channels,
        "output_voxel_size_nm": card.output_voxel_size_nm,
        "program": {
            "raw": str(program.in_avals[-1]),
            "logits": str(program.out_avals[0]),
            "output_start": output_start(card.architecture),
            "platforms": program.platforms,
            "jax": jax.__version__,
        },
    }


def _readme(card: ModelCard, program: export.Exported) -> str:
    raw, logits = program.in_avals[-1], program.out_avals[0]
    is_open = not all(isinstance(side, int) for side in raw.shape)
    sizes = "where every letter is a whole number from 1" if is_open else "and no other shape"
    sides_in, sides_out = _nm(card.voxel_size_nm), _nm(card.output_voxel_size_nm)
    return f"""# A model of {", ".join(card.organelles)}

`python run.py raw.npy logits.npy` computes the logits of a block of raw. It needs `pip install jax flatbuffers numpy`,
and of this folder `{PROGRAM}` (the network) and `{WEIGHTS}` (its parameters). `{CARD}` says all of this for programs.

- **raw in**: `{raw}`, {sizes}: batch, z, y, x, channel. {card.raw_scaling}.
- **voxels** (z y x): {sides_in} in, {sides_out} out. Polarity: {card.polarity}.
- **equalised** (CLAHE), the raw that it was trained on: {_EQUALISED[card.equalised]}{_how(card)}.
- **logits out**: `{logits}`, channels {", ".join(card.channels)}; {_meaning(card)}. The first voxel
  lies {output_start(card.architecture)} voxels of the output behind the first of raw.
- **made** with JAX {jax.__version__} for {" and ".join(program.platforms)}. JAX promises to run an exported program for
  six months; the checkpoint of asem_jax is what to keep.
{_SLOW if is_open else ""}"""


def _meaning(card: ModelCard) -> str:
    """Says how logits become probabilities."""
    number = num_softmax(card.meanings)
    if number == len(card.meanings):
        return "their softmax is the probability"
    several = [f"softmax over the first {number + 1}"] if number else []
    for channel in card.meanings[number:]:
        distance = f"about tanh(distance to the border / {channel.scale_nm:g} nm), as it is"
        several.append(
            f"{channel.name}: {distance if channel.kind == 'distance' else 'its sigmoid is the probability'}"
        )
    return "; ".join(several)


def _how(card: ModelCard) -> str:
    """Says how the raw of a model was equalised."""
    if not card.equalised or card.equalisation is None:
        return ""
    sides = " x ".join(str(side) for side in card.equalisation.kernel_shape)
    return f", kernel of {sides} voxels, clip limit {card.equalisation.clip_limit:g}"


def _nm(voxel_size_nm: Float3) -> str:
    return " x ".join(f"{side:g}" for side in voxel_size_nm) + " nm"
