"""Calls that write and read what users do."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from indexing.errors import InputError
from indexing.runtime.arguments import check_list, shown
from retrieval.serving.client.calls import Call, per_call_of, posting, reading
from retrieval.serving.client.options import PerCall
from retrieval.serving.schemas.events import Accepted, ForgottenUser, MergedUsers, UserEvents


def write_events(
    events: Sequence[Mapping[str, Any] | Any] = (),
    impressions: Sequence[Mapping[str, Any]] = (),
    **options: Unpack[PerCall],
) -> Call[Accepted]:
    """Write what users do, and what they were shown, whole or not at all; they are on disk when this answers.

    An event without an ``event_id`` gets one before it is sent, so that what the client sends again counts once. Give
    your own where you send events again after an error.

    Args:
        events: Mappings as ``{"user_id": "ann", "item_id": "mug", "type": "view"}``, or each an
            `retrieval.serving.events.Event`.
        impressions: Mappings as ``{"user_id": "ann", "request_id": answer.request_id, "item_ids": ["mug"]}``.
        options: Those of `PerCall`.
    """
    check_list(events, "events")
    check_list(impressions, "impressions")
    body = {"events": [_named(event, place) for place, event in enumerate(events)], "impressions": list(impressions)}
    return Call("POST", "/events", reading(Accepted), per_call_of(options), body=body, access="write")


def _named(event: Any, place: int) -> dict[str, Any]:  # noqa: ANN401 - what a caller gave
    """Give an event a name if it has none."""
    if dataclasses.is_dataclass(event) and not isinstance(event, type):
        event = {name: value for name, value in dataclasses.asdict(event).items() if value not in (None, "")}
    if not isinstance(event, Mapping):
        raise InputError(f"events[{place}] is {shown(event)}; give a mapping, or an Event")
    return {**event, "event_id": event.get("event_id") or uuid.uuid4().hex}


def merge_users(anonymous: str, known: str, **options: Unpack[PerCall]) -> Call[MergedUsers]:
    """Say that two names are one person: all events of the first name belong to the second."""
    call = posting("/users/merge", MergedUsers, {"anonymous": anonymous, "known": known}, options)
    return dataclasses.replace(call, access="write", repeatable=False)


def forget_user(user_id: str, **options: Unpack[PerCall]) -> Call[ForgottenUser]:
    """Remove all events, sessions and names of a user."""
    return Call(
        "DELETE",
        "/users/{user_id}",
        reading(ForgottenUser),
        per_call_of(options),
        names={"user_id": user_id},
        access="write",
        repeatable=False,
    )


def events_of(
    user_id: str, limit: int = 100, before: int | None = None, **options: Unpack[PerCall]
) -> Call[UserEvents]:
    """Give the last events of a user, the latest first; those before ``next_before`` of an answer are the next page."""
    return Call(
        "GET",
        "/users/{user_id}/events",
        reading(UserEvents),
        per_call_of(options),
        names={"user_id": user_id},
        params={"limit": limit} | ({} if before is None else {"before": before}),
    )
