"""The process that benchmarks/training.py times PyTorch in: the same recipe, with augmentation on CPU workers.

Needs torch and numpy, nothing that asem_jax needs. The network is the one that the tests compare with. Crops are cut
from NumPy arrays in memory, raw reflected around them beforehand, and augmented in the worker processes of a
DataLoader: NumPy for grey values, mirrors and transpositions, `grid_sample` for the elastic deformation. What is
drawn, and how often, is what asem_jax draws; the numbers differ, as the generators do. Arrays are PyTorch's,
`[b, c, z, y, x]`, in here only.
"""

import math
import platform
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from asem_jax.models.architecture import symmetric
from benchmarks.worker import serve
from tests.torch_networks import TorchUnet

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}
TRIALS = 3  # updates that choose between the layouts
MAX_DRAWS = 1000  # as in asem_jax
Words = dict[str, Any]
Tensors = tuple[torch.Tensor, ...]


# --- crops ---


class Crops(Dataset[Tensors]):
    """Crop number i of a seed: raw float32 `[1, z, y, x]` in [-1, 1], target int64 and known bool `[z', y', x']`."""

    def __init__(self, arrays: dict[str, np.ndarray], recipe: Words, seed: int) -> None:
        """`arrays` as training.py writes them, `recipe` with its keys `crops`, `augmentation` and rejection."""
        self.arrays, self.recipe, self.seed = arrays, recipe, seed

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Tensors:
        rng = np.random.default_rng((self.seed, index))
        raw, labels = self._cut(rng)
        augmentation = self.recipe["augmentation"]
        if augmentation["elastic"] is not None:
            raw, labels = self._deform(raw, labels, rng)
        raw, labels = turn(raw, labels, rng, augmentation)
        grey = change_grey(raw, rng, augmentation)
        members, known = np.ascontiguousarray(labels)
        return torch.from_numpy(grey)[None], torch.from_numpy(members).long(), torch.from_numpy(known).bool()

    def _cut(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws a position, again where there is too little foreground; returns raw and labels with their margins."""
        crops, labels = self.recipe["crops"], self.arrays["labels"]
        shape, around = np.array(crops["output_shape"]), self.arrays["around"]
        spare = np.array(labels.shape[1:]) - 2 * around - shape
        for _ in range(MAX_DRAWS):
            start = around + rng.integers(0, spare, endpoint=True)
            members, known = cut(labels, start, shape)
            if (members & known).mean() >= self.recipe["min_foreground"]:
                break
            if rng.random() >= self.recipe["reject_probability"]:
                break
        context = (np.array(crops["input_shape"]) - shape) // 2 + crops["margin"]
        side = np.array(crops["label_margin"])
        raw = cut(self.arrays["raw"], start - context, shape + 2 * context)
        return raw, cut(labels, start - side, shape + 2 * side)

    def _deform(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns both deformed, without their margins, or as they are: raw by linear interpolation."""
        crops, elastic = self.recipe["crops"], self.recipe["augmentation"]["elastic"]
        shape, label_shape = crops["input_shape"], crops["output_shape"]
        if rng.random() >= elastic["probability"]:
            return centre(raw, shape), centre(labels, label_shape)
        splines = [self.arrays[f"spline_{axis}"] for axis in range(3)]
        source = source_offsets(elastic, splines, rng, self.recipe["augmentation"])
        return (
            look_up(raw[None], source, mode="bilinear", padding_mode="border")[0],
            look_up(labels, centre(source, label_shape), mode="nearest", padding_mode="zeros").astype(np.uint8),
        )


def cut(array: np.ndarray, start: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Returns a view of the last three axes."""
    z, y, x = (slice(a, a + n) for a, n in zip(start.tolist(), shape.tolist(), strict=True))
    return array[..., z, y, x]


def centre(array: np.ndarray, shape: list[int]) -> np.ndarray:
    """Returns the middle `shape` voxels of the last three axes."""
    return cut(array, (np.array(array.shape[-3:]) - shape) // 2, np.array(shape))


def source_offsets(
    elastic: Words, splines: list[np.ndarray], rng: np.random.Generator, augmentation: Words
) -> np.ndarray:
    """Returns where each voxel is looked up: offsets from the centre, float32 `[3, z, y, x]`."""
    offsets = rng.standard_normal((3, *(matrix.shape[1] for matrix in splines)), np.float32)
    offsets *= np.array(elastic["jitter"], np.float32)[:, None, None, None]
    for matrix in splines:  # the axis that is first becomes the last
        offsets = np.tensordot(offsets, matrix, ((1,), (1,)))
    offsets = np.ascontiguousarray(offsets)
    offsets += section_shifts(elastic, len(splines[0]), rng)[:, :, None, None]
    z, y, x = (np.arange(len(matrix), dtype=np.float32) - (len(matrix) - 1) / 2 for matrix in splines)
    angle = rng.uniform(0, math.radians(elastic["rotation_degrees"]))
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    offsets[0] += z[:, None, None]
    offsets[1] += cosine * y[:, None] + sine * x
    offsets[2] += cosine * x - sine * y[:, None]
    mirrored, order = draw_symmetry(rng, augmentation)
    signs = np.where(mirrored, -1, 1).astype(np.float32)
    return signs[:, None, None, None] * offsets[np.argsort(order)]


def section_shifts(elastic: Words, num_sections: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the shift of each section, float32 `[3, z]`: a random walk that is 0 in the middle, and slips."""
    event, largest = rng.random(num_sections), elastic["max_misalign"]
    offsets = rng.integers(-largest, largest, (2, num_sections), endpoint=True)
    slips = event < elastic["slip_probability"]
    shifts = ~slips & (event < elastic["slip_probability"] + elastic["shift_probability"])
    walk = np.cumsum(np.where(shifts, offsets, 0), axis=1)
    walk = walk - walk[:, [num_sections // 2]] + np.where(slips, offsets, 0)
    return np.concatenate([np.zeros((1, num_sections)), walk]).astype(np.float32)


def look_up(arrays: np.ndarray, source: np.ndarray, **how: str) -> np.ndarray:
    """Returns `[c, z', y', x']` at offsets from its centre, float32 `[c, z, y, x]`."""
    half = (np.array(arrays.shape[1:], np.float32) - 1) / 2
    grid = torch.from_numpy(source / half[:, None, None, None]).flip(0).movedim(0, -1)  # x y z in [-1, 1]
    found = nn.functional.grid_sample(
        torch.from_numpy(arrays.astype(np.float32))[None], grid[None], align_corners=True, **how
    )
    return found[0].numpy()


def draw_symmetry(rng: np.random.Generator, augmentation: Words) -> tuple[np.ndarray, list[int]]:
    """Returns which axes are mirrored, and the order of the axes."""
    mirrored = (rng.random(3) < 0.5) & np.isin(range(3), augmentation["mirror_axes"])
    orders = augmentation["transpositions"]
    return mirrored, orders[rng.integers(len(orders))]


def turn(
    raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator, augmentation: Words
) -> tuple[np.ndarray, np.ndarray]:
    """Returns views of raw `[z, y, x]` and labels `[c, z, y, x]`, mirrored and transposed alike."""
    mirrored, order = draw_symmetry(rng, augmentation)
    axes = tuple(np.flatnonzero(mirrored).tolist())
    turned = np.flip(labels, tuple(axis + 1 for axis in axes))
    return np.flip(raw, axes).transpose(order), turned.transpose(0, *(axis + 1 for axis in order))


def change_grey(raw: np.ndarray, rng: np.random.Generator, augmentation: Words) -> np.ndarray:
    """Returns grey values in 0..255 as float32 in [-1, 1], after all changes of intensity."""
    grey: np.ndarray = np.array(raw, np.float32, order="C")
    grey *= np.float32(2 / 255)
    grey -= 1
    contrast = np.float32(1 + rng.uniform(-1, 1) * augmentation["intensity_scale"])
    brightness = np.float32(2 * rng.uniform(-1, 1) * augmentation["intensity_shift"])
    mean = grey.mean()
    grey *= contrast
    grey += mean - mean * contrast + brightness
    np.clip(grey, -1, 1, out=grey)
    if augmentation["gamma"] is not None:
        grey = 2 * ((grey + 1) / 2) ** np.float32(draw_power(rng, *augmentation["gamma"])) - 1
    if augmentation["noise_std"] is not None:
        grey += np.float32(2 * augmentation["noise_std"]) * rng.standard_normal(grey.shape, np.float32)
        np.clip(grey, -1, 1, out=grey)
    if augmentation["defects"] is not None:
        spoil_sections(grey, rng, augmentation["defects"])
    return grey


def draw_power(rng: np.random.Generator, lowest: float, highest: float) -> float:
    """Returns a power of grey values; brighter and darker are as likely."""
    size = rng.random()
    return 1 + size * (highest - 1) if rng.random() < 0.5 else 1 / (1 + size * (1 / lowest - 1))


def spoil_sections(grey: np.ndarray, rng: np.random.Generator, defects: Words) -> None:
    """Makes some sections faint, dark or empty, in place; only those are touched."""
    faint, dark, missing = (
        np.flatnonzero(rng.random(len(grey)) < defects[f"{name}_probability"]) for name in ("faint", "dark", "missing")
    )
    for z in faint:
        mean = grey[z].mean()
        grey[z] = mean + (grey[z] - mean) * np.float32(rng.uniform(defects["faint_contrast"], 1))
    for z in dark:
        grey[z] = np.maximum(grey[z] - np.float32(2 * rng.uniform(0, defects["dark_shift"])), -1)
    for z in missing:
        grey[z] = rng.choice((-1, 1))


# --- updates ---


def balanced_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, recipe: Words) -> torch.Tensor:
    """Returns the mean over crops of the cross-entropy in which the classes of a crop count alike."""
    weights = torch.tensor(recipe["class_weights"], device=logits.device)
    losses = nn.functional.cross_entropy(logits, target, reduction="none") * weights[target]
    of_crops = []
    for loss, labels, used in zip(losses, target, known.float(), strict=True):
        inside = (labels * used).sum() / used.sum().clamp(min=1)
        shares = torch.stack([1 - inside, inside]).clamp(recipe["min_class_fraction"], recipe["max_class_fraction"])
        scalings = (1 / (2 * shares))[labels] * used
        of_crops.append((loss * scalings).sum() / scalings.sum())
    return torch.stack(of_crops).mean()


class Training:
    """Network, Adam and schedule, in one of the two layouts of memory."""

    def __init__(self, recipe: Words, weights: str, layout: str) -> None:
        self.recipe, self.layout = recipe, LAYOUTS[layout]
        words = recipe["network"]
        architecture = symmetric(
            num_channels=2,
            num_maps=words["num_maps"],
            map_growth=words["map_growth"],
            pool_factors=tuple(tuple(factor) for factor in words["pool_factors"]),
            kernel_sizes=((3, 3, 3),) * (len(words["pool_factors"]) + 1),
            padding="valid",
            upsampling="repeat",
            head_kernel_size=(3, 3, 3),
        )
        self.network = TorchUnet(architecture)
        self.network.load_state_dict(torch.load(weights, weights_only=True)["model_state_dict"])
        self.network.to(DEVICE, memory_format=self.layout)
        self.adam = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe["learning_rate"],
            betas=tuple(recipe["adam_betas"]),
            weight_decay=recipe["weight_decay"],
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.adam, T_max=recipe["num_train_steps"], eta_min=recipe["final_learning_rate"]
        )

    def update(self, raw: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Makes one update from a batch in the host's memory or on the device; returns the loss before it."""
        raw, target, known = (array.to(DEVICE, non_blocking=True) for array in (raw, target, known))
        self.adam.zero_grad(set_to_none=True)
        logits = self.network(raw.to(memory_format=self.layout))
        loss = balanced_loss(logits, target, known, self.recipe)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["max_gradient_norm"])
        self.adam.step()
        self.schedule.step()
        return loss.detach()


class Worker:
    """What the commands do; each method answers one, by its name, with a dict for JSON."""

    def __init__(self) -> None:
        self.seeds = count()  # of the crops: no turn reads those of another

    def describe(self) -> Words:
        """Versions, device and threads."""
        return {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if CUDA else "cpu",
            "gpu": CUDA,
            "threads": torch.get_num_threads(),
        }

    def prepare(self, folder: str, recipes: dict[str, Words], num_workers: int) -> Words:
        """Reads arrays and batch, chooses the faster layout; answers the losses of the first updates as a check."""
        torch.backends.cudnn.benchmark = True
        self.recipes, self.num_workers = recipes, num_workers
        self.arrays = dict(np.load(Path(folder) / "arrays.npz"))
        batch = np.load(Path(folder) / "batch.npz")
        raw = batch["raw"][..., 0].astype(np.float32) * np.float32(2 / 255) - 1
        target, known = (torch.from_numpy(batch[name][..., 0]) for name in ("members", "known"))
        self.batch = tuple(t.to(DEVICE) for t in (torch.from_numpy(raw)[:, None], target.long(), known))
        recipe, weights = next(iter(recipes.values())), str(Path(folder) / "weights.pt")
        trainings = {layout: Training(recipe, weights, layout) for layout in LAYOUTS}
        losses = {layout: [float(t.update(*self.batch)) for _ in range(TRIALS)] for layout, t in trainings.items()}
        seconds = {layout: median(self._times(training)) for layout, training in trainings.items()}
        best = min(seconds, key=lambda layout: seconds[layout])
        self.training = trainings[best]
        return {"layout": best, "layout_step_s": seconds, "losses": losses[best]}

    def _times(self, training: Training) -> Iterator[float]:
        """Yields the seconds of some updates."""
        for _ in range(TRIALS):
            start = time.perf_counter()
            training.update(*self.batch).item()
            yield time.perf_counter() - start

    def _batches(self, way: str) -> Iterator[Tensors]:
        """Starts the workers; they end with the iterator."""
        recipe = self.recipes[way]
        loader = DataLoader(
            Crops(self.arrays, recipe, next(self.seeds)),
            batch_size=recipe["crops"]["batch_size"],
            num_workers=self.num_workers,
            multiprocessing_context="fork",
            pin_memory=CUDA,
        )
        return iter(loader)

    def read(self, way: str, steps: int) -> Words:
        """Returns the seconds per batch of reading and augmenting alone, after what was prepared ahead."""
        batches = self._batches(way)
        for _ in range(2 * self.num_workers + 1):  # each worker prepares two batches ahead
            next(batches)
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        return {"seconds": (time.perf_counter() - start) / steps}

    def step(self, way: str, steps: int) -> Words:
        """Returns the seconds per update, always with the same batch, which is on the device; `way` is not used."""
        del way
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.training.update(*self.batch)
        loss.item()
        return {"seconds": (time.perf_counter() - start) / steps}

    def loop(self, way: str, steps: int) -> Words:
        """Returns the seconds per step of the second half of 2 x `steps`, and the share spent waiting for batches."""
        batches = self._batches(way)
        for _ in range(2):
            start, waited, losses = time.perf_counter(), 0.0, []
            for _ in range(steps):
                begin = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - begin
                losses.append(self.training.update(*batch))
            torch.stack(losses).mean().item()  # what a record of the loss needs: all steps are done
            seconds = time.perf_counter() - start
        return {"seconds": seconds / steps, "waiting_share": waited / seconds}


if __name__ == "__main__":
    serve(Worker())
