"""What is learned must pass before it is published: better than what is there, and no item pushed out of proportion."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexing.bundle import Bundle
from indexing.generation import part_of
from retrieval.candidates import Candidates
from retrieval.fitted import LEARNED
from retrieval.item_space import ItemSpace
from retrieval.judging import FEWEST, Judging
from retrieval.learned import LearnedParts
from retrieval.prepare import History

LISTED = 10


@dataclass(frozen=True)
class Exposure:
    """The item that most exceeds what its audience warrants.

    Attributes:
        item_id: Which.
        share: Of the top-10 lists that it is in.
        allowed: As large a share as its audience warrants.
    """

    item_id: str
    share: float
    allowed: float


def exposure(candidates: Candidates, pasts: Sequence[History], growth: float, floor: float) -> Exposure:
    """Find the item whose share of top-10 lists is largest against what is allowed.

    An item that one in a hundred users has met may be in some more lists than one in a hundred, not in half of them:
    such an item is being pushed, by an error of training or by somebody.

    Args:
        candidates: The lists of some users.
        pasts: The histories that were learned from, of all users.
        growth: So many times its share of users may an item's share of lists be; or the share that each would have if
            all were shown alike, where that is more.
        floor: A share that any item may have.
    """
    count = len(candidates.items)
    top = candidates.rows[:, :LISTED]
    shares = np.bincount(top[top >= 0], minlength=count) / max(len(top), 1)
    audience = np.bincount(np.concatenate([past.rows for past in pasts]), minlength=count) / max(len(pasts), 1)
    even = LISTED / count  # what each would have if all were shown alike
    allowed = np.maximum(growth * np.maximum(audience, even), floor)
    row = int(np.argmax(shares / allowed))
    return Exposure(candidates.items[row], round(float(shares[row]), 4), round(float(min(allowed[row], 1.0)), 4))


def pushed(shown: Exposure) -> str:
    """Say why what shows an item so much must not be published, if so."""
    if shown.share <= shown.allowed:
        return ""
    return (
        f"{shown.item_id!r} would be in {shown.share:.0%} of all top-10 lists, where its audience warrants "
        f"{shown.allowed:.0%}; see whether somebody is pushing it, or raise exposure_growth"
    )


def no_better(bundle: Bundle, judging: Judging, learned_before: Callable[[], ItemSpace], ndcg: dict[str, float]) -> str:
    """Say why what is in force should stay, if it should: it does better on what neither has learned from.

    Args:
        bundle: What is in force.
        judging: Users whose last part came since it was learned, and whose past before.
        learned_before: Learns as would be published, but only from the past.
        ndcg: Receives both means, when there are ten users at least.
    """
    users = len(judging.cuts)
    if users < FEWEST:
        return ""
    new = judging.listed(learned_before())
    now = judging.ndcg(new)
    learned = LearnedParts(bundle)
    space = ItemSpace.of(learned.content(bundle), learned.users, learned.block(bundle))
    present = judging.listed(space)
    before = judging.ndcg(present)
    ndcg |= {"new, on what came since": now, "in force, on what came since": before}
    if now >= before:
        return ""
    return (
        f"what is in force does better on what {users} users did since: ndcg@10 {before:.4f} against {now:.4f}, "
        f"difference {judging.gain(present, new)} (95 % interval)"
    )


def unchanged(bundle: Bundle, files: Mapping[str, bytes], told: Mapping[str, Any]) -> str:
    """Say why nothing need be published, if what was learned is in force already, to the last bit.

    So a log that is learned from twice, as by a job that runs again, costs no generation that could be gone back to.

    Args:
        bundle: What is in force.
        files: What was learned.
        told: What the manifest would say of it.
    """
    there = {record.name for record in bundle.manifest.files if part_of(record.name) in LEARNED}
    known, now = bundle.manifest.learned, json.loads(json.dumps(told))
    same = there == set(files) and all(bundle.read(name) == data for name, data in files.items())
    if not same or any(known.get(name) != now[name] for name in ("until", "config", "user_model")):
        return ""
    return "what was learned is in force already, to the last bit"
