"""Fake users who push one item: how many lists it gets into, without and with the defences of `prepare`.

python -m scripts.benchmarks.fit.attack LOG [--seed 0] [--targets 5] [--shares 0.01 0.03 0.05] [--kinds burst …]
    [--items tail middle head] [--models …] [--keep]

LOG is a file of interactions, such as those of movielens_100k, which is not shipped. For every kind of attack, share of
fake users and stratum of items, several items are pushed, each by itself; the lists of ten are those of all real users,
without what they have, asked for by whole histories and by the last three items of each. `growth` is the mean share of
lists that hold the pushed item, over the same in the clean log or over what chance gives, 10 lists in as many as there
are items, whichever is more. The strata are by real users of the item: tail from 5 users to 1 % of all, middle to 10 %,
head to 30 %.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines import EASE, ItemKNN, Popularity, Recommender
from retrieval.interactions.cleaning import PrepareConfig, PushLimits, prepare
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.record import keep

K = 10
FILLERS = 20
SEGMENT = 30
FAKE = "fake-"

Fit = Callable[[Interactions, ItemIds], Recommender]
MODELS: dict[str, Fit] = {
    "Popularity": Popularity.fit,
    "lately": partial(Popularity.fit, decay_days=30.0),
    "EASE": EASE.fit,
    "ItemKNN": ItemKNN.fit,
}
KINDS = {
    "burst": "new accounts within three days, popular fillers drawn one by one",
    "segment": "the same, ten fillers of thirty that go with each other and that 2 to 10 % of users have",
    "copies": "the same, all with the same fillers",
    "slow": "new accounts over the whole time of the log",
    "old": "histories of real users, copied, and the item a week and more after their last interaction",
}
STRATA = {"tail": (0.0, 0.01), "middle": (0.01, 0.1), "head": (0.1, 0.3)}
DEFENCES = {
    "interactions": PrepareConfig(),
    "users": PrepareConfig(pushes=PushLimits(drop="users")),
}


def main() -> None:
    """Attack, defend, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.03, 0.05])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--items", nargs="+", choices=STRATA, default=list(STRATA))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES))
    parser.add_argument("--keep", action="store_true", help="Write the result to results/attack.json.")
    given = parser.parse_args()
    clean = Interactions.open(given.log)
    result: dict[str, Any] = {"clean log": cost(clean), "kinds": KINDS, "rows": []}
    trial = Trial(clean, given.models, given.defences)
    for kind in given.kinds:
        for share in given.shares:
            for stratum in given.items:
                result["rows"] += trial.measure(kind, share, stratum, given.targets, given.seed)
    if given.keep:
        keep("attack", result, seed=given.seed)


def plant(log: Interactions, target: str, share: float, kind: str, seed: int) -> Interactions:
    """Add fake users to a log.

    Args:
        log: What real users did.
        target: The item_id that is pushed.
        share: Fake users, as a share of the real ones.
        kind: One of ``KINDS``.
        seed: Of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    table = log.table
    counts = pc.value_counts(table["item_id"])
    item_ids = np.array(counts.field("values").to_pylist())
    sizes = counts.field("counts").to_numpy().astype(np.float64)
    sizes[item_ids == target] = 0
    times = table["timestamp"].to_numpy()
    users = pc.unique(table["user_id"]).to_pylist()
    first, last = int(times[0]), int(times[-1])
    start = last - 4 * SECONDS_PER_DAY
    rows: list[tuple[str, str, int]] = []
    drawn = SEGMENT // 3 if kind == "segment" else FILLERS
    same = rng.choice(item_ids, FILLERS, replace=False, p=sizes / sizes.sum())
    among = _segment(table, item_ids, sizes, rng) if kind == "segment" else np.ones(len(sizes))
    chances = among * sizes / np.sum(among * sizes)
    for number in range(round(share * len(users))):
        user = f"{FAKE}{number:05d}"
        if kind == "old":
            rows += _copied(table, users[int(rng.integers(len(users)))], user, target, last, rng)
            continue
        fillers = same if kind == "copies" else rng.choice(item_ids, drawn, replace=False, p=chances)
        when = int(
            rng.integers(first, last - SECONDS_PER_DAY)
            if kind == "slow"
            else start + rng.integers(0, 3 * SECONDS_PER_DAY)
        )
        for item in rng.permutation([*fillers.tolist(), target]).tolist():
            when += int(rng.integers(5, 120))
            rows.append((user, item, when))
    fake_users, fake_items, fake_times = zip(*rows, strict=True)
    weights = pa.array(np.full(len(rows), pc.max(table["weight"]).as_py(), np.float32))
    fakes = pa.table([fake_users, fake_items, pa.array(fake_times, pa.int64()), weights], table.schema)
    return Interactions.from_arrow(pa.concat_tables([table, fakes]))


def _segment(table: pa.Table, item_ids: NDArray[Any], sizes: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Mark the items that go most with one drawn from those that 2 to 10 % of users have, and are as common."""
    users = len(pc.unique(table["user_id"]))
    fair = (sizes >= 0.02 * users) & (sizes <= 0.1 * users)
    seed = item_ids[rng.choice(np.flatnonzero(fair))]
    theirs = pc.unique(table.filter(pc.equal(table["item_id"], seed))["user_id"])
    there = pc.value_counts(table.filter(pc.is_in(table["user_id"], value_set=theirs))["item_id"])
    counts = dict(zip(there.field("values").to_pylist(), there.field("counts").to_pylist(), strict=True))
    near = np.array([counts.get(item, 0) for item in item_ids.tolist()]) * fair / np.sqrt(sizes + 1)
    marked = np.zeros(len(sizes))
    marked[np.argsort(-near, kind="stable")[:SEGMENT]] = 1
    return marked


