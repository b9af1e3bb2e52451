"""From files to batches: users with their histories, and candidates that another process made."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, json, parquet

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, examples
from indexing.media.files import no_file
from retrieval.batch.tables import number_column, text_column
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History, histories, least_liked
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import no_known_item
from retrieval.retriever.recommend import user_queries
from retrieval.retriever.retriever import Retriever


@dataclass(frozen=True)
class Users:
    """The users of a log.

    Attributes:
        histories: The item_ids of each user's history, oldest first.
        weights: How much each of these was liked.
        least: What weighs less was disliked, of a log of ratings; 0 of others; None where there is no log.
    """

    histories: dict[str, list[str]]
    weights: dict[str, list[float]]
    least: float | None = None

    def weights_of(self, users: Iterable[str]) -> list[list[float]]:
        """Give the weights of some users, as `Retriever.recommend` takes them."""
        return [self.weights[user] for user in users]


def users_of(
    log: Interactions, items: ItemIds, only: Collection[str] | None = None, new: Collection[str] = ()
) -> Users:
    """Give the history of each user of a log, without items that the bundle lacks.

    Args:
        log: What they did.
        items: The items of the bundle.
        only: Leave out all others.
        new: Users who may have done nothing yet, and are asked for all the same.

    Raises:
        InputError: When no user is left, or one that was asked for is not there.
    """
    every = histories(log, items)
    found = {history.user_id: history for history in every}
    if only:
        if missing := [user for user in only if user not in found and user not in new]:
            raise InputError(f"{len(missing)} users have no item of this bundle in the log, e.g. {examples(missing)}")
        found = {user: found.get(user) or History.empty(user) for user in only}
    if not found:
        raise InputError(no_known_item(log, items))
    return Users(
        {user: [items[row] for row in history.rows] for user, history in found.items()},
        {user: history.weights.tolist() for user, history in found.items()},
        least_liked(every, log.repeats),
    )


def relevant_items(
    log: Interactions, seen: Mapping[str, Collection[str]], least: float | None = None
) -> dict[str, list[str]]:
    """Give for each user of a later log the items to be found: those that are not in the history already.

    Items that the bundle lacks stay in: they were wanted, and cannot be found.

    Args:
        log: What came later.
        seen: The item_ids of each user's history.
        least: Interactions of a smaller weight are dislikes, and not to be found; `users_of` gives it as ``least``.
    """
    wanted: dict[str, list[str]] = {}
    table = log.table if least is None else log.table.filter(pc.greater_equal(log.table["weight"], least))
    for line in table.select(["user_id", "item_id"]).to_pylist():
        if line["item_id"] not in seen.get(line["user_id"], ()):
            wanted.setdefault(line["user_id"], []).append(line["item_id"])
    return wanted


def read_candidates(path: Path) -> pa.Table:
    """Read candidates from a Parquet, CSV or JSON lines file, told apart by the suffix; ids in CSV stay text.

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


def _pairs(line: Rows, found: Rows) -> Rows:
    """Number the different pairs of query and item: (K,) int64."""
    numbers: Rows = np.unique(np.stack([line, found]), axis=1, return_inverse=True)[1].ravel()
    return numbers


def _plain(table: pa.Table) -> pa.Table:
    """Give the columns of candidates as text and float32; without a score that of the order, the first being best."""
    texts = {name: text_column(table, name) for name in ("query_id", "item_id")}
    if "score" not in table.column_names:
        return pa.table({**texts, "score": -np.arange(len(table), dtype=np.float32)})
    scores = number_column(table, "score")
    if len(bad := np.flatnonzero(~np.isfinite(scores))):
        query, item, given = (table.column(name)[int(bad[0])].as_py() for name in ("query_id", "item_id", "score"))
        raise InputError(
            f"{len(bad)} of {len(scores)} scores are no finite numbers, first of item {item!r} for query {query!r} "
            f"in row {bad[0] + 1}: {given!r}; mend them, or leave out the column 'score'"
        )
    return pa.table({**texts, "score": scores})


def candidates_from_table(table: pa.Table, retriever: Retriever, users: Users) -> Candidates:
    """Make candidates of a table of ``query_id, item_id`` and perhaps ``score``, of users with a history.

    Raises:
        InputError: When a column is missing or holds something else, a score is no finite number, or a query_id is no
            known user.
        UnknownItemError: When an item_id is not in the bundle.
    """
    if missing := [name for name in ("query_id", "item_id") if name not in table.column_names]:
        raise InputError(f"the candidates lack {missing}; there are {table.column_names}")
    table = _plain(table).sort_by([("query_id", "ascending"), ("score", "descending")])
    ids = table.column("query_id").to_numpy(zero_copy_only=False).astype(str)
    query_ids, starts, lengths = np.unique(ids, return_index=True, return_counts=True)
    if unknown := [name for name in query_ids.tolist() if name not in users.histories]:
        raise InputError(f"{len(unknown)} query_ids have no history in the log, e.g. {examples(unknown)}")
    known = retriever.items.rows(table.column("item_id").to_pylist())
    line = np.repeat(np.arange(len(query_ids)), lengths)
    place = np.arange(len(known)) - np.repeat(starts, lengths)
    numbers = _pairs(line, known)
    if len(twice := np.flatnonzero(np.bincount(numbers) > 1)):
        first = int(np.flatnonzero(numbers == twice[0])[0])
        named, item = str(query_ids[line[first]]), retriever.items[known[first]]
        raise InputError(f"query {named!r} has the candidate {item!r} twice; give each candidate of a query once")
    rows = np.full((len(query_ids), int(lengths.max(initial=0))), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    rows[line, place] = known
    scores[line, place] = table.column("score").to_numpy()
    pasts = tuple(retriever.items.rows(users.histories[name]) for name in query_ids.tolist())
    names = tuple(query_ids.tolist())
    given = users.weights_of(names)
    queries = user_queries(retriever.state, pasts, given, least=users.least)
    weights = tuple(np.asarray(one, np.float32) for one in given)
    found = Candidates(queries, rows, scores, retriever.items, "retrieve", names, pasts, weights)
    return replace(found, learned=retriever.learned.learned_from)
