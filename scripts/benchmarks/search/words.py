"""Vectors, words and both: what each finds of products.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.search.words ITEMS [--count 14999] [--seed 0] [--work BUNDLE]

ITEMS is the Parquet file of fashion_15k, which is not shipped. The pocket encoder embeds title and picture; the words
are those of the title. Queries of three kinds, 300 of each:

- exact: the title of a product. Relevant are all products of that title.
- typo: the same with one letter dropped, added, replaced or swapped with the next, in a word of at least four letters.
- descriptive: "navy blue shirts for men, casual". Relevant are all products of that colour, type, gender and use.

As many queries of other titles and other attributes are for choices (valid). On these the share of the words is tuned
as `commonspace words --tune` does. Both lists are fused by reciprocal rank too, with equal shares. BUNDLE is kept for
another run, and for `composed`.
"""

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval import Candidates, Retriever, evaluate
from retrieval.cli.runs.words_weight import tune_weight
from retrieval.retriever.queries.hybrid_search import DEFAULT_WEIGHT, NUM_FUSED, fuse_words
from retrieval.retriever.search import SearchMode
from scripts.benchmarks.record import keep
from scripts.benchmarks.search.products import read, retriever_of

PER_KIND = 300
ATTRIBUTES = ("baseColour", "articleType", "gender", "usage")
MEASURES = ("hit_rate@1", "ndcg@10")
MODES: dict[str, SearchMode] = {"vectors": "vector", "words": "words", "hybrid": "hybrid"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Judged:
    """A text and the item_ids that should be found."""

    text: str
    relevant: frozenset[str]


Queries = dict[str, list[Judged]]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    products = read(given.items, given.count)
    valid, test = queries_of(products, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        retriever = retriever_of(products, given.work or Path(folder) / "bundle")
        weight, by_share = tuned(retriever, valid)
        result = {
            "items": len(retriever.items),
            "queries of each kind": PER_KIND,
            "default share of the words": DEFAULT_WEIGHT,
            "tuned share of the words": weight,
            "test": measured(retriever, test, weight),
            "valid": measured(retriever, valid, weight),
            "valid ndcg@10 by share of the words": by_share,
        }
    keep("words", result, given.seed)


def queries_of(products: pa.Table, seed: int) -> tuple[Queries, Queries]:
    """Draw the queries of each kind: for choices, and to be judged."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    by_title: dict[str, set[str]] = {}
    written: dict[str, str] = {}
    by_attributes: dict[tuple[str, ...], set[str]] = {}
    for row in products.select(["item_id", "title", *ATTRIBUTES]).to_pylist():
        if row["title"]:
            title = written.setdefault(row["title"].casefold(), row["title"])
            by_title.setdefault(title, set()).add(row["item_id"])
        if all(row[name] for name in ATTRIBUTES):
            by_attributes.setdefault(tuple(row[name] for name in ATTRIBUTES), set()).add(row["item_id"])
    titles = rng.sample(sorted(title for title in by_title if places(title)), 4 * PER_KIND)
    described = rng.sample(sorted(by_attributes), 2 * PER_KIND)

    def kinds(part: int) -> Queries:
        exact, misspelt = (titles[2 * part * PER_KIND :][at : at + PER_KIND] for at in (0, PER_KIND))
        return {
            "exact": [Judged(title, frozenset(by_title[title])) for title in exact],
            "descriptive": [
                Judged(description(values), frozenset(by_attributes[values]))
                for values in described[part * PER_KIND :][:PER_KIND]
            ],
            "typo": [Judged(with_typo(title, rng), frozenset(by_title[title])) for title in misspelt],
        }

    return kinds(0), kinds(1)


def description(values: Sequence[str]) -> str:
    """Say in words what is wanted.

    >>> description(["Navy Blue", "Shirts", "Men", "Casual"])
    'navy blue shirts for men, casual'
    """
    colour, kind, gender, use = (value.lower() for value in values)
    return f"{colour} {kind} for {gender}, {use}"


def places(title: str) -> list[int]:
    """Give the positions of the words of a title that may be misspelt."""
    return [at for at, word in enumerate(title.split()) if len(word) >= 4 and word.isalpha()]


def with_typo(title: str, rng: random.Random) -> str:
    """Drop, add, replace or swap one letter inside a word, so that the word is another one.

    >>> with_typo("red sandal", random.Random(0))
    'red sandbl'
    """
    words = title.split()
    at = rng.choice(places(title))
    word = words[at]
    while words[at] == word:
        place, letter = rng.randrange(1, len(word) - 1), rng.choice(LETTERS)
        before, after = word[:place], word[place + 1 :]
        edits = (
            before + after,
            before + letter + word[place:],
            before + letter + after,
            before + word[place + 1] + word[place] + word[place + 2 :],
        )
        words[at] = rng.choice(edits)
    return " ".join(words)


def tuned(retriever: Retriever, valid: Queries) -> tuple[float, dict[float, float]]:
    """Choose the share of the words by all queries of the valid part, as the command does."""
    queries = [query for kind in valid.values() for query in kind]
    vectors, words = (lists(retriever, queries, mode) for mode in ("vectors", "words"))
    weight, ndcg, _ = tune_weight(vectors, words, [query.relevant for query in queries])
    return weight, {share: round(value, 4) for share, value in ndcg.items()}


def lists(retriever: Retriever, queries: Sequence[Judged], mode: str, k: int = NUM_FUSED) -> Candidates:
    """Search for the texts of queries."""
    return retriever.search([query.text for query in queries], k, mode=MODES[mode])


def measured(retriever: Retriever, queries: Queries, weight: float) -> dict[str, Any]:
    """Give success@1 and ndcg@10 of each kind of query, and of all."""
    values: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    for kind, judged in queries.items():
        found = {name: lists(retriever, judged, name, NUM_FUSED if name != "hybrid" else 10) for name in MODES}
        found["hybrid, tuned share"] = fuse_words(found["vectors"], found["words"], 10, weight)
        found["hybrid, by rank"] = by_rank([found["vectors"], found["words"]], 10)
        relevant = [query.relevant for query in judged]
        values[kind] = {
            name: evaluate(answers, relevant, measures=MEASURES).per_query for name, answers in found.items()
        }
    return {"overall": summary(joined(values)), **{kind: summary(of_kind) for kind, of_kind in values.items()}}


def by_rank(both: Sequence[Candidates], k: int) -> Candidates:
    """Fuse lists by the sum of 1 / (60 + rank): Cormack, Clarke and Büttcher, SIGIR 2009; ties by the first list."""
    rows, scores = np.full((len(both[0]), k), -1), np.full((len(both[0]), k), -np.inf, np.float32)
    for query in range(len(rows)):
        sums: dict[int, float] = {}
        for candidates in both:
            for rank, row in enumerate(candidates.rows[query][candidates.rows[query] >= 0].tolist(), start=1):
                sums[row] = sums.get(row, 0.0) + 1 / (60 + rank)
        best = sorted(sums, key=sums.__getitem__, reverse=True)[:k]
        rows[query, : len(best)], scores[query, : len(best)] = best, [sums[row] for row in best]
    return Candidates(both[0].queries, rows, scores, both[0].items, "by rank", both[0].query_ids)


def joined(
    values: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]],
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Put the queries of all kinds together."""
    names = next(iter(values.values()))
    return {
        name: {measure: np.concatenate([kind[name][measure] for kind in values.values()]) for measure in MEASURES}
        for name in names
    }


def summary(values: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, dict[str, float]]:
    """Give the mean of each measure."""
    return {
        name: {measure: round(float(per_query.mean()), 4) for measure, per_query in measures.items()}
        for name, measures in values.items()
    }


if __name__ == "__main__":
    main()
