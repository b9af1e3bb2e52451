"""Two stages on MovieLens 100k: candidates of several sources, ordered by a learned head; 95 % intervals over users.

python -m scripts.benchmarks.two_stage DATA [--split split_user|rolling] [--seeds 0 1 2] [--valid] [--ablate]
    [--sasrec FOLDER] [--profiles]

DATA as for scripts.benchmarks.baselines, FOLDER what scripts/benchmarks/sasrec_alone.py has written. A head learns at
several moments before the cut, each time with sources that were learned from what came before that moment:

    split_user   valid after train, and the last ninth of each train history and the one before that. Everything was
                 chosen on valid (--valid shows it), with the two moments within train
    rolling      for each window of 14 days the windows before it, four at most, from two before the first on

--profiles measures the windows alone, with what is known of users (users.parquet: age, gender, occupation), as much as
the past of each cut has it, not at all where that says so; that is kept in a file of its own. No baseline reads it.
--ablate leaves out the columns of each source and group of features in turn, on valid, and keeps that. Without --split
all is measured and kept.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import TrainingError
from indexing.types import Mask, Vectors
from retrieval.attribute_columns import columns_of
from retrieval.baselines.recommender import Ranked
from retrieval.behaviour import Behaviour
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import rolling_windows
from retrieval.heads import HEADS, BothHead, HeadKind, ScoringHead
from retrieval.item_space import ItemSpace
from retrieval.prepare import History, histories
from retrieval.profile_taste import ProfileTaste
from retrieval.profiles import Profiles
from retrieval.second_stage import SecondStage
from retrieval.sources import Asked
from retrieval.stage_features import StageFeatures
from retrieval.training.neural_head import Examples
from retrieval.training.profile_taste import choose_profile_taste, learn_profile_taste
from retrieval.training.second_stage import Moment, StageLearner, moment_at, moments_of
from retrieval.training.serving import Serving, served
from retrieval.training.stage_config import HeadConfig, StageConfig, TreesConfig
from retrieval.users import UserModel
from scripts.benchmarks.baselines import WINDOW_DAYS, WINDOWS, Films, Judged, ask, judged, show, told
from scripts.benchmarks.film_content import FilmContent, content_of
from scripts.benchmarks.learning import valid_of
from scripts.benchmarks.peers_of_films import against, peers
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import LIKED, SEEDS, K

_LENGTH = WINDOW_DAYS * 86_400
_EARLIER = 2  # windows before the first that only teach
_MOST = 4  # windows that teach a head
# As an earlier learning.py chose on each split's own valid part; results/learning.json has what it chooses now.
BY_USER: Serving = {"half_life": 10.0, "share": 2.5, "popular": 0.1, "content": 0.8}
IN_TIME: Serving = {"half_life": 1e9, "share": 0.6, "popular": 1.6, "content": 0.1}


def main() -> None:
    """Measure every split, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parts = {"split_user": split_user, "rolling": rolling}
    parser.add_argument("--split", choices=parts)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--valid", action="store_true")
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--sasrec", type=Path)
    parser.add_argument("--profiles", action="store_true")
    given = parser.parse_args()
    world = World.of(given.data, given.sasrec)
    if given.profiles:
        table = rolling(replace(world, profiles=Profiles.open(given.data / "users.parquet")), given.seeds)
        show("rolling, with profiles", table)
        keep("two_stage_profiles", {"rolling": table}, seed=given.seeds[0], script="two_stage")
        return
    if given.valid or given.ablate:
        table = on_valid(world, given.seeds, ablate=given.ablate)
        show("valid of split_user", table)
        if given.ablate:
            keep("two_stage_ablation", {"valid of split_user": table}, seed=given.seeds[0], script="two_stage")
        return
    result = {name: measure(world, given.seeds) for name, measure in parts.items() if given.split in (None, name)}
    for name, table in result.items():
        show(name, table)
    if given.split is None:
        keep("two_stage", result, seed=given.seeds[0], script="two_stage")


@dataclass(frozen=True, eq=False)
class World:
    """The films, and what is known of them without users, and of users without films.

    Those that are hidden, (N,) bool, are in no history.
    """

    films: Films
    content: FilmContent
    sasrec: Path | None = None
    hidden: Mask | None = None
    profiles: Profiles | None = None

    @classmethod
    def of(cls, folder: Path, sasrec: Path | None = None) -> "World":
        """Read all."""
        films = Films(folder)
        return cls(films, content_of(folder, films.items), sasrec)

    def past(self, *names: str) -> list[History]:
        """Read what users did in some parts of split_user."""
        found = histories(self.films.part("split_user", *names), self.films.items)
        return found if self.hidden is None else [without(one, self.hidden) for one in found]

    def learner(self, seed: int, serving: Serving, *, new_users: bool = False, half_life: float = 15.0) -> StageLearner:
        """Learn everything from one seed; an item of a history so many positions back counts half for content."""

        def space_of(pasts: Sequence[History]) -> ItemSpace:
            block = self.content.learn(pasts, seed)
            users = UserModel(half_life, longest=1_000_000)
            taste = None if self.profiles is None else taste_of(self.profiles, pasts, block, self.films)
            return ItemSpace.of(self.content.vectors, users, served(block, serving), taste)

        config = StageConfig(
            moments=2,
            share=0.11,
            least=LIKED,
            new_users=new_users,
            neural=HeadConfig(seed=seed),
            trees=TreesConfig(seed=seed),
        )
        return StageLearner(self.films.items, self.content.views, space_of, config, profiles=self.profiles)


