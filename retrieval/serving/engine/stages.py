"""Where the time of a request goes: each moment is of exactly one stage, so that stages add up to the request."""

import threading
import time
from dataclasses import dataclass
from typing import Literal, get_args

Stage = Literal[
    "http",  # what is no other: headers, the body and its checks, the answer on its way
    "queue",
    "open",  # another version of the bundle
    "history",
    "fetch",
    "encode",
    "search",
    "recommend",
    "rerank",
    "cross_encoder",
    "postprocess",
    "explain",
    "events",
    "media",
    "serialise",
    "other",  # what a thread does beside these
]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(slots=True)
class StageSpan:
    """A stage from its beginning to its end, with the stages within it.

    Attributes:
        name: The stage.
        start, end: By `time.perf_counter`.
        parent: Position of the stage around it among the spans; None where there is none.
    """

    name: Stage
    start: float
    end: float
    parent: int | None


class StageTimes:
    """The stages of one request.

    While a stage is within another, the time is of the inner one alone. A request may be answered while a thread still
    works for it, after its deadline: what begins or ends later is not of the request.

    Args:
        start: When the request began, by `time.perf_counter`.

    Attributes:
        start: That.
        end: When it was answered; None until then.
        seconds: Of each stage, without the stages within it.
        spans: In the order in which they began.
    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.end: float | None = None
        self.seconds: dict[Stage, float] = {}
        self.spans: list[StageSpan] = []
        self._open: list[int] = []
        self._since = start
        self._lock = threading.Lock()

    def enter(self, name: Stage) -> None:
        """Begin a stage, within the one that is open."""
        with self._lock:
            if self.end is None:
                now = self._counted()
                self.spans.append(StageSpan(name, now, now, self._open[-1] if self._open else None))
                self._open.append(len(self.spans) - 1)

    def leave(self) -> None:
        """End the stage that began last."""
        with self._lock:
            if self.end is None:
                now = self._counted()
                self.spans[self._open.pop()].end = now

    def close(self) -> float:
        """End the request, with the stages that are open; give its seconds, which are the sum over stages."""
        with self._lock:
            if self.end is None:
                self.end = self._counted()
                for place in self._open:
                    self.spans[place].end = self.end
            return self.end - self.start

    def _counted(self) -> float:
        """Count the time since the last look for the stage that is open; give the time."""
        now = time.perf_counter()
        name: Stage = self.spans[self._open[-1]].name if self._open else "http"
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
        return now
