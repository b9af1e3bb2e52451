"""What variety costs in a search for products: relevance against diversity and coverage, for every method.

python -m scripts.research.varied_products ITEMS [--cache FOLDER]

ITEMS is a Parquet file of fashion_15k, which is not shipped. Queries are a colour and a type, as "Navy Blue Shirts", of
which there are at least 20 products; these are relevant. Lists are the 100 products with the best cosine of query and
content (title and picture, fused, pocket encoder), of which 20 are picked and stand in the order of relevance. Half of
the queries (seed 0) choose of each method the setting that gives most of what it is for, loses at most 1.5 % of ndcg@20
and raises coverage by 2 % and more; the others measure it, with 95 % bootstrap intervals of the difference.

Diversity is 1 - the mean cosine over pairs of a list (intra-list distance), of content, titles and pictures; "least"
1 - the largest cosine of contents. --cache keeps the vectors of the pictures.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.evaluation.beyond_accuracy import diversity
from retrieval.postprocess.diversify import (
    MMR,
    MSD,
    ExposurePenalty,
    Limit,
    MaxSimilarity,
    Objective,
    Relevant,
    exposures,
)
from scripts.benchmarks.encode.products import Items, TextMemo, read
from scripts.benchmarks.recommend.diversity import (
    DEPTH,
    Lists,
    Way,
    best,
    compared,
    least,
    measure_lists,
    picked,
    plain,
)
from scripts.benchmarks.recommend.systems import SEED, K
from scripts.benchmarks.record import keep

COLOUR, TYPE = "baseColour", "articleType"
FEWEST = 20
STRENGTHS, SPREADS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7), (0.0, 0.06, 0.1, 0.15)
APART = (0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97)


def main() -> None:
    """Choose by half of the queries, and measure by the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    encoder = load_encoder("pocket")
    items, memo = read(given.items, [COLOUR, TYPE], encoder, given.cache), TextMemo(encoder)
    search = Search.of(items, memo)
    names = search.queries()
    drawn = np.random.default_rng(SEED).permutation(len(names))
    chosen_on, measured_on = (search.lists([names[place] for place in sorted(drawn[half::2])], memo) for half in (0, 1))
    base = measure_lists(search, chosen_on, plain)
    curves = {
        name: [{"setting": setting} | measure_lists(search, chosen_on, way) for setting, way in ways.items()]
        for name, (_, ways) in search.methods(chosen_on).items()
    }
    chosen = {name: best(curves[name], base, goal) for name, (goal, _) in search.methods(chosen_on).items()}
    ways = {name: of_method for name, (_, of_method) in search.methods(measured_on).items()}
    result = {
        "products": len(items.rows),
        "queries": [len(chosen_on.relevant), len(measured_on.relevant)],
        "choosing half": {"relevance": base, **curves},
        "chosen": chosen,
        "other half": {"relevance": measure_lists(search, measured_on, plain)}
        | {name: compared(search, measured_on, ways[name][one]) for name, one in chosen.items() if one},
    }
    keep("varied_products", result, seed=SEED)


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched, and what its lists are judged by.

    Attributes:
        items: The N products.
        labels: A colour and a type of each.
        vectors: By yardstick, (N, D) float32 of which cosines are taken.
    """

    items: ItemIds
    labels: tuple[str, ...]
    vectors: dict[str, Vectors]

    @classmethod
    def of(cls, items: Items, memo: TextMemo) -> "Search":
        """Embed titles, and join both modalities as a bundle does."""
        titles, there = memo.vectors([row["title"] for row in items.rows]), np.ones(len(items.rows), np.bool_)
        frozen = {Modality.TEXT: titles.astype(np.float16), Modality.IMAGE: items.images.astype(np.float16)}
        content = fuse(ModalityVectors(frozen, dict.fromkeys(frozen, there)))
        labels = tuple(f"{row[COLOUR]} {row[TYPE]}" for row in items.rows)
        names = ItemIds([row["item_id"] for row in items.rows])
        return cls(names, labels, {"content": content, "titles": titles, "pictures": items.images})

    def queries(self) -> list[str]:
        """Give colours with types of which there are enough products."""
        names, counts = np.unique(self.labels, return_counts=True)
        return [str(name) for name in names[counts >= FEWEST]]

    def lists(self, queries: Sequence[str], memo: TextMemo) -> Lists:
        """Search."""
        asked, content = memo.vectors(queries), self.vectors["content"]
        scores = asked @ content.T
        rows: Rows = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        found = Candidates(
            asked, rows, np.take_along_axis(scores, rows, axis=1), self.items, "retrieve", tuple(queries)
        )
        relevant = [
            frozenset(item for item, label in zip(self.items, self.labels, strict=True) if label == query)
            for query in queries
        ]
        return Lists(found, tuple(relevant))

    def methods(self, asked: Lists) -> dict[str, tuple[str, dict[str, Way]]]:
        """Give what each method is for, and all its settings."""
        shown = exposures(asked.candidates, K)

        def curve(make: Callable[[float], Objective]) -> dict[str, Way]:
            return {
                f"strength {step:g}, spread {spread:g}": picked(ExposurePenalty(make(step), shown, spread), K)
                for spread in SPREADS
                for step in STRENGTHS
            }

        def limits(limit: Callable[[float], Limit]) -> dict[str, Way]:
            return {
                f"limit {step:g}, spread {spread:g}": picked(ExposurePenalty(Relevant(), shown, spread), K, limit(step))
                for spread in SPREADS
                for step in APART
            }

        found = {
            f"{kind.__name__} of {of}": (of, curve(partial(kind, self.vectors[of])))
            for kind in (MSD, MMR)
            for of in ("content", "pictures")
        }
        return found | {"content kept apart": ("least", limits(partial(MaxSimilarity, self.vectors["content"])))}

    def measure(self, found: Candidates, relevant: tuple[frozenset[str], ...]) -> dict[str, NDArray[np.float64]]:
        """Measure every list; coverage is one number."""
        judged = evaluate(found, relevant, measures=["ndcg@20", "precision@20"])
        rows = found.rows[:, :K]
        varied: dict[str, Any] = {name: diversity(rows, vectors, K) for name, vectors in self.vectors.items()}
        coverage = np.array([judged.coverage["coverage@20"]])
        return judged.per_query | varied | {"least": least(rows, self.vectors["content"]), "coverage@20": coverage}


if __name__ == "__main__":
    main()
