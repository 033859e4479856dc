"""Parameters as a file that PyTorch loads, written without PyTorch.

A lab that trained here can go on with the original's programs: the names and layouts are those of its state dict,
and beside them stands an Adam that has not made a step. The file is a zip archive as `torch.save` writes it: a
pickle that describes the tensors, of protocol 2 and with nothing in it that `torch.load(weights_only=True)` would
refuse, and one file of raw numbers per tensor. Law (tested): what `write_torch_file` wrote, `read_torch_file` of
`torch_files` reads back unchanged.

Source: Gallusser et al., J Cell Biol 2023 (code): the names in the state dict, and what a checkpoint holds.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asem_jax.models.architecture import Architecture, Head, asem
from asem_jax.models.model import Model, Params
from asem_jax.models.torch_weights import torch_layers

Array = npt.NDArray[np.generic]

STORAGES = {
    "float16": "HalfStorage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
}
# Of a training that the original starts from this file; see "Source".
ADAM = {"lr": 3e-5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 3e-5, "amsgrad": False}


def write_torch_file(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes nested dicts and lists with NumPy arrays as PyTorch would write them with tensors.

    Args:
      path: of the file; PyTorch needs no ending, `.pt` is usual.
      content: mappings, lists and tuples of arrays (of the types of `STORAGES`, not empty), texts, whole numbers
        below 2**31, floats, True, False and None.

    Raises:
      ValueError: there is something else in it.
    """
    arrays: list[Array] = []
    description = pickle.PROTO + b"\x02" + _pickled(content, arrays) + pickle.STOP
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(arrays):
            with archive.open(f"archive/data/{number}", "w", force_zip64=True) as file:
                file.write(array.tobytes())
        archive.writestr("archive/version", "3\n")


def checkpoint_content(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """Returns what a checkpoint of the original holds: its network's tensors, and an Adam without a history.

    Args:
      tensors: state-dict name -> array, in the order of the network.
    """
    group = {**ADAM, "params": list(range(len(tensors)))}
    return {
        "model_state_dict": OrderedDict(tensors),
        "optimizer_state_dict": {"state": {}, "param_groups": [group]},
    }


def export_torch(model: Model, path: Path | str) -> None:
    """Writes a model as a checkpoint of the original (incasem), which loads it by `start_from` or to predict.

    Its optimiser is an Adam of the original's settings that has made no step. What the model card says has no place in
    such a file: the voxel size and the scaling of raw have to be told to the program that loads it.

    Args:
      model: a network of the original's kinds.
      path: of the file; its folder is made where it does not exist.

    Raises:
      ValueError: the original has no such network, or no such channels; nothing is written.
    """
    others = [channel.name for channel in model.card.meanings if channel.kind != "softmax"]
    if others:
        raise ValueError(
            f"channels {', '.join(others)} are outside a softmax, which the original's program takes all outputs for; "
            "export as stablehlo."
        )
    tensors = state_dict_from_params(model.params, model.card.architecture)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_torch_file(path, checkpoint_content(tensors))


def state_dict_from_params(params: Params, architecture: Architecture) -> dict[str, Array]:
    """Returns the tensors of the original's network, in its order, from the parameters of a `UNet`.

    The inverse of `params_from_state_dict`.

    Args:
      params: of the network, or a tree like it (Adam's moments).
      architecture: of the network.

    Returns:
      State-dict name -> array; kernels `[out, in, z, y, x]`, those of learned upsampling `[in, out, z, y, x]`.

    Raises:
      ValueError: the original has no such network.
    """
    check_architecture(architecture)
    tensors: dict[str, Array] = {}
    for source, (path, axes) in torch_layers(architecture).items():
        layer: Any = params
        for name in path:
            layer = layer[name]
        tensors[f"{source}.weight"] = np.transpose(np.asarray(layer["kernel"]), np.argsort(axes))
        tensors[f"{source}.bias"] = np.asarray(layer["bias"])
    return tensors


def check_architecture(architecture: Architecture) -> None:
    """Raises if the original's program can make no network of this architecture.

    Raises:
      ValueError: it cannot; the message names what differs from the one that comes nearest.
    """
    maps = architecture.encoder_maps
    growth = maps[1] // maps[0] if len(maps) > 1 else 1
    nearest = asem(architecture.heads[0].num_channels, maps[0], growth, architecture.pool_factors)
    if architecture.upsampling == "transposed":
        nearest = replace(nearest, upsampling="transposed")
    if len(architecture.heads) > 1:
        auxiliary = Head("auxiliary", architecture.heads[1].num_channels, (3, 3, 3), "sigmoid")
        nearest = replace(nearest, heads=(*nearest.heads, auxiliary))
    wanted, given = nearest.to_dict(), architecture.to_dict()
    differ = [f"{name}={given[name]} instead of {wanted[name]}" for name in given if given[name] != wanted[name]]
    if differ:
        raise ValueError(
            f"the original (incasem) has no network with {'; '.join(differ)}; export it with format 'stablehlo', "
            "or train one of asem_jax.models.architecture.asem."
        )


def _pickled(value: Any, arrays: list[Array]) -> bytes:
    """Returns the instructions that build `value`; its arrays are appended to `arrays`."""
    if value is None or isinstance(value, bool):
        return {None: pickle.NONE, True: pickle.NEWTRUE, False: pickle.NEWFALSE}[value]
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, float):
        return pickle.BINFLOAT + struct.pack(">d", value)
    if isinstance(value, str):
        encoded = value.encode()
        return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded
    if isinstance(value, np.ndarray):
        return _pickled_tensor(value, arrays)
    return _pickled_container(value, arrays)


def _pickled_container(value: Any, arrays: list[Array]) -> bytes:
    """Returns the instructions for a mapping, a list or a tuple."""
    if isinstance(value, Mapping):
        ordered = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
        empty = ordered if isinstance(value, OrderedDict) else pickle.EMPTY_DICT
        items = (_pickled(key, arrays) + _pickled(item, arrays) for key, item in value.items())
        return empty + pickle.MARK + b"".join(items) + pickle.SETITEMS
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(_pickled(item, arrays) for item in value) + pickle.APPENDS
    if isinstance(value, tuple):
        return _tuple(*(_pickled(item, arrays) for item in value))
    raise ValueError(f"{value!r:.60} of {type(value)} has no place in a PyTorch file; give arrays, numbers and texts.")


def _pickled_tensor(array: Array, arrays: list[Array]) -> bytes:
    """Returns the instructions that let PyTorch make a tensor of the numbers in a file of the archive."""
    dtype = array.dtype.name
    if dtype not in STORAGES or not array.size:
        raise ValueError(
            f"an array {dtype}{array.shape} has no place in a PyTorch file; give at least one number, of a type in "
            f"{', '.join(STORAGES)}."
        )
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    strides: Sequence[int] = [step // array.itemsize for step in array.strides]
    storage = _tuple(
        _pickled("storage", arrays),
        _global("torch", STORAGES[dtype]),
        _pickled(str(len(arrays)), arrays),
        _pickled("cpu", arrays),
        _pickled(array.size, arrays),
    )
    arrays.append(array)
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    tensor = _tuple(
        storage + pickle.BINPERSID,
        _pickled(0, arrays),  # first number of the storage
        _pickled(array.shape, arrays),
        _pickled(tuple(strides), arrays),
        pickle.NEWFALSE,  # requires no gradient
        hooks,
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + tensor + pickle.REDUCE


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
