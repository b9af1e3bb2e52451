"""What is published: parts whose gain is above zero by its interval, unless the published parts do better.

A log with fewer interactions than the published parts were trained on is told here too, as their gain may be less.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import part_of
from indexing.errors import CommonspaceWarning
from retrieval.fitting.fit_config import FitConfig, same_config
from retrieval.fitting.fitted_model import LEARNED
from retrieval.fitting.selection.behaviour_selection import sample_users, validation_users
from retrieval.fitting.selection.temporal_split import split_at
from retrieval.fitting.selection.validation import MIN_USERS, Gain, Validation
from retrieval.interactions.histories import History, all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.models.item_space import ItemSpace
from retrieval.retriever.learned_parts import LearnedParts

NOTE = "fewer interactions"
"""The note of the report about it."""
_IN_WORDS = {"reranker": "reranker (the second stage)", "profiles": "profiles (the model of user profiles)"}


class SmallerLogWarning(CommonspaceWarning):
    """A fit from scratch on fewer interactions than the published parts were trained on."""


def num_learned(bundle: Bundle) -> int:
    """Return how many interactions the published parts were trained on; 0 where there are none, or it is not known."""
    return int(bundle.manifest.learned.get("interactions", 0)) if bundle.manifest.features else 0


def why_log_smaller(bundle: Bundle, log: Interactions) -> str:
    """Return `why_smaller` of a log, of which interactions count as in training.

    A user's with an item count once, and those with items that the bundle lacks do not.
    """
    return why_smaller(bundle, len(all_histories(log, bundle.items).rows))


def why_smaller(bundle: Bundle, interactions: int) -> str:
    """Return how a log is smaller than that of the published parts, or "" where it is not.

    Args:
        bundle: With the published parts.
        interactions: How many the log has; see `why_log_smaller`.
    """
    learned = num_learned(bundle)
    if interactions >= learned:
        return ""
    parts = ", ".join(_IN_WORDS.get(name, name) for name in bundle.manifest.features)
    return (
        f"the log has {interactions:,} interactions, and the published parts ({parts}) were trained on {learned:,}, "
        "where an item of a user counts once: a fit from scratch loses what it learned from the others"
    )


def warn_if_smaller(bundle: Bundle, histories: Sequence[History]) -> None:
    """Warn before a training from scratch that has fewer interactions."""
    if why := why_smaller(bundle, sum(map(len, histories))):
        warnings.warn(f"{why}; give the whole log, or refresh", SmallerLogWarning, stacklevel=3)


def loss_note(bundle: Bundle, histories: Sequence[History], parts: Sequence[str]) -> dict[str, str]:
    """Return the note for the report of a fit that has trained on fewer interactions; none otherwise.

    Args:
        bundle: With the parts that were published before.
        histories: Of the log.
        parts: Names of the parts that take their place.
    """
    interactions, learned = sum(map(len, histories)), num_learned(bundle)
    if interactions >= learned:
        return {}
    lost = ", ".join(_IN_WORDS.get(name, name) for name in bundle.manifest.features if name not in parts)
    text = f"trained on {interactions:,}; the parts before were trained on {learned:,}"
    return {NOTE: f"{text}, and {lost} of them has no successor" if lost else text}


def why_not_published(gain: Gain) -> str:
    """Return why a part is not published, or "": the interval of its gain must be above 0."""
    if gain.is_sure:
        return ""
    return f"not published: the interval of its gain is not above zero: {gain}, on {gain.users} users"


def why_keep_published(
    bundle: Bundle,
    validation: Validation,
    histories: Sequence[History],
    retrain: Callable[[Sequence[History]], ItemSpace],
    ndcg: dict[str, float],
) -> str:
    """Return why the published parts should stay, or "": they do better on interactions since they were trained.

    Args:
        bundle: With the published parts.
        validation: Of what would be published.
        histories: Of all users.
        retrain: Trains what would be published on other histories.
        ndcg: Receives both means; see `why_not_better`.
    """
    until = bundle.manifest.learned.get("until")
    if until is None:
        return ""
    since = [split_at(history, until) for history in histories]
    users = sample_users(validation_users(since, validation.min_relevance), len(bundle.items))
    before = [part.before_test for part in since]
    return why_not_better(bundle, replace(validation, splits=users), lambda: retrain(before), ndcg)


def why_not_better(
    bundle: Bundle, validation: Validation, train_space: Callable[[], ItemSpace], ndcg: dict[str, float]
) -> str:
    """Return why the published parts should stay, or "": they do better on interactions that trained neither.

    Args:
        bundle: With the published parts.
        validation: Users with interactions since these were trained; their histories end before.
        train_space: Trains the new parts on interactions before that only.
        ndcg: Receives the means of both, if there are at least ten users.
    """
    users = len(validation.splits)
    if users < MIN_USERS:
        return ""
    new = validation.recommend_all(train_space())
    ndcg_new = validation.ndcg(new)
    learned = LearnedParts(bundle)
    space = ItemSpace.of(learned.content(bundle), learned.users, learned.block(bundle))
    current = validation.recommend_all(space)
    ndcg_current = validation.ndcg(current)
    ndcg |= {"new, on new interactions": ndcg_new, "published, on new interactions": ndcg_current}
    gain = validation.gain(current, new)
    if gain.high >= 0:
        return ""
    return (
        f"the published parts do better on later interactions of {users} users: ndcg@10 {ndcg_current:.4f} against "
        f"{ndcg_new:.4f}, difference {gain} (90 % interval)"
    )


def unchanged_since(bundle: Bundle, files: Mapping[str, bytes], record: Mapping[str, Any], config: FitConfig) -> str:
    """Return why there is nothing to publish, or "": the same files and settings are published already, bit for bit.

    A second run on the same log thus makes no generation, and removes none that a rollback could use.

    Args:
        bundle: With the published parts.
        files: The parts of this run.
        record: Its record for the manifest.
        config: Its settings.
    """
    learned_files = {file.name for file in bundle.manifest.files if part_of(file.name) in LEARNED}
    previous = bundle.manifest.learned
    same = learned_files == set(files) and all(bundle.read(name) == data for name, data in files.items())
    same_log = all(previous.get(name) == record[name] for name in ("until", "events"))
    if not same or not same_log or not same_config(previous.get("config"), config):
        return ""
    return "the same parts are published already, bit for bit"
