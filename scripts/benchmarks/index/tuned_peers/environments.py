"""Environments for the libraries of peers, made by pip: what some of them need conflicts with the others."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class NotInstalledError(RuntimeError):
    """A peer's libraries cannot be installed here; the message is what pip said."""


def interpreter(folder: Path, name: str, requirements: Sequence[str]) -> Path:
    """Give the interpreter of an environment, made if it is not there; of this one, if nothing is required.

    Args:
        folder: Where environments are kept.
        name: Of the environment.
        requirements: Packages with versions, as pip takes them.

    Raises:
        NotInstalledError: When pip fails.
    """
    if not requirements:
        return Path(sys.executable)
    place = folder / name
    python, installed = place / "bin" / "python", place / "installed.json"
    if installed.exists() and json.loads(installed.read_text()) == list(requirements):
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(place)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    installed.write_text(json.dumps(list(requirements)))
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise NotInstalledError(" ".join(lines[-2:])[-300:])
