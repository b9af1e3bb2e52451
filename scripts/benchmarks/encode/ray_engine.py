"""Encoding by actors of Ray beside encoding without, on this machine: seconds, memory, and whether stores are equal.

    python -m scripts.benchmarks.encode.ray_engine

Every item has a text of its own, and every tenth a picture of its own, made from the sample. The encoder is pocket.
Each way is a process of its own; its seconds include the start of Ray. Memory is that of the process and of all that it
started, looked at each half second; a page that several processes share counts once.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.runtime.ray_engine import RayEngine
from indexing.sample import items_path
from indexing.store.encode import EncodeConfig, encode_catalogue
from indexing.store.store import EmbeddingStore
from scripts.benchmarks.record import keep

ITEMS, PICTURE_EVERY, SAMPLES = 20_000, 10, 0.5
WAYS = {"local": None, "ray, 1 actor": 1, "ray, 2 actors": 2}


def main() -> None:
    """Encode the same items in each way, and compare the stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--one", choices=list(WAYS), help="encode in one way only, and print what it took")
    parser.add_argument("--folder", type=Path, help="of the items and the stores, with --one")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(encoded(given.folder, given.one)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_items(folder / "items.parquet", given.items)
        ways: dict[str, dict[str, Any]] = {}
        for way in WAYS:
            ways[way], memory = measured(folder, way)
            ways[way]["memory MiB"] = memory
            print(way, ways[way], file=sys.stderr)
        ids = [str(number) for number in range(given.items)]
        for way in list(WAYS)[1:]:
            ways[way] |= compared(stored(folder, "local"), stored(folder, way), ids)
            ways[way]["seconds over local"] = round(ways[way]["seconds"] / ways["local"]["seconds"], 3)
    load = round(os.getloadavg()[0], 1)
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    settings = {"items": given.items, "threads": threads, "ray": version("ray")}
    keep("ray_engine", {**settings, "ways": ways, "load at the end": load}, seed=0)


def write_items(path: Path, count: int) -> None:
    """Write items with texts and pictures of their own."""
    sample = pq.read_table(items_path(), columns=["title", "image"])
    titles, images = sample["title"].to_pylist(), sample["image"].to_pylist()
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        image = None
        if number % PICTURE_EVERY == 0:
            file, tint = io.BytesIO(), rng.uniform(0.6, 1.0, 3)
            pixels = np.asarray(Image.open(io.BytesIO(images[number // PICTURE_EVERY % len(images)])).convert("RGB"))
            Image.fromarray((pixels * tint).astype(np.uint8)).save(file, "PNG")
            image = file.getvalue()
        rows.append(
            {"item_id": str(number), "title": f"{titles[number % len(titles)]}, number {number}", "image": image}
        )
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)


def measured(folder: Path, way: str) -> tuple[dict[str, Any], int]:
    """Encode in a process of its own; give what it said, and the most memory in MiB."""
    command = [sys.executable, "-m", "scripts.benchmarks.encode.ray_engine", "--one", way, "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLES):
            peak[0] = max(peak[0], sum(map(proportional_kib, [process.pid, *descendants(process.pid)])))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        out, _ = process.communicate()
    finally:
        ended.set()
        watching.join()
    if process.returncode:
        raise SystemExit(f"encoding with {way} failed")
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said, peak[0] // 1024


def descendants(pid: int) -> Iterator[int]:
    """Give the processes that a process has started, and those that these have."""
    try:
        children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return
    for child in map(int, (child for of_thread in children for child in of_thread)):
        yield child
        yield from descendants(child)


def proportional_kib(pid: int) -> int:
    """Give the memory of a process, a page that several share in parts; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def encoded(folder: Path, way: str) -> dict[str, Any]:
    """Encode all items in one way."""
    actors, encoder = WAYS[way], load_encoder("pocket")
    catalogue, store = Catalogue.from_parquet(folder / "items.parquet"), EmbeddingStore(folder / way, encoder.info.dim)
    engine = None if actors is None else RayEngine(actors=actors)
    steps: list[float] = []
    started = perf_counter()
    report = encode_catalogue(
        catalogue,
        encoder,
        store,
        config=EncodeConfig(engine=engine),
        progress=lambda _items, _seconds: steps.append(perf_counter() - started),
    )
    ended = perf_counter() - started
    counts = {name: value for name, value in report.to_json().items() if name != "seconds"}
    rate = (len(catalogue) - EncodeConfig.batch_size) / (ended - steps[0])
    return {
        "seconds": round(ended, 2),
        "seconds to the first batch": round(steps[0], 2),
        "items a second from there": round(rate, 1),
        **counts,
    }


def stored(folder: Path, way: str) -> EmbeddingStore:
    """Open the store of a way."""
    return EmbeddingStore(folder / way, load_encoder("pocket").info.dim)


def compared(one: EmbeddingStore, other: EmbeddingStore, ids: list[str]) -> dict[str, Any]:
    """Compare what two stores hold of items, in the order of the ids."""
    hashes, differing, farthest, count = [blake2b(), blake2b()], 0, 0.0, 0
    for left, right in zip(one.records(ids), other.records(ids), strict=True):
        count += 1
        for digest, record in zip(hashes, (left, right), strict=True):
            vector = b"" if record.vector is None else record.vector.tobytes()
            named = record.item_id, str(record.modality), record.part, record.content_hash, record.reason, record.label
            digest.update(repr(named).encode() + vector)
        if left.vector is not None and right.vector is not None and left.vector.tobytes() != right.vector.tobytes():
            differing += 1
            apart = np.abs(left.vector.astype(np.float32) - right.vector.astype(np.float32)).max()
            farthest = max(farthest, float(apart))
    equal = hashes[0].digest() == hashes[1].digest()
    return {"records": count, "equal to local": equal, "vectors that differ": differing, "farthest": farthest}


if __name__ == "__main__":
    main()
