"""The arguments of the verbs of `Retriever`, each described once: `help` shows them at every verb that takes them."""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import TypeVar

Verb = TypeVar("Verb", bound=Callable[..., object])

_ONCE = ("group_by", "duplicates", "min_similarity")  # keyword arguments of `ShowOnce`
_ALL_OR_K = "Hits of each query, at least 1; all when None."
ARGUMENTS: Mapping[str, str] = {
    "queries": "B texts, or `Query` objects that join texts, images, items and vectors.",
    "texts": "B texts, each with something to search for.",
    "images": "B images: PIL images, the bytes of files, or their paths.",
    "sounds": "B audio clips: bytes or paths of files, or mono float32 samples at the ``audio_rate`` of the encoder.",
    "vectors": "(B, D) numbers, of any length but zero; D is that of the bundle, or of ``modality``.",
    "modality": "``text``, ``image`` or ``audio``, for a bundle of separate spaces; None for others.",
    "mode": "``vector``, ``words`` or ``hybrid``; the last two need an index of words.",
    "k": "Hits of each query, at least 1.",
    "rerank.k": _ALL_OR_K,
    "diversify.k": _ALL_OR_K,
    "collapse.k": _ALL_OR_K,
    "apply_rules.k": _ALL_OR_K,
    "users_for.k": "Users of each item, at least 1.",
    "top_items.k": "Hits of each list, at least 1.",
    "where": 'What every hit satisfies: ``field("year") >= 1990``, ``"year >= 1990"`` or a list of such conditions.',
    "item_ids": "B item_ids of the bundle.",
    "by": "``content``, ``behaviour`` or ``both``.",
    "top_items.by": "An attribute: a list for each of its values; one list when None.",
    "baskets": "B lists of item_ids, each of one at least.",
    "interactions": "A log: `Interactions`, its path, or a table of users, items, times and weights.",
    "histories": "For each of B users the item_ids of the history, oldest first; or a log: `Interactions`, its path, "
    "or a table, with weights and times.",
    "stages": "``all``, or ``retrieval`` for the first stage alone.",
    "exclude_seen": "Leave out the items of the history.",
    "user_ids": "B names of the queries; of a log the users to answer, all when empty.",
    "weights": "For each history as many numbers, on the scale of the log of `fit`; all alike when None.",
    "blend.weights": "For each attribute a number: 0.2 counts its standard deviation a fifth of that of the score.",
    "times": "When users ask, one for all or one for each: a date, a time (UTC where it has no zone), seconds or "
    "milliseconds since 1970, or ``now``. They then return after the days since their last interaction. None is within "
    "the visit of that.",
    "last_times": "When each of B users did the last interaction, as ``times``, for histories as lists; None for an "
    "empty one. ``in_visit``: ``times`` are in the visits of these.",
    "profiles": "B mappings of attributes, a table, or `Profiles`; only where `fit` had some.",
    "context": "What holds at the requests: one mapping for all, as ``{'device': 'phone'}``, B of them, or a table.",
    "min_relevance": "A smaller weight is a dislike; as learned when None, and 0 where weights are no ratings.",
    "per_source": "Candidates of each source, at least 1; as many as in training when None.",
    "order": "``popular``, ``trending`` or ``newest``.",
    "date": "A column of dates, for ``newest``.",
    "candidates": "B lists of this bundle, as a verb gave them, or read from a file.",
    "method": "``mmr``, ``msd``, ``calibrated`` or ``caps``.",
    "strength": "From 0, relevance alone, to 1, variety alone.",
    "sharpness": "Above 0; above 1 the first hits are kept more.",
    "attribute": "Its values say what is similar, in place of content.",
    "caps": "For attributes how many of the k hits may have one value.",
    "max_similarity": "The largest cosine of two hits, from -1 to 1.",
    "page": "Hits that are seen at once, at least 1: each so many stand in the order of relevance.",
    "shown": "Lists that other users see: what is in many of them is ranked lower.",
    "exposure_weight": "From 0, how much ``shown`` counts.",
    "group_by": "An attribute: of the items with one value the best is shown.",
    "duplicates": "``collapse`` shows near-duplicates once, ``show`` all of them.",
    "min_similarity": "The smallest cosine of near-duplicates, from -1 to 1.",
    "rules": "`Rules`, or a list of them.",
    "impressions": "What was shown to whom, for caps of frequency and rotation: `Impressions`, a path or a table.",
    "at": "Up to when impressions count, as ``times`` of `recommend`; the last impression when None.",
    "kind": "``text``, ``image`` or ``audio``: what the queries were.",
    "matching": "A classifier that was fitted to pairs; fitted to the items of the bundle when None.",
    "max_reasons": "Items of the history, and features, that are named for each hit.",
    "among": "All that `rerank` gave, for candidates that do not know it, as those read from a file.",
}
_RETURNS: Mapping[str, str] = {
    "Candidates": "`Candidates`: B lists of hits, best first; scores of one list alone are comparable.",
    "RankedUsers": "`RankedUsers`: for each item its users, best first.",
    "Ruled": "`Ruled`: `Candidates` that name the rules of each hit.",
}
_RAISES = """    UnknownItemError: When an item_id is not in the bundle.
    FilterError: When an attribute is not in the bundle, or a filter cannot be read.
    ShapeError: When arguments are not as many as queries.
    InputError: When another argument cannot be used, or the bundle lacks a part that is needed."""


def documented(verb: Verb) -> Verb:
    """Add what is said of the arguments of a verb, of its result and of its errors to its docstring.

    Raises:
        KeyError: When an argument is not described.
    """
    names = [name for name in inspect.signature(verb).parameters if name != "self"]
    names = [one for name in names for one in (_ONCE if name == "once" else (name,))]
    texts = {name: ARGUMENTS.get(f"{verb.__name__}.{name}") or ARGUMENTS[name] for name in names}
    parts = {"Args": "\n".join(_filled(f"{name}: {text}", 4, 8) for name, text in texts.items())}
    result = str(inspect.signature(verb).return_annotation).rpartition(".")[2].rstrip("'>")
    if result in _RETURNS:
        parts["Returns"] = _filled(_RETURNS[result], 4, 4)
    parts["Raises"] = _RAISES
    sections = "\n\n".join(f"{title}:\n{text}" for title, text in parts.items())
    verb.__doc__ = f"{inspect.cleandoc(verb.__doc__ or '')}\n\n{sections}\n"
    return verb


def _filled(text: str, first: int, later: int) -> str:
    return textwrap.fill(text, 100, initial_indent=" " * first, subsequent_indent=" " * later)
