"""A refresh after a fortnight against learning anew: what each costs, and what it is worth.

python -m scripts.benchmarks.fit.refresh DATA [--seeds 0 1 2] [--windows 14 28] [--days 14] [--head]

DATA holds items.parquet, interactions.parquet and vectors.parquet with text vectors, such as movielens_100k, which is
not shipped. A window is named by where it ends, in days before the end of the log. A bundle learns from what came
before a cut (`stale`); then so many days of the log are added, and it is refreshed, or learned anew (`fit`). All are
judged by the 14 days that follow, with retrieval alone: ndcg@20 of the users who have a past and like something then,
of all windows together, each the mean of all seeds. Intervals are of the difference to `fit`, bootstrapped over users.
The default settings were chosen on windows that end 42 to 98 days before the end of the log; measured are those of 14
and 28, which nobody looked at before.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.evaluation import evaluate
from retrieval.interactions.histories import histories, min_liked_weight
from retrieval.training.config import AdapterConfig, BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import StageConfig
from scripts.benchmarks.fit.attack_fit import films
from scripts.benchmarks.record import keep

JUDGED = 14
WAYS = ("stale", "refresh", "fit")


def main() -> None:
    """Measure every window, print each, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--windows", type=int, nargs="+", default=[14, 28])
    parser.add_argument("--days", type=int, nargs="+", default=[14])
    parser.add_argument("--head", action="store_true", help="Learn the second stage, too.")
    given = parser.parse_args()
    log = Interactions.open(given.data / "interactions.parquet")
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(log, films(given.data, Path(folder)), given.head)
        rows = {
            f"{days} days": [trial.window(seed, window, days) for seed in given.seeds for window in given.windows]
            for days in given.days
        }
    result = {name: {"windows": parts, "together": together(parts)} for name, parts in rows.items()}
    for parts in rows.values():
        for part in parts:
            del part["values"]
    keep("refresh", result, seed=given.seeds[0])


@dataclass(frozen=True, eq=False)
class Trial:
    """A log, and a bundle that has learned nothing yet.

    Attributes:
        log: All of it.
        root: Folder of the bundle.
        head: Whether the second stage is learned, too.
    """

    log: Interactions
    root: Path
    head: bool
    times: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", self.log.table["timestamp"].to_numpy())

    def until(self, second: int, since: int = 0) -> Interactions:
        """Give the log of a span."""
        return Interactions(self.log.table.filter(pa.array((self.times >= since) & (self.times < second))))

    def window(self, seed: int, window: int, days: int) -> dict[str, Any]:
        """Learn up to a cut, then go on in both ways, and judge by what follows."""
        end = int(self.times.max()) + 1 - window * SECONDS_PER_DAY
        cut = end - days * SECONDS_PER_DAY
        config = FitConfig(
            adapter=AdapterConfig(seed=seed),
            behaviour=BehaviourConfig(next_items=NextItemsConfig(seed=seed)),
            reranker=StageConfig() if self.head else None,
        )
        row: dict[str, Any] = {"seed": seed, "window": window, "new": len(self.until(end, cut)), "values": {}}
        with tempfile.TemporaryDirectory() as folder:
            stale = Path(folder, "stale")
            shutil.copytree(self.root, stale)
            row["learned before"] = fit(stale, self.until(cut), config).published
            for way in WAYS:
                root = Path(folder, f"{way} served")
                shutil.copytree(stale, root)
                cost: dict[str, Any] = {}
                if way != "stale":
                    before = process_time()
                    report = fit(root, self.until(end), config, refresh=way == "refresh")
                    cost = {"processor s": round(process_time() - before, 1), "refused": report.refused}
                    cost["published"] = report.published
                values = self.judge(root, end)
                row["values"][way] = values
                row[way] = cost | {"ndcg@20": round(float(values.mean()), 4), "users": len(values)}
        print({name: cost for name, cost in row.items() if name != "values"}, flush=True)
        return row

    def judge(self, root: Path, end: int) -> NDArray[np.float64]:
        """Give ndcg@20 of each user with a past who liked something in the days that follow."""
        retriever = Retriever.open(root)
        user_histories = {past.user_id: past for past in histories(self.until(end), retriever.items)}
        least = min_liked_weight(list(user_histories.values()), "last")
        later = histories(self.until(end + JUDGED * SECONDS_PER_DAY, end), retriever.items)
        wanted = [one for one in later if one.user_id in user_histories and len(one.liked(least))]
        known = [user_histories[one.user_id] for one in wanted]
        asked = [[retriever.items[row] for row in past.rows] for past in known]
        found = retriever.recommend(asked, 20, weights=[past.weights.tolist() for past in known])
        relevant = [[retriever.items[row] for row in one.liked(least)] for one in wanted]
        return np.asarray(evaluate(found, relevant, measures=["ndcg@20"]).per_query["ndcg@20"], np.float64)


def together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up all windows of all seeds: cost, worth, and the difference to learning anew."""
    rng, found = np.random.default_rng(0), dict[str, Any]()
    seeds = sorted({part["seed"] for part in parts})
    # The users are those of the first seed again: each counts once, with the mean of all seeds.
    values = {
        way: np.mean([np.concatenate([p["values"][way] for p in parts if p["seed"] == seed]) for seed in seeds], axis=0)
        for way in WAYS
    }
    for way in WAYS:
        found[way] = {"ndcg@20": round(float(values[way].mean()), 4)}
        if way != "stale":
            found[way]["processor s"] = round(sum(part[way]["processor s"] for part in parts), 1)
        if way != "fit":
            apart = values[way] - values["fit"]
            drawn = rng.integers(0, len(apart), (2000, len(apart)))
            low, high = np.quantile(apart[drawn].mean(axis=1), [0.025, 0.975])
            found[way]["less fit"] = [round(float(value), 4) for value in (apart.mean(), low, high)]
    found["cost of a refresh"] = round(found["refresh"]["processor s"] / found["fit"]["processor s"], 3)
    return found


if __name__ == "__main__":
    main()
