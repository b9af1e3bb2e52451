"""Histories as `Retriever.recommend` takes them: of users of the log of live events, and of lists of a request.

Who is unknown has an empty one. A client keeps histories longer than a catalogue keeps items, so items that the bundle
lacks are left out of lists too, and the answer says so. What is asked about itself, as the items of `/similar`, stays
an error.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import ShapeError, examples
from retrieval.interactions.histories import all_histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.parse_values import Moment
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import UserHistories
from retrieval.serving.config import MAX_EVENTS_READ
from retrieval.serving.engine.request import current_request

if TYPE_CHECKING:
    from retrieval.serving.events.event_log import EventLog

ItemLists = list[list[str]]
Weights = list[list[float]]


def histories_of_users(
    state: LoadedBundle,
    events: "EventLog",
    user_ids: Sequence[str],
    times: Moment | Sequence[Moment] | None = None,
) -> UserHistories:
    """Read the histories of users as they are now.

    Raises:
        InputError: When they have too many events together.
    """
    return histories_of(state, log_of_users(state, events, user_ids), user_ids).asking_at(times)


def log_of_users(state: LoadedBundle, events: "EventLog", user_ids: Sequence[str]) -> Interactions:
    """Read the events of users as they are now, as many as a request may read.

    Raises:
        InputError: When there are more.
    """
    return events.interactions_of(user_ids, state.learned.live_types, most=MAX_EVENTS_READ)


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


def known_of(items: ItemIds, lists: ItemLists, name: tuple[str, str] = ("history", "histories")) -> ItemLists:
    """Give lists of item_ids without what is not in a bundle, which is a note of the request.

    Args:
        items: Of the bundle.
        lists: Item_ids; one may be empty afterwards.
        name: What the note calls one of these lists, and several.
    """
    return _known(items, lists, None, name)[0]


def known_and_weights(items: ItemIds, lists: ItemLists, weights: Weights | None) -> tuple[ItemLists, Weights | None]:
    """Leave out unknown items of histories, as `known_of` does, and their weights with them.

    Raises:
        ShapeError: When items and weights of a history are not equally many.
    """
    return _known(items, lists, weights, ("history", "histories"))


def _known(
    items: ItemIds, lists: ItemLists, weights: Weights | None, name: tuple[str, str]
) -> tuple[ItemLists, Weights | None]:
    unknown = [[item for item in one if item not in items] for one in lists]
    if not any(unknown):
        return lists, weights
    if weights is not None:
        weights = [
            _of_known(items, one, of_items, place)
            for place, (one, of_items) in enumerate(zip(lists, weights, strict=True))
        ]
    _note(unknown, name)
    return [[item for item in one if item in items] for one in lists], weights


def _of_known(items: ItemIds, item_ids: Sequence[str], weights: Sequence[float], place: int) -> list[float]:
    if len(weights) != len(item_ids):
        raise ShapeError(
            f"history {place} has {len(item_ids)} items and {len(weights)} weights; give a weight for each item"
        )
    return [weight for item, weight in zip(item_ids, weights, strict=True) if item in items]


def _note(unknown: ItemLists, name: tuple[str, str]) -> None:
    left_out = [item for one in unknown for item in one]
    lists, count = sum(map(bool, unknown)), len(left_out)
    items, they = ("1 item", "it is") if count == 1 else (f"{count} items", "they are")
    verb = "is" if count == 1 else "are"
    current_request().note(
        f"{items} of {lists} {name[lists != 1]} {verb} not in this bundle, e.g. {examples(dict.fromkeys(left_out))}; "
        f"{they} left out"
    )
