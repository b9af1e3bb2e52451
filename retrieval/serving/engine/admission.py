"""Admission of work: each kind has a few threads and a bounded queue, and what cannot be done in time is refused."""

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from indexing.runtime.threads import cores
from retrieval.serving.config import Limits
from retrieval.serving.engine.metering import Meter, Reason
from retrieval.serving.engine.request import RequestContext, current_request, stage

T = TypeVar("T")
Kind = Literal["search", "recommend", "upload", "events", "admin"]
LONG = 5  # a wait is long if it is for the time that so many requests take
WINDOW = 0.2  # seconds after which it is seen whether fewer wait, at least; as long as a long wait where that is longer
BRIEF = 0.03  # seconds of long waits that are an overload again for the time AFTER one
AFTER = 2.0
SPARE = 0.2  # share of the time for which a place must be free, so that an overload is over
MOST_OVERLOAD = 40  # an overload counts for the time of so many requests, so that it is over soon after it ends
FRESH = 0.5  # share of the time that a request takes for which one that waits in an overload is not replaced early
LATE = 2.0  # seconds after the deadline for which the outcome of a change that has begun is awaited

AT_ONCE: dict[Kind, int] = {"events": 32}
"""Requests of a kind of work at once that wait for a disk rather than compute: what waits is written together."""


_REFUSED = {
    "queue_full": "too many requests wait",
    "deadline": "the request could not be answered in time",
    "stopping": "the service is stopping",
    "opening": "the version of the bundle that the request asks for is still being opened",
}


class OverloadedError(Exception):
    """A request that is refused.

    Attributes:
        status: 429 where the queue is full, 503 where the service cannot answer in time.
        reason: ``"queue_full"``, ``"deadline"``, ``"stopping"`` or ``"opening"``.
        retry_after: Seconds after which to ask again.
    """

    def __init__(self, status: int, reason: Reason, retry_after: int = 1) -> None:
        super().__init__(_REFUSED.get(reason, reason))
        self.status, self.retry_after = status, retry_after
        self.reason: Reason = reason

    @property
    def hint(self) -> str:
        """What to do."""
        return f"ask again in {self.retry_after} s"


class ClientGoneError(Exception):
    """A request whose client has gone, so that nobody waits for the answer."""


class Admission:
    """Runs work in threads, each kind within its bounds.

    A request costs as much as it has queries. It is admitted while fewer than ``limits.queue`` queries wait, and while
    those before it are expected to be done in the time that it may wait, see `WorkQueue`; this holds for single queries
    and for batches alike.
    """

    def __init__(self, limits: Limits, meter: Meter) -> None:
        self.limits, self.meter = limits, meter
        self._queues: dict[Kind, WorkQueue] = {}
        self.stopping = False

    async def run(self, kind: Kind, function: Callable[[], T], *, cost: int = 1, unknown: Exception | None = None) -> T:
        """Run a function in a thread of its kind of work, when its turn comes.

        Args:
            kind: Of the work.
            function: The work.
            cost: How many queries it has.
            unknown: What is raised of work that changes something and has begun, but has not ended `LATE` seconds after
                the deadline of the request; other work is given up at the deadline.

        Raises:
            OverloadedError: When it is refused, or not done at the deadline of the request.
            ClientGoneError: When nobody waits for it any more.
        """
        request = current_request()
        queue = self._queue(kind)
        try:
            if self.stopping:
                raise OverloadedError(503, "stopping")
            with stage("queue"):
                await queue.enter(request, max(cost, 1))
            return await self._in_thread(queue, request, function, max(cost, 1), unknown)
        except OverloadedError as refused:
            self.meter.rejected(refused.reason)
            raise
        except ClientGoneError:
            self.meter.rejected("client_gone")
            raise

    def refuse_early(self, kind: Kind) -> None:
        """Refuse a request of which nothing is read yet, if there is an overload and who waits has only just come.

        Reading and checking what will be refused takes the processor from what is being answered.

        Raises:
            OverloadedError: When it is refused.
        """
        queue = self._queues.get(kind)
        if queue is not None and queue.has_fresh():
            self.meter.rejected("queue_full")
            raise OverloadedError(429, "queue_full", queue.seconds_waiting())

    async def _in_thread(
        self,
        queue: "WorkQueue",
        request: RequestContext,
        function: Callable[[], T],
        cost: int,
        unknown: Exception | None,
    ) -> T:
        """Run a function that has a place; the place is free when it has ended, not when it is given up."""
        loop = asyncio.get_running_loop()
        if await request.is_gone():
            queue.leave(None, cost)
            raise ClientGoneError
        start = loop.time()
        future = loop.run_in_executor(queue.threads, contextvars.copy_context().run, _in_stage, function)
        future.add_done_callback(lambda _: queue.leave(loop.time() - start, cost))
        late = 0.0 if unknown is None else LATE
        done, _ = await asyncio.wait([future], timeout=max(request.seconds_left, 0.0) + late)
        if not done:
            future.add_done_callback(_ignored)
            if unknown is not None:
                raise unknown
            raise OverloadedError(503, "deadline", queue.seconds_waiting())
        return future.result()

    def depth(self) -> dict[str, int]:
        """Give how many queries wait, by the kind of work."""
        return {kind: queue.waiting for kind, queue in self._queues.items()}

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self.stopping = True
        for queue in self._queues.values():
            queue.threads.shutdown(wait=True, cancel_futures=True)

    def _queue(self, kind: Kind) -> "WorkQueue":
        if kind not in self._queues:
            threads = AT_ONCE.get(kind) or self.limits.concurrency or cores()
            self._queues[kind] = WorkQueue(kind, threads, self.limits.queue, self.meter)
        return self._queues[kind]


