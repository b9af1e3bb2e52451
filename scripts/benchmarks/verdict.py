"""The verdict "no good match" beside a flat cut of the cosine.

    python -m scripts.benchmarks.verdict --pairs FOLDER --items ITEMS.parquet --kept encoded.npz

Pairs: captions ask for pictures, of which half are taken out. Products: titles and pictures ask for products that are
held out, of types that are there or taken out, with the vectors of the pocket encoder, which are kept in a file. What
is read of a query was chosen on one half of the captions and of the types (``choose``); the other half is ``report``.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from indexing.encoders import load_encoder
from indexing.encoders.base import unit
from indexing.types import Rows, Vectors
from retrieval.logistic import Floats, Logistic
from retrieval.verdict import best_rows, statistics
from scripts.benchmarks.record import keep

SEED, SPLITS, LEARNED = 0, 20, 300
READ = {"cosine": [0], "cosine and t": [0, 1], "t": [1], "cosine and z": [0, 2], "cosine, t and z": [0, 1, 2]}
Answer = NDArray[np.bool_]
Found = dict[str, list[dict[str, float]]]


def encoded(items: Path, kept: Path, count: int) -> dict[str, Any]:
    """Embed titles and pictures of some products, or read what was kept."""
    if not kept.exists():
        table = pq.read_table(items, columns=["title", "articleType", "image"])
        rows = np.sort(np.random.default_rng(SEED).permutation(len(table))[:4000])[:count]
        table, encoder = table.take(rows), load_encoder("pocket")
        titles = [title or "" for title in table["title"].to_pylist()]
        pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in table["image"].to_pylist()]
        kinds = np.array(table["articleType"].to_pylist())
        np.savez(kept, T=encoder.encode_texts(titles), I=encoder.encode_images(pictures), kind=kinds)
    with np.load(kept) as file:
        return {name: file[name][:count] for name in ("T", "I", "kind")}


def known(best: Vectors, queries: Vectors, cohort: Vectors, sample: Vectors) -> Floats:
    """Give cosine and t, and z: by how many deviations the cosine is above that with items drawn at random."""
    read = statistics(best, queries, cohort)
    by_query = queries @ sample.T
    return np.column_stack([read, (read[:, 0] - by_query.mean(axis=1)) / by_query.std(axis=1)])


def measured(x: Floats, count: int, asked: Floats, answered: Answer) -> dict[str, dict[str, float]]:
    """Learn from x, of which the first so many are answered, and measure on others."""
    found = {}
    for name, columns in READ.items():
        model = Logistic.fit(x[:, columns], np.arange(len(x)) < count)
        probability = model.probability(asked[:, columns])
        good = probability >= np.quantile(model.probability(x[:count, columns]), 0.05)
        share = answered.mean()
        odds = probability / (1 - probability) * share / (1 - share)  # it learned from as many of both
        found[name] = {
            "auc": float(roc_auc_score(answered, probability)),
            "answered_pass": float(good[answered].mean()),
            "unanswered_pass": float(good[~answered].mean()),
            "mean_probability_less_share": float((odds / (1 + odds)).mean() - share),
        }
    return found


def pair_splits(folder: Path) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Captions of pictures that are there, of which a third is learned from, and of pictures taken out."""
    pictures, captions = (unit(np.load(folder / f"{name}_emb.npy").astype(np.float32)) for name in ("image", "text"))
    for split in range(SPLITS):
        drawn = np.random.default_rng(split).permutation(len(pictures))
        there, gone = np.array_split(drawn, 2)
        learned, choose, report = np.array_split(there, 3)
        catalogue, cohort = pictures[there], captions[learned]
        rows = best_rows(catalogue, cohort, np.arange(len(learned)))
        x = np.concatenate([known(catalogue[best], cohort, cohort, catalogue) for best in rows])
        for half, some, others in zip(("choose", "report"), (choose, report), np.array_split(gone, 2), strict=True):
            queries = captions[np.concatenate([some, others])]
            best = catalogue[(queries @ catalogue.T).argmax(axis=1)]
            answered = np.arange(len(queries)) < len(some)
            yield half, measured(x, len(learned), known(best, queries, cohort, catalogue), answered)


def product_splits(products: dict[str, Any], asked: str) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Products held out, of types that are there and of types taken out; asked for by their titles or pictures."""
    kind, frozen = products["kind"], unit(products["T" if asked == "text" else "I"])
    fused = unit(unit(products["T"]) + unit(products["I"]))
    kinds, counts = np.unique(kind, return_counts=True)
    halves = np.array_split(np.random.default_rng(SEED).permutation(kinds[counts >= 5]), 2)
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        for half, types in zip(("choose", "report"), halves, strict=True):
            gone, there = np.array_split(rng.permutation(types), 2)
            held = rng.random(len(kind)) < 0.3
            items = np.flatnonzero(~np.isin(kind, gone) & ~held)
            some, others = np.flatnonzero(held & np.isin(kind, there)), np.flatnonzero(np.isin(kind, gone))
            few = min(len(some), len(others), 500)
            queries = frozen[np.concatenate([rng.permutation(one)[:few] for one in (some, others)])]
            yield half, _products(fused[items], frozen[items], queries, np.arange(2 * few) < few, rng)


def _products(
    catalogue: Vectors, own: Vectors, queries: Vectors, answered: Answer, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    rows: Rows = rng.permutation(len(catalogue))[:LEARNED]
    cohort, sample = own[rows], catalogue[rng.permutation(len(catalogue))[:1000]]
    x = np.concatenate(
        [known(catalogue[best], cohort, cohort, sample) for best in best_rows(catalogue, cohort, rows, held=True)]
    )
    best = catalogue[(queries @ catalogue.T).argmax(axis=1)]
    return measured(x, len(rows), known(best, queries, cohort, sample), answered)


def summary(splits: Callable[[], Iterator[tuple[str, dict[str, dict[str, float]]]]]) -> dict[str, Any]:
    """Give means over the splits of each half, and the difference of AUC to the cosine with its deviation."""
    found: dict[str, Found] = {"choose": {name: [] for name in READ}, "report": {name: [] for name in READ}}
    for half, one in splits():
        for name, values in one.items():
            found[half][name].append(values)
    told: dict[str, Any] = {}
    for half, methods in found.items():
        flat = np.array([values["auc"] for values in methods["cosine"]])
        told[half] = {}
        for name, many in methods.items():
            gain = np.array([values["auc"] for values in many]) - flat
            means = {key: round(float(np.mean([values[key] for values in many])), 3) for key in many[0]}
            told[half][name] = means | {
                "auc_gain": round(float(gain.mean()), 3),
                "auc_gain_deviation": round(float(gain.std()), 3),
                "splits_better": int((gain > 0).sum()),
            }
    return told


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000)
    given = parser.parse_args()
    products = encoded(given.items, given.kept, given.count)
    result = {
        "captions to pictures": summary(lambda: pair_splits(given.pairs)),
        "titles to products": summary(lambda: product_splits(products, "text")),
        "pictures to products": summary(lambda: product_splits(products, "image")),
        "products": len(products["kind"]),
        "splits": SPLITS,
    }
    keep("verdict", result, SEED, "verdict")


if __name__ == "__main__":
    main()
