"""The recommenders to beat, on MovieLens 100k: every split, with 95 % bootstrap intervals over users.

python -m scripts.benchmarks.recommend.baselines DATA [--split split_user|split_time|rolling|cold]

DATA is movielens_100k, which is not shipped: interactions.parquet (user_id, item_id, rating, timestamp, split_user,
split_time, cold_item), items.parquet (item_id in the order of rows) and vectors.parquet (item_id, text_vector). What
should be found is rated 4 and more; the whole catalogue is ranked but for what the user has rated before. With --split
one part is measured and printed, without all of them are kept.
"""

import argparse
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.evaluation import Evaluation, evaluate
from retrieval.evaluation.baselines import (
    EASE,
    ALSConfig,
    ContentKNN,
    ForNewUsers,
    Popularity,
    Recommender,
)
from retrieval.evaluation.splits.leaks import check_all
from retrieval.evaluation.splits.queries import EvaluationQueries, evaluation_queries, pooled
from retrieval.evaluation.splits.splits import Split, cold_items, rolling_windows
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.recommend.systems import (
    DECAY_DAYS,
    LIKED,
    SEED,
    Answer,
    K,
    Random,
    by_factors,
    by_liked,
    by_worth,
    systems,
    worth,
)
from scripts.benchmarks.record import keep

MEASURES = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
WINDOWS, WINDOW_DAYS, SECONDS_PER_DAY = 12, 14, 86_400


def main() -> None:
    """Measure every split, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parts = {"split_user": split_user, "split_time": split_time, "rolling": rolling, "cold": cold}
    parser.add_argument("--split", choices=parts)
    given = parser.parse_args()
    films = Films(given.data)
    result = {name: measure(films) for name, measure in parts.items() if given.split in (None, name)}
    for name, table in result.items():
        show(name, table)
    if given.split is None:
        result["implicit"] = {"version": version("implicit")}
        keep("baselines", result, seed=SEED)


class Films:
    """The log in its parts, the catalogue, and text vectors."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "interactions.parquet"
        self.items = ItemIds(pq.read_table(folder / "items.parquet", columns=["item_id"])["item_id"].to_pylist())
        given = pq.read_table(folder / "vectors.parquet", columns=["item_id", "text_vector"]).to_pydict()
        of_item = dict(zip(given["item_id"], given["text_vector"], strict=True))
        dim = len(next(vector for vector in of_item.values() if vector is not None))
        vectors = [of_item.get(item_id) or [0.0] * dim for item_id in self.items]
        self.texts: Vectors = unit(np.array(vectors, np.float32))

    def part(self, split: str, *names: str) -> Interactions:
        """Read some parts of a split."""
        return Interactions.from_parquet(self.log, only=(split, names))

    def cut(self, split: str) -> Split:
        """Give train and valid as the past, test as the future."""
        past, future = self.part(split, "train", "valid"), self.part(split, "test")
        first = int(future.table["timestamp"][0].as_py())
        return Split(split, past, future, cut=first if split == "split_time" else None)

    def cold(self, *, whole: bool = False) -> tuple[Split, set[str]]:
        """Hide some films, ask for those that users liked in any part, and give which they are.

        The past is what users did with the other films in train and valid, or, where it is whole, in test as well. What
        should be found is in neither.
        """
        hidden = set(Interactions.from_parquet(self.log, only=("cold_item", ("true",))).table["item_id"].to_pylist())
        everything = cold_items(self.part("split_user", "train", "valid", "test"), hidden)
        if whole:
            return everything, hidden
        return replace(everything, past=cold_items(self.part("split_user", "train", "valid"), hidden).past), hidden


def split_user(films: Films) -> dict[str, Any]:
    """Hold out the last tenth of each user, as most papers do."""
    split = films.cut("split_user")
    asked = ask(split, films)
    table: dict[str, Any] = {"split": split.to_json(), "users": len(asked)}
    for name, answer in systems(split.past, films.items, films.texts).items():
        table[name] = to_row(judged(asked, answer))
    for name, answer in chosen(films, split.past).items():
        table[name] = to_row(judged(asked, answer))
    return table


