"""Two stages on MovieLens 100k: candidates of several sources, ordered by a learned head; 95 % intervals over users.

python -m scripts.benchmarks.two_stage DATA [--split split_user|rolling] [--seeds 0 1 2] [--valid] [--ablate]

DATA as for scripts.benchmarks.baselines. The head learns at several moments before the cut, from sources that were
learned from what came before each (three tenths of every history, taken back a tenth at a time; or windows of 14 days):

    split_user   everything is chosen on the split's valid part (--valid shows it); then moments of train and valid
    rolling      for each window the head of the windows before it

--ablate leaves out each source and each group of features in turn, on valid. Without --split all is measured and kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.types import Vectors
from retrieval.baselines import Ranked
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split
from retrieval.heads import HEADS, HeadKind, ScoringHead
from retrieval.item_space import ItemSpace
from retrieval.prepare import History, histories
from retrieval.second_stage import SecondStage
from retrieval.sources import Asked
from retrieval.stage_features import StageFeatures
from retrieval.training.behaviour import learn_behaviour
from retrieval.training.config import BehaviourConfig, HeadConfig, NextItemsConfig
from retrieval.training.neural_head import Examples
from retrieval.training.second_stage import StageConfig, StageLearner, moments_of
from retrieval.training.serving import Serving, served
from retrieval.training.trees_head import TreesConfig
from retrieval.users import UserModel
from scripts.benchmarks.baselines import Films, ask, judged, show, told
from scripts.benchmarks.film_content import attributes_of, centred, described_by
from scripts.benchmarks.learning import valid_of
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import LIKED, SEEDS, K

_YEARS = 14  # columns of attributes_of that are bumps over years
SERVING: Serving = {"half_life": 10.0, "share": 2.5, "popular": 0.0, "content": 0.1}  # as learning.py chose on valid


def main() -> None:
    """Measure every split, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=("split_user",))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--valid", action="store_true")
    parser.add_argument("--ablate", action="store_true")
    given = parser.parse_args()
    world = World.of(given.data)
    split = valid_of(world.films, "split_user") if given.valid else world.films.cut("split_user")
    result = {split.name: by_user(world, split, given.seeds, given.ablate)}
    for name, table in result.items():
        show(name, table)
    if given.split is None and not given.valid:
        keep("two_stage", result, seed=given.seeds[0], script="two_stage")


@dataclass(frozen=True, eq=False)
class World:
    """The films, and what is known of them without users."""

    films: Films
    described: Vectors
    views: dict[str, Vectors]

    @classmethod
    def of(cls, folder: Path) -> "World":
        """Read all."""
        films = Films(folder)
        attributes = attributes_of(folder)
        years = attributes[:, -_YEARS:]
        views = {
            "text": centred(folder, films.items, "text_vector"),
            "image": centred(folder, films.items, "image_vector"),
            "genres": attributes[:, :-_YEARS],
            "year": years / np.maximum(np.linalg.norm(years, axis=1, keepdims=True), 1e-9),
        }
        return cls(films, described_by(folder, films.items), {n: v.astype(np.float32) for n, v in views.items()})

    def learner(self, seed: int, config: StageConfig) -> StageLearner:
        """Learn everything from one seed."""

        def space_of(pasts: Sequence[History]) -> ItemSpace:
            block = learn_behaviour(pasts, self.described, BehaviourConfig(next_items=NextItemsConfig(seed=seed)))
            users = UserModel(half_life=15.0)
            return ItemSpace.of(self.films.texts, users, served(block, SERVING))

        return StageLearner(self.films.items, self.views, space_of, config)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is slow to make for one seed: examples at several moments, and the features of those who are judged."""

    learner: StageLearner
    examples: list[Examples]
    features: StageFeatures
    space: ItemSpace

    @classmethod
    def of(cls, learner: StageLearner, pasts: Sequence[History]) -> "Prepared":
        """Learn sources at every moment of a past, and from all of it."""
        examples = [learner.examples(moment) for moment in moments_of(pasts, learner.config)]
        return cls(learner, examples, *learner.features(pasts))

    def answer(self, head: ScoringHead, asked: Questions, times: dict[str, int]) -> Ranked:
        """Rank by both stages."""
        stage = SecondStage(self.features, head, self.space.indexed)
        when = np.array([times[user] for user in asked.user_ids])
        pool = stage.pool(Asked(asked.histories, asked.weights, when), asked.items, self.learner.config.each)
        found = stage.rerank(pool).top(K)
        return Ranked(found.rows, found.scores)


def config_of(seed: int, head: HeadKind = "neural") -> StageConfig:
    """Give the settings, as chosen on valid."""
    return StageConfig(
        head=head,
        moments=3,
        share=0.11,
        least=LIKED,
        neural=HeadConfig(seed=seed),
        trees=TreesConfig(seed=seed),
    )


def by_user(world: World, split: Split, seeds: Sequence[int], ablate: bool) -> dict[str, Any]:
    """Hold out the last tenth of each user."""
    asked, pasts = ask(split, world.films), histories(split.past, world.films.items)
    times = {past.user_id: int(past.timestamps[-1]) for past in pasts}
    made = [Prepared.of(world.learner(seed, config_of(seed)), pasts) for seed in seeds]
    table: dict[str, Any] = {"split": split.to_json(), "users": len(asked)}
    for kind in HEADS:
        learners = [replace(one.learner, config=config_of(seed, kind)) for one, seed in zip(made, seeds, strict=True)]
        heads = [learner.head(one.examples) for learner, one in zip(learners, made, strict=True)]
        answers = [one.answer(head, asked, times) for one, head in zip(made, heads, strict=True)]
        table[f"two stages, {kind} head"] = told(judged(asked, lambda _, answers=answers: answers))
        print(kind, [judged(asked, lambda _, one=one: [one]).means for one in answers])
    return table


if __name__ == "__main__":
    main()
