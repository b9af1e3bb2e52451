"""How a benchmark keeps its result: as JSON, with what is needed to repeat and to compare it."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "faiss-cpu", "transformers", "open_clip_torch", "pyarrow")


def keep(name: str, result: dict[str, Any], seed: int, script: str | None = None) -> None:
    """Print a result, and write it to ``results/NAME.json`` with commit, seed, versions and machine.

    A script that gives several results names itself.
    """
    given = [Path(argument).name if Path(argument).exists() else argument for argument in sys.argv[1:]]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    record = {
        "result": result,
        "command": " ".join([f"python -m scripts.benchmarks.{script or name}", *(given if script else ())]),
        "seed": seed,
        "commit": commit,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {package: version(package) for package in PACKAGES},
    }
    text = json.dumps(record, indent=2)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
