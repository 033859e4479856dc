"""Stage `doctor`: what this machine is and whether the program works on it, as one block of text to paste.

    python -m asem_jax.main --config configs/doctor.py --workdir runs/doctor

Logs the block and writes it to `doctor.txt` in the run folder: versions, processor, memory and disk, devices, whether
the network's convolution agrees with NumPy on each device, and how fast given volumes are read. Everything is looked
at even if something fails; then the stage fails too.
"""

import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt
from ml_collections import ConfigDict

from asem_jax import __version__, devices
from asem_jax.models.convolution import convolve
from asem_jax.volumes.geometry import Box, Int3, int3
from asem_jax.volumes.volume import open_volume

logger = logging.getLogger(__name__)

PACKAGES = (
    *("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "flax", "optax", "orbax-checkpoint", "tensorstore"),
    *("numpy", "scipy", "matplotlib", "ml-collections", "tensorboardX", "tifffile", "tqdm"),
)
VARIABLES = ("JAX_PLATFORMS", "XLA_FLAGS", "XLA_PYTHON_CLIENT_MEM_FRACTION", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
# Largest difference to NumPy as a share of the largest value. GPUs round what they multiply to 10 bits (TF32).
TOLERANCES = {"cpu": 1e-5}
TOLERANCE_OF_OTHERS = 5e-3
CONVOLUTION_SHAPE = (1, 12, 14, 16, 8)
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the block.

    Attributes:
      name: what was looked at.
      text: what was found.
      failed: whether the program will not work because of it.
    """

    name: str
    text: str
    failed: bool = False


def run(config: ConfigDict, workdir: Path) -> None:
    """Looks at everything, logs and writes it.

    Args:
      config: the section described in `settings.SETTINGS["doctor"]`.
      workdir: gets doctor.txt.

    Raises:
      ValueError: something that was looked at failed; the block is written before.
    """
    if not devices.is_speaker():
        return
    read_shape = int3(config.read_shape, "doctor.read_shape")
    findings = [*software(), *machine(workdir), *look_at_devices()]
    findings += [read_store(address, read_shape) for address in config.stores]
    text = block(findings)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "doctor.txt").write_text(text)
    logger.info("%s:\n\n%s", workdir / "doctor.txt", text)
    failed = [finding.name for finding in findings if finding.failed]
    if failed:
        raise ValueError(
            f"{', '.join(failed)} failed; {workdir / 'doctor.txt'} says how, paste it when asking for help."
        )


def block(findings: Sequence[Finding]) -> str:
    """Returns findings as lines of text, between two lines that keep it together in a forum or an issue."""
    width = max(len(finding.name) for finding in findings)
    lines = [f"{f.name:<{width}}  {'FAILED: ' if f.failed else ''}{f.text}" for f in findings]
    return "\n".join(["```", *lines, "```", ""])


def software() -> Iterator[Finding]:
    """Yields versions, and the variables that decide how JAX runs."""
    yield Finding("asem_jax", __version__)
    yield Finding("python", f"{platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            if not package.startswith("jax-cuda"):
                yield Finding(package, "is not installed; install asem_jax again", failed=True)
    yield from (Finding(name, os.environ[name]) for name in VARIABLES if os.environ.get(name))


def machine(workdir: Path) -> Iterator[Finding]:
    """Yields processor, memory, and the disk that `workdir` will lie on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    yield Finding("processor", f"{cores} of {os.cpu_count()} cores may be used, {platform.machine()}{load}")
    yield Finding("memory", memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")))
    there = next(folder for folder in [workdir.absolute(), *workdir.absolute().parents] if folder.exists())
    disk = shutil.disk_usage(there)
    yield Finding("disk", f"{disk.free / GIB:.1f} GiB free of {disk.total / GIB:.1f} GiB where the run folder is")


def memory(meminfo: Path, limit: Path) -> str:
    """Returns how much memory is free, in words.

    Args:
      meminfo: where Linux says what the machine has.
      limit: where it says what this job may use, in bytes or "max".
    """
    if not meminfo.exists():
        return "is not told by this system"
    kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.read_text().splitlines() if "kB" in line}
    free, total = kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024
    bound = limit.read_text().strip() if limit.exists() else "max"
    allowed = "" if bound == "max" else f", this job may use {int(bound) / GIB:.1f} GiB"
    return f"{free / GIB:.1f} GiB free of {total / GIB:.1f} GiB{allowed}"


def look_at_devices() -> Iterator[Finding]:
    """Yields each device of this process, and whether it computes rightly."""
    yield Finding("devices", devices.describe())
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        limit, used = stats.get("bytes_limit"), stats.get("bytes_in_use", 0)
        space = f", {(limit - used) / GIB:.1f} GiB free of {limit / GIB:.1f} GiB" if limit else ""
        yield Finding(str(device), f"{device.device_kind}{space}")
        yield check_convolution(device)


def check_convolution(device: jax.Device) -> Finding:
    """Returns whether the network's convolution gives on a device what NumPy gives, and how long it takes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(CONVOLUTION_SHAPE).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 3, x.shape[4], 4)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    name = f"convolution on {device}"
    begin = time.perf_counter()
    try:
        found = np.asarray(jax.jit(convolve)(*(jax.device_put(a, device) for a in (x, kernel, bias))))
    except RuntimeError as error:  # what XLA raises, e.g. where driver and CUDA do not fit
        return Finding(name, str(error).splitlines()[0], failed=True)
    seconds = time.perf_counter() - begin
    apart = difference(found, convolved(x, kernel, bias))
    tolerance = TOLERANCES.get(device.platform, TOLERANCE_OF_OTHERS)
    text = f"differs from NumPy by {apart:.1e} of the largest value ({tolerance:.0e} is allowed), {seconds:.1f} s"
    return Finding(name, text, failed=not apart <= tolerance)


def convolved(
    x: npt.NDArray[np.float32], kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Returns the valid convolution as a sum over the taps in float64; shapes as for `convolve`."""
    extent = [n - k + 1 for n, k in zip(x.shape[1:4], kernel.shape[:3], strict=True)]
    total = np.broadcast_to(bias.astype(np.float64), (x.shape[0], *extent, kernel.shape[4])).copy()
    for tap in product(*(range(k) for k in kernel.shape[:3])):
        part = tuple(slice(t, t + n) for t, n in zip(tap, extent, strict=True))
        total += x[(slice(None), *part)].astype(np.float64) @ kernel[tap].astype(np.float64)
    return total


def difference(found: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> float:
    """Returns the largest difference as a share of the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def read_store(address: str, read_shape: Int3) -> Finding:
    """Returns whether a volume can be read, and how fast its middle is.

    Args:
      address: of the volume.
      read_shape: how much is read, voxels z y x; less where the volume is smaller.
    """
    try:
        volume = open_volume(address)
        shape = [min(a, b) for a, b in zip(read_shape, volume.shape, strict=True)]
        box = Box.of_shape(shape, [(b - a) // 2 for a, b in zip(shape, volume.shape, strict=True)])
        begin = time.perf_counter()
        found = volume.read(box)
        seconds = time.perf_counter() - begin
    except (OSError, ValueError) as error:  # said in the block, like everything else that is wrong
        return Finding(address, " ".join(str(error).split()), failed=True)
    size = " x ".join(f"{side:g}" for side in volume.voxel_size_nm)
    speed = f"{found.nbytes / 2**20 / seconds:.0f} MiB/s ({found.nbytes / 2**20:.1f} MiB in {seconds:.3f} s)"
    return Finding(address, f"{volume.shape} {volume.dtype}, {size} nm, chunks {volume.chunk_shape}; read at {speed}")
