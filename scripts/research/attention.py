"""Attention beside the towers of the behaviour block: `fit` with it against the default, on valid parts alone.

python -m scripts.research.attention DATA --work FOLDER [--seeds 0 1 2]

DATA and FOLDER as for `two_stage`. Valid is the valid part of the split by user, fitted on its train,
and the three windows of 14 days before those that scripts.benchmarks.recommend.two_stage judges.
"""

import argparse
from dataclasses import replace
from typing import Any

from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval import FitConfig
from retrieval.evaluation import compare
from retrieval.evaluation.splits.splits import Split, rolling_windows
from retrieval.training.config import AttentionConfig, BehaviourConfig
from scripts.benchmarks.recommend.baselines import WINDOW_DAYS, WINDOWS, Films, Judged, ask, to_row
from scripts.benchmarks.recommend.film_bundle import STAGES, Fitted, quick, recommended
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.recommend.two_stage import EARLIER
from scripts.benchmarks.record import keep
from scripts.research.film_trials import film_options

WAYS = {"without": None, "with": AttentionConfig()}


def main() -> None:
    """Measure both ways on both, and keep."""
    parser = film_options(__doc__)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.work / "quick" if given.quick else given.work
    work.mkdir(parents=True, exist_ok=True)
    films = Films(given.data)
    log = films.part("split_user", "train", "valid", "test")
    windows = rolling_windows(log, EARLIER + WINDOWS, WINDOW_DAYS * SECONDS_PER_DAY)[:EARLIER]
    by_user = Split("valid", films.part("split_user", "train"), films.part("split_user", "valid"))
    result = {}
    for name, splits in {"by user": [by_user], "windows": windows[-1:] if given.quick else windows}.items():
        found = {}
        for way, attention in WAYS.items():
            config = FitConfig(behaviour=replace(FitConfig().behaviour or BehaviourConfig(), attention=attention))
            served = Served(given.data, work, list(given.seeds), quick(config) if given.quick else config)
            found[way] = {row: judged(films, served, f"attention-{way}-{name}", splits, row) for row in STAGES}
        result[name] = compared(found)
        print(name, result[name], flush=True)
    if not given.quick:
        keep("attention", result, seed=given.seeds[0])


def judged(films: Films, served: Served, name: str, splits: list[Split], row: str) -> Any:  # noqa: ANN401
    """Judge a row of all splits as one, each user the mean of all seeds."""
    parts = []
    for split in splits:
        asked, times = ask(split, films), None if split.cut is None else split.cut - 1

        def lists(made: Fitted, split: Split = split, asked: Any = asked, times: int | None = times) -> dict[str, Any]:  # noqa: ANN401
            return {
                one: recommended(made.retriever, split.past, asked, times, stages=stages)
                for one, stages in STAGES.items()
            }

        ranked = served.lists(f"{name}-{split.name}", split.past, lists).ranked[row]
        parts.append((asked, lambda _, of=ranked: of))
    found = Judged(parts)
    return found.among(found.everyone)


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """Give each row both ways, and what attention adds, paired by user."""
    table: dict[str, Any] = {way: {row: to_row(one) for row, one in rows.items()} for way, rows in found.items()}
    table["added"] = {
        row: {
            one.measure: [round(value, 4) for value in (one.difference, one.low, one.high)]
            for one in compare(without, found["with"][row], measures=["recall@20", "ndcg@20"], resamples=2000).rows
        }
        for row, without in found["without"].items()
    }
    return table


if __name__ == "__main__":
    main()
