"""When a request is sent again, and after how many seconds."""

from dataclasses import dataclass
from typing import Any

from retrieval.serving.client.calls import Call
from retrieval.serving.client.errors import OverloadedError, ServiceError, UnreachableError

FIRST_PAUSE = 0.1  # seconds, where no connection could be made; doubled each time
SPREAD = 0.5  # a pause is longer by up to this share, so that clients do not come back together


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again.

    A request is sent again after the seconds of Retry-After, or where there was no connection; never where that would
    end after its time, or where a second time would do more than the first.

    Attributes:
        count: Further times, at most.
    """

    count: int = 3

    def pause(self, call: Call[Any], error: ServiceError, number: int, left: float, draw: float) -> float | None:
        """Give the seconds until a request is sent again, None where it is not.

        Args:
            call: The request.
            error: What came of it.
            number: How often it was sent again already.
            left: Seconds of the time of the request.
            draw: A random number from 0 to 1.
        """
        if number >= self.count:
            return None
        if isinstance(error, OverloadedError) and call.repeatable:
            pause = error.retry_after
        elif isinstance(error, UnreachableError) and (call.repeatable or not error.sent):
            pause = FIRST_PAUSE * 2**number
        else:
            return None
        pause *= 1 + SPREAD * draw
        return pause if pause < left else None
