"""A runner in a process of its own: requests as lines of JSON, answers within a time, and a reason when none comes."""

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[4]
RUNNERS = "scripts.benchmarks.index.tuned_peers.runners"


class NotMeasuredError(RuntimeError):
    """A peer answered with an error, ended, or took too long; the message says which."""


class RunnerProcess:
    """A process that answers requests of `runners.serve`, and is killed with all that it started when left."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start a command; ``log`` is where it writes what is no answer."""
        self._log = log
        # `nice` and limits are inherited. PYTHONPATH has runners found, and nothing else of this environment.
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    @classmethod
    def of(cls, python: Path, runner: str, log: Path) -> Self:
        """Start a runner by its name with an interpreter."""
        return cls([str(python), "-m", f"{RUNNERS}.{runner}"], log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request, and wait for its answer for so many seconds.

        Raises:
            NotMeasuredError: For an error, an end of the process, or no answer in that time.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise NotMeasuredError("the runner has no standard input and output")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NotMeasuredError(self._ended()) from None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            until = monotonic() + seconds
            if not ready.select(max(0.0, until - monotonic())):
                raise NotMeasuredError(f"{request['do']!r} took more than {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasuredError(self._ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NotMeasuredError(answer["error"])
        return answer

    def _ended(self) -> str:
        code = self._process.wait()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{how}: {said[-1][:300]}" if said else how
