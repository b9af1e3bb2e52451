"""Encoding while others compute: how threads wait, and how many there are.

python -m scripts.benchmarks.encode.busy
"""

import os
import subprocess
import sys

from indexing.runtime.threads import cores
from scripts.benchmarks.record import keep

WAYS = {
    "as OpenMP does by itself": {"KMP_BLOCKTIME": "200"},  # its own default where that is read, and not ours
    "as by default": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
OTHERS = 2  # processes that compute without end, for each core
BURN = "while True: pass"
WORK = """
import time
import numpy as np
from PIL import Image
from indexing.encoders import load_encoder

encoder, rng = load_encoder("pocket"), np.random.default_rng(0)
pictures = [Image.fromarray(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8)) for _ in range(32)]
encoder.encode_images(pictures[:8])
started, computed = time.perf_counter(), time.process_time()
encoder.encode_texts([f"red canvas shoe number {n} for a walk on the beach" for n in range(128)])
encoder.encode_images(pictures)
print(time.perf_counter() - started, time.process_time() - computed)
"""


def main() -> None:
    """Encode 128 texts and 32 pictures in each way, by themselves and beside others."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for machine, count in (("alone", 0), ("busy", OTHERS * cores())):
        others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(count)]
        try:
            found[machine] = {way: encoded(environment) for way, environment in WAYS.items()}
        finally:
            for one in others:
                one.kill()
                one.wait()
    load = round(os.getloadavg()[0], 1)  # of others too: alone is alone only where nobody else computes
    keep("busy", found | {"others": OTHERS * cores(), "load_at_the_end": load}, seed=0)


def encoded(environment: dict[str, str]) -> dict[str, float]:
    """Give seconds by the clock and of the processor."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", WORK]
    out = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout
    seconds, processor = map(float, out.split())
    return {"seconds": round(seconds, 2), "processor_seconds": round(processor, 2)}


if __name__ == "__main__":
    main()
