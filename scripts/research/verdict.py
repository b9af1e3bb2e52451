"""The verdict "no good match" beside a flat cut of the cosine.

    python -m scripts.research.verdict --pairs FOLDER --items ITEMS.parquet --kept encoded.npz

Pairs: captions ask for pictures, of which half are taken out. Products: titles and pictures ask for products that are
held out, of types that are there or taken out, with the vectors of the pocket encoder, which are kept in a file. What
is read of a query was chosen on one half of the captions and of the types (``choose``); the other half is ``report``.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from indexing.arrays import Rows, Vectors, unit
from indexing.encoders import load_encoder
from retrieval.ranking.confidence import NEAREST_FRACTION, Floats, Logistic, best_rows, statistics
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


@dataclass(frozen=True)
class Drawn:
    """A split: rows of the catalogue and of the queries, which of these are answered, and places in it to learn of."""

    items: Rows
    asked: Rows
    answered: Answer
    learned: Rows


def drawn(products: dict[str, Any]) -> Iterator[tuple[str, Drawn]]:
    """Hold some products out; of the types of a half, take half out of the catalogue."""
    kind = products["kind"]
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
            asked = np.concatenate([rng.permutation(one)[:few] for one in (some, others)])
            yield half, Drawn(items, asked, np.arange(2 * few) < few, rng.permutation(len(items))[:LEARNED])


def read(products: dict[str, Any], kind: str, one: Drawn) -> tuple[Floats, Floats]:
    """Give what is known of queries to learn from and of those asked, titles or pictures."""
    frozen = unit(products[kind])
    catalogue = unit(unit(products["T"]) + unit(products["I"]))[one.items]
    cohort, queries = frozen[one.items[one.learned]], frozen[one.asked]
    rows = best_rows(catalogue, cohort, one.learned, from_items=True, nearest_fraction=NEAREST_FRACTION)
    x = np.concatenate([known(catalogue[best], cohort, cohort, catalogue[:1000]) for best in rows])
    return x, known(catalogue[(queries @ catalogue.T).argmax(axis=1)], queries, cohort, catalogue[:1000])


def product_splits(products: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Products asked for by their titles or pictures."""
    for half, one in drawn(products):
        x, asked = read(products, kind, one)
        yield half, measured(x, len(one.learned), asked, one.answered)


def mixed_splits(products: dict[str, Any]) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Titles and pictures together: one cut of the cosine, set on what is learned of titles, or one for each."""
    for half, one in drawn(products):
        cosines, probabilities, own_cut, title_cut = [], [], [], 0.0
        for kind in ("T", "I"):
            x, asked = (values[:, :1] for values in read(products, kind, one))
            model, count = Logistic.fit(x, np.arange(len(x)) < len(one.learned)), len(one.learned)
            title_cut = title_cut or float(np.quantile(x[:count], 0.05))
            cosines.append(asked[:, 0])
            probabilities.append(model.probability(asked))
            own_cut.append(asked[:, 0] >= np.quantile(x[:count], 0.05))
        answered = np.tile(one.answered, 2)
        flat, each = np.concatenate(cosines), np.concatenate(probabilities)
        yield (
            half,
            {
                "cosine": _mixed(flat, flat >= title_cut, one.answered, answered),
                "for each kind": _mixed(each, np.concatenate(own_cut), one.answered, answered),
            },
        )


def _mixed(level: Floats, good: Answer, half: Answer, answered: Answer) -> dict[str, float]:
    titles, pictures = np.split(good, 2)
    return {
        "auc": float(roc_auc_score(answered, level)),
        "answered_titles_pass": float(titles[half].mean()),
        "answered_pictures_pass": float(pictures[half].mean()),
        "unanswered_pass": float(good[~answered].mean()),
    }


def summary(splits: Callable[[], Iterator[tuple[str, dict[str, dict[str, float]]]]]) -> dict[str, Any]:
    """Give means over the splits of each half, and the difference of AUC to the cosine with its deviation."""
    found: dict[str, Found] = {"choose": {}, "report": {}}
    for half, one in splits():
        for name, values in one.items():
            found[half].setdefault(name, []).append(values)
    half_means: dict[str, Any] = {}
    for half, methods in found.items():
        flat = np.array([values["auc"] for values in methods["cosine"]])
        half_means[half] = {}
        for name, many in methods.items():
            gain = np.array([values["auc"] for values in many]) - flat
            means = {key: round(float(np.mean([values[key] for values in many])), 3) for key in many[0]}
            half_means[half][name] = means | {
                "auc_gain": round(float(gain.mean()), 3),
                "auc_gain_deviation": round(float(gain.std()), 3),
                "splits_better": int((gain > 0).sum()),
            }
    return half_means


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
        "titles to products": summary(lambda: product_splits(products, "T")),
        "pictures to products": summary(lambda: product_splits(products, "I")),
        "titles and pictures together": summary(lambda: mixed_splits(products)),
        "products": len(products["kind"]),
        "splits": SPLITS,
    }
    keep("verdict", result, SEED)


if __name__ == "__main__":
    main()
