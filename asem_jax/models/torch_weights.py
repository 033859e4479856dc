"""Parameters and Adam's moments of the original's PyTorch checkpoints, as those of a `UNet`.

A checkpoint is a dict of two entries: the network's tensors by name, and the state of Adam by number, in the order
of the names. The kernels of both programs are cross-correlations and differ only in the order of their axes.

Source: Gallusser et al., J Cell Biol 2023 (code): the names in the state dict, and what a checkpoint holds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from asem_jax.models.architecture import Architecture, Head
from asem_jax.models.shapes import valid_input_shape
from asem_jax.models.torch_files import read_torch_file
from asem_jax.models.unet import UNet
from asem_jax.volumes.geometry import Int3, int3

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]

_ONLY_HEAD = "final_conv_pass.conv_pass.0"
HEADS = {
    _ONLY_HEAD: ("head", "none"),
    "conv_pass_task.conv_pass.0": ("head", "none"),
    "conv_pass_aux.conv_pass.0": ("auxiliary", "sigmoid"),
}
"""Last layers in the state dict -> name and activation of the head; a network has the first, or the two others."""


@dataclass(frozen=True)
class TorchAdam:
    """What Adam carries from step to step, by the names of the tensors.

    Attributes:
      step: updates made.
      first: running mean of the gradients (`exp_avg`).
      second: running mean of their squares (`exp_avg_sq`).
    """

    step: int
    first: Arrays
    second: Arrays


@dataclass(frozen=True)
class TorchCheckpoint:
    """What a file of the original holds.

    Attributes:
      tensors: state-dict name -> array, in the order of the network; kernels `[out, in, z, y, x]`.
      adam: the optimiser's state; None where the file has none, or one without a step.
    """

    tensors: Arrays
    adam: TorchAdam | None


def read_checkpoint(path: Path | str) -> TorchCheckpoint:
    """Returns the network's tensors and the optimiser's state of a file of the original.

    Args:
      path: a checkpoint in either of PyTorch's formats, or a bare state dict in them.

    Raises:
      ValueError: it is none, is damaged or hostile, or its optimiser does not belong to its network.
    """
    content = read_torch_file(path)
    entries = content if type(content) is dict else {}
    tensors = entries.get("model_state_dict", entries)
    if type(tensors) is not dict or not tensors or not all(_is_tensor(value) for value in tensors.values()):
        held = ", ".join(sorted(map(str, entries))[:5]) or f"a {type(content).__name__}"
        raise ValueError(f"{path} holds no network of the original (it holds {held}); give a model_checkpoint file.")
    try:
        adam = _read_adam(entries.get("optimizer_state_dict"), tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} holds an optimiser that does not belong to its network ({error}); save the file without it."
        ) from error
    return TorchCheckpoint(tensors, adam)


def _is_tensor(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind == "f"


def _read_adam(saved: Any, tensors: Arrays) -> TorchAdam | None:
    """Returns the state of Adam by the names of the tensors; None where no step was made."""
    if saved is None or not saved["state"]:
        return None
    (group,) = saved["param_groups"]
    states = [saved["state"][number] for number in group["params"]]
    moments = {key: dict(zip(tensors, (s[key] for s in states), strict=True)) for key in ("exp_avg", "exp_avg_sq")}
    for key, arrays in moments.items():
        wrong = [name for name in tensors if not _is_tensor(arrays[name]) or arrays[name].shape != tensors[name].shape]
        if wrong:
            raise ValueError(f"{key} of {wrong[0]} has another shape than the tensor")
    negative = [name for name, array in moments["exp_avg_sq"].items() if not array.min() >= 0]
    if negative:
        raise ValueError(f"exp_avg_sq of {negative[0]} is negative, a mean of squares cannot be")
    steps = {int(state["step"]) for state in states}
    if len(steps) != 1:
        raise ValueError(f"its tensors have seen {sorted(steps)} steps")
    return TorchAdam(steps.pop(), moments["exp_avg"], moments["exp_avg_sq"])


def infer_architecture(tensors: Arrays, pool_factors: Sequence[Int3] | None) -> Architecture:
    """Returns what network the tensors belong to, as far as they tell.

    Maps, kernel sizes, heads and the kind of upsampling show in names and shapes. Poolings show only where upsampling
    is learned: its kernels have the same factors.

    Args:
      tensors: state-dict name -> array.
      pool_factors: max-pooling per level, finest first, z y x; None = as the tensors tell.

    Raises:
      ValueError: the tensors are of no network of the original, or do not tell the poolings.
    """
    depth = sum(bool(re.fullmatch(r"unet\.l_conv\.\d+\.conv_pass\.0\.weight", name)) for name in tensors) - 1
    heads = [(name, HEADS[name]) for name in HEADS if f"{name}.weight" in tensors]
    learned = [tensors.get(f"unet.r_up.0.{level}.up.weight") for level in range(depth)]
    needed = [f"{name}.2.weight" for name in (*_encoder(depth), *_decoder(depth))]
    if depth < 0 or not heads or any(name not in tensors or tensors[name].ndim != 5 for name in needed):
        raise ValueError(
            f"the tensors ({', '.join(list(tensors)[:3])} ...) are not those of a 3D U-Net of the original, whose "
            "first is unet.l_conv.0.conv_pass.0.weight; give a model_checkpoint file of incasem."
        )
    encoder = [tensors[f"{name}.2.weight"] for name in _encoder(depth)]
    decoder = [tensors[f"{name}.2.weight"] for name in _decoder(depth)]
    factors = [array.shape[2:] for array in learned if array is not None and array.ndim == 5] or pool_factors
    if factors is None or len(factors) != depth or (pool_factors and [*map(tuple, pool_factors)] != [*factors]):
        raise ValueError(
            f"pool_factors={pool_factors} does not fit a network with {depth} poolings"
            + (f", whose tensors say {factors}" if pool_factors is not None else ", which its tensors do not tell")
            + "; give one factor z y x per pooling, finest first: ASEM's are ((2, 2, 2), (2, 2, 2), (2, 2, 2))."
        )
    coarser = [*decoder[1:], encoder[-1]][:depth]
    return Architecture(
        encoder_maps=tuple(array.shape[0] for array in encoder),
        decoder_maps=tuple(array.shape[0] for array in decoder),
        upsampled_maps=tuple(array.shape[0] for array in coarser),
        pool_factors=tuple(int3(factor, "pool_factors") for factor in factors),
        kernel_sizes=tuple(int3(array.shape[2:], "kernel_sizes") for array in encoder),
        padding="valid",
        upsampling="transposed" if any(array is not None for array in learned) else "repeat",
        crop_to_factor=True,
        final_upsampling=None,
        heads=tuple(_head(*names, tensors[f"{source}.weight"]) for source, names in heads),
    )


def params_from_state_dict(tensors: Arrays, architecture: Architecture) -> dict[str, Any]:
    """Returns the parameters of a `UNet` from the tensors of the original's network, as float32.

    Args:
      tensors: state-dict name -> array; kernels `[out, in, z, y, x]`, those of upsampling `[in, out, z, y, x]`.
      architecture: of the network; see `infer_architecture`.

    Raises:
      ValueError: a tensor is missing, left over, or of another shape.
    """
    layers = torch_layers(architecture)
    expected = {f"{source}.{kind}" for source in layers for kind in ("weight", "bias")}
    if expected != set(tensors):
        raise ValueError(
            f"the tensors {', '.join(sorted(set(tensors) ^ expected))} are missing from the file or left over in it; "
            f"it holds another network than one with {len(architecture.pool_factors)} poolings, upsampling "
            f"{architecture.upsampling!r} and {len(architecture.heads)} heads."
        )
    params: dict[str, Any] = {}
    for source, (path, axes) in layers.items():
        owner = params
        for name in path:
            owner = owner.setdefault(name, {})
        kernel = tensors[f"{source}.weight"]
        if kernel.ndim != len(axes):
            raise ValueError(f"{source}.weight has shape {kernel.shape}; a kernel has {len(axes)} axes.")
        owner["kernel"] = jnp.asarray(np.transpose(kernel, axes), jnp.float32)
        owner["bias"] = jnp.asarray(tensors[f"{source}.bias"], jnp.float32)
    _check_shapes(params, architecture)
    return params


def torch_layers(architecture: Architecture) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns where the parameters of each layer lie in both programs.

    Args:
      architecture: with upsampling "repeat" or "transposed".

    Returns:
      Name of a layer in the state dict, in the original's order -> path in the parameters of a `UNet`, and the axes
      that `np.transpose` takes from the original's kernel to ours.

    Example:
      >>> from asem_jax.models.architecture import asem
      >>> torch_layers(asem())["unet.l_conv.0.conv_pass.2"]
      (('encoder_0', 'conv_1'), (2, 3, 4, 1, 0))
    """
    depth = len(architecture.pool_factors)
    forward = (2, 3, 4, 1, 0)
    layers: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        f"{source}.{2 * number}": ((f"encoder_{level}", f"conv_{number}"), forward)  # odd places hold the ReLUs
        for level, source in enumerate(_encoder(depth))
        for number in (0, 1)
    }
    if architecture.upsampling == "transposed":
        layers |= {f"unet.r_up.0.{n}.up": ((f"upsample_{n}",), (2, 3, 4, 0, 1)) for n in range(depth)}
    layers |= {
        f"{source}.{2 * number}": ((f"decoder_{level}", f"conv_{number}"), forward)
        for level, source in enumerate(_decoder(depth))
        for number in (0, 1)
    }
    names = [head.name for head in architecture.heads]
    sources = HEADS if len(names) == 1 else [source for source in HEADS if source != _ONLY_HEAD]
    return layers | {source: ((name,), forward) for source, name in zip(sources, names, strict=False)}


