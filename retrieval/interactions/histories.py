"""Histories of users from a log, and splits of a log by time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.interactions.columns import Repeats, distinct_pairs
from retrieval.interactions.context import Context, joined_context
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import LoggedItems, check_known, no_known_item
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class History:
    """The interactions of one user, oldest first.

    Attributes:
        user_id: The user.
        rows: (n,) int64, rows of the items in the bundle, each at most once.
        timestamps: (n,) int64, seconds since 1970 (UTC), ascending.
        weights: (n,) float32.
        context: The context of each interaction; None without columns of it.
    """

    user_id: str
    rows: Rows
    timestamps: NDArray[np.int64]
    weights: NDArray[np.float32]
    context: Context | None = None

    @classmethod
    def empty(cls, user_id: str) -> "History":
        """Give an empty history."""
        return cls(user_id, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "History":
        context = None if self.context is None else self.context[part]
        return History(self.user_id, self.rows[part], self.timestamps[part], self.weights[part], context)

    def at(self, positions: NDArray[np.int64]) -> "History":
        """Give the interactions at some positions, in that order."""
        context = None if self.context is None else self.context[positions]
        return History(self.user_id, self.rows[positions], self.timestamps[positions], self.weights[positions], context)

    def counted_by(self, users: UserModel) -> "History":
        """Give the liked items, with interaction weights in place of the weights of the log."""
        liked = self.at(np.flatnonzero(users.is_liked(self.weights)))
        return replace(liked, weights=users.interaction_weights(liked.weights))

    def liked(self, min_relevance: float) -> Rows:
        """Give the rows of the items with at least this weight."""
        return self.rows[self.weights >= min_relevance]

    def after(self, time: int) -> "History":
        """Give the interactions after a time in seconds since 1970."""
        return self[int(np.searchsorted(self.timestamps, time, side="right")) :]

    def joined(self, later: "History") -> "History":
        """Append later interactions of the same user."""
        return History(
            self.user_id,
            np.concatenate([self.rows, later.rows]),
            np.concatenate([self.timestamps, later.timestamps]),
            np.concatenate([self.weights, later.weights]),
            joined_context([(self.context, len(self)), (later.context, len(later))]),
        )


@dataclass(frozen=True, eq=False)
class LoggedHistories:
    """The histories of U users of a log, one after the other, sorted by user_id, each oldest first.

    Attributes:
        names: U user_ids.
        starts: (U + 1,) int64, the start of each history, and the end of the last one.
        rows: (T,) int64, rows of the items in the bundle, in a history each at most once.
        timestamps: (T,) int64, seconds since 1970 (UTC).
        weights: (T,) float32.
        items: The items that the rows point into.
        min_relevance: The smallest weight that is no dislike; see `min_liked_weight`.
        context: The context of each interaction; None without columns of it.
        latest: (U,) int64, the time of the last interaction of each user in the log, which may be a repeated one, or
            one with an item that the bundle lacks. None where the histories alone say it.
    """

    names: pa.Array
    starts: NDArray[np.int64]
    rows: Rows
    timestamps: NDArray[np.int64]
    weights: NDArray[np.float32]
    items: ItemIds
    min_relevance: float = 0.0
    context: Context | None = None
    latest: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, log: Interactions, items: ItemIds, *, everyone: bool = False) -> "LoggedHistories":
        """Give the histories of the users who have an item of the bundle, or of everyone; see `histories`.

        Interactions with other items are left out, with an `UnknownItemsWarning`.

        Raises:
            InputError: When nobody has an item, or a weight is negative.
        """
        logged = LoggedItems.of(log, items)
        check_known(log, items, logged=logged)
        all_users = all_histories(log, items, logged)
        if not len(all_users.rows):
            raise InputError(no_known_item(logged.counted(log.table["user_id"]), items))
        if everyone:
            return all_users
        positions = np.flatnonzero(all_users.lengths)
        starts = np.append(0, np.cumsum(all_users.lengths[positions]))
        latest = None if all_users.latest is None else all_users.latest[positions]
        return replace(all_users, names=all_users.names.take(pa.array(positions)), starts=starts, latest=latest)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) int64, the length of each history."""
        return np.diff(self.starts)

    @property
    def has_times(self) -> bool:
        """Whether the log has times: without a column of times all are 0."""
        return bool(self.timestamps.any()) or not len(self.timestamps)

    def last_times(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the time of the last interaction of the users at positions, (B,) int64; -1 for empty histories."""
        if not len(self.timestamps):
            return np.full(len(numbers), -1, np.int64)
        starts, ends = self.starts[:-1][numbers], self.starts[1:][numbers]
        last = self.timestamps[ends - 1] if self.latest is None else self.latest[numbers]
        return np.where((numbers >= 0) & (ends > starts), last, -1)

    def numbers(self, names: pa.Array | Sequence[str]) -> NDArray[np.int64]:
        """Give the positions of users by name, (B,) int64; -1 for users who are not in the log."""
        names = names if isinstance(names, pa.Array) else pa.array(names, pa.string())
        positions = pc.index_in(names, value_set=self.names).fill_null(-1)
        numbers: NDArray[np.int64] = positions.to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers

    def of_user(self, number: int) -> History:
        """Give the history at a position; an empty one for -1."""
        if number < 0:
            return History.empty("")
        part = slice(self.starts[number], self.starts[number + 1])
        context = None if self.context is None else self.context[part]
        name = self.names[number].as_py()
        return History(name, self.rows[part], self.timestamps[part], self.weights[part], context)

    def histories(self, numbers: NDArray[np.int64]) -> tuple[tuple[Rows, ...], tuple[NDArray[np.float32], ...]]:
        """Give the rows and weights of the histories at positions; empty ones for -1."""
        parts = [
            slice(self.starts[number], self.starts[number + 1]) if number >= 0 else slice(0)
            for number in numbers.tolist()
        ]
        return tuple(self.rows[part] for part in parts), tuple(self.weights[part] for part in parts)


def histories(interactions: Interactions, items: ItemIds, *, min_length: int = 1) -> list[History]:
    """Gather each user's interactions with the items of a bundle; users sorted by id.

    Interactions with items that are not in the bundle are left out; see `retrieval.interactions.known_items`. Of a
    user's repeated interactions with an item one is kept, by ``interactions.repeats``: the last rating; or the last
    with the sum of the weights; or, of events, the first with the largest weight, such as a purchase after views.
    Without times the order of a history is random, whatever the order of rows.

    Args:
        interactions: The log.
        items: The items of the bundle.
        min_length: Leave out users with fewer distinct items than this.

    Raises:
        InputError: When a weight is negative.

    >>> log = pa.table({"user": ["b", "a", "b", "b"], "item": ["mug", "cup", "cup", "mug"], "time": [1, 2, 3, 4]})
    >>> found = histories(Interactions.from_arrow(log), ItemIds(["cup", "mug"]))
    >>> [(history.user_id, history.rows.tolist()) for history in found]
    [('a', [0]), ('b', [1, 0])]
    """
    logged = all_histories(interactions, items)
    return [logged.of_user(number) for number in np.flatnonzero(logged.lengths >= max(min_length, 1)).tolist()]


def all_histories(interactions: Interactions, items: ItemIds, logged: LoggedItems | None = None) -> LoggedHistories:
    """Give the histories of all users in a few arrays, also of users without an item of the bundle.

    Args:
        interactions: The log.
        items: The items of the bundle.
        logged: The items of the log, where they were looked up before.

    Raises:
        InputError: When a weight is negative.
    """
    _check_signs(interactions)
    logged = LoggedItems.of(interactions, items) if logged is None else logged
    table, item_codes = interactions.table, logged.codes
    rows = logged.rows[item_codes]
    is_known = rows >= 0
    rows = rows[is_known]
    users, user_ids = numbered(table["user_id"])
    latest = np.zeros(len(user_ids), np.int64)
    np.maximum.at(latest, users, table["timestamp"].to_numpy())
    users = users[is_known]
    pairs, weights = users * max(len(items), 1) + rows, table["weight"].to_numpy()[is_known]
    kept = distinct_pairs(pairs, weights, interactions.repeats)  # the log is in time order
    if interactions.has_times:
        order = np.argsort(users[kept.positions], kind="stable")
    else:
        drawn = drawn_numbers(user_ids, users[kept.positions], logged.item_ids, item_codes[is_known][kept.positions])
        order = np.lexsort((drawn, users[kept.positions]))
    positions, kept_weights = kept.positions[order], kept.weights[order]
    starts = np.append(0, np.cumsum(np.bincount(users[positions], minlength=len(user_ids)))).astype(np.int64)
    timestamps = table["timestamp"].to_numpy()[is_known][positions]
    names = pa.array(user_ids, pa.string())
    context = Context.of_log(table, interactions.context_columns)
    context = None if context is None else context[np.flatnonzero(is_known)[positions]]
    found = LoggedHistories(names, starts, rows[positions], timestamps, kept_weights, items, 0.0, context, latest)
    return replace(found, min_relevance=min_liked_weight([found], interactions.repeats))


def min_liked_weight(histories: Sequence[History | LoggedHistories], repeats: Repeats) -> float:
    """Give the smallest rating that is no dislike: half of the largest, as 1 or 2 of 5 are not; 0 of other weights.

    Counts and events are never dislikes: an item that was bought once is not disliked.
    """
    if repeats != "last":
        return 0.0
    return max((float(history.weights.max()) for history in histories if len(history.weights)), default=0.0) / 2


def hold_out_last(interactions: Interactions, share: float = 0.2) -> tuple[Interactions, Interactions]:
    """Split each user's interactions by time: the earlier ones, and the last ``ceil(share * n)``.

    At least one interaction of every user stays in the first part, so a user with a single one is wholly
    there. Of interactions in the same second, those later in the log count as later. Without times, as many items of
    each user are drawn by a hash of user and item: always the same, whatever the other rows of the log. Events
    that decay are weighted as of the end of their part.

    Raises:
        InputError: When the share is not between 0 and 1.

    >>> log = pa.table({"user": ["a", "a", "a", "b"], "item": ["mug", "cup", "jar", "mug"], "time": [1, 2, 3, 3]})
    >>> earlier, later = hold_out_last(Interactions.from_arrow(log))
    >>> earlier.table["item_id"].to_pylist(), later.table["item_id"].to_pylist()
    (['mug', 'cup', 'mug'], ['jar'])
    """
    if not 0 < share < 1:
        raise InputError(f"a share of {share} cannot be held out; give a number between 0 and 1")
    rows = interactions.rows
    users, names = numbered(rows["user_id"])
    lengths = np.bincount(users, minlength=len(names))
    if interactions.has_times:
        order = np.argsort(users, kind="stable")
        position = np.empty(len(users), np.int64)
        position[order] = np.arange(len(users)) - (np.cumsum(lengths) - lengths)[users[order]]
    else:
        position, lengths = _random_positions(rows, users, names)
    # 0.07 * 100 is a hair above 7 in floating point and must not be rounded up to 8.
    held = np.minimum(np.ceil(share * lengths - 1e-9), lengths - 1)
    late = position >= (lengths - held)[users]
    return interactions.part(~late), interactions.part(late)


def _random_positions(
    table: pa.Table, users: NDArray[np.int64], names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each row the random position of its item among those of its user, and the number of items of each user."""
    items, item_ids = numbered(table["item_id"])
    drawn = drawn_numbers(names, users, item_ids, items)
    order = np.lexsort((items, drawn, users))
    new_user = np.diff(users[order], prepend=-1) != 0
    new_item = new_user | (np.diff(items[order], prepend=-1) != 0)
    lengths = np.bincount(users[order][new_item], minlength=len(names))
    ranks = np.cumsum(new_item) - 1
    position = np.empty(len(users), np.int64)
    position[order] = ranks - (np.cumsum(lengths) - lengths)[users[order]]
    return position, lengths


def numbered(ids: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Number users or items in the order of their ids: (N,) int64, and the ids."""
    encoded = ids.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[encoded.indices.to_numpy()], encoded.dictionary.take(order).to_pylist()


def check_weights(interactions: Interactions) -> None:
    """Check the signs of weights.

    Raises:
        InputError: When one is negative, or none is above 0.
    """
    _check_signs(interactions)
    weights = interactions.table["weight"].to_numpy()
    if not (weights > 0).any():
        raise InputError(
            f"all {len(weights)} interactions weigh 0, so that nothing was liked; give weights above 0, or read the "
            "log without them"
        )


def _check_signs(interactions: Interactions) -> None:
    if interactions.events is not None:  # types of events say themselves what is a dislike
        return
    weights = interactions.table["weight"].to_numpy()
    if len(bad := np.flatnonzero(weights < 0)):
        first = {name: interactions.table[name][int(bad[0])].as_py() for name in ("user_id", "item_id", "weight")}
        raise InputError(
            f"{len(bad)} interactions weigh less than nothing, the first: {first}; give what was disliked a small "
            "weight beside larger ones, as ratings do, or leave it out"
        )


def drawn_numbers(
    user_ids: Sequence[str], users: NDArray[np.int64], item_ids: Sequence[str], items: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Draw a number for each interaction, from the names of its user and its item alone: (n,) uint64.

    Args:
        user_ids: Names.
        users: (n,) positions among these.
        item_ids: Names.
        items: (n,) positions among these.

    >>> one = drawn_numbers(["ann", "bob"], np.array([0, 1, 0]), ["mug", "cup"], np.array([0, 0, 1]))
    >>> other = drawn_numbers(["bob"], np.array([0]), ["mug"], np.array([0]))
    >>> one.argsort().tolist(), bool(one[1] == other[0])
    ([0, 2, 1], True)
    """
    of_user, of_item = _hashes(user_ids)[users], _hashes(item_ids)[items]
    mixed = (of_user << np.uint64(32)) | of_item
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed


def _hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([crc32(name.encode("utf-8", "surrogatepass")) for name in names], np.uint64)
