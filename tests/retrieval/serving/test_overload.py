"""Admission while more is asked for than can be done, in virtual time: each request takes ten milliseconds."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from retrieval.serving.engine.admission import BRIEF, LONG, WINDOW, OverloadedError, WorkQueue
from retrieval.serving.engine.metering import NoMeter
from retrieval.serving.engine.request import RequestContext
from tests.retrieval.serving.conftest import Started
from tests.retrieval.serving.virtual_time import run_in_virtual_time

TAKES = 0.01
DEADLINE = 5.0


class Asked:
    """Requests of a queue, and what became of each.

    Attributes:
        admitted: When each came that was answered, and the seconds until then.
        refused: When each came that was refused, the seconds until then, and the status.
    """

    def __init__(self, at_once: int, most_waiting: int = 64) -> None:
        self.queue = WorkQueue("search", at_once, most_waiting, NoMeter())
        self.admitted, self.refused = list[tuple[float, float]](), list[tuple[float, float, int]]()
        self._tasks = list["asyncio.Task[None]"]()

    def ask(self, takes: float = TAKES) -> None:
        """Ask now."""
        self._tasks.append(asyncio.create_task(self._request(takes)))

    async def at_rate(self, rate: float, seconds: float, seed: int | None = None) -> None:
        """Ask so many times a second, evenly, or at random times if there is a seed."""
        random, until = np.random.default_rng(seed), time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.ask()
            await asyncio.sleep(1 / rate if seed is None else random.exponential(1 / rate))

    async def end(self) -> None:
        """Wait until all are answered."""
        await asyncio.gather(*self._tasks)
        self.queue.threads.shutdown()

    async def _request(self, takes: float) -> None:
        came = time.perf_counter()
        try:
            await self.queue.enter(RequestContext.begin(DEADLINE), 1)
        except OverloadedError as refused:
            self.refused.append((came, time.perf_counter() - came, refused.status))
            return
        await asyncio.sleep(takes)
        self.queue.leave(takes, 1)
        self.admitted.append((came, time.perf_counter() - came))


@pytest.mark.parametrize("at_once", [1, 2, 4])
@pytest.mark.parametrize(("times_capacity", "seed"), [(2, None), (5, None), (20, None), (5, 0), (20, 0)])
def test_whoever_gets_a_place_in_an_overload_has_waited_for_a_moment(
    at_once: int, times_capacity: int, seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = at_once / TAKES

    async def run() -> Asked:
        asked = Asked(at_once)
        await asked.at_rate(times_capacity * capacity, 4, seed)
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    later = np.array([seconds for came, seconds in asked.admitted if came > 1])  # at first it is a burst
    assert later.max() < 2 * TAKES + 1e-9
    assert np.median(later) < TAKES * (1 + 1 / times_capacity) + 1e-9  # the newest waits until a place is free
    assert len(later) > 0.9 * 3 * capacity  # and places are not left free for it
    assert {status for _, _, status in asked.refused} == {429}
    assert max(waited for came, waited, _ in asked.refused if came > 1) < TAKES + 1e-9


def test_a_burst_is_served_in_order_while_nothing_else_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Asked:
        asked = Asked(1)
        for _ in range(60):
            asked.ask()
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert asked.refused == []
    np.testing.assert_allclose([seconds for _, seconds in asked.admitted], TAKES * np.arange(1, 61))


@pytest.mark.parametrize(("at_once", "takes"), [(1, TAKES), (2, TAKES), (2, 0.1), (4, 0.3)])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2])
def test_a_burst_is_not_refused_while_little_else_comes(
    at_once: int, takes: float, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Asked:
        asked = Asked(at_once)
        asked.ask(takes)
        await asyncio.sleep(1.1 * takes)
        for _ in range(60):
            asked.ask(takes)
            await asyncio.sleep(spread / 60)
        while asked.queue.waiting:  # a third of what can be done
            asked.ask(takes)
            await asyncio.sleep(3 * takes / at_once)
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert asked.refused == []
    assert max(seconds for _, seconds in asked.admitted) > 5 * takes


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_an_overload_is_seen_after_two_windows_and_whoever_has_waited_is_refused_then(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Asked:
        asked = Asked(at_once)
        await asked.at_rate(3 * at_once / TAKES, 1)
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    seen = min(came + waited for came, waited, _ in asked.refused if waited)
    assert 2 * WINDOW < seen < 2 * WINDOW + 10 * TAKES
    assert max(came + waited for came, waited in asked.admitted if waited > 2 * TAKES + 1e-9) < seen + 2 * TAKES


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_half_of_what_can_be_done_is_hardly_ever_refused(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Asked:
        asked = Asked(at_once)
        await asked.at_rate(0.5 * at_once / TAKES, 40, seed=0)
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert len(asked.refused) < 0.005 * len(asked.admitted)


def test_as_many_clients_as_twice_the_places_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def client(asked: Asked) -> None:
        for _ in range(300):
            await asked._request(TAKES)

    async def run() -> Asked:
        asked = Asked(2)
        await asyncio.gather(*(client(asked) for _ in range(4)))
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert asked.refused == []


def refused_of_a_burst(rest: float, other: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """Give how many of twenty requests at once are refused some time after an overload of two places.

    Args:
        rest: That time.
        other: Requests a second that come meanwhile.
        monkeypatch: Puts virtual time in place.
    """

    async def run() -> int:
        asked = Asked(2)
        await asked.at_rate(1_000, 2)
        while asked.queue.waiting:
            await asyncio.sleep(TAKES / 10)
        await asked.at_rate(other, rest)
        before = len(asked.refused)
        for _ in range(20):
            asked.ask()
        await asked.end()
        return len(asked.refused) - before

    return run_in_virtual_time(run(), monkeypatch)


def test_a_burst_soon_after_an_overload_may_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused_of_a_burst(0.2, 10, monkeypatch) == 0
    assert refused_of_a_burst(0.5, 100, monkeypatch) == 0  # one of two places is free meanwhile
    assert refused_of_a_burst(0.001, 1_000, monkeypatch) > 0


def test_an_overload_that_pauses_is_seen_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Asked:
        asked = Asked(1)
        for _ in range(8):
            await asked.at_rate(500, 0.5)
            await asyncio.sleep(0.3)  # after which it is over
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert max(seconds for came, seconds in asked.admitted if came < 0.5) > 0.2  # taken for a burst
    assert max(seconds for came, seconds in asked.admitted if came > 0.5) < BRIEF + (LONG + 3) * TAKES


def test_a_place_that_is_free_for_a_moment_does_not_end_an_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Asked:
        asked = Asked(1)
        await asked.at_rate(500, 1)
        for _ in range(50):  # each time the queue runs empty, and what comes then finds a free place
            while asked.queue.waiting:
                await asyncio.sleep(TAKES / 10)
            await asyncio.sleep(1.1 * TAKES)
            for _ in range(20):
                asked.ask()
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert max(seconds for came, seconds in asked.admitted if came > 1) < 2 * TAKES + 1e-9


def test_a_request_that_its_place_comes_too_late_for_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Asked:
        asked = Asked(1)
        asked.ask(takes=20)
        asked.ask()
        await asked.end()
        return asked

    asked = run_in_virtual_time(run(), monkeypatch)
    assert [(came, round(waited, 6), status) for came, waited, status in asked.refused] == [(0.0, DEADLINE, 503)]
    assert asked.queue.waiting == 0


def test_only_in_an_overload_is_the_last_that_waits_fresh_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[bool]:
        asked = Asked(1)
        for _ in range(LONG + 10):
            asked.ask()
        await asyncio.sleep(0)
        seen = [asked.queue.has_fresh()]  # a burst
        await asked.at_rate(500, 1)
        asked.ask()
        await asyncio.sleep(0)
        seen.append(asked.queue.has_fresh())
        await asyncio.sleep(0.6 * TAKES)
        seen.append(asked.queue.has_fresh())  # it may have its place meanwhile
        await asked.end()
        return [*seen, asked.queue.has_fresh()]

    assert run_in_virtual_time(run(), monkeypatch) == [False, True, False, False]


def test_in_an_overload_a_request_is_refused_before_it_is_read(
    started: Started, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = started(shop)
    assert client.post("/search", json={"texts": ["a red shoe"]}).status_code == 200
    assert client.post("/search", content="no JSON").status_code == 422
    monkeypatch.setattr(WorkQueue, "has_fresh", lambda _: True)
    refused = client.post("/search", content="no JSON")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "OverloadedError"
    assert client.post("/recommend", json={"histories": [[]]}).status_code == 200  # another kind of work
    assert client.get("/live").status_code == 200
    metrics = client.get("/metrics").text
    assert 'commonspace_request_seconds_count{route="/search",status="429"} 1.0' in metrics
    assert 'commonspace_rejected_total{reason="queue_full"} 1.0' in metrics
