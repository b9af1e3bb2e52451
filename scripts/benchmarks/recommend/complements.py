"""How much likeness should count against a complement: a simulated shop with planted complements and substitutes.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.recommend.complements [--seeds 0 1 2] [--work FOLDER]

Items have a type and a style. Content is a vector of both and of chance. Each type goes with one other type: users
compare several items of a type, take one or two of the other one, and now and then anything; they mostly keep to a
style. So items of a type are substitutes, and those of the other type in the same style are complements. Every item
is a basket of its own: how many of its complements are among the ten, and how many of the ten are substitutes.
FOLDER keeps the bundles for another run.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.candidates import Candidates
from retrieval.retriever.related import items as related_items
from scripts.benchmarks.record import keep

TYPES, STYLES, EACH, DIM, USERS, K = 20, 4, 8, 64, 4_000, 10
PENALTIES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
TRIP = 60


class Shop:
    """Items, and how users take them.

    Attributes:
        types: (N,), types 0 and 1 go together, 2 and 3, and so on.
        styles: (N,).
        vectors: (N, DIM), content.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.types = np.repeat(np.arange(TYPES), STYLES * EACH)
        self.styles = np.tile(np.repeat(np.arange(STYLES), EACH), TYPES)
        kinds, looks = (unit(self.rng.normal(size=(count, DIM))) for count in (TYPES, STYLES))
        noise = unit(self.rng.normal(size=(len(self.types), DIM)))
        self.vectors = unit(kinds[self.types] + 0.5 * looks[self.styles] + 0.35 * noise)
        self.popularity = self.rng.lognormal(sigma=0.8, size=len(self.types))

    def table(self) -> pa.Table:
        """Give the items as a table."""
        names = [f"i{row:04}" for row in range(len(self.types))]
        titles = [f"t{kind} s{style}" for kind, style in zip(self.types, self.styles, strict=True)]
        vectors = pa.array(self.vectors.tolist(), pa.list_(pa.float32()))
        return pa.table({"item_id": names, "title": titles, "text_vector": vectors})

    def log(self) -> pa.Table:
        """Let users go through the shop one to three times."""
        rows = [row for user in range(USERS) for row in self._of_user(user)]
        return pa.table(dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)))

    def _of_user(self, user: int) -> list[tuple[str, str, int]]:
        style, time = int(self.rng.integers(STYLES)), 1_700_000_000 + int(self.rng.integers(10**7))
        rows = []
        for _ in range(self.rng.integers(1, 4)):
            kind = int(self.rng.integers(TYPES))
            taken = [self._draw(kind, style) for _ in range(1 + self.rng.binomial(3, 0.5))]
            if self.rng.random() < 0.7:
                taken += [self._draw(kind ^ 1, style) for _ in range(1 + self.rng.binomial(1, 0.5))]
            if self.rng.random() < 0.5:
                taken.append(int(self.rng.choice(len(self.types), p=self.popularity / self.popularity.sum())))
            rows += [(f"u{user}", f"i{row:04}", time + TRIP * step) for step, row in enumerate(taken)]
            time += SECONDS_PER_DAY
        return rows

    def _draw(self, kind: int, style: int) -> int:
        fits = (self.types == kind) & ((self.styles == style) | (self.rng.random() < 0.2))
        shares = np.where(fits, self.popularity, 0)
        return int(self.rng.choice(len(shares), p=shares / shares.sum()))

    def measured(self, found: Candidates) -> dict[str, float]:
        """Give the mean share of the complements that are found, and of substitutes among what is found."""
        rows: NDArray[np.int64] = np.maximum(found.rows, 0)
        there, own = found.rows >= 0, np.arange(len(rows))[:, None]
        goes_with = self.types[rows] == self.types[own] ^ 1
        complements = there & goes_with & (self.styles[rows] == self.styles[own])
        substitutes = there & (self.types[rows] == self.types[own])
        return {
            "complements found": round(float((complements.sum(axis=1) / EACH).mean()), 4),
            "substitutes among the ten": round(float((substitutes.sum(axis=1) / K).mean()), 4),
        }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shops = [of_shop(seed, (given.work or Path(folder)) / f"shop{seed}") for seed in given.seeds]
    means = {
        name: {measure: round(float(np.mean([shop[name][measure] for shop in shops])), 4) for measure in values}
        for name, values in shops[0].items()
        if isinstance(values, dict)
    }
    keep("complements", {"mean": means, "shops": shops}, given.seeds[0])


def of_shop(seed: int, folder: Path) -> dict[str, Any]:
    """Build a shop, learn from its users, and ask for the complements of every item."""
    shop, root = Shop(seed), folder / "b"
    if not (root / "CURRENT").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(shop.table(), folder / "items.parquet")
        build_bundle(Catalogue.from_parquet(folder / "items.parquet"), load_encoder("vectors:"), root)
        fit(root, Interactions.from_arrow(shop.log()), FitConfig(effort="fast"))
    retriever = Retriever.open(root)
    baskets = [[item] for item in retriever.items]
    lists: dict[str, Candidates] = {by: retriever.similar_items("all", K, by) for by in related_items.BY}
    for penalty in PENALTIES:
        with patch.object(related_items, "LIKENESS_PENALTY", penalty):
            lists[f"penalty {penalty}"] = retriever.complements(baskets, K)
    lists["next"] = retriever.next_items(list(retriever.items), K)
    measured = {name: shop.measured(found) for name, found in lists.items()}
    print(seed, measured, flush=True)
    return {"seed": seed, "learned": list(retriever.bundle.manifest.features), **measured}


if __name__ == "__main__":
    main()