def taste_of(profiles: Profiles, pasts: Sequence[History], block: Behaviour, films: Films) -> ProfileTaste:
    """Learn what profiles say, and how much that counts: nothing where they do not say enough."""
    try:
        return choose_profile_taste(profiles, pasts, block.items, films.items, LIKED)[0]
    except TrainingError:
        nothing = np.empty(0, np.float32)
        silent = ProfileTaste(columns_of(profiles.attributes), nothing, nothing, 0.0)
        return learn_profile_taste(profiles, pasts, block.items, silent)


def without(past: History, hidden: Mask) -> History:
    """Give a history without some films."""
    kept = ~hidden[past.rows]
    return History(past.user_id, past.rows[kept], past.timestamps[kept], past.weights[kept])


@dataclass(frozen=True, eq=False)
class Trial:
    """What is slow to make for one seed: examples of earlier moments, and what is served at the one that is judged."""

    learner: StageLearner
    examples: Sequence[Examples]
    features: StageFeatures
    space: ItemSpace

    def head(self, kind: HeadKind) -> ScoringHead:
        """Learn a head."""
        return replace(self.learner, config=replace(self.learner.config, head=kind)).head(self.examples)[0]

    def heads(self) -> dict[HeadKind, ScoringHead]:
        """Learn both once, and join them."""
        both = self.head("both")
        if not isinstance(both, BothHead):
            raise TypeError(f"{both.kind} is not both")
        return {"neural": both.neural, "trees": both.trees, "both": both}

    def answer(self, head: ScoringHead, asked: Questions, times: Vectors) -> Ranked:
        """Rank by both stages."""
        config = self.learner.config
        stage = SecondStage(self.features, head, self.space.indexed, 0 if config.new_users else 1, config.new_items)
        users = Asked(asked.histories, asked.weights, np.asarray(times, np.int64))
        users = users.knowing(self.features.profiles, self.learner.profiles, asked.user_ids)
        found = stage.rerank(stage.pool(users, asked.items, config.each)).top(K)
        return Ranked(found.rows, found.scores)

    def but(self, group: str) -> "Trial":
        """Hide the columns of a group from the head; its candidates stay."""
        kept = np.array([one.group != group for one in self.features.features])
        examples = [part._replace(features=part.features[:, :, kept]) for part in self.examples]
        return replace(self, examples=examples)


@dataclass(frozen=True)
class Blind:
    """A head that does not see some columns."""

    head: ScoringHead
    kept: Any

    @property
    def kind(self) -> HeadKind:
        """Of the head."""
        return self.head.kind

    @property
    def width(self) -> int:
        """All columns."""
        return len(self.kept)

    def score(self, features: Vectors) -> Vectors:
        """Score by those it sees."""
        return self.head.score(features[..., self.kept])

    def tensors(self) -> dict[str, Any]:
        """Give those of the head."""
        return self.head.tensors()


def trials(world: World, seed: int, *, test: bool) -> Trial:
    """Learn at each moment of split_user, for valid or for test."""
    learner, train = world.learner(seed, BY_USER), world.past("train")
    moments = moments_of(train, learner.config)
    if test:
        valid = {past.user_id: past for past in world.past("valid")}
        wanted = [valid.get(past.user_id, past[:0]) for past in train]
        moments = [Moment.between(train, wanted), *moments]
    served_after = world.past("train", "valid") if test else train
    return Trial(learner, [learner.examples(moment) for moment in moments], *learner.features(served_after))


def times_of(asked: Questions, pasts: Sequence[History]) -> Vectors:
    """Let each user ask just after the last of what they did."""
    last = {past.user_id: int(past.timestamps[-1]) for past in pasts}
    return np.array([last[user] for user in asked.user_ids])


