"""The behaviour block on MovieLens 100k: every split, with 95 % bootstrap intervals over users, three seeds.

python -m scripts.benchmarks.learning DATA [--split split_user split_time rolling cold] [--seeds 0 1 2] [--row NAME]

DATA as for scripts.benchmarks.baselines. Retrieval alone: one exact inner product over content (all vectors of texts
and posters) and behaviour (128 dimensions). What is done at serving (half-life of the tower in closed form, weights of
the learned tower, of popularity and of content) is chosen by ndcg@20 on a part that is valid to each split, seed 0:

    split_user, split_time   the split's own valid, fitted on its train; then fitted on both
    rolling                  the last 14 days before the first window, for all windows
    cold                     the warm films, a sixth of them hidden from the log at a time (seed 0)

With --split some parts are measured and printed; what is measured of cold films is always kept, in a file of its own,
the other three when all of them were measured. --row takes one row of the cold split, and keeps nothing.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.types import Rows
from retrieval.baselines import Ranked
from retrieval.baselines.recommender import rank
from retrieval.behaviour import Behaviour
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.evaluation.leaks import check_past_only
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split, at_time, cold_items, rolling_windows
from retrieval.interactions import Interactions
from retrieval.prepare import histories
from retrieval.training.behaviour import touched
from retrieval.training.serving import Serving, choose, served
from retrieval.users import UserModel
from scripts.benchmarks.baselines import WINDOW_DAYS, WINDOWS, Films, Judged, ask, show, told
from scripts.benchmarks.film_content import FilmContent, content_of
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import SEEDS, K, liked

_LENGTH = WINDOW_DAYS * 86_400
SIXTHS = 6


def main() -> None:
    """Measure every split, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parts = {"split_user": split_user, "split_time": split_time, "rolling": rolling, "cold": cold}
    parser.add_argument("--split", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--row")
    given = parser.parse_args()
    films = Films(given.data)
    content = Content(films, content_of(given.data, films.items), given.data, given.row)
    result = {name: measure(content, given.seeds) for name, measure in parts.items() if name in given.split}
    for name, table in result.items():
        show(name, table)
    if "cold" in result and given.row is None:
        keep("learning_cold", result.pop("cold"), seed=given.seeds[0], script="learning")
    if result.keys() == parts.keys() - {"cold"}:
        keep("learning", result, seed=given.seeds[0], script="learning")


@dataclass(frozen=True, eq=False)
class Content:
    """The films, and what is known of them without users.

    Attributes:
        films: Log and catalogue.
        described: The content block, and what behaviour is predicted from.
        folder: Where from.
        row: The only row of the cold split to be measured, all when None.
    """

    films: Films
    described: FilmContent
    folder: Path
    row: str | None = None

    def fit(self, past: Interactions, seed: int) -> Behaviour:
        """Learn from a past, after checking that nothing but the past is counted."""
        pasts = histories(past, self.films.items)
        counts = touched(pasts, len(self.films.items))
        check_past_only(dict(zip(self.films.items, counts.tolist(), strict=True)), past)
        return self.described.learn(pasts, seed)

    def answer(
        self, behaviour: Behaviour, asked: Questions, exclude: Sequence[Rows] | None = None, depth: int = K
    ) -> Ranked:
        """Rank by one inner product over content and behaviour."""
        vectors = self.described.vectors
        joined = behaviour.joined(vectors)
        everyone = UserModel(half_life=1e9, longest=1_000_000)
        tastes = np.zeros((len(asked), vectors.shape[1]), np.float32)
        seen = liked(asked)
        if there := [line for line, rows in enumerate(seen) if len(rows)]:
            tastes[there] = everyone.taste(vectors, [seen[line] for line in there])
        queries = behaviour.asked(tastes, asked.histories, asked.weights)
        return rank(lambda part: queries[part] @ joined.T, asked.histories, depth, exclude, needs_history=False)

    def choose(self, *splits: Split, exclude: Sequence[Rows] = ()) -> Serving:
        """Choose what is done at serving, by ndcg@20 of users with a history, the mean of all splits.

        Args:
            splits: What is past and what is asked for.
            exclude: For each split the rows that are not ranked; none of them when there is nothing.
        """
        judges = [self.judge(split, rows) for split, rows in zip_longest(splits, exclude)]
        blocks = [self.fit(split.past, SEEDS[0]) for split in splits]

        def ndcg(serving: Serving) -> NDArray[np.float64]:
            each = [judge(served(block, serving)) for judge, block in zip(judges, blocks, strict=True)]
            users = sum(map(len, each))  # every split counts the same, however many users it has
            return np.concatenate([values * users / (len(each) * len(values)) for values in each])

        return choose(ndcg)[0]

    def judge(self, split: Split, exclude: Rows | None) -> Callable[[Behaviour], NDArray[np.float64]]:
        """Give what measures ndcg@20 of each user with a history."""
        asked = ask(split, self.films)
        known = [line for line, rows in enumerate(asked.histories) if len(rows)]

        def ndcg(block: Behaviour) -> NDArray[np.float64]:
            rows, scores = self.answer(block, asked, None if exclude is None else [exclude] * len(asked))
            found: Candidates = asked.candidates(rows, scores, "retrieve").take(np.array(known))
            return evaluate(found, [asked.relevant[line] for line in known], measures=["ndcg@20"]).per_query["ndcg@20"]

        return ndcg

    def seeds(self, split: Split, choice: Serving, seeds: Sequence[int]) -> tuple[Questions, Any]:
        """Fit once a seed, and give questions with the answers of all."""
        asked = ask(split, self.films)
        models = [served(self.fit(split.past, seed), choice) for seed in seeds]
        return asked, lambda questions: [self.answer(model, questions) for model in models]


def valid_of(films: Films, name: str) -> Split:
    """Fit on train, judge on valid."""
    return Split("valid", films.part(name, "train"), films.part(name, "valid"))


def split_user(content: Content, seeds: Sequence[int]) -> dict[str, Any]:
    """Hold out the last tenth of each user."""
    choice = content.choose(valid_of(content.films, "split_user"))
    return table([content.seeds(content.films.cut("split_user"), choice, seeds)], choice)


def split_time(content: Content, seeds: Sequence[int]) -> dict[str, Any]:
    """Cut once for everybody."""
    choice = content.choose(valid_of(content.films, "split_time"))
    return table([content.seeds(content.films.cut("split_time"), choice, seeds)], choice)


def rolling(content: Content, seeds: Sequence[int]) -> dict[str, Any]:
    """Cut several times, and judge all windows as one."""
    log = content.films.part("split_user", "train", "valid", "test")
    splits = rolling_windows(log, WINDOWS, _LENGTH)
    choice = content.choose(at_time(splits[0].past, (splits[0].cut or 0) - _LENGTH))
    return table([content.seeds(split, choice, seeds) for split in splits], choice)


def table(parts: list[tuple[Questions, Any]], choice: Serving) -> dict[str, Any]:
    """Judge all users, those with a history, and new ones; each seed alone too."""
    new = np.concatenate([asked.new for asked, _ in parts])
    users = [user for asked, _ in parts for user in asked.user_ids]
    found = Judged([(asked, answer) for asked, answer in parts])
    masks = {"all": np.ones_like(new)} | ({"with a history": ~new, "new": new} if new.any() else {})
    rows = {
        who: told(found.among(mask), [user for user, kept in zip(users, mask, strict=True) if kept])
        for who, mask in masks.items()
    }
    result: dict[str, Any] = {"chosen on valid": choice, "content and behaviour": rows}
    known = np.flatnonzero(~new)
    relevant = [found.relevant[line] for line in known]
    measured = [evaluate(one.take(known), relevant, measures=["recall@20", "ndcg@20"]).means for one in found.seeds]
    result["each seed, with a history"] = [
        {name: round(value, 4) for name, value in means.items()} for means in measured
    ]
    return result


def cold(content: Content, seeds: Sequence[int]) -> dict[str, Any]:
    """Rank films that nobody has seen, for users who liked one of them."""
    films = content.films
    split, cold_ids = films.cold()
    hidden = parted(split.past, SIXTHS)
    valid = [cold_items(split.past, item_ids) for item_ids in hidden]
    asked, exclude = ask(split, films), [others(films, item_ids) for item_ids in hidden]
    ranked = others(films, cold_ids)
    result: dict[str, Any] = {"users": len(asked)}
    for name, described in ways(content).items():
        if content.row not in (None, name):
            continue
        known = replace(content, described=described)
        choice = known.choose(*valid, exclude=exclude)
        models = [served(known.fit(split.past, seed), choice) for seed in seeds]
        answers = [known.answer(model, asked, [ranked] * len(asked)) for model in models]
        found = Judged([(asked, lambda _, answers=answers: answers)])  # type: ignore[misc]
        result[name] = told(found.among(np.ones(len(asked), np.bool_))) | {"chosen on hidden films": choice}
    return result


def parted(past: Interactions, parts: int, draw: int = 0) -> list[set[str]]:
    """Part the films that users touched; the same parts for every seed, others for another draw."""
    touched = sorted(set(past.table["item_id"].to_pylist()))
    drawn = np.random.default_rng(draw).permutation(len(touched))
    return [{touched[place] for place in drawn[part::parts]} for part in range(parts)]


def others(films: Films, item_ids: set[str]) -> Rows:
    """Rows of all films but these."""
    return np.setdiff1d(np.arange(len(films.items)), films.items.rows(sorted(item_ids)))


def ways(content: Content) -> dict[str, FilmContent]:
    """Describe the films when parts of what is known are missing."""
    known = partial(content_of, content.folder, content.films.items)
    return {
        "text, image, genres, year": content.described,
        "text, genres, year": known(image=False),
        "image, genres, year": known(text=False),
        "genres, year": known(text=False, image=False),
        "text and image": known(attributes=False),
        "text alone": known(image=False, attributes=False),
        "image alone": known(text=False, attributes=False),
        "all, 30 % of texts removed": known(lost="text_vector"),
        "all, 30 % of images removed": known(lost="image_vector"),
    }


if __name__ == "__main__":
    main()