class WorkQueue:
    """The queue of one kind of work, first come, first served; used by the thread of the event loop alone.

    A burst may wait: what came at once is done one after the other, and fewer and fewer wait. Where waits are long and
    as many or more wait at the end of a window of time as at its beginning, more is asked for than can be done, and a
    queue would only make all answers late. Then no more wait than compute at once, and one that comes replaces the one
    that has waited for longest, which is refused: whoever gets a place has waited for a moment. That ends when places
    have been free for a share of the time: one that is free for a moment is chance. For some time after it less is
    taken for a burst, since an overload may pause.

    Args:
        kind: Its name.
        at_once: Requests that compute at once.
        most_waiting: Queries that may wait.
        meter: Is given how many wait.
    """

    def __init__(self, kind: str, at_once: int, most_waiting: int, meter: Meter) -> None:
        self.kind, self.at_once, self.most_waiting, self._meter = kind, at_once, most_waiting, meter
        self.threads = ThreadPoolExecutor(at_once, thread_name_prefix=f"commonspace-{kind}")
        self.running, self.waiting = 0, 0
        self._waiters: deque[tuple[asyncio.Future[bool], int]] = deque()  # told whether they got a place
        self._seconds_each = 0.0  # of a query, a moving average
        self._seconds = 0.0  # of a request
        self._window: tuple[float, float] | None = None  # while waits are long: when it began, how many waited then
        self._overload_since = math.inf  # later by the time for which a place was free
        self._overload_ended = -math.inf
        self._came = -math.inf  # when the last that had to wait came
        self._free_since = -math.inf  # since when a place is free, if one is; later where that was counted

    async def enter(self, request: RequestContext, cost: int) -> None:
        """Wait for a place.

        Raises:
            OverloadedError: When there is none before the deadline.
        """
        now = time.perf_counter()
        if self.running < self.at_once and not self._waiters:
            since = max(self._overload_since, now - MOST_OVERLOAD * self._seconds)
            since += (now - self._free_since) / SPARE
            if since >= now:
                if self._overloaded:
                    self._overload_ended = now
                since = math.inf
            self._overload_since, self._free_since, self._window = since, now, None
            self.running += 1
            return
        if self._is_overload(now):
            while len(self._waiters) >= self.at_once:
                self._take_next().set_result(False)
        if self.waiting >= self.most_waiting or self._expected_seconds() > request.seconds_left:
            raise OverloadedError(429, "queue_full", self.seconds_waiting())
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((place, cost))
        self._came = now
        self._count(cost)
        try:
            has_place = await asyncio.wait_for(asyncio.shield(place), max(request.seconds_left, 0.0))
        except BaseException as reason:
            self._give_up(place, cost)
            if isinstance(reason, TimeoutError):
                raise OverloadedError(503, "deadline", self.seconds_waiting()) from reason
            raise
        if not has_place:
            raise OverloadedError(429, "queue_full", self.seconds_waiting())

    def has_fresh(self) -> bool:
        """Say whether, in an overload, as many wait as compute at once, and the last of them has only just come."""
        now = time.perf_counter()
        is_fresh = len(self._waiters) >= self.at_once and now - self._came < FRESH * self._seconds
        return is_fresh and self._overloaded

    def leave(self, seconds: float | None, cost: int) -> None:
        """Give a place to the next that waits; ``seconds`` is how long the work took, None for work not done."""
        if seconds is not None:
            self._seconds_each = _average(self._seconds_each, seconds / cost)
            self._seconds = _average(self._seconds, seconds)
        if self.running == self.at_once:
            self._free_since = time.perf_counter()
        self.running -= 1
        while self._waiters and self.running < self.at_once:
            self.running += 1
            self._take_next().set_result(True)

    def seconds_waiting(self) -> int:
        """Give for how long those who are refused should wait: whole seconds, at least 1."""
        return max(1, math.ceil(self._expected_seconds()))

    def _is_overload(self, now: float) -> bool:
        """Say whether more is asked for than can be done, as far as a request that comes now and must wait can tell."""
        if self._overloaded:
            return True
        most = LONG * self._seconds
        if self._expected_seconds() <= most:
            self._window = None
            return False
        is_after = now - self._overload_ended < AFTER
        if self._window is None:
            self._window = (now, 0 if is_after else math.inf)  # a burst may still be coming
        began, waited = self._window
        if now - began > (BRIEF if is_after else max(WINDOW, most)):
            self._window = (now, self.waiting)
            if self.waiting >= waited:
                self._overload_since = began
        return self._overloaded

    @property
    def _overloaded(self) -> bool:
        return self._overload_since < math.inf

    def _expected_seconds(self) -> float:
        return self._seconds_each * self.waiting / self.at_once

    def _take_next(self) -> "asyncio.Future[bool]":
        place, cost = self._waiters.popleft()
        self._count(-cost)
        return place

    def _give_up(self, place: asyncio.Future[bool], cost: int) -> None:
        if place.done():  # in the same moment
            if place.result():
                self.leave(None, cost)
            return
        place.cancel()
        for position, (other, _) in enumerate(self._waiters):
            if other is place:
                del self._waiters[position]
                self._count(-cost)
                return

    def _count(self, change: int) -> None:
        self.waiting += change
        self._meter.waiting(self.kind, self.waiting)


def _in_stage(function: Callable[[], T]) -> T:
    with stage("other"):
        return function()


def _average(before: float, now: float) -> float:
    return 0.9 * before + 0.1 * now if before else now


def _ignored(future: "asyncio.Future[T]") -> None:
    """Take the outcome of work that nobody waits for, so that it is not reported as lost."""
    if not future.cancelled():
        future.exception()
