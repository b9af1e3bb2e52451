"""Encoding speed: the same ViT-B/32 weights through this project and through the libraries, in one run.

    python -m scripts.benchmarks.encode.encode ITEMS [--seed 0]

ITEMS is a Parquet file with `image` (JPEG bytes), `title` (short texts) and `description` (long ones). The weights are
random, which changes no speed: OpenAI's ViT-B/32 in open_clip, the same renamed for transformers, and that again inside
sentence-transformers. The systems take turns; each figure is the median of the rounds.
"""

import argparse
import io
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.encoders.base import PixelEncoder
from indexing.media.images import ImageLimits, decode_picture
from indexing.store.encode import encode_catalogue
from indexing.store.store import EmbeddingStore
from scripts.benchmarks.encode.same_weights import System, hugging_face_folder, open_clip_folder, peers
from scripts.benchmarks.record import keep

ROUNDS = 3
PICTURES, TITLES, PLOTS, STORED = 192, 512, 128, 1024
OURS = "commonspace"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = distinct(given.items)
    images = [decode_picture(row["image"], ImageLimits()).convert("RGB") for row in rows[:PICTURES]]
    contents: dict[str, Sequence[Any]] = {
        "images": images,
        "short texts": [row["title"] for row in rows[:TITLES]],
        "long texts": [row["description"] for row in rows if len(row["description"]) > 200][:PLOTS],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = open_clip_folder(folder / "open_clip", given.seed)
        systems = {OURS: ours(folder / "open_clip"), **peers(model, hugging_face_folder(folder / "hf", model))}
        speeds, vectors = compared(systems, contents)
        result = {
            "per second": speeds,
            "times the best peer": {
                kind: round(by[OURS] / max(speed for system, speed in by.items() if system != OURS), 2)
                for kind, by in speeds.items()
            },
            "times plain open_clip": {kind: round(by[OURS] / by["open_clip"], 2) for kind, by in speeds.items()},
            "against open_clip in float32": {
                kind: agreement(by[OURS], by["open_clip"]) for kind, by in vectors.items()
            },
            "from files to stored vectors": stored(rows[:STORED], folder),
        }
    keep("encode", result, given.seed)


def distinct(path: Path) -> list[dict[str, Any]]:
    """Give rows with different pictures, titles and descriptions."""
    rows = pq.read_table(path, columns=["image", "title", "description"]).to_pylist()
    first = {row["image"]: row for row in rows if row["image"] and row["title"] and row["description"]}
    return list(first.values())


def ours(folder: Path) -> System:
    """This project, in the precision that it chooses."""
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    return {"images": encoder.encode_images, "texts": encoder.encode_texts}


def compared(
    systems: dict[str, System], contents: dict[str, Sequence[Any]]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Vectors]]]:
    """Let the systems take turns at each kind of content: contents a second, and the vectors."""
    speeds: dict[str, dict[str, float]] = {}
    vectors: dict[str, dict[str, Vectors]] = {}
    for kind, batch in contents.items():
        verb = "images" if kind == "images" else "texts"
        times = defaultdict(list)
        for turn in range(ROUNDS + 1):
            for name, system in systems.items():
                seconds, vectors.setdefault(kind, {})[name] = timed(system[verb], batch[:16] if not turn else batch)
                if turn:
                    times[name].append(seconds)
        speeds[kind] = {name: round(len(batch) / median(spent), 1) for name, spent in times.items()}
        print(kind, speeds[kind], flush=True)
    return speeds, vectors


def timed(work: Callable[[Any], Any], batch: Any) -> tuple[float, Vectors]:  # noqa: ANN401
    """Run once: seconds, and unit vectors."""
    started = perf_counter()
    vectors = work(batch)
    return perf_counter() - started, unit(np.asarray(vectors))


def agreement(ours: Vectors, exact: Vectors) -> dict[str, float]:
    """Give the worst cosine, and how much of the ten nearest stays, each vector being asked for its neighbours."""
    near = [np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:11] for vectors in (ours, exact)]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    return {"worst cosine": round(float((ours * exact).sum(axis=1).min()), 5), "overlap@10": round(float(kept), 4)}


def stored(rows: Sequence[dict[str, Any]], folder: Path) -> dict[str, float | str]:
    """Compare JPEG files to stored vectors, by the whole pipeline, with the bare model on prepared pixels."""
    encoder = load_encoder(f"open_clip:local-dir:{folder / 'open_clip'}")
    if not isinstance(encoder, PixelEncoder) or encoder.image_form is None:
        raise SystemExit("this encoder does not take prepared pixels")
    form = encoder.image_form
    pixels = np.stack([form.apply(decode_picture(row["image"], ImageLimits()).convert("RGB")) for row in rows])
    table = pa.table({"item_id": [str(n) for n in range(len(rows))], "image": [row["image"] for row in rows]})
    pq.write_table(table, folder / "files.parquet")
    bare, whole = [], []
    for turn in range(ROUNDS):
        bare.append(timed(encoder.encode_pixels, pixels)[0])
        store = EmbeddingStore(folder / f"store-{turn}", encoder.info.dim)
        catalogue = Catalogue.from_parquet(folder / "files.parquet")
        started = perf_counter()
        report = encode_catalogue(catalogue, encoder, store)
        whole.append(perf_counter() - started)
        if report.encoded != len(rows):
            raise SystemExit(f"only {report.encoded} of {len(rows)} pictures were encoded")
    size = Image.open(io.BytesIO(rows[0]["image"])).size
    return {
        "images": len(rows),
        "first image": f"{size[0]} x {size[1]}",
        "bare images/s": round(len(rows) / median(bare), 1),
        "stored images/s": round(len(rows) / median(whole), 1),
        "share": round(median(bare) / median(whole), 3),
    }


if __name__ == "__main__":
    main()