def on_valid(world: World, seeds: Sequence[int], *, ablate: bool) -> dict[str, Any]:
    """Judge by valid what was learned from train, with everything and without each group of features."""
    asked, pasts = ask(valid_of(world.films, "split_user"), world.films), world.past("train")
    made, times = [trials(world, seed, test=False) for seed in seeds], times_of(asked, pasts)
    table: dict[str, Any] = {}

    def row(name: str, answers: Callable[[Trial], Ranked]) -> None:
        table[name] = told(judged(asked, lambda _: [answers(trial) for trial in made]))
        print(name, {measure: table[name][measure][0] for measure in ("recall@20", "ndcg@20")}, flush=True)

    heads = {id(trial): trial.heads() for trial in made}
    for kind in HEADS:
        row(f"{kind} head", lambda trial, kind=kind: trial.answer(heads[id(trial)][kind], asked, times))  # type: ignore[misc]
    groups = dict.fromkeys(one.group for one in made[0].features.features)
    for group in groups if ablate else ():

        def without(trial: Trial, group: str = group) -> Ranked:
            kept = np.array([one.group != group for one in trial.features.features])
            return trial.answer(Blind(trial.but(group).head("neural"), kept), asked, times)

        row(f"neural head without {group}", without)
    return table


def split_user(world: World, seeds: Sequence[int]) -> dict[str, Any]:
    """Hold out the last tenth of each user."""
    films, split = world.films, world.films.cut("split_user")
    asked, pasts = ask(split, films), world.past("train", "valid")
    times, made = times_of(asked, pasts), [trials(world, seed, test=True) for seed in seeds]
    others = {name: judged(asked, answer) for name, answer in peers(films, split, world.sasrec).items()}
    table: dict[str, Any] = {name: told(peer) for name, peer in others.items()}
    heads = [trial.heads() for trial in made]
    for kind in HEADS:
        answers = [trial.answer(learned[kind], asked, times) for trial, learned in zip(made, heads, strict=True)]
        found = judged(asked, lambda _, answers=answers: answers)  # type: ignore[misc]
        table[f"two stages, {kind} head"] = told(found) | against(others, found)
        table[f"{kind}, each seed"] = [each(asked, one) for one in answers]
    return table


def each(asked: Questions, answer: Ranked) -> dict[str, float]:
    """Give the means of one seed."""
    means = judged(asked, lambda _: [answer]).means
    return {name: round(means[name], 4) for name in ("recall@20", "ndcg@20")}


def rolling(world: World, seeds: Sequence[int]) -> dict[str, Any]:
    """Cut several times, and judge all windows as one; each head learns from windows before its own."""
    films = world.films
    log = films.part("split_user", "train", "valid", "test")
    splits, everything = rolling_windows(log, WINDOWS, _LENGTH), histories(log, films.items)
    asked = [ask(split, films) for split in splits]
    cuts = [split.cut or 0 for split in splits]
    cuts = [*(cuts[0] - _LENGTH * back for back in range(_EARLIER, 0, -1)), *cuts]
    answers: dict[HeadKind, list[list[Ranked]]] = {kind: [[] for _ in splits] for kind in HEADS}
    for seed in seeds:
        learner, examples = world.learner(seed, IN_TIME, new_users=True), list[Examples]()
        for number, cut in enumerate(cuts):
            moment = moment_at(everything, cut, cut + _LENGTH)
            features, space = learner.features(moment.pasts)
            window = number - _EARLIER
            if window >= 0:
                trial = Trial(learner, examples[-_MOST:], features, space)
                times = np.full(len(asked[window]), cut - 1)
                for kind, head in trial.heads().items():
                    answers[kind][window].append(trial.answer(head, asked[window], times))
            examples.append(learner.examples(moment, features))
            print(f"seed {seed}, cut {number + 1} of {len(cuts)}", flush=True)
    return in_windows(world, splits, asked, answers)


def in_windows(world: World, splits: Any, asked: Sequence[Questions], answers: Any) -> dict[str, Any]:  # noqa: ANN401
    """Judge all windows as one: all users, those with a history, and new ones."""
    new = np.concatenate([one.new for one in asked])
    users = [user for one in asked for user in one.user_ids]
    masks = {"all": np.ones_like(new), "with a history": ~new, "new": new}
    fitted = [peers(world.films, split, world.sasrec, window=window) for window, split in enumerate(splits, start=1)]
    others = {name: [of_window[name] for of_window in fitted] for name in fitted[0]}
    systems = others | {
        f"two stages, {kind} head": [lambda _, found=found: found for found in of_kind]
        for kind, of_kind in answers.items()
    }
    found = {name: Judged(list(zip(asked, of_name, strict=True))) for name, of_name in systems.items()}
    table: dict[str, Any] = {}
    for name, one in found.items():
        table[name] = {
            who: told(one.among(mask), [user for user, kept in zip(users, mask, strict=True) if kept])
            for who, mask in masks.items()
        }
    everybody = {name: one.among(masks["all"]) for name, one in found.items()}
    for name in sorted(everybody.keys() - others.keys()):
        table[name]["all"] |= against({peer: everybody[peer] for peer in others}, everybody[name])
    return table


if __name__ == "__main__":
    main()
