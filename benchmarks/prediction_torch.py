"""The process that benchmarks/prediction.py times PyTorch in: a sliding window with the original's defaults.

Tiles of 204 voxels give 110, at a distance of 110, one at a time, in float32, as the original program predicts;
softmax and argmax follow, and probabilities (float32) and segmentation are written. Needs torch and numpy, nothing
that asem_jax needs.
"""

import platform
import time
from itertools import product

import numpy as np
import torch

from asem_jax.models.architecture import asem
from benchmarks.worker import serve
from tests.torch_networks import TorchUnet

CUDA = torch.cuda.is_available()
OUTPUT, CONTEXT = 110, 47  # voxels per axis


class Worker:
    """What the commands do; each method answers one, by its name, with a dict for JSON."""

    def describe(self) -> dict[str, object]:
        """Versions, device and threads."""
        return {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if CUDA else "cpu",
            "gpu": CUDA,
            "threads": torch.get_num_threads(),
        }

    def prepare(self, weights: str, num_maps: int, raw: str) -> dict[str, object]:
        """Loads the network and opens raw, uint8 `[z, y, x]`."""
        torch.backends.cudnn.benchmark = True
        self.device = "cuda" if CUDA else "cpu"
        network = TorchUnet(asem(num_maps=num_maps))
        network.load_state_dict(torch.load(weights, weights_only=True)["model_state_dict"])
        self.network = network.to(self.device).eval()
        self.raw = np.load(raw, mmap_mode="r")
        return {}

    def run(self, start: list[int], shape: list[int], target: str) -> dict[str, object]:
        """Predicts a box, whose sides are multiples of 110, into `target`.npy, and says how long that took."""
        begin = time.perf_counter()
        files = [
            np.lib.format.open_memmap(f"{target}_{name}.npy", "w+", dtype, tuple(shape))
            for name, dtype in (("background", np.float32), ("mito", np.float32), ("segmentation", np.uint8))
        ]
        for corner in product(*(range(0, side, OUTPUT) for side in shape)):
            tile = tuple(slice(a + c - CONTEXT, a + c + OUTPUT + CONTEXT) for a, c in zip(start, corner, strict=True))
            raw = torch.from_numpy(self.raw[tile].astype(np.float32)).to(self.device) / 127.5 - 1
            with torch.no_grad():
                probability = torch.softmax(self.network(raw[None, None])[0], dim=0).cpu().numpy()
            where = tuple(slice(c, c + OUTPUT) for c in corner)
            for file, values in zip(files, (*probability, probability.argmax(0)), strict=True):
                file[where] = values
        for file in files:
            file.flush()
        return {"seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    serve(Worker())
