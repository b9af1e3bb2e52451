"""How long `import retrieval` takes in a fresh process; it loads neither torch nor faiss.

python -m scripts.benchmarks.imports
"""

import subprocess
import sys
from statistics import median

from scripts.benchmarks.record import keep

ROUNDS = 7
PROBE = "import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def main() -> None:
    """Measure the median of some fresh processes."""
    result = {}
    for name in ("indexing", "retrieval", "retrieval.cli"):
        code = PROBE.format(name=name)
        runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(ROUNDS)]
        result[f"import {name}, seconds"] = round(median(float(run.stdout) for run in runs), 3)
    keep("imports", result, seed=0)


if __name__ == "__main__":
    main()
