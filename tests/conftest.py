"""Settings of the whole suite: strict JAX on eight simulated devices, and the data that tests may ask for."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Both must stand before JAX starts. Without NPROC, eight simulated devices on few cores deadlock at times:
# XLA sizes its thread pool by the cores, and several steps in flight need a thread per device and step.
os.environ["NPROC"] = "16"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_collective_call_terminate_timeout_seconds=60",
    ]
).strip()

# Programs that tests start use this checkout too, whatever is installed.
os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)

import jax
import pytest
from ml_collections import ConfigDict

# Imports PyTorch, which is optional; the tests that use it skip themselves.
collect_ignore = ["torch_networks.py"]

_SOURCES = {"ASEM_JAX_CASES": "reference cases", "ASEM_JAX_DATA": "real volumes"}


def pytest_configure(config: pytest.Config) -> None:
    """Makes JAX strict and keeps its compiled programs from one run of the suite to the next."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if hasattr(config, "cache") and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = str(config.cache.mkdir("jax-compiled"))
        # In the environment too: programs that tests start share the folder.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked `gpu` where JAX finds no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and jax.default_backend() != "gpu":
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"JAX runs on {jax.default_backend()}, not on a GPU"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how many tests that need outside data ran, and how many were skipped."""
    counts: Counter[tuple[str, bool]] = Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if outcome in ("passed", "failed", "skipped") and (report.when == "call" or outcome == "skipped"):
                for name, value in getattr(report, "user_properties", ()):
                    if name == "outside_data":
                        counts[value, outcome == "skipped"] += 1
    for variable, noun in _SOURCES.items():
        ran, skipped = counts[variable, False], counts[variable, True]
        terminalreporter.write_line(f"tests on {noun} ({variable}): {ran} ran, {skipped} skipped")


def _outside_folder(request: pytest.FixtureRequest, variable: str) -> Path:
    """Returns the folder that `variable` names, or skips the test; either way the test is counted."""
    request.node.user_properties.append(("outside_data", variable))
    folder = os.environ.get(variable, "")
    if not folder:
        pytest.skip(f"{variable} is not set; set it to the folder of {_SOURCES[variable]}")
    if not Path(folder).is_dir():
        pytest.fail(f"{variable}={folder} is not a folder; correct it, or unset it to skip these tests.")
    return Path(folder)


@pytest.fixture
def cases_dir(request: pytest.FixtureRequest) -> Path:
    """Folder of the cases computed with the original programs; skips without `ASEM_JAX_CASES`."""
    return _outside_folder(request, "ASEM_JAX_CASES")


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Folder of real volumes; skips without `ASEM_JAX_DATA`."""
    return _outside_folder(request, "ASEM_JAX_DATA")


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """Forbids implicit dtype promotion in a test of pure functions (optax needs the standard rules)."""
    with jax.numpy_dtype_promotion("strict"):
        yield


# In a process of its own, as it has threads that log; it ends when its input does.
_CLUSTER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running:
    print(running.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[ConfigDict]:
    """Section `cluster` of a Dask scheduler with two workers, which all tests share; skips without Dask."""
    pytest.importorskip("distributed")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _CLUSTER], **pipes) as running:
        section = {"address": running.stdout.readline().strip(), "num_workers": None, "threads_per_worker": 1}
        yield ConfigDict({**section, "cores": None, "memory": None, "walltime": None, "directives": ()})