def split_time(films: Films) -> dict[str, Any]:
    """Cut once for everybody; users who are new at the cut are separate rows."""
    return in_time([films.cut("split_time")], films)


def rolling(films: Films) -> dict[str, Any]:
    """Cut several times, and judge all windows as one."""
    log = films.part("split_user", "train", "valid", "test")
    return in_time(rolling_windows(log, WINDOWS, WINDOW_DAYS * SECONDS_PER_DAY), films)


def in_time(splits: Sequence[Split], films: Films) -> dict[str, Any]:
    """Judge every system on all users, on those with a history, and on new ones."""
    asked = [ask(split, films) for split in splits]
    answers = []
    for split in splits:
        lately = Popularity.fit(split.past, films.items, decay_days=DECAY_DAYS)
        answers.append(systems(split.past, films.items, films.texts, partial(ForNewUsers, otherwise=lately)))
    new = np.concatenate([one.new for one in asked])
    users = [user for one in asked for user in one.user_ids]
    table: dict[str, Any] = {
        "splits": [split.to_json() for split in splits],
        "queries": len(new),
        "of users": len(set(users)),
        "answers a query": round(float(np.mean([len(ids) for one in asked for ids in one.relevant])), 2),
    }
    for name in answers[0]:
        found = Judged([(one, answer[name]) for one, answer in zip(asked, answers, strict=True)])
        table[name] = {
            who: to_row(found.among(mask), [user for user, kept in zip(users, mask, strict=True) if kept])
            for who, mask in (("all", np.ones_like(new)), ("with a history", ~new), ("new", new))
        }
    return table


def cold(films: Films) -> dict[str, Any]:
    """Rank films that nobody has seen, for users who liked one of them."""
    split, cold_ids = films.cold()
    asked = ask(split, films)
    is_cold = np.isin(np.arange(len(films.items)), films.items.rows(films.items.known(sorted(cold_ids))))
    warm = [np.flatnonzero(~is_cold)] * len(asked)
    centred = unit(films.texts - films.texts[~is_cold].mean(axis=0))
    ways: dict[str, Recommender] = {
        "random": Random(len(films.items)),
        "mean of text vectors (liked)": ContentKNN(films.texts, centred=False),
        "mean of text vectors (liked), centred": ContentKNN(films.texts),
        "mean of text vectors (liked), items centred too": ContentKNN(centred, centred=False),
    }
    table: dict[str, Any] = {
        "split": split.to_json(),
        "users": len(asked),
        "cold items": int(is_cold.sum()),
        "recall@20 of chance": round(K / int(is_cold.sum()), 4),
    }
    for name, model in ways.items():
        table[name] = to_row(judged(asked, partial(by_liked, model, warm)))
    return table


def ask(split: Split, films: Films) -> EvaluationQueries:
    """Make the questions of a split, after looking for leaks."""
    asked = evaluation_queries(split, films.items, min_weight=LIKED)
    check_all(split, relevant=dict(zip(asked.user_ids, asked.relevant, strict=True)))
    return asked


def chosen(films: Films, past: Interactions) -> dict[str, Answer]:
    """Choose by ndcg@20 on valid, fitted on train; then fit on both."""
    train = films.part("split_user", "train")
    asked = ask(Split("valid", train, films.part("split_user", "valid")), films)

    def best(tried: dict[Any, Answer]) -> Any:  # noqa: ANN401 - whatever the answers were named by
        return max(tried, key=lambda one: judged(asked, tried[one]).means["ndcg@20"])

    ease = {
        lam: EASE.fit(worth(train), films.items, weighted=True, regularisation=lam) for lam in (100.0, 200.0, 400.0)
    }
    lives = (5.0, 10.0, 20.0, 50.0, 100.0)
    lam, life = best(
        {(lam, life): partial(by_worth, replace(ease[lam], half_life=life)) for lam in ease for life in lives}
    )
    alpha = best({alpha: by_factors(train, films.items, ALSConfig(alpha=alpha)) for alpha in (0.2, 0.5, 1.0, 2.0, 5.0)})
    model = EASE.fit(worth(past), films.items, weighted=True, regularisation=lam, half_life=life)
    factors = by_factors(past, films.items, ALSConfig(alpha=alpha))
    return {
        f"EASE (ratings as weights), chosen on valid: lambda {lam:g}, half-life {life:g}": partial(by_worth, model),
        f"iALS (all, 32 factors), chosen on valid: alpha {alpha:g}": factors,
    }