def _copied(
    table: pa.Table, real: str, user: str, target: str, last: int, rng: np.random.Generator
) -> list[tuple[str, str, int]]:
    theirs = table.filter(pc.equal(table["user_id"], real)).to_pydict()
    rows = [(user, item, when) for item, when in zip(theirs["item_id"], theirs["timestamp"], strict=True)]
    begun = min(theirs["timestamp"])
    return [
        *(row for row in rows if row[1] != target),
        (user, target, min(last, begun + int(rng.integers(8 * SECONDS_PER_DAY, 30 * SECONDS_PER_DAY)))),
    ]


def cost(clean: Interactions) -> dict[str, Any]:
    """Say what the defences take from a log in which nobody is known to be fake."""
    summary = {}
    for name, config in DEFENCES.items():
        prepared, report = prepare(clean, config)
        users = (len(pc.unique(part.table["user_id"])) for part in (clean, prepared))
        summary[name] = {
            "interactions lost": len(clean) - len(prepared),
            "users lost": next(users) - next(users),
            "reasons": {reason: removal.rows for reason, removal in report.removed.items()},
        }
    print(f"clean log {clean}: {summary}")
    return summary


class Trial:
    """A clean log and what recommenders make of it."""

    def __init__(self, clean: Interactions, models: Sequence[str], defences: Sequence[str]) -> None:
        self.clean, self.models = clean, models
        self.defences = {name: DEFENCES[name] for name in defences}
        self.items = ItemIds(sorted(pc.unique(clean.table["item_id"]).to_pylist()))
        self.real = [history.rows for history in histories(clean, self.items)]
        self.asked = {"whole": self.real, "last three": [rows[-3:] for rows in self.real]}
        self.users = np.bincount(np.concatenate(self.real), minlength=len(self.items))
        self.before = {model: self._lists(model, clean) for model in models}

    def measure(self, kind: str, share: float, stratum: str, targets: int, seed: int) -> list[dict[str, Any]]:
        """Push several items, and say for each recommender how many lists hold them."""
        drawn = self._targets(stratum, targets, seed)
        found: dict[tuple[str, str], dict[str, list[float]]] = {
            (model, asked): {"clean": self.before[model][asked][drawn].tolist()}
            for model in self.models
            for asked in self.asked
        }
        left: dict[str, list[int]] = {name: [] for name in self.defences}
        for row in drawn.tolist():
            logs = {"attacked": plant(self.clean, self.items[row], share, kind, seed + row)}
            for name, config in self.defences.items():
                logs[name] = prepare(logs["attacked"], config)[0]
                left[name].append(pushes_left(logs[name], self.items[row]))
            for model in self.models:
                for name, log in logs.items():
                    for asked, lists in self._lists(model, log).items():
                        found[model, asked].setdefault(name, []).append(float(lists[row]))
        summary = {
            "kind": kind,
            "share": share,
            "items": stratum,
            "targets": len(drawn),
            "fakes": round(share * len(self.real)),
            "fakes left on the item": {name: round(float(np.mean(counts)), 1) for name, counts in left.items()},
        }
        rows = [summary | self._row(model, asked, values) for (model, asked), values in found.items()]
        show(summary, rows)
        return rows

    def _row(self, model: str, asked: str, found: dict[str, list[float]]) -> dict[str, Any]:
        means = {name: round(float(np.mean(values)), 5) for name, values in found.items()}
        base = max(means["clean"], K / len(self.items))
        growth = {name: round(mean / base, 2) for name, mean in means.items() if name != "clean"}
        return {"model": model, "asked by": asked, "lists": means, "growth": growth}

    def _lists(self, model: str, log: Interactions) -> dict[str, NDArray[np.float64]]:
        """Give for each item the share of real users' lists that hold it: (N,) float64, for each way to ask."""
        fitted = MODELS[model](log, self.items)
        lists = {}
        for asked, given in self.asked.items():
            rows = fitted.recommend(given, K, exclude=self.real).rows
            lists[asked] = np.bincount(rows[rows >= 0], minlength=len(self.items)) / len(self.real)
        return lists

    def _targets(self, stratum: str, count: int, seed: int) -> Rows:
        everybody = len(self.real)
        low, high = STRATA[stratum]
        rows = np.flatnonzero((self.users >= max(5, low * everybody)) & (self.users < high * everybody))
        return np.random.default_rng(seed).permutation(rows)[:count]


def show(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print what one kind of attack did."""
    print(f"\n{summary}")
    for row in rows:
        growth = ", ".join(f"{name} x{times}" for name, times in row["growth"].items())
        shares = ", ".join(f"{name} {share:.2%}" for name, share in row["lists"].items())
        print(f"  {row['model']:11} {row['asked by']:11} {growth:50} {shares}", flush=True)


def pushes_left(log: Interactions, target: str) -> int:
    """Count the fake users who are still with the pushed item."""
    theirs = pc.and_(pc.starts_with(log.table["user_id"], FAKE), pc.equal(log.table["item_id"], target))
    return int(pc.sum(theirs).as_py() or 0)


if __name__ == "__main__":
    main()
