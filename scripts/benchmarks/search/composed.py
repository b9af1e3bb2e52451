"""Composed queries: "this picture, but red", beside the picture alone and the text alone.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.search.composed ITEMS [--count 14999] [--edits 500] [--seed 0]
    [--work BUNDLE]

ITEMS is the Parquet file of fashion_15k, which is not shipped. The pocket encoder embeds title and picture. An edit is
a product, drawn by chance, and another colour in which its type of article exists: the query is its picture, less the
name of its own colour, plus that of the other one, all of weight 1 or -1. It is a hit when one of the first ten, the
product itself left out, has the type of the product and the colour that was wanted. Nothing is chosen by these edits.
With 100 of them it is checked that weights of 1 and 0 give the answers and scores of the single query. BUNDLE is kept
for another run, and for `words`.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval import Query, Retriever
from retrieval.evaluation.statistics import bootstrap_means
from scripts.benchmarks.record import keep
from scripts.benchmarks.search.products import read, retriever_of

K, SINGLE = 10, 100
COLOURS = (
    *("Black", "White", "Blue", "Brown", "Grey", "Red", "Green", "Pink"),
    *("Navy Blue", "Purple", "Silver", "Beige", "Yellow", "Gold", "Maroon", "Orange"),
)
TYPE, COLOUR = "articleType", "baseColour"
COMPOSED, PICTURE, TEXT = "picture - own colour + wanted colour", "picture", "wanted colour"
ALONE = (PICTURE, TEXT)


@dataclass(frozen=True)
class Edit:
    """A product that is wanted in another colour.

    Attributes:
        item_id: The product.
        image: Its picture, as a file.
        kind: Its type.
        own: Its colour.
        wanted: The other colour.
    """

    item_id: str
    image: bytes
    kind: str
    own: str
    wanted: str


QUERIES: dict[str, Callable[[Edit], Query | str]] = {
    COMPOSED: lambda edit: Query.image(edit.image) - Query.text(edit.own) + Query.text(edit.wanted),
    "picture + wanted colour": lambda edit: Query.image(edit.image) + Query.text(edit.wanted),
    "item - own colour + wanted colour": lambda edit: (
        Query.item(edit.item_id) - Query.text(edit.own) + Query.text(edit.wanted)
    ),
    PICTURE: lambda edit: Query.image(edit.image),
    TEXT: lambda edit: edit.wanted,
    "wanted colour and type, in words": lambda edit: f"{edit.wanted} {edit.kind.lower()}",
}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    products = read(given.items, given.count)
    with tempfile.TemporaryDirectory() as folder:
        retriever = retriever_of(products, given.work or Path(folder) / "bundle")
        edits = edits_of(products, given.edits, given.seed)
        result = {"items": len(retriever.items), "edits": len(edits), **measured(retriever, products, edits)}
        result["weights 1 and 0"] = single(retriever, edits[:SINGLE])
    keep("composed", result, given.seed)


def edits_of(products: pa.Table, count: int, seed: int) -> list[Edit]:
    """Draw edits."""
    rng = np.random.default_rng(seed)
    kinds, colours = (products[name].to_pylist() for name in (TYPE, COLOUR))
    there = set(zip(kinds, colours, strict=True))
    edits: list[Edit] = []
    for row in rng.permutation(len(products)).tolist():
        kind, own = kinds[row], colours[row]
        others = [colour.lower() for colour in COLOURS if colour != own and (kind, colour) in there]
        if own in COLOURS and others and len(edits) < count:
            item_id, image = (products[name][row].as_py() for name in ("item_id", "image"))
            edits.append(Edit(item_id, image, kind, own.lower(), others[rng.integers(len(others))]))
    return edits


def measured(retriever: Retriever, products: pa.Table, edits: Sequence[Edit]) -> dict[str, Any]:
    """Give recall@10 of each kind of query, and how much more the composed one has than the better of its parts."""
    columns = [products[name].to_pylist() for name in ("item_id", TYPE, COLOUR)]
    traits = {item_id: (kind, (colour or "").lower()) for item_id, kind, colour in zip(*columns, strict=True)}
    hits = {name: hits_of(retriever, edits, query, traits) for name, query in QUERIES.items()}
    means = bootstrap_means(np.stack([hits[COMPOSED], *(hits[name] for name in ALONE)], axis=1))
    ratios = np.quantile(means[:, 0] / means[:, 1:].max(axis=1), [0.025, 0.975])
    recall = {name: round(float(values.mean()), 4) for name, values in hits.items()}
    return {
        "recall@10": recall,
        "of the better alone": round(recall[COMPOSED] / max(recall[name] for name in ALONE), 3),
        "of the better alone, 95 %": [round(float(bound), 3) for bound in ratios],
    }


def hits_of(
    retriever: Retriever,
    edits: Sequence[Edit],
    query: Callable[[Edit], Query | str],
    traits: dict[str, tuple[str, str]],
) -> NDArray[np.float64]:
    """Say for each edit whether one of the first ten other items is what was wanted."""
    found = retriever.search([query(edit) for edit in edits], K + 1)
    hits = []
    for edit, listed in zip(edits, found, strict=True):
        others = [hit.item_id for hit in listed if hit.item_id != edit.item_id][:K]
        hits.append(any(traits[item_id] == (edit.kind, edit.wanted) for item_id in others))
    return np.array(hits, np.float64)


def single(retriever: Retriever, edits: Sequence[Edit]) -> dict[str, bool]:
    """Say whether a query whose other parts have weight 0 is the single query, to the last digit."""
    pictures, texts = ([getattr(edit, name) for edit in edits] for name in ("image", "wanted"))
    composed = retriever.search(
        [Query.image(image) + 0 * Query.text(text) for image, text in zip(pictures, texts, strict=True)], K
    )
    worded = retriever.search(
        [0 * Query.image(image) + Query.text(text) for image, text in zip(pictures, texts, strict=True)], K
    )
    return {
        name: bool(np.array_equal(one.rows, other.rows) and np.array_equal(one.scores, other.scores))
        for name, one, other in (
            ("as the picture", composed, retriever.search_images(pictures, K)),
            ("as the text", worded, retriever.search_texts(texts, K)),
        )
    }


if __name__ == "__main__":
    main()
