"""Bodies of live events and of users."""

from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, Tag

from retrieval.serving.config import MAX_K, MAX_NAME_CHARACTERS, MAX_POSITION
from retrieval.serving.schemas import answer_examples
from retrieval.serving.schemas.answers import Body
from retrieval.serving.schemas.base import Strict, Time, examples

MAX_EVENTS = 1_000
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]


class Whose(Strict):
    """Whose something is, and in which answer it was shown."""

    user_id: _Name | None = Field(default=None, description="Who; left out where only the session is known.")
    session_id: _Name | None = Field(default=None, description="In which visit.")
    time: Time | None = Field(default=None, description="When it was; now when left out.")
    variant: _Name | None = Field(default=None, description="The `variant` of the answer.")


class EventIn(Whose):
    """What somebody did with an item."""

    item_id: _Name
    type: _Name = Field(description="As 'view', 'like', 'cart', 'buy' or 'hide'.")
    weight: Annotated[float, Field(gt=0, le=1e6)] = Field(default=1.0, description="Multiplies that of the type.")
    position: Annotated[int, Field(ge=1, le=MAX_POSITION)] | None = None
    request_id: _Name | None = Field(default=None, description="The `request_id` of the answer that showed the item.")
    event_id: _Name | None = Field(default=None, description="A second event of the same name is not counted.")


class ShownIn(Whose):
    """What was shown of an answer, from the first place on."""

    request_id: _Name = Field(description="The `request_id` of the answer.")
    item_ids: Annotated[list[_Name], Field(min_length=1, max_length=MAX_K)]


class EventsIn(Strict):
    """A batch: all of it is written, or nothing."""

    events: Annotated[list[EventIn], Field(max_length=MAX_EVENTS)] = Field(default=[])
    impressions: Annotated[list[ShownIn], Field(max_length=100)] = Field(default=[])


def _is_batch(value: Any) -> str:  # noqa: ANN401 - any JSON
    names = value if isinstance(value, dict) else vars(value) if isinstance(value, BaseModel) else ()
    return "batch" if "events" in names or "impressions" in names else "one"


EventsBody = Annotated[
    Annotated[EventIn, Tag("one")] | Annotated[EventsIn, Tag("batch")],
    Discriminator(_is_batch),
]
"""One event, or a batch."""


class MergeIn(Strict):
    """Two names of one person."""

    model_config = examples([{"anonymous": "session:s-1", "known": "ann"}])
    anonymous: _Name = Field(description="The name until now, as an anonymous user or 'session:ID'.")
    known: _Name = Field(description="To whom all of it belongs from now on.")


class Accepted(Body):
    """What became of events; they are on disk, and the next answer reflects them."""

    model_config = examples(answer_examples.ACCEPTED)

    request_id: str
    accepted: int
    duplicates: int = Field(description="How many were there already, by event_id.")
    forgotten: int = Field(description="How many were left out, as their user was forgotten after they happened.")
    unknown_items: list[str] = Field(description="The first items that the bundle does not have; they are kept.")


class MergedUsers(Body):
    """To whom everything belongs."""

    model_config = examples(answer_examples.MERGED)

    request_id: str
    user_id: str
    events: int = Field(description="How many events of the other name there were.")


class ForgottenUser(Body):
    """What was removed of a user."""

    model_config = examples(answer_examples.FORGOTTEN)

    request_id: str
    events: int
    aliases: int = Field(description="How many other names the user had.")


class EventOut(Body):
    """An event as it was written."""

    sequence: int
    event_id: str
    user_id: str
    session_id: str | None
    item_id: str
    type: str
    time: int
    weight: float
    position: int | None
    request_id: str | None
    variant: str | None
    received: int = Field(description="Microseconds since 1970.")


class UserEvents(Body):
    """The last events of a user, the latest first."""

    model_config = examples(answer_examples.USER_EVENTS)

    request_id: str
    events: list[EventOut]
    next_before: int | None = Field(description="Give it as `before` for the next page; null after the last one.")
