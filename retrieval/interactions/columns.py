"""Which columns of a log hold what: by name, or by the names that are common."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from indexing.errors import InteractionsError, examples
from retrieval.interactions.repeats import Repeats

NAMES = ("user_id", "item_id", "timestamp", "weight")
RATINGS = ("rating", "ratings", "stars", "overall")
"""Names of weights that are ratings: of several that a user gave an item the last one counts."""
COUNTS = ("plays", "playcount", "listens", "listencount")
"""Names of weights that are counts, without underscores: several of one user and one item are added up."""
# Compared without case, spaces and punctuation: userId, USER_ID and "user id" are one name.
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
}
_OPTIONS = {
    "user_id": "--user-column",
    "item_id": "--item-column",
    "timestamp": "--time-column",
    "weight": "--weight-column",
}
_WHAT = {
    "user_id": "users",
    "item_id": "items",
    "timestamp": "times",
    "weight": "weights",
    "event": "events to weigh",
}


@dataclass(frozen=True)
class InteractionColumns:
    """Which columns of a log hold what.

    A name left at its default may also be a common one, in upper or lower case alike: ``user`` or ``customer_id``;
    ``item``, ``movieId``, ``asin``, ``track_id`` or ``product_id``; ``datetime``, ``time``, ``ts`` or ``date``;
    ``rating``, ``stars``, ``overall``, ``plays`` or ``play_count``; ``event_type``, ``action`` or ``behavior``. Where
    two would do, neither is taken: say which it is.

    Attributes:
        user_id: Who.
        item_id: With what.
        timestamp: When; None, or left out of the log, means that nobody knows what came first: the order of its rows
            says nothing.
        weight: How much; None, or left out of the log, means that every interaction weighs 1.
        event: What kind of interaction; read only when weights of events are given.
    """

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str | None = "timestamp"
    weight: str | None = "weight"
    event: str = "event"

    def found_in(self, names: Sequence[str]) -> dict[str, str]:
        """Give the name in the log of each of the four that is there.

        Raises:
            InteractionsError: When a column that was asked for, or that no log can do without, is missing; or several
                would do.
        """
        found = {}
        for one in NAMES:
            if match := self._match(one, names):
                found[one] = match
            elif one in ("user_id", "item_id") or getattr(self, one) not in (one, None):
                raise self._missing(one, names)
        return found

    def event_in(self, names: Sequence[str]) -> str:
        """Give the name in the log of the column of events.

        Raises:
            InteractionsError: When there is none, or several would do.
        """
        if match := self._match("event", names):
            return match
        raise self._missing("event", names)

    def _match(self, one: str, names: Sequence[str]) -> str | None:
        wanted = getattr(self, one)
        if wanted is None or wanted in names:
            return wanted if wanted is None else str(wanted)
        for tried in (wanted, *(_COMMON[one] if wanted == one else ())):
            alike = [name for name in names if plain_name(name) == plain_name(tried)]
            if len(set(alike)) > 1:
                raise _several(one, alike)
            if alike and plain_name(tried) == plain_name(wanted):
                return alike[0]
            if alike:
                break
        else:
            return None
        common = {plain_name(name) for name in _COMMON[one]}
        several = list(dict.fromkeys(name for name in names if plain_name(name) in common))
        if len(several) > 1:
            raise _several(one, several)
        return several[0]

    def _missing(self, one: str, names: Sequence[str]) -> InteractionsError:
        wanted = getattr(self, one)
        tried = [wanted, *(_COMMON[one] if wanted == one else ())]
        more = " and the like" if len(tried) > 3 else ""
        return column_error(
            f"there is no column {' or '.join(map(repr, tried[:3]))}{more} of {_WHAT[one]}; the columns are "
            f"{list(names)}",
            one,
        )


def plain_name(name: str) -> str:
    """Give a name without case, spaces and punctuation.

    >>> plain_name("User_ID") == plain_name("userId")
    True
    """
    return re.sub(r"[\W_]", "", name).casefold()


def usual_repeats(weight: str) -> Repeats:
    """Say what counts of several interactions with one item, by the name of their weights.

    >>> [usual_repeats(name) for name in ("Rating", "play_count", "weight")]
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
    )


def _several(one: str, names: Sequence[str]) -> InteractionsError:
    return column_error(f"several columns could be that of {_WHAT[one]}: {examples(names, len(names))}", one)
