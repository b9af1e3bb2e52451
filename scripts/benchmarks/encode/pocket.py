"""The pocket encoder's speed: loading in a fresh process, texts a second, pictures a second.

python -m scripts.benchmarks.encode.pocket
"""

import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import pyarrow.parquet as pq

from indexing.encoders import load_encoder
from indexing.media.images import ImageLimits, decode_picture
from indexing.sample import items_path
from scripts.benchmarks.record import keep

ROUNDS = 3
LOAD = (
    "import time; start = time.perf_counter(); "
    "from indexing.encoders.pocket import PocketEncoder; PocketEncoder();"
    "print(time.perf_counter() - start)"
)


def main() -> None:
    """Measure, each figure as the median of three rounds."""
    table = pq.read_table(items_path(), columns=["title", "image"])
    titles = table["title"].to_pylist()
    images = [decode_picture(data, ImageLimits()) for data in table["image"].to_pylist()[:512]]
    encoder = load_encoder("pocket")
    loads = [
        float(subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout)
        for _ in range(ROUNDS)
    ]
    keep(
        "pocket",
        {
            "load_seconds_with_imports": round(median(loads), 2),
            "texts_per_second": round(len(titles) / seconds(lambda: encoder.encode_texts(titles))),
            "images_per_second": round(len(images) / seconds(lambda: encoder.encode_images(images)), 1),
            "precision": encoder.info.precision,
            "texts": len(titles),
            "images": len(images),
        },
        seed=0,
    )


def seconds(work: Callable[[], object]) -> float:
    """Median time of a few rounds after one to warm up."""
    work()
    times = []
    for _ in range(ROUNDS):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return median(times)


if __name__ == "__main__":
    main()
