"""What is known of the request that is being answered, for all that works for it."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from indexing.errors import CommonspaceError
from retrieval.serving.engine.stages import Stage, StageTimes

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class AccessError(CommonspaceError):
    """A request that its token does not allow.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        method: Of HTTP; ``"other"`` for one that has no name there.
        traceparent: The header of this name: the trace that the request belongs to.
        generation: That of the state that answers; None where none does.
        users_refused: Why what is known of a named user is not told to who asks; None where it is.
        stages: Where its time goes.
    """

    request_id: str
    started: float
    deadline: float
    notes: list[str] = field(default_factory=list)
    is_gone: Callable[[], Awaitable[bool]] = _never_gone
    method: str = "other"
    traceparent: str | None = None
    generation: str | None = None
    users_refused: AccessError | None = None
    stages: StageTimes = field(init=False)

    def __post_init__(self) -> None:
        self.stages = StageTimes(self.started)

    @classmethod
    def begin(cls, seconds: float, request_id: str | None = None) -> "RequestContext":
        """Begin a request that has so many seconds; an id that the client gives is kept if it is a plain name."""
        valid = request_id is not None and REQUEST_ID.fullmatch(request_id) is not None
        now = time.perf_counter()
        return cls(request_id if valid and request_id else uuid.uuid4().hex, now, now + seconds)

    def note(self, text: str) -> None:
        """Say something beside the answer, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, below 0 after it."""
        return self.deadline - time.perf_counter()


CURRENT: ContextVar[RequestContext | None] = ContextVar("commonspace_request", default=None)


def current_request() -> RequestContext:
    """Give the request that is being answered; a new one outside of requests."""
    return CURRENT.get() or RequestContext.begin(60.0)


def check_reads_users(told: str, instead: str) -> None:
    """Check that what is known of users of the log of live events goes to who may read it.

    Args:
        told: What an answer would tell, for the message.
        instead: What to ask for without a token.

    Raises:
        AccessError: When the request has no token that allows it.
    """
    refused = current_request().users_refused
    if refused is not None:
        raise AccessError(refused.status, f"{told}, and {refused}, or {instead}")


class stage:  # noqa: N801 - used as a function
    """Counts the time until the end of the block for a stage of the request that is being answered, if there is one."""

    __slots__ = ("_name", "_times")

    def __init__(self, name: Stage) -> None:
        request = CURRENT.get()
        self._name, self._times = name, None if request is None else request.stages

    def __enter__(self) -> None:
        if self._times is not None:
            self._times.enter(self._name)

    def __exit__(self, *_: object) -> None:
        if self._times is not None:
            self._times.leave()
