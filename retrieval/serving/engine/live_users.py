"""Users of the log of live events, as `Retriever.recommend` takes histories: whoever is unknown has an empty one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from indexing.errors import InputError
from retrieval.interactions.event_types import USUAL_TYPES, EventTypes
from retrieval.interactions.histories import all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.parse_values import Moment
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import UserHistories

if TYPE_CHECKING:
    from retrieval.serving.events.event_log import EventLog


def event_types(state: LoadedBundle) -> EventTypes:
    """Give what each type of event meant to `fit`, so that live histories weigh alike, and usual ones beside these."""
    learned = state.learned.event_types
    return USUAL_TYPES if learned is None else EventTypes({**USUAL_TYPES.types, **learned.types})


def histories_of_users(
    state: LoadedBundle,
    events: "EventLog | None",
    user_ids: Sequence[str],
    times: Moment | Sequence[Moment] | None = None,
) -> UserHistories:
    """Read the histories of users as they are now.

    Raises:
        InputError: When the service has no log of live events.
    """
    log = _log(events).interactions_of(user_ids, event_types(state))
    return histories_of(state, log, user_ids).asking_at(times)


def histories_of_session(
    state: LoadedBundle, events: "EventLog | None", session: str, times: Moment | Sequence[Moment] | None = None
) -> UserHistories:
    """Read the history of a session as it is now.

    Raises:
        InputError: When the service has no log of live events.
    """
    log = _log(events).interactions_of_sessions([session], event_types(state))
    return histories_of(state, log, [session]).asking_at(times)


def histories_of(state: LoadedBundle, log: Interactions, user_ids: Sequence[str]) -> UserHistories:
    """Give the histories of users of a log, without items that the bundle lacks; an empty one where there is none."""
    names = tuple(user_ids)
    logged = all_histories(log, state.items)
    numbers = logged.numbers(names)
    rows, weights = logged.histories(numbers)
    last = np.full(len(names), -1, np.int64)
    is_known = numbers >= 0
    last[is_known] = logged.last_times(numbers[is_known])
    least = logged.min_relevance if len(logged.rows) else None
    return replace(UserHistories(list(rows), list(weights), None, names), min_relevance=least, last=last)


def _log(events: "EventLog | None") -> "EventLog":
    if events is None:
        raise InputError("this service has no log of live events; give histories, or start it with --events URL")
    return events
