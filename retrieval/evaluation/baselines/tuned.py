"""Baselines as strong as a small search makes them: each with settings chosen on the last part of the past.

One setting after the other keeps the value that does best on what users did in that part, fitted on what came before;
then the baseline is fitted on the whole past. Nothing of what is to be found is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, MissingExtraError
from retrieval.evaluation.baselines.families import LATELY, POPULAR, Answering, Asked, Kind, Past, Settings, kinds
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.splits.queries import Questions, questions
from retrieval.evaluation.splits.splits import Split, at_time, by_user

Way = Literal["user", "time"]

FEWEST = 10  # users by whom settings can be chosen
MOST_CHOOSING = 1_000  # users, of more some are drawn
MOST_TUNED = 5_000_000  # interactions; of more nothing is chosen, for time
_SCORES = 200_000_000  # of users and items that are made at most to choose among settings, or to judge
_ROUNDING = 1e-9  # of a mean of a thousand values in double precision


@dataclass(frozen=True, eq=False)
class Tuned:
    """A fitted baseline.

    Attributes:
        name: As the field knows it.
        settings: Those that were chosen.
        answer: Gives lists.
        note: What of the past it does not read, and why; empty where it reads all.
    """

    name: str
    settings: Settings
    answer: Answering
    note: str = ""

    def told(self) -> str:
        """Say with which settings, as in ``learned liked, half life 20``."""
        return ", ".join(
            f"{name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"
            for name, value in self.settings.items()
            if value is not None and value is not False
        )

    def to_json(self) -> dict[str, Any]:
        """Give what it is."""
        return {"name": self.name, "settings": self.settings} | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, eq=False)
class Baselines:
    """All that could be fitted.

    Attributes:
        fitted: Them.
        left_out: Why others are not among them, by name.
        chosen_by: By how many users settings were chosen; 0 where the usual ones were taken.
    """

    fitted: tuple[Tuned, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    chosen_by: int = 0


def tuned_baselines(
    past: Past, *, way: Way = "user", share: float = 0.2, measure: str = "ndcg@10", seed: int = 0
) -> Baselines:
    """Fit popularity, decayed popularity, item-kNN, EASE, iALS and content.

    Those that have nothing to say of a user without a history give what is popular, lately where the log has times.

    Args:
        past: What they learn from.
        way: How what chooses is cut from the past: the last of each user, or what all did after one moment. Best that
            by which what is to be found was cut.
        share: How much of the past chooses.
        measure: By what.
        seed: Of iALS, and of who is drawn where there are more users than choosing needs.
    """
    some, left_out = kinds(past, seed)
    split = _last_part(past, way, share)
    asked = None if split is None else _drawn(split, past, seed)
    earlier = past if split is None else replace(past, log=split.past, choosing=True)
    fitted: dict[str, Tuned] = {}
    for kind in some:
        try:
            settings = _chosen(kind, earlier, asked, measure)
            answer = kind.fit(past, settings)
        except MissingExtraError as error:
            left_out[kind.name] = str(error)
            continue
        if not kind.for_new:
            otherwise = fitted[LATELY] if LATELY in fitted else fitted[POPULAR]
            answer = _ForNew(answer, otherwise.answer)
        fitted[kind.name] = Tuned(kind.name, settings, answer, kind.note)
    return Baselines(tuple(fitted.values()), left_out, 0 if asked is None else len(asked))


def users_in_time(items: ItemIds, most: int) -> int:
    """Say of how many users all items can be scored in little time."""
    return min(most, max(20 * FEWEST, _SCORES // max(len(items), 1)))


def draw(count: int, most: int, seed: int) -> Rows:
    """Draw some of so many lines, ascending; all where they are not more than wished."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


@dataclass(frozen=True, eq=False)
class _ForNew:
    """One baseline for users with a history, another for those without.

    Attributes:
        usual: The one.
        otherwise: The other.
    """

    usual: Answering
    otherwise: Answering

    def __call__(self, asked: Asked, k: int) -> Ranked:
        found = self.usual(asked, k)
        new = [line for line, history in enumerate(asked.histories) if not len(history)]
        if new:
            found.rows[new], found.scores[new] = self.otherwise(asked.take(new), k)
        return found


def _last_part(past: Past, way: Way, share: float) -> Split | None:
    """Cut what chooses from the past; None where that is not possible or takes too long."""
    if len(past.log) > MOST_TUNED:
        return None
    try:
        return by_user(past.log, share) if way == "user" else at_time(past.log, share=share)
    except InputError:  # as where all is of one second
        return None


def _drawn(split: Split, past: Past, seed: int) -> Questions | None:
    """Ask for what users liked in the last part; None where too few liked any."""
    try:
        asked = questions(split, past.items, min_weight=past.least or None)
    except InputError:
        return None
    lines = draw(len(asked), users_in_time(past.items, MOST_CHOOSING), seed)
    return asked.take(lines) if len(lines) >= FEWEST else None


def _chosen(kind: Kind, earlier: Past, asked: Questions | None, measure: str) -> Settings:
    """Choose one setting after the other; the usual ones where nobody tells."""
    settings = {name: values[0] for name, values in kind.grid.items()}
    if asked is not None and not kind.for_new:
        asked = asked.take(np.flatnonzero(~asked.new))
    if asked is None or len(asked) < FEWEST:
        return settings
    best = -1.0
    for name, values in kind.grid.items():
        for value in values if best < 0 else values[1:]:  # the first is what is best so far
            tried = settings | {name: value}
            worth = _worth(kind.fit(earlier, tried), asked, measure)
            if worth > best + _ROUNDING:
                settings, best = tried, worth
    return settings


def _worth(answer: Answering, asked: Questions, measure: str) -> float:
    (depth,) = cutoffs([measure]).values()
    dead = np.flatnonzero(~asked.items.alive)
    found = answer(Asked(asked.histories, asked.weights, without(asked.histories, dead)), depth)
    return float(per_query(found.rows, asked.relevant, asked.items, [measure])[measure].mean())


def without(histories: Sequence[Rows], dead: Rows) -> list[Rows]:
    """Give what must not come up: what users have seen, and what was deleted."""
    return [np.union1d(history, dead) if len(dead) else history for history in histories]
