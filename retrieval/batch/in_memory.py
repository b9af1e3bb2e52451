"""Users of a log and candidates of a table, in memory: read as batch jobs read them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, json, parquet

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, examples
from indexing.media.files import no_file
from retrieval.batch.answering import listed_candidates
from retrieval.batch.candidate_rows import NEEDED, FlatCandidates
from retrieval.batch.input_rows import UserLines
from retrieval.batch.tables import TableFile, check_columns, number_column, text_column
from retrieval.candidates import Candidates
from retrieval.interactions.context import ContextColumns, context_codes
from retrieval.interactions.histories import LoggedHistories, all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_row
from retrieval.retriever.query_inputs import no_times, warn_of_later_interactions
from retrieval.retriever.recommend import note_returning
from retrieval.retriever.retriever import Retriever


@dataclass(frozen=True)
class Users:
    """The users of a log, as lists.

    Attributes:
        histories: The item_ids of each user's history, oldest first.
        weights: The weights of these items.
        min_relevance: The smallest weight that is no dislike; None where there is no log.
        last_times: The time of each user's last interaction in seconds since 1970, 0 for an empty history; None where
            the log has no times.
    """

    histories: dict[str, list[str]]
    weights: dict[str, list[float]]
    min_relevance: float | None = None
    last_times: dict[str, int] | None = None

    def weights_of(self, users: Iterable[str]) -> list[list[float]]:
        """Give the weights of users, as `Retriever.recommend` takes them."""
        return [self.weights[user] for user in users]

    def last_times_of(self, users: Iterable[str]) -> list[int]:
        """Give the times of the last interactions of users, as `Retriever.recommend` takes them.

        Raises:
            InputError: When the log has no times.
        """
        if self.last_times is None:
            raise no_times()
        return [self.last_times[user] for user in users]


def users_of(
    log: Interactions,
    items: ItemIds,
    only: Collection[str] | None = None,
    new: Collection[str] = (),
    *,
    everyone: bool = False,
) -> Users:
    """Give the histories of a log as lists; see `retrieval.interactions.histories.LoggedHistories`.

    Args:
        log: The interactions.
        items: The items of the bundle; others are left out.
        only: The users; all who have an item of the bundle when None.
        new: Users of ``only`` who may have no history.
        everyone: Whether users of the log who have no item of the bundle are included, with an empty history, as
            `Retriever.recommend` includes them.

    Raises:
        InputError: When nobody has an item of the bundle, or a user of ``only`` has none.
    """
    logged = all_histories(log, items) if only else LoggedHistories.of(log, items, everyone=everyone)
    names = list(only) if only else logged.names.to_pylist()
    numbers = logged.numbers(names)
    rows, weights = logged.histories(numbers)
    last = np.maximum(logged.last_times(numbers), 0).tolist() if logged.has_times else None
    allowed = {*new, *(logged.names.to_pylist() if everyone and len(logged.rows) else ())}
    if missing := [name for name, history in zip(names, rows, strict=True) if not len(history) and name not in allowed]:
        raise InputError(f"{len(missing)} users have no item of this bundle in the log, e.g. {examples(missing)}")
    return Users(
        {name: [items[row] for row in history] for name, history in zip(names, rows, strict=True)},
        {name: array.tolist() for name, array in zip(names, weights, strict=True)},
        logged.min_relevance,
        None if last is None else dict(zip(names, last, strict=True)),
    )


def relevant_items(
    log: Interactions, seen: Mapping[str, Collection[str]], min_relevance: float | None = None
) -> dict[str, list[str]]:
    """Give the relevant items of each user of a later log: those that are not in the history already.

    Items that are not in the bundle are included, though they cannot be retrieved.

    Args:
        log: The later interactions.
        seen: The item_ids of each user's history.
        min_relevance: Interactions of a smaller weight are dislikes, and not relevant; see `users_of`.
    """
    relevant: dict[str, list[str]] = {}
    table = (
        log.table if min_relevance is None else log.table.filter(pc.greater_equal(log.table["weight"], min_relevance))
    )
    for row in table.select(["user_id", "item_id"]).to_pylist():
        if row["item_id"] not in seen.get(row["user_id"], ()):
            relevant.setdefault(row["user_id"], []).append(row["item_id"])
    return relevant


@dataclass(frozen=True)
class RelevantInContext:
    """The relevant items of each user in the context of the first of them.

    Attributes:
        items: The item_ids, by user.
        context: The values of that context by column, of each user, as `Retriever.recommend` takes them.
    """

    items: dict[str, list[str]]
    context: dict[str, dict[str, str]]


def relevant_in_context(
    log: Interactions,
    seen: Mapping[str, Collection[str]],
    learned: ContextColumns,
    min_relevance: float | None = None,
) -> RelevantInContext:
    """Give the relevant items of each user that were taken in the context of the first of them, as `fit` judges.

    A request is made in one context, so that what a user took later in another one does not count. Values that were
    not learned are one context, as they are to the second stage.

    Args:
        log: The later interactions, read with ``context=``.
        seen: The item_ids of each user's history.
        learned: The columns that the bundle has learned; others of the log are not read.
        min_relevance: As in `relevant_items`.

    Raises:
        InputError: When the log was read without a column that was learned.
    """
    names = [name for name in learned if name in log.context_columns]
    if not names:
        raise InputError(
            f"the log has {log.context_columns} as context, and the bundle has learned {list(learned)}: none is read",
            python="read the log with context=[…] of columns that were learned, or leave the context out",
            cli="name columns that were learned by --context-columns, or leave it out",
        )
    table = log.table if min_relevance is None else log.table.filter(pc.field("weight") >= min_relevance)
    found = RelevantInContext({}, {})
    first: dict[str, list[int]] = {}
    codes = context_codes(table, {name: learned[name] for name in names}).tolist()
    for row, code in zip(table.select(["user_id", "item_id", *names]).to_pylist(), codes, strict=True):
        user = row["user_id"]
        if row["item_id"] in seen.get(user, ()):
            continue
        if first.setdefault(user, code) == code:
            found.items.setdefault(user, []).append(row["item_id"])
            found.context.setdefault(user, {name: row[name] for name in names if row[name]})
    return found


def read_candidates(path: Path) -> pa.Table:
    """Read candidates from a Parquet, CSV or JSON lines file, by its suffix; ids in CSV stay text.

    Raises:
        InputError: When it cannot be read.
    """
    if missing := no_file(path):
        raise InputError(missing)
    try:
        match path.suffix.lower():
            case ".csv":
                text = csv.ConvertOptions(column_types={"query_id": pa.string(), "item_id": pa.string()})
                return csv.read_csv(path, convert_options=text)
            case ".jsonl" | ".ndjson":
                return json.read_json(path)
            case _:
                return parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet, CSV (.csv) or JSON lines (.jsonl): {error}") from error


def _finite_scores(table: pa.Table) -> Vectors:
    scores = number_column(table, "score")
    if len(invalid := np.flatnonzero(~np.isfinite(scores))):
        query, item, score = (table.column(name)[int(invalid[0])].as_py() for name in ("query_id", "item_id", "score"))
        raise InputError(
            f"{len(invalid)} of {len(scores)} scores are no finite numbers, first of item {item!r} for query {query!r} "
            f"in row {invalid[0] + 1}: {score!r}; mend them, or leave out the column 'score'"
        )
    return scores


def candidates_from_table(
    table: pa.Table, retriever: Retriever, histories: LoggedHistories, at: int | None = None
) -> Candidates:
    """Make candidates of a table of ``query_id, item_id`` and perhaps ``score``, for users of a log.

    They are read as a batch job reads them, see `FlatCandidates`: without a score, the exact inner product of user and
    item is taken. A row that a job would set aside is an error here.

    Args:
        table: The candidates.
        retriever: Of the bundle.
        histories: Of the users.
        at: When all users ask; see `BatchConfig`.

    Raises:
        InputError: When a column is missing or holds something else, a score is not finite, a query has the same
            candidate twice, or a query_id is no user with a history.
        UnknownItemError: When an item_id is not in the bundle.
    """
    check_columns(table.schema, NEEDED, (), "candidates")
    columns = {name: text_column(table, name) for name in NEEDED}
    item_ids = pc.unique(columns["item_id"]).to_pylist()
    retriever.items.rows([item_id for item_id in item_ids if known_row(retriever.items, item_id) is None])
    if "score" in table.column_names:
        columns["score"] = pa.array(_finite_scores(table))
    plain = pa.table(columns).sort_by("query_id")
    source = FlatCandidates(TableFile(Path("candidates"), plain), histories, retriever.items, {})
    if at is not None:
        source.check_times()
    users = UserLines((), (), (), ())
    for chunk in source.chunks(0, max(len(table), 1), timed=at is not None):  # one at most
        if chunk.quarantined:
            faults = [f"query {row.query_id!r}: {row.reason}" for row in chunk.quarantined[:3]]
            raise InputError(f"the candidates of {len(chunk.quarantined)} queries cannot be used: {'; '.join(faults)}")
        users = chunk.users
    warn_of_later_interactions(users.num_later(at), len(users))
    note_returning(retriever.state, users.histories, returning=at is not None)
    return replace(listed_candidates(retriever, users, at), learned=retriever.learned.learned_from)
