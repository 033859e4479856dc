"""Parameters of the original's PyTorch checkpoints, read without PyTorch.

A checkpoint is a zip archive: a pickle that describes the tensors, and one file of raw numbers per storage. The
pickle is read by an unpickler that knows ordered dicts and tensors and nothing else, so a hostile file cannot run
code.

Source: Gallusser et al., J Cell Biol 2023 (code): the names in the state dict.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[np.generic]]

STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}


def read_torch_file(path: Path | str) -> Any:
    """Returns what `torch.save` wrote: nested dicts and lists with NumPy arrays in place of tensors.

    Args:
      path: a checkpoint in PyTorch's zip format (version 1.6 and later).

    Raises:
      ValueError: the file is not one, or asks for anything but tensors and plain containers.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no PyTorch checkpoint in zip format; save it with PyTorch 1.6 or later.")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl"]
        if len(names) != 1:
            raise ValueError(f"{path} is a zip archive with {len(names)} files data.pkl; a checkpoint has one.")
        with archive.open(names[0]) as file:
            return _Reader(file, archive, str(PurePosixPath(names[0]).parent)).load()


def params_from_state_dict(tensors: Arrays, num_poolings: int) -> dict[str, Any]:
    """Returns the parameters of a `UNet` from the tensors of the original's network.

    Args:
      tensors: state-dict name -> array; kernels `[out, in, z, y, x]`.
      num_poolings: of the network; ASEM 3.

    Raises:
      ValueError: a tensor is missing, or one is left over.
    """
    sources = {f"encoder_{n}": f"unet.l_conv.{n}.conv_pass" for n in range(num_poolings + 1)}
    sources |= {f"decoder_{n}": f"unet.r_conv.0.{n}.conv_pass" for n in range(num_poolings)}
    wanted = {
        (level, f"conv_{number}"): f"{source}.{2 * number}"  # odd places hold the ReLUs
        for level, source in sources.items()
        for number in (0, 1)
    }
    wanted[("head", "")] = "final_conv_pass.conv_pass.0"
    expected = {f"{source}.{kind}" for source in wanted.values() for kind in ("weight", "bias")}
    if expected != set(tensors):
        raise ValueError(
            f"the tensors {sorted(set(tensors) ^ expected)} are missing from the file or left over in it; "
            f"it is not ASEM's network with {num_poolings} poolings and upsampling by repetition."
        )
    params: dict[str, Any] = {}
    for (level, convolution), source in wanted.items():
        kernel = jnp.asarray(np.transpose(tensors[f"{source}.weight"], (2, 3, 4, 1, 0)))
        values = {"kernel": kernel, "bias": jnp.asarray(tensors[f"{source}.bias"])}
        if convolution:
            params.setdefault(level, {})[convolution] = values
        else:
            params[level] = values
    return params


class _Storage(NamedTuple):
    """What a persistent id of the pickle names: numbers in a file of the archive."""

    dtype: npt.DTypeLike
    key: str


class _Reader(pickle.Unpickler):
    """Unpickles tensors and plain containers; refuses everything else."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        """Returns one of the few things a checkpoint needs."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise ValueError(
            f"the checkpoint asks for {module}.{name}, which a network's parameters do not need; "
            "it may be hostile, and was not loaded."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that ("storage", type, key, device, number of elements) names."""
        _, dtype, key, *_ = pid
        return _Storage(dtype, key)

    def _tensor(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> npt.NDArray[np.generic]:
        data = self._archive.read(f"{self._folder}/data/{storage.key}")
        flat: npt.NDArray[np.generic] = np.frombuffer(data, storage.dtype)[offset:]
        step = flat.itemsize
        view = np.lib.stride_tricks.as_strided(flat, shape, [stride * step for stride in strides])
        if view.size and sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= flat.size:
            raise ValueError(f"a tensor of shape {shape} reaches beyond its {flat.size} numbers; broken file.")
        return view.copy()
