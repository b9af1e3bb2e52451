"""Queries of `commonspace evaluate` with their answers: users of a log, or texts that each mean one item."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.catalogue.arrow_values import python_value, require_utf8
from indexing.catalogue.cleaning import clean_text
from indexing.errors import InputError, examples
from indexing.media.files import no_file
from retrieval.batch.in_memory import relevant_in_context, relevant_items, users_of
from retrieval.candidates import Candidates
from retrieval.candidates.lists import concatenated
from retrieval.cli.options.held_out import SplitLog
from retrieval.cli.runs.histories import match_items
from retrieval.evaluation.evaluate import DEFAULT_MEASURES
from retrieval.interactions.context import warn_of_context
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.queries.hybrid_search import DEFAULT_WEIGHT
from retrieval.retriever.recommend import context_columns
from retrieval.retriever.retriever import Retriever
from retrieval.retriever.search import SearchMode

TEXT_MEASURES = ("recall@1", "recall@5", "recall@10", "mrr@10")


@dataclass(frozen=True)
class AnsweredQueries:
    """Queries with their answers and the items that are relevant to each.

    Attributes:
        candidates: The answers.
        relevant: For each query the item_ids that are relevant.
        measures: The measures to compute.
        about: A description of the queries: names and texts.
        extra: Other numbers for the JSON output.
        history: The interactions of the histories; None if no query has one.
        query_type: ``"history"`` or ``"text"``.
        retrieved: The answers before they were reranked.
        min_liked: Items with a lower weight are dislikes.
        split: How history and relevant interactions were split from a log.
    """

    candidates: Candidates
    relevant: Sequence[Collection[str]]
    measures: Sequence[str] = DEFAULT_MEASURES
    about: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    history: Interactions | None = None
    query_type: str = "text"
    retrieved: Candidates | None = None
    min_liked: float | None = None
    split: SplitLog | None = None

    @property
    def warm(self) -> Collection[str] | None:
        """The items with interactions in the history; None if there is no history."""
        return None if self.history is None else set(self.history.table["item_id"].unique().to_pylist())


def answer_users(
    retriever: Retriever, split: SplitLog, k: int, *, rerank: bool = True, profiles: Profiles | None = None
) -> AnsweredQueries:
    """Recommend to every user who has relevant interactions.

    With a log that was read with a context that the bundle has learned, each user asks in the context of the first
    relevant interaction, and those in that context alone are relevant, as `fit` judges.

    Recommendations are for the present, in a visit that continues; when all relevant interactions are later than all of
    the history, they are for the moment between. Users without a history are included if popularity was learned.

    Args:
        retriever: Of the bundle.
        split: History and relevant interactions.
        k: Candidates per user.
        rerank: Rerank them by the learned head.
        profiles: Attributes of users.

    Raises:
        InputError: If no user can be evaluated.
    """
    history, history_known = match_items(split.history, retriever.items, "history: ")
    future, relevant_known = match_items(split.relevant, retriever.items, "to be found: ")
    users_of_log = users_of(history, retriever.items)
    min_relevance = retriever.learned.min_relevance(users_of_log.min_relevance)
    relevant, context = _relevant(retriever, future, users_of_log.histories, min_relevance)
    users = [user for user in users_of_log.histories if relevant.get(user)]
    new = [user for user in relevant if user not in users_of_log.histories]
    if not users:
        raise InputError(
            "no user has both a history and relevant interactions; check --history-rows and --relevant-rows; a rating "
            "below half of the largest one is not relevant"
        )
    evaluated = [*users, *new] if retriever.behaviour is not None else users
    recommend = partial(retriever.recommend, k=k, times=split.cutoff, min_relevance=min_relevance)
    queries = (history, users, evaluated[len(users) :], profiles)
    retrieved = _recommend(partial(recommend, stages="retrieval"), *queries)
    candidates = _recommend(recommend, *queries, context) if rerank else retrieved
    about = {
        "queries": f"{len(evaluated)} users; {len(history)} interactions as history, {len(future)} to be found",
        "split": split.description,
        **_without_history(new, answered=len(evaluated) > len(users)),
        **_notes(retriever, candidates, future, min_relevance),
        **_about_context(retriever, context, rerank=rerank),
    }
    known = {"history": history_known.to_json(), "relevant": relevant_known.to_json()}
    counts = {"new_users": len(evaluated) - len(users), "without_history": len(users) + len(new) - len(evaluated)}
    extra = {"split": split.description, **counts, "known": known}
    if context is not None:
        extra["context"] = _names_of(context)
    return AnsweredQueries(
        candidates,
        [relevant[user] for user in evaluated],
        about=about,
        extra=extra,
        history=history,
        query_type="history",
        retrieved=retrieved,
        min_liked=min_relevance,
        split=split,
    )


def _recommend(
    recommend: Callable[..., Candidates],
    history: Interactions,
    users: Sequence[str],
    new: Sequence[str],
    profiles: Profiles | None,
    context: Mapping[str, dict[str, str]] | None = None,
) -> Candidates:
    """Recommend to users of a log, and to others who have no history."""
    (of_users, users_in), (of_new, new_in) = (
        (None if profiles is None else profiles.of(names), context and [context[name] for name in names])
        for names in (users, new)
    )
    candidates = recommend(history, user_ids=users, profiles=of_users, context=users_in)
    if not new:
        return candidates
    return concatenated(candidates, recommend([[]] * len(new), user_ids=new, profiles=of_new, context=new_in or None))


def _relevant(
    retriever: Retriever, future: Interactions, seen: Mapping[str, Collection[str]], min_relevance: float | None
) -> tuple[dict[str, list[str]], dict[str, dict[str, str]] | None]:
    """Give the relevant items of each user, and the context that each asks in, where the log was read with one."""
    if not future.context_columns:
        return relevant_items(future, seen, min_relevance), None
    learned = context_columns(retriever.state)
    found = relevant_in_context(future, seen, learned, min_relevance)
    if unlearned := [name for name in future.context_columns if name not in learned]:
        warn_of_context(f"the context has {examples(unlearned)}, which is ignored: what was learned is {list(learned)}")
    return found.items, found.context


def _about_context(
    retriever: Retriever, context: Mapping[str, Mapping[str, str]] | None, *, rerank: bool
) -> dict[str, str]:
    """Say in which context users ask, or that a learned one is not used."""
    if context is not None:
        names = ", ".join(_names_of(context)) or "of which nothing is known"
        return {
            "context": f"each user asks in the context ({names}) of the first relevant interaction; what was taken in "
            "another one is not relevant"
        }
    if not rerank or not (learned := context_columns(retriever.state)):
        return {}
    return {
        "context": f"not used: this bundle has learned {', '.join(learned)}, and the log was read without; "
        f"--context-columns {','.join(learned)} asks in the context of what is to be found"
    }


def _names_of(context: Mapping[str, Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for values in context.values() for name in values))


def _without_history(new: Sequence[str], *, answered: bool) -> dict[str, str]:
    """Say how many users have no history, and whether they are evaluated."""
    if not new:
        return {}
    if answered:
        return {"new users": f"users without a history among them: {len(new)}"}
    return {
        "new users": f"users without a history, left out: {len(new)}; this bundle has not learned what is popular, as "
        "fit does"
    }


def _notes(
    retriever: Retriever, candidates: Candidates, relevant: Interactions, min_liked: float | None
) -> dict[str, str]:
    """Return notes on dislikes that are not relevant, and on leaks that cannot be checked."""
    notes = {}
    if min_liked is not None and (disliked := int((relevant.table["weight"].to_numpy() < min_liked).sum())):
        notes["disliked"] = f"{disliked} of the interactions to be found weigh less than {min_liked:g}: not counted"
    if retriever.bundle.manifest.features and candidates.learned is None:
        notes["caution"] = (
            "this bundle learned by an earlier version, which did not keep from what: whether it has seen the "
            "interactions to be found cannot be checked; fit again"
        )
    return notes


def answer_texts(retriever: Retriever, path: Path, k: int, mode: SearchMode = "vector") -> AnsweredQueries:
    """Search with every text of a Parquet file with ``text`` and ``item_id``; only that item is relevant.

    Args:
        retriever: Of the bundle.
        path: The file.
        k: Candidates of each text.
        mode: Search by vectors, by words, or by both.

    Raises:
        InputError: If the file cannot be read, a row is incomplete, or no item is in the bundle.
    """
    texts, item_ids = read_texts(path)
    if not retriever.items.known(item_ids):
        raise InputError(f"no item_id of {path} is in the bundle; are they the same ids?")
    candidates = retriever.search(texts, k, mode=mode).named(_distinct(texts))
    target_rows = np.array([-2 if (row := retriever.items.row(item_id)) is None else row for item_id in item_ids])
    is_target = candidates.rows == target_rows[:, None]
    ranks = np.where(is_target.any(axis=1), is_target.argmax(axis=1) + 1.0, np.inf)
    median = float(np.median(ranks))
    num_own_texts = _own_texts(retriever, texts, item_ids)
    about = {
        "queries": f"{len(texts)} texts, each with one item to be found",
        "searched by": _searched_by(retriever, mode),
    }
    about["median rank"] = f"{median:g}" if np.isfinite(median) else f"beyond {candidates.rows.shape[1]}"
    if num_own_texts:
        about["caution"] = (
            f"{num_own_texts} texts are those that their items were encoded with, and find them for that reason"
        )
    extra = {
        "mode": mode,
        "median_rank": median if np.isfinite(median) else None,
        "depth": candidates.rows.shape[1],
        "own_texts": num_own_texts,
    }
    return AnsweredQueries(candidates, [[item_id] for item_id in item_ids], TEXT_MEASURES, about, extra)


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Read the queries of a Parquet file, and the item that each should find.

    Raises:
        InputError: When it cannot be read, or a row is incomplete.
    """
    if problem := no_file(path):
        raise InputError(problem)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    if missing := [name for name in ("text", "item_id") if table.column_names.count(name) != 1]:
        raise InputError(f"{path} lacks {missing}; there are {table.column_names}; give texts with their item_id")
    for name in ("text", "item_id"):
        require_utf8(table.column(name), name)
    columns = [table.column(name).cast(pa.string()).to_pylist() for name in ("text", "item_id")]
    rows = list(zip(*columns, strict=True))
    if incomplete := [row for row, (text, item_id) in enumerate(rows) if not (text or "").strip() or not item_id]:
        raise InputError(
            f"{len(incomplete)} rows of {path} lack a text or an item_id, the first is row {incomplete[0]}; drop them"
        )
    if not rows:
        raise InputError(f"{path} has no rows; give texts with their item_id")
    return [text for text, _ in rows], [item_id for _, item_id in rows]


