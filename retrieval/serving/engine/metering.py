"""What the service measures of itself: the protocol, and one that measures nothing."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, get_args

from retrieval.candidates import Source
from retrieval.serving.engine.request import RequestContext

Reason = Literal[
    "queue_full", "deadline", "stopping", "opening", "client_gone", "events_busy", "access", "host", "body"
]
REASONS: tuple[Reason, ...] = get_args(Reason)
Problem = Literal["bundle", "recall", "scenarios", "events"]
"""Why a service is degraded: the bundle cannot be followed or is damaged, its index finds too little, scenarios
cannot answer, or the last write of live events failed."""

Observer = Callable[[RequestContext, str, int], None]
"""Is called with each request when it was answered, with the template of its route and its status."""


class Meter(Protocol):
    """Takes measurements; all names and labels are of closed sets."""

    def answered(self, request: RequestContext, route: str, status: int) -> None:
        """Count a request and the seconds of its stages."""
        ...

    def rejected(self, reason: Reason) -> None:
        """Count a request that was refused."""
        ...

    def waiting(self, kind: str, count: int) -> None:
        """Say how many queries of a kind of work wait now."""
        ...

    def event(self, type: str, lag: float) -> None:
        """Count a live event that was written, and the seconds from its time until then."""
        ...

    def event_log_failed(self) -> None:
        """Count a request for which the log of live events could not be written or read."""
        ...

    def fallback(self, source: Source, count: int) -> None:
        """Count hits of recommendations that know nothing of the user."""
        ...

    def serving(
        self,
        generation: str,
        change: int,
        recall: Mapping[str, float],
        problems: Mapping[Problem, bool],
        learned_until: float,
    ) -> None:
        """Say which state of the bundle is served now.

        Args:
            generation: Its name.
            change: Number of the last change of it.
            recall: By the kind of query.
            problems: What is wrong with it.
            learned_until: Seconds since 1970 of the last interaction that it learned from; 0 where that is not known.
        """
        ...

    def exposition(self) -> bytes:
        """Give all measurements in the text format of Prometheus."""
        ...


class NoMeter:
    """Measures nothing."""

    def answered(self, request: RequestContext, route: str, status: int) -> None:
        """Count nothing."""

    def rejected(self, reason: Reason) -> None:
        """Count nothing."""

    def waiting(self, kind: str, count: int) -> None:
        """Count nothing."""

    def event(self, type: str, lag: float) -> None:
        """Count nothing."""

    def event_log_failed(self) -> None:
        """Count nothing."""

    def fallback(self, source: Source, count: int) -> None:
        """Count nothing."""

    def serving(
        self,
        generation: str,
        change: int,
        recall: Mapping[str, float],
        problems: Mapping[Problem, bool],
        learned_until: float,
    ) -> None:
        """Count nothing."""

    def exposition(self) -> bytes:
        """Give nothing."""
        return b""