class Judged:
    """The answers to several splits as if they were one, for each seed."""

    def __init__(self, parts: Sequence[tuple[EvaluationQueries, Answer]]) -> None:
        self.relevant = [ids for asked, _ in parts for ids in asked.relevant]
        answers = [[asked.candidates(*ranked, "baseline") for ranked in answer(asked)] for asked, answer in parts]
        self.seeds: list[Candidates] = [pooled(of_seed) for of_seed in zip(*answers, strict=True)]

    @property
    def everyone(self) -> Mask:
        """All queries, (B,) bool."""
        return np.ones(len(self.relevant), np.bool_)

    def of_seed(self, seed: int) -> "Judged":
        """Give the answers of one seed alone."""
        one = copy(self)
        one.seeds = [self.seeds[seed]]
        return one

    def among(self, mask: Mask) -> Evaluation:
        """Evaluate some of the queries, averaged over seeds query by query."""
        lines = np.flatnonzero(mask)
        relevant = [self.relevant[line] for line in lines]
        found = [evaluate(of_seed.take(lines), relevant, measures=MEASURES) for of_seed in self.seeds]
        means = {name: np.mean([one.per_query[name] for one in found], axis=0) for name in MEASURES}
        coverage = {name: float(np.mean([one.coverage[name] for one in found])) for name in found[0].coverage}
        return replace(found[0], per_query=means, coverage=coverage)


def judged(asked: EvaluationQueries, answer: Answer) -> Evaluation:
    """Evaluate all queries of one split."""
    return Judged([(asked, answer)]).among(np.ones(len(asked), np.bool_))


def to_row(found: Evaluation, users: Sequence[str] | None = None) -> dict[str, Any]:
    """Mean, low and high of each measure; queries of one user are drawn together."""
    drawn = np.unique(users or found.query_ids, return_inverse=True)[1]
    table: dict[str, Any] = {name: interval(values, drawn) for name, values in found.per_query.items()}
    return table | {"coverage@20": round(found.coverage["coverage@20"], 4), "queries": len(found.query_ids)}


def interval(values: NDArray[np.float64], users: Rows, resamples: int = 2000) -> list[float]:
    """Give the mean over queries, and its 95 % bootstrap interval, drawing users with all their queries."""
    sums, counts = np.bincount(users, values), np.bincount(users)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    means = (drawn @ sums) / (drawn @ counts)
    return [round(float(one), 4) for one in (values.mean(), *np.quantile(means, [0.025, 0.975]))]


def show(part: str, table: dict[str, Any]) -> None:
    """Print a table."""
    print(f"\n{part}: {MEASURES} with 95 % intervals, coverage@20, queries")
    for name, row in table.items():
        for who, line in row.items() if isinstance(row, dict) and "all" in row else [("", row)]:
            if isinstance(line, dict) and "recall@20" in line:
                cells = [f"{line[m][0]:.4f} [{line[m][1]:.3f}, {line[m][2]:.3f}]" for m in MEASURES]
                measured_by = f"{line['coverage@20']:.3f} {line['queries']}"
                print(f"{name:66} {who:14} {'  '.join(cells)}  {measured_by}")
            elif name not in ("split", "splits"):
                print(f"{name}: {line}")


if __name__ == "__main__":
    main()
