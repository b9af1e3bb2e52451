"""A second stage for films that nobody has seen, on MovieLens 100k: does a head order them better than one space does?

    python -m scripts.benchmarks.two_stage_cold DATA [--seeds 0 1 2] [--valid] [--whole]

DATA as for scripts.benchmarks.baselines, which has the cold split. Warm films are hidden in turn, a ninth at a time, as
many as are cold: all is learned without them, and a head learns to order those hidden for the users who liked one. They
are drawn twice, for which films are hidden with which is chance. With --valid each third of the films is judged by what
heads learned from the others; without, the cold films by what they learned from all. The first row is retrieval alone,
served as scripts.benchmarks.learning chose on hidden films. With --whole, what users did with warm films in the test
part is known as well: no cold film is in it.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from indexing.types import Mask, Rows, Vectors
from retrieval.baselines.recommender import Ranked
from retrieval.candidates import Candidates
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split
from retrieval.heads import HEADS, ScoringHead
from retrieval.interactions import Interactions
from retrieval.prepare import History, histories
from retrieval.sources import Asked
from retrieval.stage_features import spread
from retrieval.training.neural_head import Examples
from retrieval.training.stage_config import HeadConfig, HeadKind, TreesConfig
from scripts.benchmarks.baselines import Judged, ask, show, told
from scripts.benchmarks.learning import parted
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import LIKED, SEEDS, K
from scripts.benchmarks.two_stage import Trial, World, without

# As scripts.benchmarks.learning chose on hidden films, where content at .3 is better than at .2 or .4, which it tries.
SERVED = {"half_life": 1e9, "share": 0.6, "popular": 0.2, "content": 0.3}
PARTS = 9  # of the warm films: each of these has as many films as are cold, 165 and 166
# What retrieval counts beside a head, and how heads learn, chosen on hidden films too, each third of them judged by
# what the others taught (seed 0). Heads that learn longer know the films that teach by heart. What two stages are is
# the way that has most ndcg@20 there (--valid): both heads with retrieval, and with the whole log both heads.
RETRIEVAL = 0.5
NEURAL = HeadConfig(epochs=4, networks=4, weight_decay=0.1)
TREES = TreesConfig(rounds=150, leaves=7, fewest=1000)
DRAWS = 2  # of these parts


def main() -> None:
    """Measure, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--valid", action="store_true")
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    world = World.of(given.data)
    split, cold = world.films.cold(whole=given.whole)
    table = on_valid(world, given.seeds, split) if given.valid else on_test(world, given.seeds, split, cold)
    part = "hidden" if given.valid else "cold"
    show(part, table)
    name = "two_stage_cold" + "_whole" * given.whole + "_valid" * given.valid
    keep(name, {"served": SERVED, part: table}, seed=given.seeds[0], script="two_stage_cold")


@dataclass(frozen=True, eq=False)
class Hidden:
    """Users who liked a hidden film, all hidden films as their candidates, and what is seen of them.

    Attributes:
        found: The candidates, in the order of retrieval alone.
        features: (B, K, F) float32.
        gains: (B, K) float32, 1 for a film that was liked.
        out: (N,) bool, the films that are hidden.
        trial: What it was learned with.
    """

    found: Candidates
    features: Vectors
    gains: Vectors
    out: Mask
    trial: Trial

    def examples(self, but: Mask) -> Examples:
        """Teach a head, of other films than these, (N,) bool."""
        kept = ~but[self.found.rows]
        return Examples(self.features, self.gains * kept, kept)


def hidden(world: World, seed: int, pasts: Sequence[History], out: Mask, liked: dict[str, Rows]) -> Hidden:
    """Learn all without some films, and look at these.

    Args:
        world: The films.
        seed: Of all that is drawn.
        pasts: What users did.
        out: (N,) bool, the films that are hidden.
        liked: Of each user who is asked for the hidden films that should be found.
    """
    learner = world.learner(seed, SERVED, half_life=SERVED["half_life"])
    known = [without(past, out) for past in pasts]
    features, space = learner.features(known)
    there = [past for past in known if past.user_id in liked]
    asked, rows = Asked.after(there), np.flatnonzero(out)
    alone = space.asked(asked.histories, asked.weights) @ space.indexed[rows].T
    order = np.argsort(-alone, axis=1, kind="stable")
    found = Candidates(
        np.zeros((len(there), 0), np.float32),
        rows[order],
        np.take_along_axis(alone, order, axis=1),
        learner.items,
        "retrieve",
        tuple(past.user_id for past in there),
        tuple(asked.histories),
        tuple(asked.weights),
        asked.times,
    )
    gains = [np.isin(line, liked[past.user_id]) for line, past in zip(found.rows, there, strict=True)]
    trial = Trial(learner, [], features, space)
    return Hidden(found, features.of(found), np.array(gains, np.float32), out, trial)