def _searched_by(retriever: Retriever, mode: SearchMode) -> str:
    """Say by what texts were searched, and how much words counted beside vectors."""
    if mode != "hybrid":
        return {"vector": "vectors", "words": "words"}[mode]
    tuned = retriever.state.words_weight
    share = f"{DEFAULT_WEIGHT:g}" if tuned is None else f"{tuned:g}, as tuned"
    return f"vectors and words (share of the words {share})"


def _distinct(texts: Sequence[str]) -> list[str]:
    """Return a unique id for each query: its text, numbered if it is repeated."""
    seen = Counter[str]()
    names = []
    for text in texts:
        seen[text] += 1
        names.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return names


def _own_texts(retriever: Retriever, texts: Sequence[str], item_ids: Sequence[str]) -> int:
    """Count the texts that are encoded contents of their own item."""
    names = [name for name in retriever.bundle.manifest.columns.get("text") or () if name]
    fields = [retriever.bundle.attributes.column(name) for name in names]
    count = 0
    for text, item_id in zip(texts, item_ids, strict=True):
        if fields and (row := retriever.items.row(item_id)) is not None:
            values = [python_value(column[row]) for column in fields]
            item_texts = {clean_text(values, Counter()), *(clean_text([value], Counter()) for value in values)} - {None}
            count += clean_text([text], Counter()) in item_texts
    return count
