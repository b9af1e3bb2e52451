"""Fake users who push one item, through `fit` and `recommend`: how many lists it gets into with the defences of `fit`.

python -m scripts.benchmarks.fit.attack_fit DATA [--seed 0] [--shares 0.01 0.05] [--kinds burst segment] [--targets 1]
    [--ways defended undefended] [--name attack_fit]

DATA holds items.parquet with texts, interactions.parquet and vectors.parquet with text vectors, such as movielens_100k,
which is not shipped. Kinds of attacks and strata of items are those of `scripts.benchmarks.fit.attack`. A bundle learns
from the clean log, from the attacked one, and from the attacked one without defences (no preparation, any exposure).
The lists of ten are those of all real users for their own histories, as `recommend` gives them. `growth` is the share
of lists with the pushed item over the larger of that in the clean log and what chance gives.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.interactions.histories import histories
from scripts.benchmarks.fit.attack import KINDS, STRATA, K, plant
from scripts.benchmarks.record import keep

WAYS = {"defended": FitConfig(reranker=None), "undefended": FitConfig(reranker=None, prepare=None, exposure_floor=1.0)}


def main() -> None:
    """Attack `fit`, print each row, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["burst", "segment"])
    parser.add_argument("--items", nargs="+", choices=STRATA, default=["middle", "head"])
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--name", default="attack_fit", help="Of the file in results/.")
    given = parser.parse_args()
    clean = Interactions.open(given.data / "interactions.parquet")
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(clean, films(given.data, Path(folder)), given.seed, given.ways)
        rows = [
            trial.row(kind, share, stratum, target)
            for kind in given.kinds
            for share in given.shares
            for stratum in given.items
            for target in trial.targets(stratum, given.targets)
        ]
    keep(given.name, {"users": len(trial.real), "rows": rows}, seed=given.seed)


def films(data: Path, folder: Path) -> Path:
    """Build a bundle of text vectors, with what else is known of the items as attributes, and give where it is."""
    items = pq.read_table(data / "items.parquet", columns=["item_id", "genres", "year"])
    vectors = pq.read_table(data / "vectors.parquet", columns=["item_id", "text_vector"])
    of_item = dict(zip(vectors["item_id"].to_pylist(), vectors["text_vector"].to_pylist(), strict=True))
    texts = pa.array([of_item.get(item_id) for item_id in items["item_id"].to_pylist()], vectors["text_vector"].type)
    table = folder / "items.parquet"
    pq.write_table(items.append_column("text_vector", texts), table)
    build_bundle(Catalogue.from_parquet(table), load_encoder("vectors:"), folder / "films")
    return folder / "films"


class Trial:
    """A clean log, a bundle that has learned nothing yet, and what is made of both."""

    def __init__(self, clean: Interactions, root: Path, seed: int, ways: Sequence[str]) -> None:
        self.clean, self.root, self.seed, self.ways = clean, root, seed, ways
        self.items = Retriever.open(root).items
        self.real = histories(clean, self.items)
        self.audience = np.bincount(np.concatenate([past.rows for past in self.real]), minlength=len(self.items))
        self.before, _ = self.shares(clean, FitConfig(reranker=None))

    def targets(self, stratum: str, count: int) -> list[int]:
        """Draw rows of items by how many users they have."""
        low, high = STRATA[stratum]
        users = len(self.real)
        among = np.flatnonzero((self.audience >= max(5, low * users)) & (self.audience < high * users))
        drawn: list[int] = np.random.default_rng(self.seed).permutation(among)[:count].tolist()
        return drawn

    def row(self, kind: str, share: float, stratum: str, target: int) -> dict[str, Any]:
        """Push one item."""
        log = plant(self.clean, self.items[target], share, kind, self.seed + target)
        clean = float(self.before[target])
        row: dict[str, Any] = {"kind": kind, "share": share, "items": stratum, "item": self.items[target]}
        row["lists, clean"] = round(clean, 5)
        for way, config in ((way, WAYS[way]) for way in self.ways):
            shares, refused = self.shares(log, config)
            growth = float(shares[target]) / max(clean, K / len(self.items))
            row[way] = {"lists": round(float(shares[target]), 5), "growth": round(growth, 2), "refused": refused}
        print(row, flush=True)
        return row

    def shares(self, log: Interactions, config: FitConfig) -> tuple[NDArray[np.float64], str]:
        """Learn, and give for each item the share of real users' lists that hold it, and why nothing was published."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "bundle")
            shutil.copytree(self.root, root)
            report = fit(root, log, config)
            asked = [[self.items[row] for row in past.rows] for past in self.real]
            weights = [past.weights.tolist() for past in self.real]
            found = Retriever.open(root).recommend(asked, K, weights=weights).rows
        return np.bincount(found[found >= 0], minlength=len(self.items)) / len(self.real), report.refused


if __name__ == "__main__":
    main()