def hidden_in_turn(world: World, seed: int, past: Interactions) -> list[Hidden]:
    """Hide some of the films that users touched at a time; for each further draw in other company."""
    items, pasts, parts = world.films.items, histories(past, world.films.items), []
    for number, item_ids in enumerate(chain.from_iterable(parted(past, PARTS, draw) for draw in range(DRAWS)), start=1):
        out = np.isin(np.arange(len(items)), items.rows(sorted(item_ids)))
        likes = {past.user_id: past.rows[out[past.rows] & (past.weights >= LIKED)] for past in pasts}
        kept = {past.user_id for past in pasts if not out[past.rows].all()}
        liked = {user: rows for user, rows in likes.items() if len(rows) and user in kept}
        parts.append(hidden(world, seed, pasts, out, liked))
        print(f"seed {seed}, part {number}", flush=True)
    return parts


def taught(teachers: Sequence[Hidden], but: Mask) -> dict[HeadKind, ScoringHead]:
    """Learn every head from all hidden films but some, (N,) bool."""
    trial = teachers[0].trial
    learner, signs = trial.learner, trial.features.signs
    seed = learner.config.neural.seed
    neural, trees = replace(NEURAL, seed=seed), replace(TREES, seed=seed, signs=signs)
    learner = replace(learner, config=replace(learner.config, neural=neural, trees=trees))
    return replace(trial, learner=learner, examples=[one.examples(but) for one in teachers]).heads()


def ordered(heads: Mapping[HeadKind, ScoringHead], asked: Hidden) -> dict[str, Ranked]:
    """Rank by retrieval alone, and by every head."""
    scores = {f"{kind} head": heads[kind].score(asked.features) for kind in HEADS}
    kept = np.ones(asked.gains.shape, np.bool_)
    retrieval = RETRIEVAL * spread(asked.found.scores, kept)
    scores |= {f"{name} and retrieval": spread(of_way, kept) + retrieval for name, of_way in scores.items()}
    ways = {"retrieval alone": asked.found}
    ways |= {name: asked.found.reordered(of_way, "rerank") for name, of_way in scores.items()}
    return {name: Ranked(found.rows[:, :K], found.scores[:, :K]) for name, found in ways.items()}


def on_valid(world: World, seeds: Sequence[int], split: Split) -> dict[str, Any]:
    """Judge each third of the films, as they were hidden in the first draw, by what the others taught."""
    answers: list[list[tuple[Questions, dict[str, Ranked]]]] = []
    for seed in seeds:
        parts, found = hidden_in_turn(world, seed, split.past), []
        for start in range(0, PARTS, PARTS // 3):
            judges = parts[start : start + PARTS // 3]
            heads = taught([one for one in parts if one not in judges], np.any([one.out for one in judges], axis=0))
            found += [(questions_of(world, one), ordered(heads, one)) for one in judges]
        answers.append(found)
    return judged(answers)


def on_test(world: World, seeds: Sequence[int], split: Split, cold: set[str]) -> dict[str, Any]:
    """Judge by the cold films."""
    pasts = histories(split.past, world.films.items)
    out = np.isin(np.arange(len(world.films.items)), world.films.items.rows(sorted(cold)))
    asked = ask(split, world.films)
    liked = dict(zip(asked.user_ids, map(world.films.items.rows, map(sorted, asked.relevant)), strict=True))
    answers: list[list[tuple[Questions, dict[str, Ranked]]]] = []
    for seed in seeds:
        heads = taught(hidden_in_turn(world, seed, split.past), out)
        one = hidden(world, seed, pasts, out, liked)
        answers.append([(questions_of(world, one), ordered(heads, one))])
    return judged(answers)


def questions_of(world: World, one: Hidden) -> Questions:
    """Ask for what was liked of the hidden films."""
    relevant = [
        frozenset(world.films.items[row] for row in line[gains > 0])
        for line, gains in zip(one.found.rows, one.gains, strict=True)
    ]
    return Questions(
        query_ids=tuple(f"{user}@{one.found.rows[0].min()}" for user in one.found.query_ids),
        user_ids=one.found.query_ids,
        histories=one.found.histories,
        weights=one.found.weights,
        relevant=tuple(relevant),
        items=one.found.items,
    )


def judged(answers: list[list[tuple[Questions, dict[str, Ranked]]]]) -> dict[str, Any]:
    """Judge every way, over all parts; seeds are averaged."""
    table: dict[str, Any] = {}
    for name in answers[0][0][1]:
        parts = []
        for place, (asked, _) in enumerate(answers[0]):
            parts.append((asked, [of_seed[place][1][name] for of_seed in answers]))
        found = Judged([(asked, lambda _, ranked=ranked: ranked) for asked, ranked in parts])  # type: ignore[misc]
        table[name] = told(found.among(np.ones(sum(len(asked) for asked, _ in parts), np.bool_)))
    return table


if __name__ == "__main__":
    main()
