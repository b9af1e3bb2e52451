"""Users of whom little is known, on MovieLens 100k: by their profile, and after their first ratings.

python -m scripts.benchmarks.new_users DATA [--seeds 0 1 2]

DATA as for scripts.benchmarks.baselines, with users.parquet: user, age, gender, occupation. All is served as it was
chosen for a split by user. Two tables:

    left out   Users in five parts, each left out of learning in turn (train and valid of split_user). A user's first n
               ratings are the history, the next 20 films rated at least 4 should be found. A history counts whole,
               however short, or as far as its length says (`BehaviourConfig.few`), with the profile beside it or not.
               How long is long enough was chosen on these users, with seed 0
    in time    The users of 12 windows of 14 days who have done nothing before, all that they liked in the window.
               Profiles count as the past of each window has it, not at all where that says so; nothing was chosen here

ndcg@20 with its 95 % interval over users, the mean of all seeds, and what it is above the row before.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.index import FlatIndex
from indexing.types import Rows
from retrieval.behaviour import Behaviour
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.evaluation.splits import rolling_windows
from retrieval.prepare import History, histories
from retrieval.profile_taste import ProfileTaste
from retrieval.profiles import Profiles
from retrieval.retrieve import retrieve
from retrieval.training.serving import served
from scripts.benchmarks.baselines import WINDOW_DAYS, WINDOWS, Films, ask, interval
from scripts.benchmarks.film_content import FilmContent, content_of
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import LIKED, SEEDS, K
from scripts.benchmarks.two_stage import BY_USER, taste_of

PARTS = 5
FIRST = (0, 1, 2, 3, 5, 10, 20)
MEASURE = f"ndcg@{K}"
Values = NDArray[np.float64]


def main() -> None:
    """Measure both, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    films = Films(given.data)
    trial = Trial(films, content_of(given.data, films.items), Profiles.open(given.data / "users.parquet"))
    result = {"left out": left_out(trial, given.seeds), "in time": in_time(trial, given.seeds)}
    for name, table in result.items():
        print(name)
        for row, told in table.items():
            print(f"    {row}: {told}")
    keep("new_users", result, seed=given.seeds[0])


@dataclass(frozen=True, eq=False)
class Trial:
    """The films, what is known of them without users, and what is known of users."""

    films: Films
    described: FilmContent
    profiles: Profiles

    def learn(self, pasts: Sequence[History], seed: int) -> Behaviour:
        """Learn the behaviour block of some users."""
        return served(self.described.learn(pasts, seed), BY_USER)

    def judge(
        self, block: Behaviour, pasts: Sequence[History], wanted: Sequence[Rows], taste: ProfileTaste | None = None
    ) -> Values:
        """Recommend after histories, and measure each user's list."""
        new = None if taste is None else taste.queries(taste.table(self.profiles.of([past.user_id for past in pasts])))
        rows = [past.rows for past in pasts]
        queries = block.queries(rows, [past.weights for past in pasts], new)
        scores, found = retrieve(FlatIndex(block.items), queries, K, exclude=rows)
        answers = Candidates(queries, found, scores, self.films.items, "retrieve")
        relevant = [[self.films.items[row] for row in line] for line in wanted]
        return evaluate(answers, relevant, measures=[MEASURE]).per_query[MEASURE]


def left_out(trial: Trial, seeds: Sequence[int]) -> dict[str, Any]:
    """Leave a fifth of the users out of learning in turn."""
    pasts = histories(trial.films.part("split_user", "train", "valid"), trial.films.items)
    part = np.random.default_rng(0).permutation(len(pasts)) % PARTS
    found: dict[int, dict[str, list[list[Values]]]] = {first: {} for first in FIRST}
    for seed in seeds:
        for number in range(PARTS):
            learned_from = [past for past, of in zip(pasts, part, strict=True) if of != number]
            block = trial.learn(learned_from, seed)
            taste = taste_of(trial.profiles, learned_from, block, trial.films)
            others = [past for past, of in zip(pasts, part, strict=True) if of == number]
            for first, ways in found.items():
                known = [past for past in others if len(past[first:].liked(LIKED))]
                begun, wanted = [past[:first] for past in known], [past[first:].liked(LIKED)[:K] for past in known]
                for way, (one, profile) in _ways(block, taste, first).items():
                    each = ways.setdefault(way, [[] for _ in seeds])
                    each[list(seeds).index(seed)].append(trial.judge(one, begun, wanted, profile))
        print(f"seed {seed}", flush=True)
    return {f"after {first}": _told({way: _mean(each) for way, each in ways.items()}) for first, ways in found.items()}


def _ways(block: Behaviour, taste: ProfileTaste, first: int) -> dict[str, tuple[Behaviour, ProfileTaste | None]]:
    """Give the ways to serve; without a history its length makes no difference."""
    whole = {"whole": (replace(block, few=0.0), None)} if first else {}
    return {**whole, "by length": (block, None), "and profile": (block, taste)}


def in_time(trial: Trial, seeds: Sequence[int]) -> dict[str, Any]:
    """Ask for the new users of windows in time."""
    log = trial.films.part("split_user", "train", "valid", "test")
    found: dict[str, list[list[Values]]] = {way: [[] for _ in seeds] for way in ("popular", "and profile")}
    told = 0
    for split in rolling_windows(log, WINDOWS, WINDOW_DAYS * 86_400):
        asked, pasts = ask(split, trial.films), histories(split.past, trial.films.items)
        new = np.flatnonzero(asked.new).tolist()
        wanted = [trial.films.items.rows(sorted(asked.relevant[line])) for line in new]
        begun = [History.empty(asked.user_ids[line]) for line in new]
        for place, seed in enumerate(seeds):
            block = trial.learn(pasts, seed)
            taste = taste_of(trial.profiles, pasts, block, trial.films)
            told += taste.share > 0
            found["popular"][place].append(trial.judge(block, begun, wanted))
            found["and profile"][place].append(trial.judge(block, begun, wanted, taste))
        print(f"until {split.cut}", flush=True)
    rows = _told({way: _mean(each) for way, each in found.items()})
    return rows | {"profiles told enough": f"{told} of {WINDOWS * len(seeds)} times"}


def _mean(each: Sequence[Sequence[Values]]) -> Values:
    """Give each user's value, the mean over seeds."""
    mean: Values = np.mean([np.concatenate(parts) for parts in each], axis=0)
    return mean


def _told(ways: dict[str, Values]) -> dict[str, Any]:
    """Give each way's mean, low and high, and those of what it is above the one before."""
    table: dict[str, Any] = {"users": len(next(iter(ways.values())))}
    before: Values | None = None
    for way, values in ways.items():
        table[way] = {MEASURE: interval(values, np.arange(len(values)))}
        if before is not None:
            table[way]["above the row before"] = interval(values - before, np.arange(len(values)))
        before = values
    return table


if __name__ == "__main__":
    main()
