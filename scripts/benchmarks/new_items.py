"""What becomes of films that nobody has met among all others, on MovieLens 100k: do lists still show them?

    python -m scripts.benchmarks.new_items DATA [--seeds 0 1 2]

DATA as for scripts.benchmarks.baselines. All is learned as by scripts.benchmarks.two_stage for split_user, from a log
without the films of the cold split. Users are then asked for what they liked next, these films included. Retrieval
alone ranks the whole catalogue; heads order the pool of all sources, with new films in the place that retrieval gives
them there, and by score as any other.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.types import Mask
from retrieval.baselines.recommender import Ranked, rank
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split
from retrieval.heads import HEADS
from scripts.benchmarks.baselines import ask, judged, show, told
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import SEEDS, K
from scripts.benchmarks.two_stage import Trial, World, times_of, trials


def main() -> None:
    """Measure, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    table = measured(World.of(given.data), given.seeds)
    show("split_user with films that nobody has met", table)
    keep("new_items", table, seed=given.seeds[0], script="new_items")


def measured(world: World, seeds: Sequence[int]) -> dict[str, Any]:
    """Hide the films, learn once a seed, and ask."""
    films, (split, cold) = world.films, world.films.cold()
    new = np.isin(np.arange(len(films.items)), films.items.rows(sorted(cold)))
    world = replace(world, hidden=new)
    asked = ask(Split("new items", split.past, films.cut("split_user").future), films)
    times = times_of(asked, world.past("train", "valid"))
    answers: dict[str, list[Ranked]] = {}
    for seed in seeds:
        trial = trials(world, seed, test=True)
        answers.setdefault("retrieval alone", []).append(alone(trial, asked))
        heads = trial.heads()
        for way, by_score in {"new films in their place": False, "new films by score": True}.items():
            config = replace(trial.learner.config, new_items=by_score)
            served = replace(trial, learner=replace(trial.learner, config=config))
            for kind in HEADS:
                answers.setdefault(f"{kind} head, {way}", []).append(served.answer(heads[kind], asked, times))
        print(f"seed {seed}", flush=True)
    return {
        name: told(judged(asked, lambda _, of_seeds=of_seeds: of_seeds)) | of_new(of_seeds, asked, new)  # type: ignore[misc]
        for name, of_seeds in answers.items()
    }


def alone(trial: Trial, asked: Questions) -> Ranked:
    """Rank the catalogue by retrieval alone."""
    queries = trial.space.asked(asked.histories, asked.weights)
    return rank(lambda part: queries[part] @ trial.space.indexed.T, asked.histories, K, None)


def of_new(of_seeds: Sequence[Ranked], asked: Questions, new: Mask) -> dict[str, float]:
    """Give the share of places that new films have, and of liked films that lists hold, new ones and others."""
    wanted = [asked.items.rows(asked.items.known(sorted(ids))) for ids in asked.relevant]
    places, held = [], {"of liked new films": [0, 0], "of other liked films": [0, 0]}
    for rows, _ in of_seeds:
        places.append(new[rows[rows >= 0]].mean())
        for line, liked in zip(rows, wanted, strict=True):
            for name, some in zip(held, (liked[new[liked]], liked[~new[liked]]), strict=True):
                held[name][0] += int(np.isin(some, line).sum())
                held[name][1] += len(some)
    shares = {name: round(found / max(1, there), 4) for name, (found, there) in held.items()}
    return {"places of new films": round(float(np.mean(places)), 4)} | shares


if __name__ == "__main__":
    main()
