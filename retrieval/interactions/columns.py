"""Finds the columns of a log, by name or by common names."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of
from indexing.errors import InputError, InteractionsError, examples
from indexing.runtime.arguments import shown

Repeats = Literal["last", "sum", "max"]
"""Of several weights that a user gave an item, at different times, count the last one, their sum or the largest.

``"last"`` is for ratings, which are changed: the earlier ones are forgotten. ``"sum"`` is for counts, as of plays.
``"max"`` is for events, such as a view and then a purchase. The interaction counts from the time of the last one, with
``"max"`` from that of the first of the largest.
"""
REPEATS: tuple[Repeats, ...] = ("last", "sum", "max")


class DistinctPairs(NamedTuple):
    """One interaction for each pair of user and item.

    Attributes:
        positions: (n,) int64, ascending, in the input.
        weights: (n,) float32.
    """

    positions: Rows
    weights: Vectors


def distinct_pairs(
    pairs: NDArray[np.int64], weights: Vectors, rule: Repeats, rows: Rows | None = None
) -> DistinctPairs:
    """Keep one interaction of each pair.

    Args:
        pairs: (N,) a number for each pair of user and item, in time order.
        weights: (N,) float32.
        rule: Which one.
        rows: (N,) their rows in the log, for messages.

    Raises:
        InteractionsError: When weights add up to more than float32 holds.

    >>> distinct_pairs(np.array([7, 7, 8]), np.array([5, 1, 3], np.float32), "last")
    DistinctPairs(positions=array([1, 2]), weights=array([1., 3.], dtype=float32))
    """
    if not len(pairs):
        return DistinctPairs(np.empty(0, np.int64), weights)
    place = np.arange(len(pairs))
    first = -weights if rule == "max" else -place
    order = np.lexsort((place, first, pairs))
    starts = np.flatnonzero(np.diff(pairs[order], prepend=pairs[order][0] - 1))
    kept = order[starts]
    told = weights[kept]
    if rule == "sum":
        told = _summed(weights[order], starts, None if rows is None else rows[kept])
    ascending = np.argsort(kept)
    return DistinctPairs(kept[ascending], told[ascending])


def _summed(weights: Vectors, starts: Rows, rows: Rows | None) -> Vectors:
    """Sum the weights from each of P starts: (P,) float32. ``rows`` has the last row of each."""
    sums = np.add.reduceat(weights.astype(np.float64), starts)
    max_weight = float(np.finfo(np.float32).max)
    if len(overflows := np.flatnonzero(np.abs(sums) > max_weight)):
        row = "" if rows is None else f", the last of them in row {rows[overflows[0]]} (from 0)"
        raise InteractionsError(
            f"the weights of {len(overflows)} pairs of user and item add up to more than {max_weight:.2g}, those of "
            f"the first to {sums[overflows[0]]:.2g}{row}",
            python="give smaller weights, or count the last or the largest, by repeats='last' or 'max'",
            cli="give smaller weights, or count the last or the largest, by --repeats last or max",
            http="give smaller weights",
        )
    return sums.astype(np.float32)


def last_of_each(rows: Rows, lengths: NDArray[np.int64]) -> Mask:
    """Mark the last occurrence of each item in a history: (T,) bool.

    Histories as lists are read as a log is with ``"last"``.

    Args:
        rows: (T,) the items of B histories that follow each other, each oldest first.
        lengths: (B,) of each history.

    >>> last_of_each(np.array([4, 7, 4, 4]), np.array([3, 1])).tolist()
    [False, True, True, True]
    """
    pairs = np.repeat(np.arange(len(lengths)), lengths) * (1 + int(rows.max(initial=0))) + rows
    mask = np.zeros(len(rows), np.bool_)
    mask[distinct_pairs(pairs, np.zeros(len(rows), np.float32), "last").positions] = True
    return mask


def last_of_each_item(
    histories: Sequence[Rows], weights: Sequence[Vectors] | None = None
) -> tuple[list[Rows], list[Vectors] | None]:
    """Keep the last interaction with each item of a history, with its weight; see `last_of_each`."""
    rows = np.concatenate([np.empty(0, np.int64), *histories])
    lengths = lengths_of(histories)
    mask = np.split(last_of_each(rows, lengths), np.cumsum(lengths)[:-1]) if len(lengths) else []
    kept = [history[mask] for history, mask in zip(histories, mask, strict=True)]
    return kept, None if weights is None else [field[mask] for field, mask in zip(weights, mask, strict=True)]


NAMES = ("user_id", "item_id", "timestamp", "weight")
RATINGS = ("rating", "ratings", "stars", "overall")
"""Names of weights that are ratings: of several that a user gave an item the last one counts."""
COUNTS = ("plays", "playcount", "listens", "listencount")
"""Names of weights that are counts, without underscores: several of one user and one item are added up."""
# Compared without case, spaces and punctuation: userId, USER_ID and "user id" are equal.
_COMMON = {
    "user_id": ("user", "customer_id", "visitor_id", "reviewer_id", "member_id", "account_id", "uid"),
    "item_id": (
        *("item", "movie_id", "asin", "track_id", "product_id", "article_id", "book_id", "song_id", "video_id"),
        *("news_id", "game_id", "sku"),
    ),
    "timestamp": (
        *("datetime", "time", "ts", "date", "unix_timestamp", "event_time", "created_at", "listened_at", "played_at"),
    ),
    "weight": (*RATINGS, *COUNTS),
    "event": ("event_type", "action", "behavior"),
    "position": ("rank", "slot", "place"),
    "request_id": ("request", "impression_id", "list_id", "page_view_id"),
}
_OPTIONS = {
    "user_id": "--user-column",
    "item_id": "--item-column",
    "timestamp": "--time-column",
    "weight": "--weight-column",
}
_DESCRIPTIONS = {
    "user_id": "users",
    "item_id": "items",
    "timestamp": "times",
    "weight": "weights",
    "event": "events to weigh",
    "position": "positions",
    "request_id": "requests",
}


@dataclass(frozen=True)
class InteractionColumns:
    """The columns of a log.

    A name left at its default may also be a common one, in upper or lower case alike: ``user`` or ``customer_id``;
    ``item``, ``movieId``, ``asin``, ``track_id`` or ``product_id``; ``datetime``, ``time``, ``ts`` or ``date``;
    ``rating``, ``stars``, ``overall``, ``plays`` or ``play_count``; ``event_type``, ``action`` or ``behavior``. Where
    several match, it is an error: give the name.

    Attributes:
        user_id: Of the user.
        item_id: Of the item.
        timestamp: The time; without it the order of interactions is unknown, whatever the order of rows.
        weight: The weight; without it each interaction has weight 1.
        event: The type of event; read only if weights of events are given.
    """

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str | None = "timestamp"
    weight: str | None = "weight"
    event: str = "event"

    def check(self) -> None:
        """Check that columns are names.

        Raises:
            InputError: When one is something else.
        """
        for name, value in vars(self).items():
            optional = name in ("timestamp", "weight")
            if not isinstance(value, str) and not (optional and value is None):
                hint = "give the name of a column" + (", or None for a log without" if optional else "")
                raise InputError(f"the column {name} is {shown(value)}; {hint}")

    def names_in(self, names: Sequence[str]) -> dict[str, str]:
        """Give the names in the log of the columns that it has, by field.

        Raises:
            InteractionsError: When a required or named column is missing, or several match.
        """
        found = {}
        for field in NAMES:
            if match := self._match(field, names):
                found[field] = match
            elif field in ("user_id", "item_id") or getattr(self, field) not in (field, None):
                raise self._missing(field, names)
        return found

    def event_in(self, names: Sequence[str]) -> str:
        """Give the name in the log of the column of events.

        Raises:
            InteractionsError: When there is none, or several match.
        """
        if match := self._match("event", names):
            return match
        raise self._missing("event", names)

    def has_events(self, names: Sequence[str]) -> bool:
        """Say whether there is a column of events; see `event_in`."""
        return self._match("event", names) is not None

    def unread_events(self, names: Sequence[str]) -> str:
        """Give the column of events that is not read; "" without one, or when several match."""
        try:
            return self._match("event", names) or ""
        except InteractionsError:
            return ""

    def _match(self, field: str, names: Sequence[str]) -> str | None:
        requested: str | None = getattr(self, field)
        return None if requested is None else match_column(field, requested, names)

    def _missing(self, field: str, names: Sequence[str]) -> InteractionsError:
        return column_error(missing_column(field, getattr(self, field), names), field)


def match_column(
    field: str,
    requested: str,
    names: Sequence[str],
    error: Callable[[str, str], InteractionsError] | None = None,
) -> str | None:
    """Find a column by its name, or by a common name where ``requested`` is the default.

    Args:
        field: What the column holds, such as ``"user_id"``, which is its default name, too.
        requested: The requested name.
        names: The columns of the table.
        error: Makes the error from the problem and the field; `column_error` when None.

    Raises:
        InteractionsError: When several match.

    >>> match_column("item_id", "item_id", ["userId", "movieId"])
    'movieId'
    """
    if requested in names:
        return requested
    for tried in (requested, *(_COMMON[field] if requested == field else ())):
        matches = [name for name in names if plain_name(name) == plain_name(tried)]
        if len(set(matches)) > 1:
            raise (error or column_error)(_several(field, matches), field)
        if matches and plain_name(tried) == plain_name(requested):
            return matches[0]
        if matches:
            break
    else:
        return None
    common = {plain_name(name) for name in _COMMON[field]}
    several = list(dict.fromkeys(name for name in names if plain_name(name) in common))
    if len(several) > 1:
        raise (error or column_error)(_several(field, several), field)
    return several[0]


def missing_column(field: str, requested: str, names: Sequence[str]) -> str:
    """Describe a missing column: the names that were tried, and the columns of the table."""
    tried = [requested, *(_COMMON[field] if requested == field else ())]
    more = " and the like" if len(tried) > 3 else ""
    names_tried = " or ".join(map(repr, tried[:3]))
    return f"there is no column {names_tried}{more} of {_DESCRIPTIONS[field]}; the columns are {list(names)}"


def plain_name(name: str) -> str:
    """Give a name without case, spaces and punctuation.

    >>> plain_name("User_ID") == plain_name("userId")
    True
    """
    return re.sub(r"[\W_]", "", name).casefold()


def default_repeats(weight: str) -> Repeats:
    """Give the rule for repeated interactions with one item, by the name of the column of weights.

    >>> [default_repeats(name) for name in ("Rating", "play_count", "weight")]
    ['last', 'sum', 'max']
    """
    name = plain_name(weight)
    return "last" if name in RATINGS else "sum" if name in COUNTS else "max"


def column_error(problem: str, column: str) -> InteractionsError:
    """Give the error of a column that cannot be found, with how to name it in Python and on the command line."""
    option = _OPTIONS.get(column)
    user = "; a single user is chosen in `commonspace recommend` alone" if column == "user_id" else ""
    return InteractionsError(
        problem,
        python=f"say which it is with InteractionColumns({column}=…)",
        cli=f"name it with {option}{user}" if option else f"call it {column!r}",
        http=f"call it {column!r}",
    )


def _several(field: str, names: Sequence[str]) -> str:
    return f"several columns could be that of {_DESCRIPTIONS[field]}: {examples(names, len(names))}"
