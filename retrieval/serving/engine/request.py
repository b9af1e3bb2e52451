"""What is known of the request that is being answered, for all that works for it."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


async def _never_gone() -> bool:
    return False


@dataclass
class RequestContext:
    """One request.

    Attributes:
        request_id: Its name, in the answer and in its header.
        started: When it arrived, by `time.perf_counter`.
        deadline: When it is given up, by the same clock.
        notes: What to say beside the answer.
        is_gone: Says whether the client has gone away.
    """

    request_id: str
    started: float
    deadline: float
    notes: list[str] = field(default_factory=list)
    is_gone: Callable[[], Awaitable[bool]] = _never_gone

    @classmethod
    def begin(cls, seconds: float, request_id: str | None = None) -> "RequestContext":
        """Begin a request that has so many seconds; an id that the client gives is kept if it is a plain name."""
        valid = request_id is not None and REQUEST_ID.fullmatch(request_id) is not None
        now = time.perf_counter()
        return cls(request_id if valid and request_id else uuid.uuid4().hex, now, now + seconds)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, below 0 after it."""
        return self.deadline - time.perf_counter()


CURRENT: ContextVar[RequestContext | None] = ContextVar("commonspace_request", default=None)


def current_request() -> RequestContext:
    """Give the request that is being answered; a new one outside of requests."""
    return CURRENT.get() or RequestContext.begin(60.0)
