"""What is measured while requests are answered: the protocol, and one that measures nothing."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Meter(Protocol):
    """Takes measurements; all names and labels are of closed sets."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Measure the seconds of a stage."""
        ...

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request by the template of its route."""
        ...

    def rejected(self, reason: str) -> None:
        """Count a request that was refused."""
        ...

    def event(self, type: str, lag: float) -> None:
        """Count a live event, and the seconds from its time until it was applied."""
        ...

    def fallback(self, source: str) -> None:
        """Count a hit that comes from the fallback."""
        ...


class NoMeter:
    """Measures nothing."""

    def stage(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Measure nothing."""
        return nullcontext()

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count nothing."""

    def rejected(self, reason: str) -> None:
        """Count nothing."""

    def event(self, type: str, lag: float) -> None:
        """Count nothing."""

    def fallback(self, source: str) -> None:
        """Count nothing."""
