"""Users of the log of live events, as `Retriever.recommend` takes histories: whoever is unknown has an empty one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrieval.interactions.histories import all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.parse_values import Moment
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import UserHistories

if TYPE_CHECKING:
    from retrieval.serving.events.event_log import EventLog


def histories_of_users(
    state: LoadedBundle,
    events: "EventLog",
    user_ids: Sequence[str],
    times: Moment | Sequence[Moment] | None = None,
) -> UserHistories:
    """Read the histories of users as they are now."""
    log = events.interactions_of(user_ids, state.learned.live_types)
    return histories_of(state, log, user_ids).asking_at(times)


def histories_of_session(
    state: LoadedBundle, events: "EventLog", session: str, times: Moment | Sequence[Moment] | None = None
) -> UserHistories:
    """Read the history of a session as it is now."""
    log = events.interactions_of_sessions([session], state.learned.live_types)
    return histories_of(state, log, [session]).asking_at(times)


def histories_of(state: LoadedBundle, log: Interactions, user_ids: Sequence[str]) -> UserHistories:
    """Give the histories of users of a log, without items that the bundle lacks; an empty one where there is none."""
    logged = all_histories(log, state.items)
    return UserHistories.of_logged(logged, logged.numbers(user_ids), user_ids)
