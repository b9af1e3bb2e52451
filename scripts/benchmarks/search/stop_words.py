"""Stop words in queries: what each mode finds of the sample when a title stands within an ordinary phrase.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.search.stop_words BUNDLE [--seed 0]

BUNDLE is that of `make demo`, whose words are those of titles. 300 titles are drawn by chance; relevant are all items
of that title. A query is the title alone, or within a phrase of words that nearly every text of its language has.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from indexing.sample import items_path
from retrieval import Retriever
from retrieval.retriever.search import SearchMode
from scripts.benchmarks.record import keep

COUNT, K = 300, 10
PHRASES = {
    "alone": "{}",
    "English": "a picture of the {}",
    "English, longer": "is there one of these with the {} in it for me",
    "German": "ein Bild von der {} mit dem",
}
MODES: tuple[SearchMode, ...] = ("vector", "words", "hybrid")


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    items = pq.read_table(items_path(), columns=["item_id", "title"]).to_pylist()
    same: dict[str, set[str]] = {}
    for item in items:
        same.setdefault(item["title"].lower(), set()).add(item["item_id"])
    drawn = np.random.default_rng(arguments.seed).permutation(len(items))[:COUNT]
    titles = [str(items[at]["title"]) for at in drawn]
    retriever = Retriever.open(arguments.bundle)
    result = {
        name: {mode: found_first(retriever, titles, phrase, mode, same) for mode in MODES}
        for name, phrase in PHRASES.items()
    }
    keep("stop_words", {"queries": COUNT, "hit_rate@1": result}, arguments.seed)


def found_first(
    retriever: Retriever, titles: list[str], phrase: str, mode: SearchMode, same: dict[str, set[str]]
) -> float:
    """The share of titles of which an item comes first."""
    found = retriever.search([phrase.format(title) for title in titles], K, mode=mode)
    hits = [bool(found[at]) and found[at][0].item_id in same[title.lower()] for at, title in enumerate(titles)]
    return round(float(np.mean(hits)), 4)


if __name__ == "__main__":
    main()
