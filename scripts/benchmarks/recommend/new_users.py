"""Users of whom little is known, on MovieLens 100k: by their profile, and after their first ratings.

python -m scripts.benchmarks.recommend.new_users DATA --work FOLDER [--seeds 0 1 2]

DATA as for `two_stage`, with users.parquet: user, age, gender, occupation; FOLDER keeps what was
fitted. Users are in five parts, each left out of the log in turn (train and valid of split_user): `fit` learns from the
others, with their profiles, by its defaults. A user's first n ratings are the history that `recommend` is given, with
ratings and the moment of the next one; the next 20 films rated at least 4 should be found. Both stages and retrieval
alone are asked, with the user's profile and without. Where `fit` publishes no profiles, lists with them are those
without. Users of windows in time are asked for by ``scripts.benchmarks.recommend.two_stage --split profiles``.

ndcg@20 with its 95 % interval over users, the mean of all seeds, and what a profile adds.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from retrieval import Candidates, FitConfig, Interactions, Profiles, evaluate
from retrieval.evaluation.baselines.recommender import Ranked
from scripts.benchmarks.recommend.baselines import Films, interval
from scripts.benchmarks.recommend.film_bundle import STAGES, Fitted, quick
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.recommend.systems import LIKED, SEEDS, K
from scripts.benchmarks.record import keep

PARTS = 5
FIRST = (0, 1, 2, 3, 5, 10, 20)
MEASURE = f"ndcg@{K}"
WITH = "with profiles"
Values = NDArray[np.float64]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.work / "quick" if given.quick else given.work
    work.mkdir(parents=True, exist_ok=True)
    served = Served(given.data, work, list(given.seeds), quick(FitConfig()) if given.quick else FitConfig())
    log = Films(given.data).part("split_user", "train", "valid")
    table = left_out(served, log, Profiles.open(given.data / "users.parquet"), 1 if given.quick else PARTS)
    for row, told in table.items():
        print(f"{row}: {told}")
    if not given.quick:
        keep("new_users", {"left out": table} | served.state(), seed=given.seeds[0])


@dataclass(frozen=True)
class Begun:
    """A user who has begun.

    Attributes:
        user_id: Who.
        items: The first ratings, oldest first.
        weights: How much each was liked.
        time: Of the next one.
        wanted: What should be found.
    """

    user_id: str
    items: list[str]
    weights: list[float]
    time: int
    wanted: list[str]


def begun(log: Interactions, users: Sequence[str], first: int) -> Iterator[Begun]:
    """Cut users' histories after the first ratings; who likes nothing later is left out."""
    for user in users:
        mine = log.table.filter(pc.equal(log.table["user_id"], user)).to_pydict()
        later = zip(mine["item_id"][first:], mine["weight"][first:], strict=True)
        wanted = [item for item, weight in later if weight >= LIKED][:K]
        if wanted:
            time = int(mine["timestamp"][first])
            yield Begun(user, mine["item_id"][:first], mine["weight"][:first], time, wanted)


def left_out(served: Served, log: Interactions, profiles: Profiles, parts: int) -> dict[str, Any]:
    """Leave a fifth of the users out of learning in turn."""
    users = sorted(set(log.table["user_id"].to_pylist()))
    part = np.random.default_rng(0).permutation(len(users)) % PARTS
    values: dict[str, dict[str, list[Values]]] = {}
    published, items = 0, served.items()
    for number in range(parts):
        asked = {
            first: list(begun(log, [user for user, of in zip(users, part, strict=True) if of == number], first))
            for first in FIRST
        }
        names = pa.array([user for user, of in zip(users, part, strict=True) if of != number])
        past = Interactions(log.table.filter(pc.is_in(log.table["user_id"], value_set=names)))
        found = served.lists(
            f"new-users-{number}",
            past,
            lambda made, asked=asked: answered(made, asked, profiles),  # type: ignore[misc]
            profiles=profiles,
        )
        published += sum("profiles" in report["published"] for report in found.reports)
        for row, seeds in found.ranked.items():
            first, way = row.split(", ", 1)
            judged = [ndcg(ranked, asked[int(first)], items) for ranked in seeds]
            values.setdefault(f"after {first}", {}).setdefault(way, []).append(np.mean(judged, axis=0))
    table: dict[str, Any] = {first: told(ways) for first, ways in values.items()}
    return table | {"profiles published": f"{published} of {parts * len(served.seeds)} times"}


def answered(made: Fitted, asked: dict[int, list[Begun]], profiles: Profiles) -> dict[str, Candidates]:
    """Recommend in the visit of the first ratings, at the time of the next one, with the profile and without."""
    there, found = "profiles" in made.report.published, dict[str, Candidates]()
    for first, users in asked.items():
        given = profiles.of([user.user_id for user in users])
        for row, stages in STAGES.items():
            for way, their_profiles in ((row, None), (f"{row}, {WITH}", given if there else None)):
                found[f"{first}, {way}"] = made.retriever.recommend(
                    [user.items for user in users],
                    K,
                    stages=stages,
                    weights=[user.weights for user in users],
                    times=[user.time for user in users],
                    last_times="in_visit",
                    profiles=their_profiles,
                )
    return found


def ndcg(ranked: Ranked, users: Sequence[Begun], items: ItemIds) -> Values:
    """Judge lists, one value a user."""
    found = Candidates(np.zeros((len(users), 0), np.float32), ranked.rows, ranked.scores, items, "served")
    return evaluate(found, [user.wanted for user in users], measures=[MEASURE]).per_query[MEASURE]


def told(ways: dict[str, list[Values]]) -> dict[str, Any]:
    """Give each way's mean, low and high, and those of what a profile adds."""
    each = {way: np.concatenate(parts) for way, parts in ways.items()}
    table: dict[str, Any] = {"users": len(next(iter(each.values())))}
    for way, values in each.items():
        table[way] = {MEASURE: interval(values, np.arange(len(values)))}
        if way.endswith(WITH):
            before = each[way.removesuffix(f", {WITH}")]
            table[way]["above the row before"] = interval(values - before, np.arange(len(values)))
    return table


if __name__ == "__main__":
    main()
