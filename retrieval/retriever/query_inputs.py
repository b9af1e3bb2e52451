"""Inputs of queries that are no files: texts, histories and times are checked and read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.arrow_tables import is_table
from indexing.encoders.inference.batching import checked_texts
from indexing.errors import CommonspaceWarning, InputError, ShapeError, examples
from indexing.runtime.arguments import check_array, check_list, check_names, shown
from indexing.runtime.warn import warn
from retrieval.interactions.columns import last_of_each_item
from retrieval.interactions.event_types import LearnedEvents
from retrieval.interactions.histories import LoggedHistories, all_histories
from retrieval.interactions.interactions import Interactions, read_as_learned
from retrieval.interactions.known_items import LoggedItems, check_known
from retrieval.interactions.parse_values import Moment, request_seconds
from retrieval.ranking.explain import finite_weights


def check_texts(texts: Sequence[str]) -> None:
    """Check the texts of queries: each must have a printable character.

    Raises:
        InputError: When one is not, with its position.
    """
    check_list(texts, "texts")
    checked_texts(texts)
    for place, text in enumerate(texts):
        if not any(character.isprintable() and not character.isspace() for character in text):
            raise InputError(f"text {place} is {text!r:.60}, in which there is nothing to search for; leave it out")


def check_histories(histories: Sequence[Rows], items: int) -> None:
    """Check that histories are rows of so many items.

    Raises:
        InputError: When they are something else, with the position.
    """
    check_list(histories, "histories")
    if all(isinstance(one, np.ndarray) and one.ndim == 1 and one.dtype == np.int64 for one in histories):
        together = np.concatenate([np.empty(0, np.int64), *histories])  # all at once, as they mostly are right
        if not together.size or 0 <= together.min() <= together.max() < items:
            return
    for user, history in enumerate(histories):
        rows = check_array(history, f"histories[{user}]", np.int64, "give the rows of items, as ItemIds.rows does")
        if rows.ndim != 1 or (rows.size and not 0 <= rows.min() <= rows.max() < items):
            raise InputError(f"histories[{user}] is {shown(history)}; give rows from 0 to {items - 1}")


def check_history_weights(weights: object, histories: Sequence[Sequence[str]]) -> None:
    """Check that weights are a list of numbers for each history.

    Raises:
        InputError: When they are something else, with the position.
    """
    if weights is None:
        return
    check_list(weights, "weights")
    for user, one in enumerate(weights):  # type: ignore[var-annotated, arg-type]
        check_list(one, f"weights[{user}]")
        try:
            np.asarray(one, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"weights[{user}] are {one!r:.60}, expected a number for each item ({error})") from error
    if len(weights) != len(histories):  # type: ignore[arg-type]
        raise ShapeError(f"{len(weights)} weights for {len(histories)} histories; give a list for each")  # type: ignore[arg-type]


class LaterInteractionsWarning(CommonspaceWarning):
    """Users are asked for at a time before their last interaction."""


IN_VISIT: Final = "in_visit"
LastTimes: TypeAlias = Sequence[Moment | None] | Literal["in_visit"] | None
"""Times of last interactions, or that each request is within the visit of the last one; see `Retriever.recommend`."""

Histories: TypeAlias = Sequence[Sequence[str]] | Interactions | pa.Table | Path | str | Any
"""Item ids a user, oldest first; or a log: `Interactions`, the path or URL of one, or a table or DataFrame."""


@dataclass(frozen=True, eq=False)
class UserHistories:
    """Histories of B users to recommend for.

    Attributes:
        rows: For each the rows of the history, oldest first, each item once.
        weights: How much each of these was liked; all alike when None.
        times: (B,) int64, seconds since 1970 of each request; None is after all interactions learned from.
        last: (B,) int64, time of the last interaction, -1 for an empty history; None if unknown.
        user_ids: Their names; none at all when they have none.
        min_relevance: Interactions of a smaller weight are dislikes, as the log says of itself; None without a log. A
            request of it has what the bundle makes of that.
    """

    rows: list[Rows]
    weights: list[Vectors] | None
    times: NDArray[np.int64] | None
    user_ids: tuple[str, ...]
    min_relevance: float | None = None
    last: NDArray[np.int64] | None = None

    @property
    def idle(self) -> Vectors | None:
        """(B,) float32, days between the last interaction and the request; None within the same visit."""
        return None if self.times is None or self.last is None else idle_days(self.times, self.last)

    @classmethod
    def of_lists(
        cls,
        given: Any,  # noqa: ANN401 - checked here
        items: ItemIds,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        last_times: Sequence[Moment | None] | None = None,
    ) -> "UserHistories":
        """Make histories of lists of item_ids, with weights and the times of the last interactions if there are any.

        Raises:
            UnknownItemError: When an id is not in the bundle.
            InputError: When a history is no list, weights are no numbers, or a time is no whole number.
            ShapeError: When weights or times and histories do not fit.
        """
        names = tuple(check_names(user_ids, "user_ids"))
        check_list(given, "histories")
        for user, history in enumerate(given):
            check_list(history, f"histories[{user}]")
        check_history_weights(weights, given)
        found = [items.rows(history) for history in given]
        rows, told = last_of_each_item(found, None if weights is None else finite_weights(weights, found))
        return cls(rows, told, None, names, None, _last_times(last_times, rows))

    @classmethod
    def of_log(
        cls, log: Interactions, items: ItemIds, user_ids: Sequence[str] = (), *, timed: bool = True
    ) -> "UserHistories":
        """Make histories of a log, with its weights.

        Args:
            log: Interactions of the users; items that the bundle lacks are left out, with an `UnknownItemsWarning`.
            items: Of the bundle.
            user_ids: The users to recommend for; all of the log when empty.
            timed: Whether the log must have times.

        Raises:
            InputError: When a user is not in the log, the log has no item of the bundle, or it has no times.
        """
        user_ids, known = check_names(user_ids, "user_ids"), LoggedItems.of(log, items)
        check_known(log, items, user_ids, known)
        logged = all_histories(log, items, known)
        if timed:
            check_has_times(logged)
        names = tuple(user_ids) or tuple(logged.names.to_pylist())
        numbers = logged.numbers(names)
        if missing := [name for name, number in zip(names, numbers.tolist(), strict=True) if number < 0]:
            raise InputError(
                f"{len(missing)} of the users are not in the log, e.g. {examples(missing)}; leave them out, or ask for "
                "them with an empty history"
            )
        return cls.of_logged(logged, numbers, names)

    @classmethod
    def of_logged(
        cls, logged: LoggedHistories, numbers: NDArray[np.int64], user_ids: Sequence[str] = ()
    ) -> "UserHistories":
        """Take the histories of users at positions of a log, an empty one for -1; see `LoggedHistories.numbers`."""
        rows, weights = logged.histories(numbers)
        least = logged.min_relevance if len(logged.rows) else None
        return cls(list(rows), list(weights), None, tuple(user_ids), least, logged.last_times(numbers))

    def take(self, at: Rows) -> "UserHistories":
        """Keep the users at some positions, in that order."""
        places = at.tolist()
        return replace(
            self,
            rows=[self.rows[place] for place in places],
            weights=None if self.weights is None else [self.weights[place] for place in places],
            times=None if self.times is None else self.times[at],
            user_ids=tuple(self.user_ids[place] for place in places) if self.user_ids else (),
            last=None if self.last is None else self.last[at],
        )

    def asking_at(self, times: Moment | Sequence[Moment] | None, *, in_visit: bool = False) -> "UserHistories":
        """Set the times of the requests: one for all users, or one for each; see `request_seconds`.

        Args:
            times: When users ask; None is after all interactions learned from.
            in_visit: Whether these times are known to be within the visits of the last interactions.

        Raises:
            InputError: When one cannot be read, or it is not known when users did the last interaction.
            ShapeError: When there are more or fewer than users.
        """
        if times is None:
            return self
        count, which = len(self.rows), "one for all or one for each"
        if _is_listed(times):
            asked_at = checked_times(times, count, "times", which)
        else:
            asked_at = np.repeat(request_seconds([times], "times", which), count)
        asked = replace(self, times=asked_at)
        if self.last is not None:
            warn_of_later_interactions(int((asked_at < self.last).sum()), count)
        elif not in_visit and any(map(len, self.rows)):
            raise InputError(
                "times say when users ask, and lists of items do not say when each user did the last interaction; give "
                "last_times, too, or 'in_visit' as last_times where each user asks in the visit of that interaction"
            )
        return asked


def idle_days(times: int | NDArray[np.int64], last: NDArray[np.int64]) -> Vectors:
    """Give the days between the last interactions, -1 for none, and requests: (B,) float32, none below 0."""
    apart = np.where(last < 0, 0, np.maximum(times - last, 0))
    return (apart / SECONDS_PER_DAY).astype(np.float32)


def warn_of_later_interactions(early: int, count: int) -> None:
    """Warn that some users, of so many, are asked for at a time before their last interaction, if any are."""
    if early:
        warn(
            f"{early} of {count} users are asked for at a time before their last interaction, which counts "
            "nevertheless; give the log up to that time to leave it out",
            LaterInteractionsWarning,
        )


def check_has_times(logged: LoggedHistories) -> None:
    """Check that a log has times, by which it is known how long users were away.

    Raises:
        InputError: When it has none.
    """
    if not logged.has_times:
        raise no_times()


def no_times() -> InputError:
    """Give the error for a time of request with a log without times."""
    return InputError(
        "the log has no times, so that it does not say when each user did the last interaction",
        python="name its column of times, or give no time of the request: users are then answered as in a visit",
        cli="name its column by --time-column, or leave out --at: users are then answered as in a visit",
        http="leave out times: users are then answered as in a visit",
    )


def _last_times(given: Sequence[Moment | None] | None, histories: Sequence[Rows]) -> NDArray[np.int64] | None:
    """Check the times of the last interactions, and give -1 for empty histories."""
    if given is None:
        return None
    listed = _listed_times(given, len(histories), "last_times", "one for each history")
    is_read = lengths_of(histories) > 0
    read = [one if used else 0 for one, used in zip(listed, is_read.tolist(), strict=True)]
    hint = "one for each history; ask for users whose last time is not known in a request of their own without times"
    return np.where(is_read, request_seconds(read, "last_times", hint), -1)


def checked_times(given: Any, count: int, name: str, which: str) -> NDArray[np.int64]:  # noqa: ANN401 - checked here
    """Give times of so many users as seconds since 1970: a list, or an array of NumPy, pandas, polars or Arrow.

    Raises:
        InputError: When one cannot be read as a time.
        ShapeError: When there are more or fewer.
    """
    return request_seconds(_listed_times(given, count, name, which), name, which)


def _listed_times(given: Any, count: int, name: str, which: str) -> list[Any]:  # noqa: ANN401 - checked here
    if not isinstance(given, Sequence | np.ndarray) and hasattr(given, "__array__"):
        given = given.to_pylist() if hasattr(given, "to_pylist") else list(given)
    check_list(given, name)
    if len(given) != count:
        raise ShapeError(f"{len(given)} {name} for {count} users; give {which}")
    return list(given)


def _is_listed(value: object) -> bool:
    """Whether a value is a list or an array, and neither a text nor one number or time of NumPy."""
    is_array = hasattr(value, "__array__") and not isinstance(value, np.generic)
    return is_array or (isinstance(value, Sequence) and not isinstance(value, str))


def as_log(given: Histories, learned: LearnedEvents | None) -> Interactions | None:
    """Give a log as `Interactions`, read by the types of events of a bundle, and None where histories are lists.

    Raises:
        InteractionsError: When a table or file is no log.
    """
    return read_as_learned(given, learned) if isinstance(given, Interactions | Path | str) or is_table(given) else None
