"""Admission of work: bounds, deadlines, clients that are gone, and one rule for single queries and batches."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from retrieval.serving.config import Limits
from retrieval.serving.engine.admission import Admission, ClientGoneError, OverloadedError
from retrieval.serving.engine.metering import NoMeter
from retrieval.serving.engine.request import CURRENT, RequestContext


class Counting(NoMeter):
    """Counts refusals by their reason."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def rejected(self, reason: str) -> None:
        self.reasons.append(reason)


class Work:
    """Work that begins, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()
        self.done: list[int] = []

    def numbered(self, number: int) -> Callable[[], int]:
        def run() -> int:
            self.begun.release()
            assert self.may_end.wait(10)
            self.done.append(number)
            return number

        return run


def asked(
    admission: Admission, run: Callable[[], Any], cost: int = 1, seconds: float = 10.0,
    is_gone: Callable[[], Awaitable[bool]] | None = None,
) -> "asyncio.Task[Any]":  # fmt: skip
    async def request() -> Any:  # noqa: ANN401
        context = RequestContext.begin(seconds)
        if is_gone is not None:
            context.is_gone = is_gone
        CURRENT.set(context)
        return await admission.run("search", run, cost=cost)

    return asyncio.create_task(request())


def started(limits: Limits, test: Callable[[Admission, Counting, Work], Coroutine[Any, Any, None]]) -> None:
    meter, work = Counting(), Work()
    admission = Admission(limits, meter)

    async def run() -> None:
        try:
            await test(admission, meter, work)
        finally:
            work.may_end.set()
            await asyncio.to_thread(admission.close)

    asyncio.run(run())


async def begun(work: Work, times: int = 1) -> None:
    for _ in range(times):
        assert await asyncio.to_thread(work.begun.acquire, timeout=10)


async def refused(task: "asyncio.Task[Any]") -> tuple[int, str]:
    with pytest.raises(OverloadedError) as raised:
        await task
    assert raised.value.retry_after >= 1
    return raised.value.status, raised.value.reason


def test_what_is_admitted_is_done_in_order() -> None:
    async def test(admission: Admission, _: Counting, work: Work) -> None:
        tasks = [asked(admission, work.numbered(at)) for at in range(5)]
        await begun(work)
        assert admission.depth() == {"search": 4}
        work.may_end.set()
        assert list(await asyncio.gather(*tasks)) == work.done == list(range(5))
        assert admission.depth() == {"search": 0}

    started(Limits(concurrency=1), test)


@pytest.mark.parametrize("cost", [1, 8])
def test_a_full_queue_refuses_singles_and_batches_alike(cost: int) -> None:
    async def test(admission: Admission, meter: Counting, work: Work) -> None:
        first = asked(admission, work.numbered(0))
        await begun(work)
        batch = asked(admission, work.numbered(1), cost=8)  # may be larger than the queue, which is empty
        await asyncio.sleep(0)
        assert await refused(asked(admission, work.numbered(2), cost=cost)) == (429, "queue_full")
        assert meter.reasons == ["queue_full"]
        work.may_end.set()
        assert list(await asyncio.gather(first, batch)) == [0, 1]

    started(Limits(concurrency=1, queue=4), test)


def test_a_deadline_that_passes_while_waiting() -> None:
    async def test(admission: Admission, meter: Counting, work: Work) -> None:
        first = asked(admission, work.numbered(0))
        await begun(work)
        assert await refused(asked(admission, work.numbered(1), seconds=0.05)) == (503, "deadline")
        assert admission.depth() == {"search": 0}
        work.may_end.set()
        assert await first == 0
        assert await asked(admission, work.numbered(2)) == 2
        assert work.done == [0, 2]
        assert meter.reasons == ["deadline"]

    started(Limits(concurrency=1), test)


def test_work_beyond_its_deadline_keeps_its_place_until_it_ends() -> None:
    async def test(admission: Admission, _: Counting, work: Work) -> None:
        assert await refused(asked(admission, work.numbered(0), seconds=0.05)) == (503, "deadline")
        waiting = asked(admission, work.numbered(1))
        await asyncio.sleep(0.05)
        assert admission.depth() == {"search": 1}  # never two threads where one is allowed
        work.may_end.set()
        assert await waiting == 1

    started(Limits(concurrency=1), test)


def test_work_of_a_client_that_is_gone_is_not_begun() -> None:
    async def gone() -> bool:
        return True

    async def test(admission: Admission, meter: Counting, work: Work) -> None:
        first = asked(admission, work.numbered(0))
        await begun(work)
        lost = asked(admission, work.numbered(1), is_gone=gone)
        last = asked(admission, work.numbered(2))
        work.may_end.set()
        with pytest.raises(ClientGoneError):
            await lost
        assert list(await asyncio.gather(first, last)) == work.done == [0, 2]
        assert meter.reasons == ["client_gone"]

    started(Limits(concurrency=1), test)


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def test(admission: Admission, _: Counting, work: Work) -> None:
        first = asked(admission, work.numbered(0))
        await begun(work)
        lost, last = asked(admission, work.numbered(1)), asked(admission, work.numbered(2))
        await asyncio.sleep(0)
        lost.cancel()
        await asyncio.sleep(0.05)
        assert admission.depth() == {"search": 1}
        work.may_end.set()
        assert list(await asyncio.gather(first, last)) == [0, 2]

    started(Limits(concurrency=1), test)


def test_nothing_is_admitted_while_stopping() -> None:
    async def test(admission: Admission, meter: Counting, work: Work) -> None:
        admission.stopping = True
        assert await refused(asked(admission, work.numbered(0))) == (503, "stopping")
        assert meter.reasons == ["stopping"]

    started(Limits(), test)


def test_an_error_of_the_work_is_raised() -> None:
    def fail() -> None:
        raise KeyError("as it was")

    async def test(admission: Admission, _: Counting, work: Work) -> None:
        with pytest.raises(KeyError, match="as it was"):
            await asked(admission, fail)
        work.may_end.set()
        assert await asked(admission, work.numbered(1)) == 1

    started(Limits(concurrency=1), test)
