"""Runs a guide: every command of it, in order, and keeps what each said and how long it took.

    python -m benchmarks.guide docs/tiffs_to_training.md

Takes the lines of the guide's bash blocks as they are, in the folder of the repository; `bash launch/local.sh` becomes
this Python, so nothing is installed. Folders under `runs` that the guide writes have to be new. A command that fails
stops the walk, unless `<!-- refused -->` stands before its block; when it is corrected, `--go_on` goes on there. Blocks
after `<!-- needs a display -->` and `<!-- takes longer -->` are left out. Commands may use the folder `$ASEM_JAX_DATA`.
Writes benchmarks/results/<name of the guide>.json, which tests/configs_test.py compares with the guide: the same
commands, and each line that the guide quotes is one that was printed.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.records import RESULTS, ROOT, circumstances

CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


LEFT_OUT = ("needs a display", "takes longer")
BLOCK = re.compile(r"(?:<!-- (.*?) -->\n)?```bash\n(.*?)```", re.DOTALL)


def commands_of(text: str) -> list[tuple[str, bool]]:
    """Returns the commands in the bash blocks of a document, one line each, and whether each is to be refused."""
    return [
        (line, remark == "refused")
        for remark, block in BLOCK.findall(text)
        if remark not in LEFT_OUT
        for line in re.sub(r" *\\\n *", " ", block).splitlines()
        if line.strip()
    ]


def ran(line: str) -> dict[str, Any]:
    """Returns a command with its exit code, seconds, and what it printed, without the clock."""
    command = line.replace("bash launch/local.sh", f"{sys.executable} -m asem_jax.main")
    began, before = time.monotonic(), _processor_s()
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = [CLOCK.sub("", printed) for printed in done.stdout.splitlines()]
    spent = {"seconds": round(time.monotonic() - began, 1), "processor_s": round(_processor_s() - before, 1)}
    return {"command": line, "code": done.returncode, **spent, "said": said}


def _processor_s() -> float:
    """Returns what all finished children have taken of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def portable(text: str, data_dir: str | None) -> str:
    """Returns what was printed without folders of this machine: the repository is `.`, the data `$ASEM_JAX_DATA`."""
    text = text.replace(str(ROOT), ".")
    return text.replace(data_dir, "$ASEM_JAX_DATA") if data_dir else text


def main() -> None:
    """Walks through the guide, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guide", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--go_on", action="store_true", help="behind the commands that the record has already")
    options = parser.parse_args()
    target = options.record or RESULTS / f"{options.guide.stem}.json"
    commands = commands_of(options.guide.read_text())
    steps = walked(json.loads(target.read_text())["steps"], commands) if options.go_on else []
    for line, refused in commands[len(steps) :]:
        step = ran(line)
        print(f"{step['seconds']:6.1f} s  {line}", flush=True)
        if (step["code"] != 0) != refused:
            sys.exit("\n".join([*step["said"][-20:], f"ended with code {step['code']}; correct the guide."]))
        steps.append(step)
        write_record(target, steps)
    print(f"{sum(step['seconds'] for step in steps):.1f} s in all; {target}")


def walked(steps: list[dict[str, Any]], commands: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Returns the steps of an earlier walk as far as they are the first commands of the guide."""
    same = [step["command"] == line for step, (line, _) in zip(steps, commands, strict=False)]
    return steps[: [*same, False].index(False)]


def write_record(target: Path, steps: list[dict[str, Any]]) -> None:
    """Writes what was run until now."""
    record = {
        **circumstances(),
        **{name: round(sum(step[name] for step in steps), 1) for name in ("seconds", "processor_s")},
        "steps": steps,
    }
    target.write_text(portable(json.dumps(record, indent=1), os.environ.get("ASEM_JAX_DATA")) + "\n")


if __name__ == "__main__":
    main()
