"""How a benchmark keeps its result: as JSON, with what is needed to repeat and to compare it."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "faiss-cpu", "transformers", "open_clip_torch", "pyarrow")


def keep(name: str, result: dict[str, Any], seed: int) -> None:
    """Print a result, and write it to ``results/NAME.json`` with commit, seed, versions and machine.

    ``clean_tree`` says whether the commit holds all of the code that was measured.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    given = [Path(argument).name if Path(argument).exists() else argument for argument in sys.argv[1:]]
    record = {
        "result": result,
        "command": " ".join([f"python -m {spec.name if spec else name}", *given]),
        "seed": seed,
        **state_of(Path(__file__).parent),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": versions(),
    }
    text = json.dumps(record, indent=2)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def by_seed(measure: Callable[[int, Path], dict[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Measure once a seed, each time in an empty folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for seed in seeds:
            (of_seed := Path(folder) / str(seed)).mkdir()
            results.append(measure(seed, of_seed))
    return results


def versions() -> dict[str, str]:
    """The versions of the packages that a result may hang on; of FAISS also where it is built for GPUs."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package != "faiss-cpu":
                raise
            import faiss

            found["faiss"] = faiss.__version__  # of another package
    return found


def state_of(folder: Path) -> dict[str, Any]:
    """The commit of a checkout, and whether it is clean: no file differs from it but results of benchmarks.

    Args:
        folder: Any folder of the checkout.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    everything_else = ("--", ":/", ":(top,exclude)scripts/benchmarks/results")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=all", *everything_else)
    return {"commit": commit, "clean_tree": bool(commit) and not changed}


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()
