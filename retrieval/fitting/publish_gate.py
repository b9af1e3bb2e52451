"""What is published: a part whose gain is surely above zero, and nothing that is no better than what the bundle has."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import part_of
from retrieval.fitting.fit_config import FitConfig, same_config
from retrieval.fitting.fitted_model import LEARNED
from retrieval.fitting.selection.validation import MIN_USERS, Gain, Validation
from retrieval.models.item_space import ItemSpace
from retrieval.retriever.learned_parts import LearnedParts


def why_not_published(gain: Gain) -> str:
    """Say why a part is not published, if it is not: the interval of its gain over going without it reaches 0."""
    if gain.low > 0:
        return ""
    return f"not published, for its gain is not surely above zero: {gain}, on {gain.users} users"


def why_not_better(
    bundle: Bundle, validation: Validation, learned_before: Callable[[], ItemSpace], ndcg: dict[str, float]
) -> str:
    """Say why what is in force should stay, if it should: it does better on what neither has learned from.

    Args:
        bundle: What is in force.
        validation: Users whose last part came since it was learned, and whose past before.
        learned_before: Learns as would be published, but only from the past.
        ndcg: Receives both means, when there are ten users at least.
    """
    users = len(validation.splits)
    if users < MIN_USERS:
        return ""
    new = validation.recommend_all(learned_before())
    now = validation.ndcg(new)
    learned = LearnedParts(bundle)
    space = ItemSpace.of(learned.content(bundle), learned.users, learned.block(bundle))
    present = validation.recommend_all(space)
    before = validation.ndcg(present)
    ndcg |= {"new, on what came since": now, "in force, on what came since": before}
    gain = validation.gain(present, new)
    if gain.high >= 0:
        return ""
    return (
        f"what is in force does better on what {users} users did since: ndcg@10 {before:.4f} against {now:.4f}, "
        f"difference {gain} (90 % interval)"
    )


def unchanged_since(bundle: Bundle, files: Mapping[str, bytes], told: Mapping[str, Any], config: FitConfig) -> str:
    """Say why nothing need be published, if what was learned is in force already, to the last bit.

    So a log that is learned from twice, as by a job that runs again, costs no generation that could be gone back to.

    Args:
        bundle: What is in force.
        files: What was learned.
        told: What the manifest would say of it.
        config: How it was learned.
    """
    there = {record.name for record in bundle.manifest.files if part_of(record.name) in LEARNED}
    known, now = bundle.manifest.learned, json.loads(json.dumps(told))
    same = there == set(files) and all(bundle.read(name) == data for name, data in files.items())
    if (
        not same
        or not same_config(known.get("config"), config)
        or any(known.get(name) != now[name] for name in ("until", "user_model"))
    ):
        return ""
    return "what was learned is in force already, to the last bit"
