"""An event loop whose time passes as soon as nothing is left to do, so that what waits is counted and not timed."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing: the time that it should wait for has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will happen")
        self.now += timeout
        return super().select(0)


def run_in_virtual_time(work: Coroutine[Any, Any, T], monkeypatch: pytest.MonkeyPatch) -> T:
    """Run a coroutine that waits for time alone; `time.perf_counter` has the time of the loop, from 0."""
    selector = _Skipping()
    loop = asyncio.SelectorEventLoop(selector)
    monkeypatch.setattr(loop, "time", lambda: selector.now)
    monkeypatch.setattr(time, "perf_counter", lambda: selector.now)
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
