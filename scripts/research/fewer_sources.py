"""The second stage with fewer sources: all against those that the ablation found worth more than chance.

python -m scripts.research.fewer_sources DATA --work FOLDER [--seeds 0 1 2]

DATA and FOLDER as for `two_stage`. `fit` learns the train part of the split by user by its defaults, once with all
sources and once with those in KEPT alone, and `recommend` is judged on the valid part.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from retrieval import FitConfig
from retrieval.evaluation import compare
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.sources import Source
from retrieval.training.ranker.sources import learn_sources
from retrieval.training.ranker_config import SourcesConfig
from scripts.benchmarks.recommend.baselines import Films, ask, told
from scripts.benchmarks.recommend.film_bundle import STAGES
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.recommend.systems import SEEDS
from scripts.benchmarks.record import keep
from scripts.research.attention import judged

KEPT = ("retrieval", "ease_liked", "next")


def main() -> None:
    """Measure both, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    films = Films(options.data)
    split = Split("valid", films.part("split_user", "train"), films.part("split_user", "valid"))
    served = Served(options.data, options.work, list(options.seeds), FitConfig())
    found: dict[str, dict[str, Any]] = {}
    for name, learn in {"all": learn_sources, "kept": few_sources}.items():
        with patch("retrieval.training.ranker.ranker.learn_sources", learn):
            found[name] = {row: judged(films, served, f"sources-{name}", [split], row) for row in STAGES}
        print(name, {row: told(one) for row, one in found[name].items()}, flush=True)
    pairs = compare(found["all"]["two stages"], found["kept"]["two stages"], measures=["recall@20", "ndcg@20"])
    table: dict[str, Any] = {name: {row: told(one) for row, one in rows.items()} for name, rows in found.items()}
    table["kept, against all"] = {
        row.measure: [round(value, 4) for value in (row.difference, row.low, row.high)] for row in pairs.rows
    }
    keep("fewer_sources", {"users": len(ask(split, films))} | table, seed=options.seeds[0])


def few_sources(pasts: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None) -> tuple[Source, ...]:
    """Learn all, and keep those of KEPT."""
    return tuple(source for source in learn_sources(pasts, space, config) if source.name in KEPT)


if __name__ == "__main__":
    main()
