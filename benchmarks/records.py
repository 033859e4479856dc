"""What a benchmark keeps of a run beside its figures: when it was, on what machine, with which versions."""

import datetime
import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asem_jax import experiment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("asem_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "numpy", "scipy")
TUNING = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "XLA_FLAGS")
"""Of the environment, what changes times and memory; launch/setup.sh sets some of it."""


def circumstances(*packages: str) -> dict[str, Any]:
    """Returns what a reader of figures has to know: the first entries of every record.

    Args:
      packages: whose versions matter besides those of the core.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in (*PACKAGES, *packages)}},
        "environment": {name: os.environ[name] for name in TUNING if os.environ.get(name)},
    }


def machine() -> str:
    """Returns what the processor calls itself, and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return f"{os.cpu_count()} cores, {found[1] if found else platform.processor() or platform.machine()}"


def save(path: Path, record: dict[str, Any]) -> None:
    """Writes a record, and says so."""
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{path} is written")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Returns the lines of a Markdown table: the first column on the left, figures on the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def config_of(name: str, **overrides: str) -> dict[str, Any]:
    """Returns what configs/`name`.py holds, as plain values.

    Args:
      name: of the file.
      overrides: as after `--config.` on the command line.
    """
    found: dict[str, Any] = json.loads(experiment.load(str(ROOT / "configs" / f"{name}.py"), overrides).to_json())
    return found
