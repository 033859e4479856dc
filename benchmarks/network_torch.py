"""The process that benchmarks/network.py times PyTorch in; its network is the one that the tests compare with.

Needs torch and numpy, nothing that asem_jax needs, so any interpreter with these two can run it. Arrays are PyTorch's,
`[b, c, z, y, x]`, in here only; files hold them as asem_jax has them, `[b, z, y, x, c]`.
"""

import platform
import time

import numpy as np
import torch
from torch import nn

from asem_jax.models.architecture import asem
from benchmarks.worker import serve
from tests.torch_networks import TorchUnet

CUDA = torch.cuda.is_available()


def balanced_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns ASEM's loss of one crop: cross-entropy, each voxel weighted against the share of its class."""
    shares = torch.bincount(target.flatten(), minlength=2).float() / target.numel()
    scalings = (1 / (2 * shares.clamp(0.01, 0.99)))[target]
    losses = nn.functional.cross_entropy(logits, target, reduction="none")
    return (losses * scalings).sum() / scalings.sum()


class Program:
    """One network in one mode, with an Adam of its own.

    Modes are words joined by spaces: `float32`, `tf32` or `bfloat16` (autocast), and `channels_last_3d`.
    """

    def __init__(self, mode: str, weights: str, num_maps: int) -> None:
        self.autocast = "bfloat16" in mode
        self.tf32 = "tf32" in mode
        self.format = torch.channels_last_3d if "channels_last_3d" in mode else torch.contiguous_format
        self.device = "cuda" if CUDA else "cpu"
        network = TorchUnet(asem(num_maps=num_maps))
        network.load_state_dict(torch.load(weights, weights_only=True)["model_state_dict"])
        self.network = network.to(self.device, memory_format=self.format)
        self.adam = torch.optim.Adam(network.parameters(), lr=3e-5, weight_decay=3e-5)

    def place(self, raw: np.ndarray) -> torch.Tensor:
        """Returns raw `[b, z, y, x, 1]` where and as the network wants it."""
        return torch.from_numpy(raw).movedim(-1, 1).contiguous().to(self.device).to(memory_format=self.format)

    def logits(self, raw: torch.Tensor) -> torch.Tensor:
        """Returns the logits, float32."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            return self.network(raw).float()

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Returns the logits, without what a gradient would need."""
        with torch.no_grad():
            return self.logits(raw)

    def train(self, raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Makes one update; returns the loss before it."""
        self.adam.zero_grad(set_to_none=True)
        loss = balanced_cross_entropy(self.logits(raw), target)
        loss.backward()
        self.adam.step()
        return loss.detach()


class Worker:
    """What the commands do; each method answers one, by its name, with a dict for JSON."""

    def __init__(self) -> None:
        self.programs: dict[tuple[str, str], Program] = {}
        self.batches: dict[tuple[str, str], list[torch.Tensor]] = {}

    def describe(self) -> dict[str, object]:
        """Versions, device and threads."""
        return {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if CUDA else "cpu",
            "gpu": CUDA,
            "threads": torch.get_num_threads(),
            "fast_bfloat16": CUDA or torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        }

    def prepare(self, kind: str, mode: str, *, size: int, num_maps: int, weights: str, batch: str) -> dict[str, object]:
        """Makes a program and puts its batch on the device; sizes need no preparation here."""
        torch.backends.cudnn.benchmark = True
        program = self.programs[kind, mode] = Program(mode, weights, num_maps)
        arrays = np.load(batch)
        tensors = [program.place(arrays["raw"])]
        if kind == "train":
            tensors.append(torch.from_numpy(arrays["target"]).long().to(program.device))
        self.batches[kind, mode] = tensors
        return {}

    def run(self, kind: str, mode: str, keep: str = "") -> dict[str, object]:
        """Makes one call and times it; keeps what came out in the file `keep`, if one is named."""
        program = self.programs[kind, mode]
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        result = getattr(program, kind)(*self.batches[kind, mode])
        if CUDA:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if keep:
            np.savez(keep, **self._outcome(program, kind, result))
        return {"seconds": seconds, **({"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if CUDA else {})}

    def _outcome(self, program: Program, kind: str, result: torch.Tensor) -> dict[str, np.ndarray]:
        """The logits; or the loss and, as Adam's first moments show them after one step, the gradients."""
        if kind == "forward":
            return {"logits": result.movedim(1, -1).cpu().numpy()}
        moments = [program.adam.state[p]["exp_avg"].flatten() for p in program.network.parameters()]
        return {"loss": result.cpu().numpy(), "gradients": torch.cat(moments).cpu().numpy()}

    def one_layer(self, mode: str) -> float:
        """Returns the seconds of the second call of a convolution from 32 to 32 maps, 40 voxels per axis."""
        form = torch.channels_last_3d if "channels_last_3d" in mode else torch.contiguous_format
        dtype = torch.bfloat16 if "bfloat16" in mode else torch.float32
        layer = nn.Conv3d(32, 32, 3).to(dtype=dtype, memory_format=form)
        raw = torch.ones(1, 32, 40, 40, 40).to(dtype=dtype, memory_format=form)
        with torch.no_grad():
            layer(raw)
            start = time.perf_counter()
            layer(raw)
        return time.perf_counter() - start

    def release(self, kind: str, mode: str) -> dict[str, object]:
        """Forgets a program."""
        del self.programs[kind, mode], self.batches[kind, mode]
        return {}


if __name__ == "__main__":
    serve(Worker())