def _encoder(depth: int) -> list[str]:
    return [f"unet.l_conv.{level}.conv_pass" for level in range(depth + 1)]


def _decoder(depth: int) -> list[str]:
    return [f"unet.r_conv.0.{level}.conv_pass" for level in range(depth)]


def _head(name: str, activation: str, kernel: Array) -> Head:
    return Head(name, kernel.shape[0], int3(kernel.shape[2:], f"kernel_size of head {name!r}"), activation)


def _check_shapes(params: Mapping[str, Any], architecture: Architecture) -> None:
    """Raises unless each array has the shape that the network gives it."""
    raw = jax.ShapeDtypeStruct((1, *valid_input_shape((1, 1, 1), architecture), 1), jnp.float32)
    wanted = jax.eval_shape(partial(UNet(architecture).init, method="heads"), jax.random.key(0), raw)["params"]
    found = jax.tree_util.tree_leaves_with_path(params)
    for (path, array), (_, leaf) in zip(found, jax.tree_util.tree_leaves_with_path(wanted), strict=True):
        if array.shape != leaf.shape:
            raise ValueError(
                f"{jax.tree_util.keystr(path, simple=True, separator='/')} would have shape {array.shape}, the network "
                f"that the other tensors make needs {leaf.shape}; the file is damaged, or of another program."
            )
