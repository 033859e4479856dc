"""A process that a benchmark keeps beside itself: commands go in, one answer per command comes out, as lines of JSON.

Needs Python alone, so that a worker may run in an interpreter without asem_jax.
"""

import json
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent


class Process:
    """The near end: `ask` sends a command and waits for its answer; leaving the context ends the process."""

    def __init__(self, python: str, module: str, environment: dict[str, str]) -> None:
        """Starts `python -m module` in the repository; what it says besides answers goes to standard error."""
        self.name = module
        self._process = subprocess.Popen(
            [python, "-m", module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def ask(self, do: str, **words: Any) -> Any:
        """Returns the answer of the worker's method `do`.

        Raises:
          RuntimeError: the method failed, or the process ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"do": do, **words}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended with code {self._process.wait()}"}
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{self.name}: {do} {words} failed: {answer['error']}")
        return answer


def serve(worker: object) -> None:
    """The far end: each command calls the method of `worker` that it names, until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may stand between the answers
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
