"""The second stage with fewer sources, and with one more: EASE that reads the content of items too.

python -m scripts.research.fewer_sources DATA --work FOLDER [--seeds 0 1 2]

DATA and FOLDER as for `two_stage`. `fit` learns the train part of the split by user by its defaults: with all sources,
with those in KEPT alone, and with all and EASE over users and over each dimension of the centred content, as further
rows of the same matrix. `recommend` is judged on the valid part.
"""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_matrix, vstack

from retrieval import FitConfig
from retrieval.evaluation import compare
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import interaction_counts
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.sources import Neighbours, Source, space_sources, top_neighbours
from retrieval.training.behaviour.behaviour import weight_bins_of
from retrieval.training.behaviour.ease import solve_ease
from retrieval.training.behaviour.ease_inverse import interaction_matrix
from retrieval.training.ranker.sources import fit_sources
from retrieval.training.ranker_config import SourcesConfig
from scripts.benchmarks.recommend.baselines import Films, ask, to_row
from scripts.benchmarks.recommend.film_bundle import STAGES
from scripts.benchmarks.recommend.kept_lists import Served
from scripts.benchmarks.record import keep
from scripts.research.attention import judged
from scripts.research.film_trials import differences, film_options

HALF = 0.5
KEPT = ("retrieval", "ease_liked", "next")


def main() -> None:
    """Measure both, and keep."""
    options = film_options(__doc__).parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    films = Films(options.data)
    split = Split("valid", films.part("split_user", "train"), films.part("split_user", "valid"))
    fits = Served(options.data, options.work, list(options.seeds), FitConfig())
    found: dict[str, dict[str, Any]] = {}
    for name, fit in {"all": fit_sources, "kept": few_sources, "content": more_sources}.items():
        served = kept_sources if name == "kept" else space_sources
        with (
            patch("retrieval.training.ranker.ranker.fit_sources", fit),
            patch("retrieval.ranking.second_stage.space_sources", served),
        ):
            found[name] = {row: judged(films, fits, f"sources-{name}", [split], row) for row in STAGES}
        print(name, {row: to_row(one) for row, one in found[name].items()}, flush=True)
    table: dict[str, Any] = {name: {row: to_row(one) for row, one in rows.items()} for name, rows in found.items()}
    for name in ("kept", "content"):
        pairs = compare(found["all"]["two stages"], found[name]["two stages"], measures=["recall@20", "ndcg@20"])
        table[f"{name}, against all"] = differences(pairs)
    keep("fewer_sources", {"users": len(ask(split, films))} | table, seed=options.seeds[0])


def few_sources(
    histories: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None
) -> tuple[Source, ...]:
    """Learn all, and keep those of KEPT."""
    return tuple(source for source in fit_sources(histories, space, config) if source.name in KEPT)


def kept_sources(space: ItemSpace) -> tuple[Source, ...]:
    """Give those of a space that are kept, as a bundle is opened."""
    return tuple(source for source in space_sources(space) if source.name in KEPT)


def more_sources(
    histories: Sequence[History], space: ItemSpace, config: SourcesConfig | None = None
) -> tuple[Source, ...]:
    """Learn all, and EASE over the content too, which counts half of what users do."""
    config = config or SourcesConfig()
    sources, count = fit_sources(histories, space, config), len(space.indexed)
    counts, weight_bins = interaction_counts(histories, count), weight_bins_of(histories)
    warm = np.flatnonzero(counts)
    kept = np.sort(warm[np.argsort(-counts[warm], kind="stable")[: config.max_ease_items]])
    interactions = interaction_matrix(
        histories, [history.weights / history.weights.mean() for history in histories], kept, count
    )
    content = space.indexed[kept, : space.dim] - space.indexed[:, : space.dim].mean(axis=0)
    content /= np.linalg.norm(content, axis=1, keepdims=True) + 1e-9
    scale = np.sqrt(HALF * interactions.multiply(interactions).sum() / len(kept))
    both = csr_matrix(vstack([interactions, csr_matrix(scale * content.T)]))
    lines = top_neighbours(
        solve_ease(both, config.regularisation).astype(np.float32), kept, count, config.num_neighbours
    )
    known = np.zeros(count, np.bool_)
    known[kept] = True
    bin_weights = (weight_bins / weight_bins.mean()).astype(np.float32)
    added = Neighbours(
        "ease_content", *lines, known, config.half_life, weight_bins, bin_weights, sources[0].training_log
    )
    return (*sources, added)


if __name__ == "__main__":
    main()
